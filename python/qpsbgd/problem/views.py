"""What people look at of solutions: lines of text, HTML, a dimod sample set, a data frame, a picture."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from qpsbgd.extras import needed_for

if TYPE_CHECKING:
    import dimod

    from qpsbgd.problem.ising import Solutions

__all__ = ["as_dataframe", "as_html", "as_sampleset", "as_text", "drawn_trace"]

_SHOWN_PROBLEMS = 5
_SHOWN_SPINS = 16


def as_text(solutions: Solutions) -> str:
    """Return the sizes, how it was solved, and the best energies of the first problems, on one line."""
    solutions = solutions.to_host()
    problems, reads, spins = solutions.samples.shape
    best = ", ".join(f"{energy:.8g}" for energy in solutions.best_energies[:_SHOWN_PROBLEMS])
    more = ", ..." if problems > _SHOWN_PROBLEMS else ""
    method = solutions.info.get("method")
    how = f", method={method!r}" if method else ""
    return f"Solutions(problems={problems}, reads={reads}, spins={spins}{how}, best_energies=[{best}{more}])"


def as_html(solutions: Solutions) -> str:
    """Return a table of the first problems: energies, how often the best was found, the first spins."""
    solutions = solutions.to_host()
    problems, reads, spins = solutions.samples.shape
    rows = []
    for problem in range(min(problems, _SHOWN_PROBLEMS)):
        energies = solutions.energies[problem]
        shown = " ".join(f"{value:+d}" for value in solutions.best_samples[problem, :_SHOWN_SPINS])
        found = int((energies == energies[0]).sum())
        rows.append(
            f"<tr><td>{problem}</td><td>{energies[0]:.8g}</td><td>{found} of {reads}</td>"
            f"<td><code>{shown}{' ...' if spins > _SHOWN_SPINS else ''}</code></td></tr>"
        )
    left_out = problems - len(rows)
    method = html.escape(str(solutions.info.get("method", "")))
    caption = f"{problems} problems of {spins} spins, {reads} reads, {method}"
    head = "<tr><th>problem</th><th>best energy</th><th>found by</th><th>sample</th></tr>"
    rest = f"<tr><td colspan=4>and {left_out} more</td></tr>" if left_out else ""
    return f"<table><caption>{caption}</caption>{head}{''.join(rows)}{rest}</table>"


def as_sampleset(solutions: Solutions, index: int, labels: Sequence[Any] | None) -> dimod.SampleSet:
    """Return the reads of one problem as dimod has them; see `Solutions.to_sampleset`."""
    solutions = solutions.to_host()
    with needed_for("to_sampleset", "dimod", "ocean"):
        import dimod

    samples = solutions.samples[index]
    names = list(range(samples.shape[1])) if labels is None else list(labels)
    if len(names) != samples.shape[1]:
        raise ValueError(f"labels has {len(names)} names, but there are {samples.shape[1]} variables")
    vartype = "BINARY" if solutions.binary else "SPIN"
    return dimod.SampleSet.from_samples(
        (samples, names), energy=solutions.energies[index], vartype=vartype, info=dict(solutions.info)
    )


def as_dataframe(solutions: Solutions) -> Any:
    """Return one row a read; see `Solutions.to_dataframe`."""
    solutions = solutions.to_host()
    with needed_for("to_dataframe", "pandas", "dataframe"):
        import pandas

    problems, reads, spins = solutions.samples.shape
    flat = solutions.samples.reshape(problems * reads, spins)
    index = pandas.MultiIndex.from_product([range(problems), range(reads)], names=["problem", "read"])
    frame = pandas.DataFrame(flat, index=index)
    frame.insert(0, "energy", solutions.energies.ravel())
    return frame


def drawn_trace(solutions: Solutions, index: int, axes: Any) -> Any:
    """Draw the best energy against time, and return the axes; see `Solutions.plot_trace`."""
    traces = solutions.info.get("trace")
    if not traces:
        raise ValueError(
            "there is no trace: it is kept where time_limit, target_energy, progress or num_best is given"
        )
    seconds, energies = zip(*traces[index], strict=True)
    if axes is None:
        with needed_for("plot_trace", "matplotlib", "plots"):
            from matplotlib.figure import Figure
        axes = Figure(figsize=(6, 3.6), layout="constrained").subplots()
    axes.step(seconds, energies, where="post", marker=".")
    axes.set(xlabel="seconds", ylabel="lowest energy", xscale="log" if min(seconds) > 0 else "linear")
    axes.grid(alpha=0.3)
    return axes
