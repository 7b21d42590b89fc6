// One-flip tabu search (Glover, 1989; for QUBO: Palubeckis, 2004).
//
// Every iteration flips the spin whose flip is best among those not flipped lately; a tabu spin may flip all the same
// when that beats the best energy seen (aspiration). The tenure is random, because a fixed one cycles. After a long
// stretch without a new best the search restarts from the best state with part of its spins flipped.
// Cost of an iteration: n comparisons and one row of couplings where these are dense; one row, and a few matches of a
// tournament for each of its entries, where they are sparse. Promises: the best state seen is kept.
#include <algorithm>
#include <array>
#include <limits>
#include <vector>

#include "base/tournament.hpp"
#include "search/float32/read_state.hpp"

namespace qpsbgd {
namespace {

constexpr std::uint32_t kLeastTenure = 20;
constexpr std::uint32_t kTenureSpread = 10;

struct Tenure {
    std::uint32_t least;
    std::uint32_t spread;

    explicit Tenure(std::size_t n)
        : least(static_cast<std::uint32_t>(std::min<std::size_t>(kLeastTenure, n / 4))),
          spread(static_cast<std::uint32_t>(std::clamp<std::size_t>(n / 4, 1, kTenureSpread))) {}

    std::int32_t draw(Random& random) const {
        return static_cast<std::int32_t>(least + random.below(spread) + 1);
    }
};

// The best flip over dense couplings: one look at every spin. A flip changes all local fields anyway.
class DenseMoves {
public:
    DenseMoves(const DenseMatrix& matrix, ReadState& state) : matrix_(matrix), state_(state) {}

    void begin() { std::ranges::fill(state_.tabu_until, 0); }

    Move best(std::int32_t now, float aspiration) {
        return kernels().dense_float32.best_move(matrix_.n(), state_.spins.data(), state_.local.data(),
                                                 state_.tabu_until.data(), now, aspiration);
    }

    void flip(std::size_t spin, std::int32_t until) {
        matrix_.flip(spin, state_.spins.data(), state_.local.data());
        state_.tabu_until[spin] = until;
    }

    // Elements touched in an iteration, for polling at even intervals.
    std::size_t cost() const { return matrix_.n() + matrix_.flip_cost(); }

private:
    const DenseMatrix& matrix_;
    ReadState& state_;
};

// The same over sparse couplings, without a look at every spin: the free spins compete in a tournament, whose matches are
// replayed where a flip changes a local field; the few tabu ones are asked one by one. Equal moves: the first spin.
class SparseMoves {
public:
    SparseMoves(const SparseMatrix& matrix, ReadState& state) : matrix_(matrix), state_(state) {}

    // No spin is tabu.
    void begin() {
        for (auto& spins : freed_at_) {
            spins.clear();
        }
        tabu_.clear();
        std::ranges::fill(state_.tabu_until, 0);
        steps_.resize(matrix_.n());
        for (std::size_t i = 0; i < steps_.size(); ++i) {
            steps_[i] = step(i);
        }
        free_.assign(steps_);
    }

    Move best(std::int32_t now, float aspiration) {
        release(now);
        Move best{free_.winner(), free_[free_.winner()] != Tournament::kAbsent};
        float best_step = free_[best.spin];
        for (const std::size_t spin : tabu_) {
            const float own = step(spin);
            if (own > aspiration &&
                (!best.found || own > best_step || (own == best_step && spin < best.spin))) {
                best = {spin, true};
                best_step = own;
            }
        }
        return best;
    }

    void flip(std::size_t spin, std::int32_t until) {
        matrix_.flip(spin, state_.spins.data(), state_.local.data());
        if (state_.tabu_until[spin] == 0) {
            tabu_.push_back(spin);
            free_.set(spin, Tournament::kAbsent);
        }
        state_.tabu_until[spin] = until;
        freed_at_[place(until)].push_back(spin);
        for (const std::int32_t neighbour : matrix_.neighbours(spin)) {
            const auto other = static_cast<std::size_t>(neighbour);
            if (state_.tabu_until[other] == 0) {
                free_.set(other, step(other));
            }
        }
    }

    std::size_t cost() const {
        constexpr std::size_t kMatches = 8;  // as long as this many additions
        return kMatches * matrix_.flip_cost() + kLeastTenure + kTenureSpread;
    }

private:
    static constexpr std::size_t kPlaces = 32;
    static_assert(kPlaces > kLeastTenure + kTenureSpread);

    static std::size_t place(std::int32_t time) { return static_cast<std::size_t>(time) % kPlaces; }

    float step(std::size_t spin) const { return state_.spins[spin] * state_.local[spin]; }

    // Spins whose tenure ends now compete again. A spin that flipped while tabu has a later end, too.
    void release(std::int32_t now) {
        for (const std::size_t spin : freed_at_[place(now)]) {
            if (state_.tabu_until[spin] == now) {
                state_.tabu_until[spin] = 0;
                std::erase(tabu_, spin);
                free_.set(spin, step(spin));
            }
        }
        freed_at_[place(now)].clear();
    }

    const SparseMatrix& matrix_;
    ReadState& state_;
    Tournament free_;
    std::vector<float> steps_;
    std::vector<std::size_t> tabu_;
    std::array<std::vector<std::size_t>, kPlaces> freed_at_;
};

DenseMoves moves_of(const DenseMatrix& matrix, ReadState& state) { return {matrix, state}; }
SparseMoves moves_of(const SparseMatrix& matrix, ReadState& state) { return {matrix, state}; }

// Keeps the best state at the cost of a flip: what flipped since then is known, until that is most of the spins.
class BestState {
public:
    explicit BestState(ReadState& state) : state_(state) { state_.keep_if_best(); }

    void flipped(std::size_t spin) {
        if (whole_) {
            return;
        }
        since_.push_back(spin);
        if (since_.size() > state_.spins.size()) {
            forget();
        }
    }

    // Any spins may have changed.
    void forget() {
        since_.clear();
        whole_ = true;
    }

    // True where the state is better than the best so far.
    bool keep_if_best() {
        if (!(state_.energy < state_.best_energy)) {
            return false;
        }
        state_.best_energy = state_.energy;
        if (whole_) {
            state_.best_spins = state_.spins;
        }
        for (const std::size_t spin : since_) {
            state_.best_spins[spin] = state_.spins[spin];
        }
        since_.clear();
        whole_ = false;
        return true;
    }

private:
    ReadState& state_;
    std::vector<std::size_t> since_;
    bool whole_ = true;
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
}

}  // namespace

template <class Matrix>
void tabu(const Matrix& matrix, ReadState& state, std::size_t sweeps, Random& random, Budget& budget) {
    const std::size_t n = matrix.n();
    const Tenure tenure(n);
    const std::size_t patience = 20 * n;  // flips without a new best before the search moves elsewhere
    auto moves = moves_of(matrix, state);
    const std::size_t poll = std::max<std::size_t>(1, (std::size_t{1} << 18) / moves.cost());
    moves.begin();
    BestState best(state);

    std::int32_t now = 0;
    std::size_t without_best = 0;
    const std::size_t flips = sweeps > std::numeric_limits<std::size_t>::max() / n
                                  ? std::numeric_limits<std::size_t>::max()
                                  : sweeps * n;
    for (std::size_t done = 0; done < flips; ++done) {
        if (now == std::numeric_limits<std::int32_t>::max() - 64) {  // forget the past rather than overflow
            moves.begin();
            now = 0;
        }
        ++now;
        const auto aspiration = static_cast<float>(0.5 * (state.energy - state.best_energy));
        const Move move = moves.best(now, aspiration);
        if (move.found) {
            state.energy -= 2.0 * static_cast<double>(state.spins[move.spin] * state.local[move.spin]);
            moves.flip(move.spin, now + tenure.draw(random));
            best.flipped(move.spin);
        }
        without_best = best.keep_if_best() ? 0 : without_best + 1;
        if (without_best == patience) {
            budget.at_minima();
            perturb_best(matrix, state, random);
            moves.begin();
            best.forget();
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
