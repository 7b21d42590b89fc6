"""Products with weights of one bit beside torch's in float32, one thread; prints a table.

python benchmarks/packed.py                  this machine's widest instruction set
QPSBGD_ISA=avx2 python benchmarks/packed.py  another one
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F

from qpsbgd._core import build_info
from qpsbgd.export import to_packed
from qpsbgd.nn import BinaryLinear

ROUNDS = 15


def seconds(call: Callable[[], object]) -> float:
    """The shortest of some calls."""
    call()
    times = []
    for _ in range(ROUNDS):
        begin = time.perf_counter()
        call()
        times.append(time.perf_counter() - begin)
    return min(times)


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    torch.set_grad_enabled(False)
    print(f"{build_info()['instruction_set']}, one thread; how much faster than float32")
    print(f"{'d x m':>12}{'samples':>9}{'float32':>12}{'+-1':>12}{'real':>12}")
    for d in (512, 1024, 4096):
        layer = BinaryLinear(d, d).eval()
        packed = to_packed(layer)
        weight = torch.where(layer.weight.data >= 0, 1.0, -1.0)
        for samples in (1, 8, 128):
            real = torch.randn(samples, d)
            signs = torch.where(real >= 0, 1.0, -1.0)
            torch.testing.assert_close(packed(real), F.linear(real, weight) * d**-0.5, atol=1e-3, rtol=1e-3)
            assert torch.equal(packed(signs), F.linear(signs, weight) * d**-0.5)
            plain = seconds(partial(F.linear, real, weight))
            ratios = [plain / seconds(partial(packed, inputs)) for inputs in (signs, real)]
            shown = "".join(f"{ratio:>11.1f}x" for ratio in ratios)
            print(f"{d:>5} x {d:<4}{samples:>9}{plain * 1e6:>9.0f} us{shown}")


if __name__ == "__main__":
    main()
