// Products of a matrix of signs, one bit each, with a vector.
#pragma once

#include <cstddef>
#include <cstdint>

namespace qpsbgd {

// Rows of bits, set for -1, 32 to a word; bits beyond the columns are clear. Rows lie `words` words apart.
struct SignRows {
    const std::uint32_t* bits;
    std::size_t count;
    std::size_t words;
};

struct PackedKernels {
    // out_i = number of bits in which row i and x differ, so that sign_i'sign_x = columns - 2 out_i. XNOR and a table of
    // counts: a register of bits takes some eight operations.
    void (*differences)(const SignRows& rows, const std::uint32_t* x, std::int32_t* out);

    // out_i = sum_j sign_ij x_j over 32 words columns, x beyond the columns being 0. Sums are sixteen running sums, one for
    // every column modulo 16, added in a fixed order, so every instruction set rounds alike. Three operations a register
    // of numbers.
    void (*signed_sums)(const SignRows& rows, const float* x, float* out);
};

}  // namespace qpsbgd
