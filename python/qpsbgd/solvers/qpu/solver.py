"""`QPUSolver`: the rows of a layer on a quantum annealer, many in one submission."""

from __future__ import annotations

import copy
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from qpsbgd.problem.ising import IsingProblem, Solutions
from qpsbgd.solvers.qpu.batch import fallback_rounds, solve_rounds
from qpsbgd.solvers.qpu.config import require_ocean
from qpsbgd.solvers.qpu.cost import Ledger
from qpsbgd.solvers.qpu.errors import QPUUnreachableError
from qpsbgd.solvers.qpu.jobs import Pending
from qpsbgd.solvers.qpu.options import Options
from qpsbgd.solvers.qpu.plan import Plan, make_plan
from qpsbgd.solvers.qpu.retry import RetryPolicy
from qpsbgd.solvers.qpu.session import Device, Report, Session

__all__ = ["QPUSolver"]


class QPUSolver:
    """Solve batches of Ising problems on a D-Wave QPU, or on any structured dimod sampler.

    The rows of a batch are embedded as cliques, as many side by side as fit on the chip, and share one
    submission. Rows wider than the largest clique are solved block by block, from their initial states and
    never upwards.

    Parameters
    ----------
    sampler : dimod.Structured, optional
        It has ``nodelist``, ``edgelist`` and a Chimera, Pegasus or Zephyr topology among its properties. Not
        given: a ``dwave.system.DWaveSampler``, opened when the first problem is submitted and not before.
    config : mapping, optional
        Arguments of that DWaveSampler, such as ``{"solver": "Advantage2_system1.13", "profile": "mine"}``.
    num_reads : int
        Reads of every row.
    annealing_time : float, optional
        Microseconds; the solver's default if not given.
    chain_strength : float or function, optional
        Not given: uniform torque compensation. A number: that many times the largest coupling of a row. A
        function: called with a row's dimod model and None, as Ocean's own are; slower.
    num_spin_reversal_transforms : int
        Number of submissions that share the reads. Each reverses a random choice of spins, so
        systematic errors of the hardware average out. 1 costs nothing; 0 reverses no spins.
    postprocess : {"descent", None}
        "descent": every read descends, natively, to the nearest local minimum.
    block_size : int, optional
        Most spins at a time. Not given: rows as wide as the largest clique are solved whole, wider ones by 40
        (or the largest clique).
    block_passes : int
        Passes over all blocks of a wide row.
    max_qpu_seconds : float, optional
        Raise `QPUBudgetError` before sending anything that would bring the solver's QPU time above this.
    fallback : {"error", "native"}
        After the QPU failed and retries did not help, raise, or let the native solver answer with one
        warning.
    max_retries : int
        Further tries after a transient failure.
    retry_delay : float
        Seconds before the first of them; doubled for each further one.
    timeout : float, optional
        Seconds after which an unanswered submission counts as a transient failure.
    timing_data : mapping, optional
        ``problem_timing_data`` for the estimates, instead of what the sampler says.
    control_error : float
        Standard deviation of a programmed coupling, for the effective precision that is reported.
    cache_dir : path, optional
        Folder of the packings, by default ``~/.cache/qpsbgd/embeddings``.
    spin_reversal_transforms : int, optional
        Earlier name of `num_spin_reversal_transforms`.

    Raises
    ------
    ImportError
        If dwave-system is not installed.
    TypeError, ValueError
        If an option is of the wrong type or out of range; the message names it.

    Attributes
    ----------
    report : Report
        What has been submitted so far, and how well chains held.

    Notes
    -----
    ``Solutions.info["qpu"]`` holds the number of submissions, tries and rows answered by the fallback, and
    for every row its chain strength, scale (programmed = scale times given), effective bits (log2 of the
    largest programmed coupling over the control error) and part of broken chains. `report` sums them up. One
    thread at a time may use a solver.

    Examples
    --------
    >>> from dwave.system.testing import MockDWaveSampler
    >>> from qpsbgd.problem import ising_problem
    >>> solver = QPUSolver(MockDWaveSampler(topology_type="zephyr", topology_shape=[2, 4]), num_reads=5)
    >>> problem = ising_problem([[1.0, 0.0, 0.5], [0.0, 1.0, 0.5]], [[0, -1, 0], [0, 0, 1], [0, 0, 0]])
    >>> solver.solve(problem, seed=0).best_energies
    array([-2.5, -2.5])
    >>> solver.report.submissions
    1
    """

    def __init__(
        self,
        sampler: Any = None,
        *,
        config: Mapping[str, Any] | None = None,
        num_reads: int = 100,
        annealing_time: float | None = None,
        chain_strength: float | Callable[..., float] | None = None,
        num_spin_reversal_transforms: int = 1,
        postprocess: str | None = "descent",
        block_size: int | None = None,
        block_passes: int = 1,
        max_qpu_seconds: float | None = None,
        fallback: str = "error",
        max_retries: int = 4,
        retry_delay: float = 1.0,
        timeout: float | None = None,
        timing_data: Mapping[str, Any] | None = None,
        control_error: float = 0.02,
        cache_dir: str | os.PathLike[str] | None = None,
        spin_reversal_transforms: int | None = None,
    ) -> None:
        require_ocean()
        if sampler is not None and config is not None:
            raise ValueError("give either sampler or config, the arguments of a sampler to open")
        if spin_reversal_transforms is not None:
            warnings.warn(
                "spin_reversal_transforms is now num_spin_reversal_transforms, as in Ocean",
                DeprecationWarning,
                stacklevel=2,
            )
            num_spin_reversal_transforms = spin_reversal_transforms
        options = Options(
            num_reads=num_reads,
            annealing_time=annealing_time,
            chain_strength=chain_strength,
            num_spin_reversal_transforms=num_spin_reversal_transforms,
            postprocess=postprocess,
            block_size=block_size,
            block_passes=block_passes,
            max_qpu_seconds=max_qpu_seconds,
            fallback=fallback,
            timeout=timeout,
            control_error=control_error,
            retry=RetryPolicy(max_retries, retry_delay),
        )
        self._session = Session(options, sampler, config, cache_dir, timing_data)
        self._under_way: list[Pending] = []

    @property
    def options(self) -> Options:
        """The settings."""
        return self._session.options

    @property
    def report(self) -> Report:
        """What has been submitted so far, and how well chains held."""
        return self._session.report

    @property
    def ledger(self) -> Ledger:
        """QPU time spent and under way."""
        return self._session.ledger

    @property
    def healthy(self) -> bool:
        """False after a fallback, until a submission succeeds; in between each is tried once only."""
        return self._session.healthy

    @property
    def qpu_seconds(self) -> float:
        """QPU time spent so far, in seconds, as reported or else as estimated; set it to go on counting."""
        return self.ledger.spent

    @qpu_seconds.setter
    def qpu_seconds(self, seconds: float) -> None:
        self.ledger.spent = float(seconds)

    @property
    def sampler(self) -> Any:
        """The sampler; opened now if it was not yet."""
        return self.device.sampler

    @property
    def device(self) -> Device:
        """The sampler's graph, packings and limits; opens the sampler if it was not yet open.

        Raises
        ------
        QPUConfigError
            If no token is configured, or no QPU can be opened with it.
        """
        return self._session.device

    def rows_per_submission(self, num_spins: int) -> int:
        """Rows of `num_spins` spins that one submission solves side by side, at most."""
        return self.device.capacity(self._plan(1, num_spins).clique_size)

    def estimate(self, problem: IsingProblem) -> float:
        """Estimated QPU time of a batch, in seconds; nothing is submitted."""
        return self._plan(problem.num_problems, problem.num_spins).seconds

    def check_budget(self, problems: Sequence[IsingProblem]) -> None:
        """Raise if these problems together would exceed `max_qpu_seconds`; nothing is submitted.

        Raises
        ------
        QPUBudgetError
            With the estimate.
        """
        if self.options.max_qpu_seconds is None:
            return
        rows = sum(problem.num_problems for problem in problems)
        try:
            seconds = sum(self.estimate(problem) for problem in problems)
        except QPUUnreachableError:
            if self.options.fallback != "native":
                raise
            return  # the native solver will answer, or what is submitted later is checked then
        self.ledger.check(seconds, f"a step of {rows} rows (by {self.device.timing.source})")

    def submit(self, problem: IsingProblem, *, seed: int) -> Pending:
        """Submit a batch and return at once, where the sampler answers later.

        Blocks of wide rows are submitted as the answers to their predecessors come in, while the result of
        this or any other batch of the solver is awaited.

        Raises
        ------
        QPUBudgetError
            If the batch would exceed `max_qpu_seconds`; nothing was submitted then.
        QPUConfigError
            If no QPU can be opened, and that is no matter of the network or there is no fallback.
        """
        try:
            plan = self._plan(problem.num_problems, problem.num_spins)
        except QPUUnreachableError as error:
            if self.options.fallback != "native":
                raise
            return Pending(fallback_rounds(self._session, problem, error, seed), self._advance, self._ended)
        source = self.device.timing.source
        self.ledger.reserve(plan.seconds, f"a batch of {problem.num_problems} rows (by {source})")
        rounds = solve_rounds(self._session, problem, plan, seed)
        pending = Pending(rounds, self._advance, self._ended)
        if not pending.settled:
            self._under_way.append(pending)
        return pending

    def solve(self, problem: IsingProblem, *, seed: int) -> Solutions:
        """Solve every problem of the batch.

        Returns
        -------
        Solutions
            `num_reads` reads of every row, best first; of wide rows the final state alone.

        Raises
        ------
        QPUBudgetError
            If the batch would exceed `max_qpu_seconds`; nothing was submitted then.
        QPUConfigError
            If no QPU can be opened.
        QPUError
            If the QPU failed, retries did not help, and there is no fallback.
        """
        return self.submit(problem, seed=seed).result()

    def close(self) -> None:
        """Give up what is under way, and close the sampler if it was opened here."""
        for pending in list(self._under_way):
            pending.cancel()
        self._session.close()

    def _plan(self, rows: int, num_spins: int) -> Plan:
        return make_plan(self.device, self.options, rows, num_spins)

    def _advance(self) -> None:
        for pending in list(self._under_way):
            pending.poll()

    def _ended(self, pending: Pending) -> None:
        if pending in self._under_way:
            self._under_way.remove(pending)

    def __repr__(self) -> str:
        """Name the sampler and the settings; a token stays hidden."""
        spent = f"{self.qpu_seconds:.3g} s of QPU time spent"
        return f"<QPUSolver on {self._session.sampler_name}, {self.options.num_reads} reads, {spent}>"

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_under_way": []}  # what is under way stays here

    def __deepcopy__(self, memo: dict[int, Any]) -> QPUSolver:
        """Copy settings and counts; the sampler, a connection, is shared."""
        twin = copy.copy(self)
        twin._session = copy.deepcopy(self._session, memo)
        return twin
