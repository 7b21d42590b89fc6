// Greedy descent: passes over the spins in index order, flipping every spin whose flip lowers the energy, until a
// whole pass flips none. n comparisons a pass and n additions (dense) or one row (sparse) a flip.
// The caller gives spins and their local fields; the energy never rises.
//
// Local fields follow the flips by additions, so rounding errors gather in them. Where couplings span more orders of
// magnitude than float32 has digits, wrong fields let the same spins flip for ever. So after many passes the fields are
// made anew, and the descent goes on only if the energy has really fallen by more than rounding.
#include <algorithm>
#include <cmath>
#include <limits>

#include "search/float32/read_state.hpp"
#include "search/float32/sweeping.hpp"

namespace qpsbgd {
namespace {

constexpr std::size_t kPassesOnTrust = 100;  // an ordinary descent takes some 10

}  // namespace

template <class Matrix>
void descend(const Matrix& matrix, ReadState& state, std::size_t max_sweeps, Budget& budget) {
    double known = std::numeric_limits<double>::infinity();  // an energy whose fields were made anew
    for (std::size_t sweep = 0; sweep < max_sweeps; ++sweep) {
        if (sweep != 0 && sweep % kPassesOnTrust == 0) {
            state.refresh(matrix);
            const double rounding = 16.0 * std::numeric_limits<float>::epsilon() * std::fabs(state.energy);
            if (!(state.energy < known - rounding)) {
                break;
            }
            known = state.energy;
        }
        double gain = 0.0;
        const bool finished = in_chunks(matrix, budget, [&](std::size_t begin, std::size_t end) {
            gain += matrix.greedy(begin, end, state.spins.data(), state.local.data());
        });
        state.energy -= 2.0 * gain;
        ++state.sweeps_done;
        if (gain == 0.0 || !finished) {
            break;
        }
    }
    state.keep_if_best();
}

template void descend(const DenseMatrix&, ReadState&, std::size_t, Budget&);
template void descend(const SparseMatrix&, ReadState&, std::size_t, Budget&);

}  // namespace qpsbgd
