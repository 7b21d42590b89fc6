// A sweep over the spins in chunks small enough that a deadline or an interrupt is noticed within a millisecond.
#pragma once

#include <algorithm>
#include <cstddef>

#include "qpsbgd/cancellation.hpp"

namespace qpsbgd {

// Calls chunk(begin, end) over [0, n) in order. False when the budget ran out before the end.
template <class Matrix, class Chunk>
bool in_chunks(const Matrix& matrix, Budget& budget, const Chunk& chunk) {
    constexpr std::size_t kElementsBetweenPolls = std::size_t{1} << 20;
    const std::size_t size = std::max<std::size_t>(1, kElementsBetweenPolls / matrix.flip_cost());
    for (std::size_t begin = 0; begin < matrix.n(); begin += size) {
        chunk(begin, std::min(begin + size, matrix.n()));
        if (budget.exhausted()) {
            return false;
        }
    }
    return true;
}

}  // namespace qpsbgd
