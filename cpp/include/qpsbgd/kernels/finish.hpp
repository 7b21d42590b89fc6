// Exact energies: products of a symmetric matrix with the spins of several reads, in float64.
#pragma once

#include <cstddef>

namespace qpsbgd {

inline constexpr std::size_t kProductReads = 8;

struct FinishKernels {
    // Rows [begin, end) of out_r = M s_r for kProductReads vectors of spins, `stride` doubles apart, padded with zeros to a multiple of 8;
    // M (n x n), rows n apart, of any alignment. Eight running sums, one for every column modulo 8, are added in a
    // fixed order, and the product of an entry with a spin is exact, so every instruction set rounds alike.
    // A row costs n / 8 conversions and n multiplications and additions of eight doubles.
    void (*products_float)(const float* matrix, std::size_t n, std::size_t begin, std::size_t end,
                           const double* spins, std::size_t stride, double* out);
    void (*products_double)(const double* matrix, std::size_t n, std::size_t begin, std::size_t end,
                            const double* spins, std::size_t stride, double* out);
};

}  // namespace qpsbgd
