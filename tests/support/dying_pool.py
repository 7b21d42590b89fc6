"""A process pool whose workers die. It is a module of its own so that workers can import it."""

import os
import signal
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context


def solve_or_die(marker, real, *arguments):
    """What a worker does: the first one to come dies in the middle of its part."""
    try:
        os.close(os.open(marker, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return real(*arguments)
    os.kill(os.getpid(), signal.SIGKILL)


class DyingPool(ProcessPoolExecutor):
    """A process pool in which one worker dies once, or every time."""

    def __init__(self, marker):
        super().__init__(2, mp_context=get_context("forkserver"))
        self.marker = marker

    def submit(self, function, *arguments):
        marker = self.marker() if callable(self.marker) else self.marker
        return super().submit(solve_or_die, marker, function, *arguments)


def solve_unless_poisoned(marker, real, part, *arguments):
    """What a worker does that dies whenever problem `marker` is in its part."""
    if any(problem.offset[0] == marker for problem in part.problems):
        os.kill(os.getpid(), signal.SIGKILL)
    return real(part, *arguments)


class PoisonedPool(ProcessPoolExecutor):
    """A process pool in which a problem with the offset `poison` kills its worker, each time."""

    def __init__(self, poison):
        super().__init__(2, mp_context=get_context("forkserver"))
        self.poison = poison

    def submit(self, function, *arguments):
        if not arguments:
            return super().submit(function)
        return super().submit(solve_unless_poisoned, self.poison, function, *arguments)
