"""Functions in several processes that form a gloo group."""

import multiprocessing as mp
import socket
import struct
import time
import traceback
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import torch
import torch._dynamo  # optimizers import it when first used: once here, not in every process
from torch import distributed

# Of struct tcp_info in linux/tcp.h.
_BYTES_SENT = 200


def _run(rank, size, folder, function, results, lost):
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo",
        init_method=f"file://{folder}/meeting",
        rank=rank,
        world_size=size,
        timeout=timedelta(seconds=60),
    )
    try:
        results.put((rank, function(rank), None))
    except Exception:
        results.put((rank, None, traceback.format_exc(limit=-1)))
    if not lost:
        distributed.barrier()  # gloo aborts where another process has left
        distributed.destroy_process_group()


def in_processes(folder, function, size=2, limit=60, lost=()):
    """Call ``function(rank)`` in `size` processes; return their results and their errors.

    Those of the ranks that are to be `lost` are left out.
    """
    context = mp.get_context("fork")
    results = context.SimpleQueue()
    workers = [
        context.Process(target=_run, args=(rank, size, folder, function, results, lost))
        for rank in range(size)
    ]
    for worker in workers:
        worker.start()
    found, deadline = [], time.monotonic() + limit
    # Results are read as they come: a pipe holds little.
    while len(found) < size - len(lost) and time.monotonic() < deadline:
        if results._reader.poll(0.1):
            found.append(results.get())
    for worker in workers:
        worker.join(max(0.1, deadline - time.monotonic()))
    hung = [worker for worker in workers if worker.is_alive()]
    for worker in hung:
        worker.kill()
    assert not hung, f"a process waits for ever; the others: {found}"
    (Path(folder) / "meeting").unlink(missing_ok=True)
    found.sort(key=lambda result: result[0])
    return [result for _, result, _ in found], [error for _, _, error in found]


def weights(model):
    return [parameter.detach().numpy().copy() for parameter in model.parameters()]


def assert_equal_weights(results):
    for other in results[1:]:
        for one, two in zip(results[0], other, strict=True):
            assert (one == two).all()


def bytes_sent():
    """Count what this process has sent through its TCP connections so far, as the kernel counts it."""
    total = 0
    for entry in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            if not str(entry.readlink()).startswith("socket:"):
                continue
            with socket.socket(fileno=socket.dup(int(entry.name))) as connection:
                information = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
                total += struct.unpack_from("Q", information, _BYTES_SENT)[0]
    return total
