// Exact energies: products of a symmetric matrix with the spins of several reads, in float64.
#pragma once

#include <cstddef>
#include <cstdint>

namespace qpsbgd {

inline constexpr std::size_t kProductReads = 32;    // together at most
inline constexpr std::size_t kProductColumns = 32;  // worked on together
inline constexpr std::size_t kSignsOfProduct = 16;  // spins in a word

// Words of the spins of one read.
constexpr std::size_t words_of_signs(std::size_t n) { return (n + kSignsOfProduct - 1) / kSignsOfProduct; }

struct FinishKernels {
    // Columns [begin, end) of out_r = M s_r for `reads` vectors of spins; begin and end multiples of kProductColumns, out_r
    // `stride` doubles apart, padded to such a multiple; M symmetric (n x n), rows n apart, of any alignment. Spins are
    // words of kSignsOfProduct bits, set for -1, one vector's after the other's. Four terms at a time are added in a
    // fixed order, so every instruction set and every number of reads rounds alike. Many reads share what four rows add
    // up to, so that n / 4 additions are left for each element of out; few reads cost n.
    void (*products_float)(const float* matrix, std::size_t n, std::size_t begin, std::size_t end,
                           const std::uint16_t* signs, std::size_t reads, std::size_t stride, double* out);
    void (*products_double)(const double* matrix, std::size_t n, std::size_t begin, std::size_t end,
                            const std::uint16_t* signs, std::size_t reads, std::size_t stride, double* out);
};

}  // namespace qpsbgd
