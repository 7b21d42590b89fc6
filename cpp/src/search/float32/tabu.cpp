// One-flip tabu search (Glover, 1989; for QUBO: Palubeckis, 2004).
//
// Every iteration flips the spin whose flip is best among those not flipped lately; a tabu spin may flip all the same
// when that beats the best energy seen (aspiration). The tenure is random, because a fixed one cycles. After a long
// stretch without a new best the search restarts from the best state with part of its spins flipped.
// Cost of an iteration: n comparisons and one row of couplings. Promises: the best state seen is kept.
#include <algorithm>
#include <limits>

#include "search/float32/read_state.hpp"

namespace qpsbgd {
namespace {

struct Tenure {
    std::uint32_t least;
    std::uint32_t spread;

    explicit Tenure(std::size_t n)
        : least(static_cast<std::uint32_t>(std::min<std::size_t>(20, n / 4))),
          spread(static_cast<std::uint32_t>(std::clamp<std::size_t>(n / 4, 1, 10))) {}

    std::int32_t draw(Random& random) const {
        return static_cast<std::int32_t>(least + random.below(spread) + 1);
    }
};

// Back to the best state with a random tenth of the spins flipped; the energy follows along.
template <class Matrix>
void perturb_best(const Matrix& matrix, ReadState& state, Random& random) {
    state.spins = state.best_spins;
    const auto n = static_cast<std::uint32_t>(state.spins.size());
    const std::uint32_t flips = std::max<std::uint32_t>(2, n / 10);
    for (std::uint32_t k = 0; k < flips; ++k) {
        const std::size_t spin = random.below(n);
        state.spins[spin] = -state.spins[spin];
    }
    state.refresh(matrix);
    std::ranges::fill(state.tabu_until, 0);
}

}  // namespace

template <class Matrix>
void tabu(const Matrix& matrix, ReadState& state, std::size_t sweeps, Random& random, Budget& budget) {
    const std::size_t n = matrix.n();
    const Tenure tenure(n);
    const std::size_t patience = 20 * n;  // flips without a new best before the search moves elsewhere
    const std::size_t poll = std::max<std::size_t>(1, (std::size_t{1} << 18) / (n + matrix.flip_cost()));
    std::ranges::fill(state.tabu_until, 0);
    state.keep_if_best();

    std::int32_t now = 0;
    std::size_t without_best = 0;
    const std::size_t flips = sweeps > std::numeric_limits<std::size_t>::max() / n
                                  ? std::numeric_limits<std::size_t>::max()
                                  : sweeps * n;
    for (std::size_t done = 0; done < flips; ++done) {
        if (now == std::numeric_limits<std::int32_t>::max() - 64) {  // forget the past rather than overflow
            std::ranges::fill(state.tabu_until, 0);
            now = 0;
        }
        ++now;
        const auto aspiration = static_cast<float>(0.5 * (state.energy - state.best_energy));
        const Move move = kernels().dense_float32.best_move(n, state.spins.data(), state.local.data(),
                                                            state.tabu_until.data(), now, aspiration);
        if (move.found) {
            state.energy -= 2.0 * static_cast<double>(state.spins[move.spin] * state.local[move.spin]);
            matrix.flip(move.spin, state.spins.data(), state.local.data());
            state.tabu_until[move.spin] = now + tenure.draw(random);
        }
        const double before = state.best_energy;
        state.keep_if_best();
        without_best = state.best_energy < before ? 0 : without_best + 1;
        if (without_best == patience) {
            budget.at_minima();
            perturb_best(matrix, state, random);
            without_best = 0;
        }
        if (done % n == n - 1) {
            ++state.sweeps_done;
        }
        if (done % poll == poll - 1 && budget.exhausted()) {
            return;
        }
    }
}

template void tabu(const DenseMatrix&, ReadState&, std::size_t, Random&, Budget&);
template void tabu(const SparseMatrix&, ReadState&, std::size_t, Random&, Budget&);

}  // namespace qpsbgd
