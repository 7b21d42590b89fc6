// Simulated annealing (Kirkpatrick, Gelatt and Vecchi, 1983): sequential Metropolis sweeps while the temperature
// falls on a geometric ladder.
//
// Instead of exp(-beta dE) > u, each proposal compares dE with a threshold -ln(u) / beta drawn beforehand, which is
// the same test and leaves the sweep with one comparison a spin. u comes in 4096 steps: a step up in energy less
// likely than 1 in 8192 is never taken, which at the cold end is what annealing wants.
// Cost of a sweep: n comparisons, and one row of couplings for each accepted flip.
// Promises: the best state seen at the end of any sweep, polished by a descent, is kept.
#include <algorithm>
#include <limits>

#include "base/units.hpp"
#include "search/float32/read_state.hpp"
#include "search/float32/sweeping.hpp"

namespace qpsbgd {
namespace {

// Five 12-bit indices from every 64 random bits.
void draw_thresholds(Random& random, float temperature, AlignedVector<float>& thresholds) {
    constexpr unsigned kBits = 12;
    constexpr std::uint64_t kMask = (1U << kBits) - 1;
    constexpr std::size_t kDraws = 64 / kBits;
    const auto quantiles = exponential_quantiles();
    for (std::size_t i = 0; i < thresholds.size(); i += kDraws) {
        std::uint64_t bits = random.next();
        const std::size_t end = std::min(i + kDraws, thresholds.size());
        for (std::size_t k = i; k < end; ++k) {
            thresholds[k] = temperature * quantiles[static_cast<std::size_t>(bits & kMask)];
            bits >>= kBits;
        }
    }
}

}  // namespace

template <class Matrix>
void anneal(const Matrix& matrix, ReadState& state, BetaRange range, std::size_t sweeps, Random& random,
            Budget& budget) {
    for (std::size_t sweep = 0; sweep < sweeps; ++sweep) {
        // The energy rises by -2 s L, so the threshold on s L is half of that on the energy.
        const double temperature = 0.5 / (geometric_beta(range, sweep, sweeps) * matrix.unit());
        draw_thresholds(random, in_float32(temperature), state.thresholds);
        double gain = 0.0;
        const bool finished = in_chunks(matrix, budget, [&](std::size_t begin, std::size_t end) {
            gain += matrix.metropolis(begin, end, state.thresholds.data(), state.spins.data(),
                                      state.local.data());
        });
        state.energy -= 2.0 * gain;
        ++state.sweeps_done;
        state.keep_if_best();
        if (!finished) {
            break;
        }
    }
    // The answer is a local minimum even when the time is up: this takes far less than a sweep.
    Budget polish(budget.token());
    descend(matrix, state, std::numeric_limits<std::size_t>::max(), polish);
    budget.at_minima();
    if (state.best_energy < state.energy) {
        state.spins = state.best_spins;
        state.refresh(matrix);
        descend(matrix, state, std::numeric_limits<std::size_t>::max(), polish);
    }
}

template void anneal(const DenseMatrix&, ReadState&, BetaRange, std::size_t, Random&, Budget&);
template void anneal(const SparseMatrix&, ReadState&, BetaRange, std::size_t, Random&, Budget&);

}  // namespace qpsbgd
