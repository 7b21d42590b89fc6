// Exact energies: products of a symmetric matrix with the spins of several reads, in float64.
#pragma once

#include <cstddef>

namespace qpsbgd {

inline constexpr std::size_t kProductReads =
    32;  // at most: enough to hide the time that the couplings take to arrive
inline constexpr std::size_t kProductTile = 4;  // reads worked on together

struct FinishKernels {
    // Rows [begin, end) of out_r = M s_r for `reads` vectors of spins, a multiple of kProductTile, `stride` doubles
    // apart, padded with zeros to a multiple of 8; M (n x n), rows n apart, of any alignment. Eight running sums, one
    // for every column modulo 8, are added in a fixed order, and the product of an entry with a spin is exact, so
    // every instruction set rounds alike. A row costs n / 8 multiplications and additions of eight doubles for every
    // read, and n / 8 conversions for every kProductTile reads.
    void (*products_float)(const float* matrix, std::size_t n, std::size_t begin, std::size_t end,
                           const double* spins, std::size_t reads, std::size_t stride, double* out);
    void (*products_double)(const double* matrix, std::size_t n, std::size_t begin, std::size_t end,
                            const double* spins, std::size_t reads, std::size_t stride, double* out);
};

}  // namespace qpsbgd
