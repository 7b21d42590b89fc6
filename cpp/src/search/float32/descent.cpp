// Greedy descent: passes over the spins in index order, flipping every spin whose flip lowers the energy, until a
// whole pass flips none. n comparisons a pass and n additions a flip where couplings are dense. Where they are sparse, all
// passes but the first visit only the spins that would flip: one row a flip, however many passes these take.
// The caller gives spins and their local fields; the energy never rises.
//
// Local fields follow the flips by additions, so rounding errors gather in them. Where couplings span more orders of
// magnitude than float32 has digits, wrong fields let the same spins flip for ever. So after many passes the fields are
// made anew, and the descent goes on only if the energy has really fallen by more than rounding.
#include <algorithm>
#include <cmath>
#include <limits>

#include "base/index_set.hpp"
#include "search/float32/read_state.hpp"
#include "search/float32/sweeping.hpp"

namespace qpsbgd {
namespace {

constexpr std::size_t kPassesOnTrust = 100;  // an ordinary descent takes some 10

struct Pass {
    double gain = 0.0;
    std::size_t flips = 0;
    bool finished = true;
};

// Passes over all spins.
template <class Matrix>
class Passes {
public:
    Passes(const Matrix& matrix, ReadState& state) : matrix_(matrix), state_(state) {}

    Pass run(Budget& budget) {
        Pass pass;
        pass.finished = in_chunks(matrix_, budget, [&](std::size_t begin, std::size_t end) {
            pass.gain += matrix_.greedy(begin, end, state_.spins.data(), state_.local.data());
        });
        pass.flips = matrix_.n();  // at most
        return pass;
    }

    void refreshed() {}

private:
    const Matrix& matrix_;
    ReadState& state_;
};

// The same flips in the same order.
template <>
class Passes<SparseMatrix> {
public:
    Passes(const SparseMatrix& matrix, ReadState& state) : matrix_(matrix), state_(state) {}

    Pass run(Budget& budget) {
        if (first_) {
            first_ = false;
            Pass pass;
            pass.finished = in_chunks(matrix_, budget, [&](std::size_t begin, std::size_t end) {
                pass.gain += matrix_.greedy(begin, end, state_.spins.data(), state_.local.data());
            });
            if (pass.finished && pass.gain != 0.0) {
                refreshed();
            }
            return pass;
        }
        return visit_improving(budget);
    }

    void refreshed() {
        improving_.assign(matrix_.n(), [&](std::size_t i) { return improves(i); });
    }

private:
    bool improves(std::size_t i) const { return state_.spins[i] * state_.local[i] > 0.0F; }

    Pass visit_improving(Budget& budget) {
        constexpr std::size_t kFlipsBetweenPolls = std::size_t{1} << 12;
        Pass pass;
        const std::size_t n = matrix_.n();
        for (std::size_t i = improving_.next(0); i < n; i = improving_.next(i + 1)) {
            pass.gain += static_cast<double>(state_.spins[i] * state_.local[i]);
            matrix_.flip(i, state_.spins.data(), state_.local.data());
            improving_.set(i, improves(i));
            for (const std::int32_t neighbour : matrix_.neighbours(i)) {
                const auto other = static_cast<std::size_t>(neighbour);
                improving_.set(other, improves(other));
            }
            if (++pass.flips % kFlipsBetweenPolls == 0 && budget.exhausted()) {
                pass.finished = false;
                break;
            }
        }
        return pass;
    }

    const SparseMatrix& matrix_;
    ReadState& state_;
    IndexSet improving_;
    bool first_ = true;
};

}  // namespace

template <class Matrix>
void descend(const Matrix& matrix, ReadState& state, std::size_t max_sweeps, Budget& budget) {
    double known = std::numeric_limits<double>::infinity();  // an energy whose fields were made anew
    Passes<Matrix> passes(matrix, state);
    std::size_t flips = 0;
    std::size_t since = 0;  // passes since the fields were made anew
    for (std::size_t sweep = 0; sweep < max_sweeps; ++sweep) {
        if (since >= kPassesOnTrust && flips >= matrix.n()) {
            state.refresh(matrix);
            const double rounding = 16.0 * std::numeric_limits<float>::epsilon() * std::fabs(state.energy);
            if (!(state.energy < known - rounding)) {
                break;
            }
            known = state.energy;
            passes.refreshed();
            flips = 0;
            since = 0;
        }
        const Pass pass = passes.run(budget);
        flips += pass.flips;
        ++since;
        state.energy -= 2.0 * pass.gain;
        ++state.sweeps_done;
        if (pass.gain == 0.0 || !pass.finished) {
            break;
        }
    }
    state.keep_if_best();
}

template void descend(const DenseMatrix&, ReadState&, std::size_t, Budget&);
template void descend(const SparseMatrix&, ReadState&, std::size_t, Budget&);

}  // namespace qpsbgd
