"""SIGINT at a given moment of something that runs, and what must be as before afterwards."""

import contextlib
import os
import signal
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
