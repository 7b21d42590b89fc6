"""What a caller learns of a solve while it runs, and when it may end: progress functions, bars, targets."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from qpsbgd.extras import needed_for
from qpsbgd.problem.checks import check_integer, check_number

__all__ = ["Progress", "Reporter", "check_num_best", "check_progress", "reporter", "targets_of"]

Progress: TypeAlias = bool | Callable[[float, Any], object] | None
"""True shows a bar; a function gets the seconds since the solve began and the lowest energy so far."""

Reporter: TypeAlias = Callable[[float, npt.NDArray[np.float64]], object]
"""What the native core calls: seconds and the lowest energy of every problem, infinite before the first."""


_ROUNDING = 1e-12


def targets_of(target_energy: float | Sequence[float] | None, num_problems: int) -> list[float]:
    """One target for each problem; an empty list where there is none.

    Each is raised by 1e-12 of itself, so that sums in another order than the caller's reach them too.

    Examples
    --------
    >>> targets_of(0.0, 2)
    [0.0, 0.0]
    """
    if target_energy is None:
        return []
    targets = np.ravel(np.asarray(target_energy, dtype=object)).tolist()
    if np.ndim(target_energy) == 0:
        targets = targets * num_problems
    if len(targets) != num_problems:
        raise ValueError(
            f"target_energy has {len(targets)} numbers, expected one number or one for each of the "
            f"{num_problems} problems"
        )
    checked = [check_number("target_energy", target) for target in targets]
    return [target + _ROUNDING * abs(target) for target in checked]


def check_num_best(value: Any) -> None:
    """Raise unless `value` is None or a number of states of at least 1."""
    if value is not None:
        check_integer("num_best", value, 1, 2**31 - 1)


def check_progress(progress: Any) -> None:
    """Raise unless `progress` is None, a bool or callable."""
    if not (progress is None or isinstance(progress, bool) or callable(progress)):
        raise TypeError(f"progress must be True, False, None or a function, but is {progress!r}")


@contextlib.contextmanager
def reporter(progress: Progress, num_problems: int, time_limit: float | None) -> Iterator[Reporter | None]:
    """Give what the native core may call some times a second, or None; a bar is taken away at the end.

    Raises
    ------
    ImportError
        If `progress` is True and tqdm is not installed.

    Examples
    --------
    >>> seen = []
    >>> with reporter(lambda seconds, energy: seen.append((seconds, energy)), 1, None) as report:
    ...     report(0.5, np.array([-3.0]))
    >>> seen
    [(0.5, -3.0)]
    """
    check_progress(progress)
    if progress is None or progress is False:
        yield None
    elif progress is True:
        with _bar(time_limit) as report:
            yield report
    else:
        yield lambda seconds, energies: progress(seconds, _seen(energies, num_problems))


def _seen(energies: npt.NDArray[np.float64], num_problems: int) -> Any:
    return float(energies[0]) if num_problems == 1 else energies


@contextlib.contextmanager
def _bar(time_limit: float | None) -> Iterator[Reporter]:
    """Show seconds (of the time limit, where there is one) and the lowest energy on a bar of tqdm's."""
    with needed_for("progress=True", "tqdm", "progress"):
        from tqdm.auto import tqdm
    layout = "{desc}: {n:.1f} s{postfix}"
    if time_limit is not None:
        layout = "{desc}: {percentage:3.0f}%|{bar}| {n:.1f}/{total:g} s{postfix}"
    with tqdm(total=time_limit, desc="solve", bar_format=layout) as bar:

        def report(seconds: float, energies: npt.NDArray[np.float64]) -> None:
            bar.n = seconds if time_limit is None else min(seconds, time_limit)
            known = energies[np.isfinite(energies)]
            if len(known):
                name = "energy" if len(energies) == 1 else f"mean energy of {len(known)}"
                bar.set_postfix_str(f"{name} {known.mean():.12g}", refresh=False)
            bar.refresh()

        yield report
