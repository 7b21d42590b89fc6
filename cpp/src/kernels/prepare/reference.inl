// What the kernels of this family compute, entry by entry: tests compare every instruction set with it.
//
// Identity: sums of |M_ij| and M_ij^2 and the largest |M_ij| over j != i; W_ij = 2 nearest(factor M_ij), W_ii = 0. Sums are
// eight, one for every column modulo 8, added in a fixed order: results are equal to the last bit.
// Alignment: none. Cost: five operations per element for the statistics, three for W.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>

#include "kernels/prepare/table.hpp"

namespace qpsbgd::reference::prepare {

template <class Real>
RowStatistics statistics(const Real* row, std::size_t n, std::size_t i) {
    double sum[8] = {};
    double squares[8] = {};
    double largest = 0.0;
    for (std::size_t j = 0; j < n; ++j) {
        if (j != i) {
            const double size = std::fabs(static_cast<double>(row[j]));
            sum[j % 8] += size;
            squares[j % 8] += size * size;
            largest = std::max(largest, size);
        }
    }
    const auto total = [](const double* part) {
        const double even = (part[0] + part[4]) + (part[2] + part[6]);
        const double odd = (part[1] + part[5]) + (part[3] + part[7]);
        return even + odd;
    };
    return {total(sum), total(squares), largest};
}

template <class Real>
void quantise(const Real* row, std::size_t n, std::size_t i, double factor, std::int16_t* out) {
    for (std::size_t j = 0; j < n; ++j) {
        // The diagonal may be of any size: it is not even looked at.
        out[j] = j == i ? std::int16_t{0}
                        : static_cast<std::int16_t>(2 * std::lrint(factor * static_cast<double>(row[j])));
    }
}

}  // namespace qpsbgd::reference::prepare
