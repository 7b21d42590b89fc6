// What the kernels of this family compute, column by column: tests compare every instruction set with it.
//
// Identity: out_j = sum_i M_ij s_i in float64, four rows at a time: (s0 M0 + s1 M1) + (s2 M2 + s3 M3) is added to what the
// rows before have summed up to. That order makes results equal to the last bit.
// Alignment: none. Cost: one addition per element of M.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/finish/table.hpp"

namespace qpsbgd::reference::finish {

// One column for one vector of spins.
template <class Real>
double product(const Real* matrix, std::size_t n, std::size_t column, const std::uint16_t* signs) {
    double sum = 0.0;
    for (std::size_t row = 0; row < n; row += 4) {
        double term[4] = {};
        for (std::size_t k = 0; k < 4 && row + k < n; ++k) {
            const auto entry = static_cast<double>(matrix[(row + k) * n + column]);
            const bool is_down = (signs[(row + k) / 16] >> ((row + k) % 16) & 1) != 0;
            term[k] = is_down ? -entry : entry;
        }
        sum += (term[0] + term[1]) + (term[2] + term[3]);
    }
    return sum;
}

}  // namespace qpsbgd::reference::finish
