// The training step's first flips with couplings in int8: a row of couplings takes a quarter of the bytes that it takes in
// float32, which is what a flip costs where the couplings of a layer lie beyond the second cache.
//
// The descent of projection_int16/table.hpp, except that fields saturate where they leave int16, and that gains are told
// apart to the last unit. What it gives is not the last word: exact fields are looked at afterwards.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/projection_int16/table.hpp"

namespace qpsbgd {

inline constexpr std::size_t kInt8Slots = 64;       // of every so many coordinates the largest gain is kept
inline constexpr float kMostFirstField = 24000.0F;  // leaves room for what flips add
inline constexpr float kMostCoupling = 127.0F;

// Couplings W_ij next to t A_ij / u_j, W_ii = 0. Rows are padded with zeros to whole slots: `d` is a multiple of kInt8Slots.
using Int8Descent = IntegerDescent<std::int8_t>;

struct ProjectionInt8Kernels {
    // The largest |a_i|.
    float (*largest)(const float* a, std::size_t d);

    // W of one row of A. No entry may leave int8.
    void (*quantise)(const float* row, const float* inverse_units, float factor, std::size_t d,
                     std::int8_t* couplings);

    // Spins and fields in units of their coordinates, cut at kMostFirstField.
    void (*start)(const float* spins, const float* fields, const float* inverse_units, std::size_t d,
                  std::int16_t* int16_spins, std::int16_t* int16_fields);

    // Flips the best coordinates again and again until no gain is positive: in one pass the best of every quarter of the
    // slots, if it is still good after the better ones. 3 d operations a flip and 5 d a pass. Gives up on a row after
    // `most_passes`.
    void (*descend)(Int8Descent* rows, std::size_t count, std::size_t most_passes);
};

}  // namespace qpsbgd
