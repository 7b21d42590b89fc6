// Monte Carlo sweeps at given temperatures: Metropolis (1953) or Gibbs (heat bath) acceptance, spins in the order of their
// numbers or drawn one by one with replacement.
//
// Unlike anneal.cpp every proposal draws its own random number and compares it with the exact probability, so that
// at a constant temperature the states follow Boltzmann's distribution. Local fields are made anew now and then: flips
// add rounding errors to them.
// Cost of a sweep: n random numbers and exponentials, and one row of couplings for each accepted flip.
// Promises: the last state, or the best seen at the end of any sweep.
#include <cmath>
#include <span>

#include "search/float32/read_state.hpp"

namespace qpsbgd {
namespace {

constexpr std::size_t kSweepsBetweenRefreshes = 256;
constexpr std::size_t kProposalsBetweenPolls = std::size_t{1} << 14U;

double uniform(Random& random) {
    constexpr double kBit = 0x1p-53;
    return static_cast<double>(random.next() >> 11U) * kBit;
}

// Is a change of the energy, in units of temperature, accepted?
bool accepts(double change, bool gibbs, Random& random) {
    if (gibbs) {
        return uniform(random) < 1.0 / (1.0 + std::exp(change));
    }
    return change <= 0.0 || uniform(random) < std::exp(-change);
}

}  // namespace

template <class Matrix>
void sample(const Matrix& matrix, ReadState& state, const Sampling& sampling, Random& random,
            Budget& budget) {
    const std::size_t n = matrix.n();
    std::size_t proposals = 0;
    bool stops = false;
    for (std::size_t sweep = 0; sweep < sampling.betas.size() && !stops; ++sweep) {
        // A flip changes the energy by -2 s L.
        const double factor = -2.0 * sampling.betas[sweep] * matrix.unit();
        for (std::size_t k = 0; k < n && !stops; ++k) {
            const std::size_t i = sampling.random_order ? random.below(static_cast<std::uint32_t>(n)) : k;
            const double fall = static_cast<double>(state.spins[i]) * static_cast<double>(state.local[i]);
            if (accepts(factor * fall, sampling.gibbs, random)) {
                state.energy -= 2.0 * fall;
                matrix.flip(i, state.spins.data(), state.local.data());
            }
            stops = ++proposals % kProposalsBetweenPolls == 0 && budget.exhausted();
        }
        ++state.sweeps_done;
        if (sweep % kSweepsBetweenRefreshes == kSweepsBetweenRefreshes - 1) {
            state.refresh(matrix);
        }
        state.keep_if_best();
    }
    if (sampling.keep_last) {
        state.best_spins = state.spins;
    }
}

template void sample(const DenseMatrix&, ReadState&, const Sampling&, Random&, Budget&);
template void sample(const SparseMatrix&, ReadState&, const Sampling&, Random&, Budget&);

}  // namespace qpsbgd
