// What the kernels of this family compute, entry by entry: tests compare every instruction set with it.
//
// Identity: differences_i = #{j : bit_ij != bit_xj}; signed_sums_i = sum_j (1 - 2 bit_ij) x_j in sixteen running sums.
// Alignment: none. Cost: one operation a bit; two a number.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/packed/table.hpp"

namespace qpsbgd::reference::packed {

inline void differences(const SignRows& rows, const std::uint32_t* x, std::int32_t* out) {
    for (std::size_t i = 0; i < rows.count; ++i) {
        out[i] = 0;
        for (std::size_t j = 0; j < 32 * rows.words; ++j) {
            const std::uint32_t differ = rows.bits[i * rows.words + j / 32] ^ x[j / 32];
            out[i] += static_cast<std::int32_t>(differ >> (j % 32) & 1U);
        }
    }
}

inline void signed_sums(const SignRows& rows, const float* x, float* out) {
    for (std::size_t i = 0; i < rows.count; ++i) {
        float sums[16] = {};
        for (std::size_t j = 0; j < 32 * rows.words; ++j) {
            const bool negative = (rows.bits[i * rows.words + j / 32] >> (j % 32) & 1U) != 0;
            sums[j % 16] += negative ? -x[j] : x[j];
        }
        for (std::size_t width = 8; width > 0; width /= 2) {
            for (std::size_t k = 0; k < width; ++k) {
                sums[k] += sums[k + width];
            }
        }
        out[i] = sums[0];
    }
}

}  // namespace qpsbgd::reference::packed
