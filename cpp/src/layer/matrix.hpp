// Matrices as the layer's kernels read them.
#pragma once

#include <cstddef>

#include "base/aligned.hpp"

namespace qpsbgd {

// The stride of matrices that kernels read down their columns: whole cache lines, and an odd number of them, so
// that neighbouring rows do not compete for the same places of a cache.
template <class Real>
constexpr std::size_t spread(std::size_t columns) {
    constexpr std::size_t line = kCacheLine / sizeof(Real);
    return ((columns + line - 1) / line | 1U) * line;
}

}  // namespace qpsbgd
