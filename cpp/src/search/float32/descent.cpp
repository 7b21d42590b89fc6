// Greedy descent: passes over the spins in index order, flipping every spin whose flip lowers the energy, until a
// whole pass flips none. n comparisons a pass and n additions (dense) or one row (sparse) a flip.
// The caller gives spins and their local fields; the energy never rises.
#include <algorithm>

#include "search/float32/read_state.hpp"
#include "search/float32/sweeping.hpp"

namespace qpsbgd {

template <class Matrix>
void descend(const Matrix& matrix, ReadState& state, std::size_t max_sweeps, Budget& budget) {
    for (std::size_t sweep = 0; sweep < max_sweeps; ++sweep) {
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
