"""Detection in a receiver of many antennas: which symbols were sent, given y = H x + noise?

    python examples/mimo_detection.py                 # seconds
    python examples/mimo_detection.py --full          # the figures of docs/least-squares.md
    python examples/mimo_detection.py --plot mimo.png

Every transmitter sends one symbol of QPSK (bits -1 and +1 on two axes) or 16-QAM (levels -3 to 3 on both).
The maximum-likelihood answer minimises ||y - H x||, which is `binary_least_squares`. Beside it: the linear
MMSE detector, the K-best beam alone, and dwave's simulated annealing on models of `dimod.generators.mimo`.
An answer farther from y than the symbols that were sent is not the one of maximum likelihood.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from qpsbgd import binary_least_squares
from qpsbgd.solvers.beam import beam_search

Floats = npt.NDArray[np.float64]
Detector = Callable[["Channel", Floats], tuple[Floats, float]]
"""From what is received to symbols, and the processor seconds that took."""


@dataclass
class Channel:
    """A random channel H, stacked to real numbers, and the noise on each real axis."""

    matrix: Floats  # (2 receivers, 2 transmitters)
    levels: int  # of a symbol's real or imaginary part
    noise: float
    complex_matrix: Floats

    @classmethod
    def draw(cls, antennas: int, levels: int, decibels: float, random: np.random.Generator) -> Channel:
        H = random.normal(size=(2, antennas, antennas)) / np.sqrt(2)
        symbol_energy = 2 * (levels**2 - 1) / 3
        noise = np.sqrt(antennas * symbol_energy / 10 ** (decibels / 10) / 2)
        stacked = np.block([[H[0], -H[1]], [H[1], H[0]]])
        return cls(stacked, levels, noise, H[0] + 1j * H[1])

    def send(self, vectors: int, random: np.random.Generator) -> tuple[Floats, Floats]:
        """Symbols (2t, vectors) and what is received."""
        sent = 2.0 * random.integers(0, self.levels, size=(self.matrix.shape[1], vectors)) - (self.levels - 1)
        received: Floats = self.matrix @ sent
        return np.asarray(sent, dtype=np.float64), received + self.noise * random.normal(size=received.shape)


def timed(detector: Callable[[Channel, Floats], Floats]) -> Detector:
    """Return a detector that tells its processor seconds."""

    def detect(channel: Channel, received: Floats) -> tuple[Floats, float]:
        begin = time.process_time()
        return detector(channel, received), time.process_time() - begin

    return detect


def maximum_likelihood(sweeps: int) -> Detector:
    """The package's detector with this many sweeps of tabu search."""

    @timed
    def detect(channel: Channel, received: Floats) -> Floats:
        answer = binary_least_squares(
            channel.matrix, received, levels=channel.levels, num_sweeps=sweeps, seed=0, num_threads=1
        )
        return np.asarray(answer.G)

    return detect


@timed
def mmse(channel: Channel, received: Floats) -> Floats:
    """The linear estimate of least mean square error, rounded."""
    H, levels = channel.matrix, channel.levels
    energy = (levels**2 - 1) / 3
    estimate = np.linalg.solve(H.T @ H + channel.noise**2 / energy * np.eye(H.shape[1]), H.T @ received)
    return 2.0 * np.clip(np.rint((estimate + levels - 1) / 2), 0, levels - 1) - (levels - 1)


@timed
def k_best(channel: Channel, received: Floats) -> Floats:
    """A beam of 32 along the Cholesky factor."""
    H = channel.matrix
    return beam_search(H.T @ H, H.T @ received, channel.levels, width=32)


def annealing(sweeps: int, reads: int) -> Detector:
    """dwave's simulated annealing on dimod's own model of each received vector."""

    def detect(channel: Channel, received: Floats) -> tuple[Floats, float]:
        from dimod.generators import mimo
        from dwave.samplers import SimulatedAnnealingSampler

        sampler = SimulatedAnnealingSampler()
        half = len(received) // 2
        modulation = {2: "QPSK", 4: "16QAM"}[channel.levels]
        columns, seconds = [], 0.0
        for y in (received[:half] + 1j * received[half:]).T:
            model = mimo(modulation, y=y[:, None], F=channel.complex_matrix)
            begin = time.process_time()
            best = sampler.sample(model, num_sweeps=sweeps, num_reads=reads, seed=1).first.sample
            seconds += time.process_time() - begin  # making the model is not timed
            spins = np.array([best[variable] for variable in range(len(best))], dtype=np.float64)
            # Fine bits of all parts come first, then the coarse ones; each list real parts, then imaginary.
            weights = [1.0] if channel.levels == 2 else [1.0, 2.0]
            columns.append(np.asarray(weights) @ spins.reshape(len(weights), -1))
        return np.array(columns).T, seconds

    return detect


def bit_errors(found: Floats, sent: Floats, levels: int) -> float:
    """Part of wrong bits, in Gray code, where neighbouring levels differ in one bit."""
    code = np.arange(levels) ^ (np.arange(levels) >> 1)
    ours, true = (code[((symbols + levels - 1) / 2).astype(int)] for symbols in (found, sent))
    wrong = ours ^ true
    bits = int(np.log2(levels))
    return float(np.mean([(wrong >> bit) & 1 for bit in range(bits)]))


def measure(
    detector: Detector, antennas: int, levels: int, decibels: float, channels: int, vectors: int
) -> tuple[float, float, float]:
    """Bit error rate, microseconds a vector, and the part of vectors worse than what was sent."""
    random = np.random.default_rng(antennas * 1000 + levels)
    errors, worse, seconds = [], [], 0.0
    for _ in range(channels):
        channel = Channel.draw(antennas, levels, decibels, random)
        sent, received = channel.send(vectors, random)
        found, taken = detector(channel, received)
        seconds += taken
        errors.append(bit_errors(found, sent, levels))
        residual = [np.linalg.norm(received - channel.matrix @ symbols, axis=0) for symbols in (found, sent)]
        worse.append(np.mean(residual[0] > residual[1] * (1 + 1e-9)))
    return float(np.mean(errors)), 1e6 * seconds / (channels * vectors), float(np.mean(worse))


def detectors(antennas: int, levels: int, full: bool) -> dict[str, Detector]:
    every: dict[str, Detector] = {"MMSE": mmse, "K-best, 32": k_best}
    for sweeps in (10, 50):
        every[f"qpsbgd, {sweeps} sweeps"] = maximum_likelihood(sweeps)
    if full or antennas <= 8:
        for sweeps, reads in ((100, 10), (1000, 10)) if full else ((100, 1),):
            every[f"dwave SA, {sweeps}x{reads}"] = annealing(sweeps, reads)
    return every


def draw(path: str, curves: dict[str, dict[str, list[tuple[float, float]]]]) -> None:
    """Bit error rate against signal-to-noise ratio, one panel a system."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    rows = (len(curves) + 2) // 3
    columns = (len(curves) + rows - 1) // rows
    figure, axes = plt.subplots(rows, columns, figsize=(4.2 * columns, 3.4 * rows), squeeze=False)
    for axis, (system, lines) in zip(axes.flat, curves.items(), strict=False):
        for name, points in lines.items():
            decibels, rates = zip(*points, strict=True)
            axis.semilogy(decibels, np.maximum(rates, 1e-6), marker="o", markersize=3, label=name)
        axis.set_title(system)
        axis.set_xlabel("signal to noise, dB")
    for axis in axes[:, 0]:
        axis.set_ylabel("bit error rate")
    axes.flat[len(curves) - 1].legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(path, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--full", action="store_true", help="larger systems, more vectors, stronger annealing"
    )
    parser.add_argument("--plot", metavar="FILE", help="draw the bit error rates")
    arguments = parser.parse_args()
    systems: list[tuple[int, int, tuple[float, ...]]] = [(8, 2, (6, 10)), (8, 4, (18,))]
    channels, vectors = 2, 20
    if arguments.full:
        systems = [(8, 2, (4, 8, 12)), (16, 2, (4, 8, 12)), (64, 2, (4, 8, 12))]
        systems += [(8, 4, (12, 18, 24)), (16, 4, (12, 18, 24)), (64, 4, (18, 24))]
        channels, vectors = 5, 40
    curves: dict[str, dict[str, list[tuple[float, float]]]] = {}
    print(
        f"{'system':16}{'dB':>4}  {'detector':20}{'bit errors':>11}{'µs a vector':>13}{'worse than sent':>17}"
    )
    for antennas, levels, ratios in systems:
        system = f"{antennas}x{antennas} {'QPSK' if levels == 2 else '16-QAM'}"
        for name, detector in detectors(antennas, levels, arguments.full).items():
            for decibels in ratios:
                rate, micros, worse = measure(detector, antennas, levels, decibels, channels, vectors)
                print(f"{system:16}{decibels:4g}  {name:20}{rate:11.5f}{micros:13.1f}{100 * worse:15.1f} %")
                curves.setdefault(system, {}).setdefault(name, []).append((decibels, rate))
    if arguments.plot:
        draw(arguments.plot, curves)


if __name__ == "__main__":
    main()
