"""SIGINT at a given moment of something that runs, and what must be as before afterwards."""

import contextlib
import dis
import functools
import gc
import itertools
import os
import signal
import sys
import threading
import time


def interrupt(activity, delay, limit=30.0):
    """Repeat `activity` until SIGINT, which comes after `delay` seconds, ends it.

    It has to raise KeyboardInterrupt: one that is swallowed is an error.
    """
    sent = []

    def kill():
        time.sleep(delay)
        sent.append(time.perf_counter())
        os.kill(os.getpid(), signal.SIGINT)

    killer = threading.Thread(target=kill)
    end = time.perf_counter() + limit
    try:
        killer.start()
        while time.perf_counter() < end:
            activity()
            assert not sent or time.perf_counter() - sent[0] < 5.0, "KeyboardInterrupt was swallowed"
    except KeyboardInterrupt:
        late = time.perf_counter() - sent[0]
        killer.join()
        return late
    raise AssertionError("it was not interrupted")


def num_threads():
    """Threads of this process, those of the native core included."""
    with contextlib.suppress(OSError):
        return len(os.listdir("/proc/self/task"))
    return threading.active_count()


def resident():
    """Bytes of memory of this process, or None where the system does not tell."""
    with contextlib.suppress(OSError), open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return None


@contextlib.contextmanager
def interrupts_raise():
    """Make SIGINT raise, also where a shell started the tests without it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


class Moments:
    """Moments at which the interpreter looks for signals: what a SIGINT may come between.

    It looks at the end of a call, at the start of a function, and where a loop jumps back. A trace function
    raises the signal before the next instruction. That is the same for the program only if one handler of
    exceptions covers both instructions; other places are left out.

    Parameters
    ----------
    roots : tuple of str
        Beginnings of the names of the source files whose moments count.
    every : bool
        Whether each moment has its turn; else each place in the code has one, that of its first moment.
    """

    def __init__(self, roots, *, every):
        self._roots, self._every = roots, every
        self._known = set()

    def interrupts(self, activity):
        """Call `activity` over and over, with an interrupt at one moment after the other.

        Yields a description of the moment after each of these calls.
        """
        if self._every:
            for number in itertools.count():
                hit = _interrupted(activity, _Trace(self._roots, number=number))
                if hit is None:
                    return
                yield f"moment {number}, {hit}"
        seen = _Trace(self._roots)
        _interrupted(activity, seen)
        for place in [place for place in seen.places if place not in self._known]:
            self._known.add(place)
            hit = _interrupted(activity, _Trace(self._roots, place=place))
            if hit is not None:
                yield hit


def _interrupted(activity, trace):
    """Call `activity` with a trace that interrupts it; tell where it has."""
    before, raised = sys.gettrace(), False
    gc.disable()  # what an interrupt leaves behind must not wait for a collection of garbage
    sys.settrace(trace)
    try:
        activity()
    except KeyboardInterrupt:
        raised = True
    finally:
        sys.settrace(before)
        gc.enable()
    assert raised == (trace.where is not None), f"an interrupt was swallowed at {trace.where}"
    return trace.where


class _Trace:
    """A trace function that interrupts at a moment of a number, or at the first one of a place, or never."""

    def __init__(self, roots, *, number=-1, place=None):
        self._roots, self._left, self._place = roots, number, place
        self.places = {}
        self.where = None

    def __call__(self, frame, _event, _argument):
        code = frame.f_code
        if self._place is None:
            if not code.co_filename.startswith(self._roots):
                return None
        elif code is not self._place[0] or self.where is not None:
            return None
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        names, handlers = _instructions(code)
        last = None

        def before_instruction(frame, event, _argument):
            nonlocal last
            if event == "opcode":
                now, looked = frame.f_lasti, last is not None and names[last] in _LOOKS
                last, before = now, last
                if looked and handlers.get(before) == handlers.get(now) and self._is_next((code, now)):
                    self.where = f"{code.co_filename}:{frame.f_lineno} in {code.co_name}"
                    signal.raise_signal(signal.SIGINT)
            return before_instruction

        return before_instruction

    def _is_next(self, place):
        self.places.setdefault(place)
        if self.where is not None:
            return False
        self._left -= 1
        return place == self._place or self._left == -1


_LOOKS = ("CALL", "CALL_FUNCTION_EX", "CALL_KW", "RESUME", "JUMP_BACKWARD")


@functools.cache
def _instructions(code):
    """Names of a function's instructions, and what handles the exceptions of each, by their places."""
    handlers = {
        place: entry.target
        for entry in dis._parse_exception_table(code)
        for place in range(entry.start, entry.end, 2)
    }
    return {one.offset: one.opname for one in dis.get_instructions(code)}, handlers
