// Products of panels of columns, from which Gram matrices and fields are put together, and running means of them.
//
// A panel holds `width` neighbouring columns of a matrix, sample after sample, padded with zeros: 64-byte aligned.
// A block is a width x width matrix, rows `width` apart, 64-byte aligned.
#pragma once

#include <cstddef>
#include <cstdint>

namespace qpsbgd {

inline constexpr std::size_t kMostPanelColumns = 48;
inline constexpr std::size_t kWordSamples = 32;  // samples in a word of a panel of bits

// Where a block goes: the lines are fetched while its products are computed.
template <class Real>
struct Destination {
    Real* rows;
    Real* mirrored;  // null for none
    std::size_t stride;
};

template <class Real>
struct GramKernels {
    std::size_t width;      // columns of a panel, at most kMostPanelColumns
    std::size_t bit_width;  // words that a panel of bits has for kWordSamples samples, at least `width`

    // One panel of `columns` <= width columns, from rows `stride` apart, of any alignment. One load and store an entry.
    void (*pack)(const Real* values, std::size_t stride, std::size_t samples, std::size_t columns,
                 Real* panel);

    // Words of all columns for up to kWordSamples samples, of entries that are all -1 or +1: bit k of a column's word is
    // set where sample k is negative. Panels of bit_width words are `panel_stride` apart. False when an entry is
    // something else. Three operations an entry.
    bool (*pack_signs)(const Real* values, std::size_t stride, std::size_t samples, std::size_t columns,
                       std::uint32_t* words, std::size_t panel_stride);

    // block = left'right, the first `rows` of its rows and `columns` of its columns, rounded up to whole tiles; with
    // `lower` the same panel on both sides and only what lies on and below the diagonal. Every entry is a chain of fused
    // multiplications and additions in the order of the samples, so every instruction set rounds alike.
    void (*multiply)(const Real* left, const Real* right, std::size_t samples, std::size_t rows,
                     std::size_t columns, bool lower, const Destination<Real>& to, Real* block);

    // The same for panels of bits: samples - 2 popcount(left xor right), exact.
    // An exclusive or, a count of bits and an addition per word, 32 samples.
    void (*multiply_signs)(const std::uint32_t* left, const std::uint32_t* right, std::size_t samples,
                           std::size_t rows, const Destination<Real>& to, Real* block);

    // out (rows x columns, rows `stride` apart, of any alignment) = scale * block, or its transpose:
    // columns x rows.
    void (*store)(const Real* block, std::size_t rows, std::size_t columns, Real scale, Real* out,
                  std::size_t stride);
    void (*store_transposed)(const Real* block, std::size_t rows, std::size_t columns, Real scale, Real* out,
                             std::size_t stride);

    // state = past + weight (values - past), zeros where `past` is null, and mean = state / correction unless `mean` is
    // null. One subtraction, fused multiply-add and division an entry, of any alignment: rounded as torch.lerp rounds,
    // from the nearer end.
    void (*average)(const Real* values, const Real* past, Real weight, Real correction, std::size_t count,
                    Real* state, Real* mean);
};

}  // namespace qpsbgd
