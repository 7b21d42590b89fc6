// The training step's solver in int16: the same descent as projection_float/table.hpp, on rounded couplings.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/projection_float/table.hpp"

namespace qpsbgd {

inline constexpr std::size_t kInt16Slots = 128;  // of every so many coordinates the largest gain is kept
inline constexpr std::int16_t kInt16NoGain = -32767;

// One row on its way down in int16, with units u_i of its own for every coordinate: fields f_i, and couplings W_ij next to
// t A_ij / u_j, but W_ii = 0. Spins and fields are padded to whole registers, with +1 and kInt16NoGain.
template <class CouplingOfRow>
struct IntegerDescent {
    using Coupling = CouplingOfRow;

    const Coupling* couplings = nullptr;
    std::size_t stride = 0;
    std::size_t zero_row = 0;  // of couplings
    std::size_t d = 0;         // a multiple of 32
    std::int16_t* spins = nullptr;
    std::int16_t* fields = nullptr;
    bool settled = false;  // no gain is worth a flip
};
using Int16Descent = IntegerDescent<std::int16_t>;

// The spins that differ from sign(p): how far they are below it, and the sum of their units.
struct Int16Change {
    double lowered;
    double units;
};

// What all rows of a layer start with, for every coordinate.
struct Int16Start {
    const float* rest;           // A_ii - t A_ii / 2
    const float* bounds;         // of p / s
    const float* inverse_units;  // 1 / u_i
    const float* exclusions;  // kInt16NoGain where there is no unit, no coupling and the sign is best; else 0
    float inverse_factor;     // 1 / t
};

inline constexpr std::size_t kProductsTile = 64;  // columns

// As SignProducts, of couplings W, whose rows are aligned, padded with zeros to whole cache lines and followed by kInt16Slots
// elements. No product leaves int16, so every instruction set may sum as it likes.
struct Int16SignProducts {
    const std::int16_t* couplings;
    std::size_t couplings_stride;
    std::size_t d;
    const std::uint64_t* signs;
    std::size_t signs_stride;
    void* workspace;
    std::int16_t* products;   // out: W h, kProductsTile columns of all rows after another
    std::size_t tile_stride;  // between tiles: kProductsTile for each of the rows, or more
};

// Added to a float of at most 2^22, this leaves the nearest integer in the low bits.
inline constexpr float kRounding = 12582912.0F;

// The same in int16.
struct ProjectionInt16Kernels {
    std::size_t (*workspace_bytes)(std::size_t rows, std::size_t d);
    void (*sign_products)(const Int16SignProducts& what, std::size_t rows);

    // Sum of sign(p_i) u_i (W h)_i.
    double (*signed_sum)(const float* p, const std::int16_t* products, const float* units, std::size_t d);

    // W of one row of A.
    void (*quantise)(const float* row, const float* inverse_units, float factor, std::size_t d,
                     std::int16_t* couplings);

    // Spins sign(p) and their fields, which replace W sign(p) in `fields`. p / s is cut at its bounds: beyond them it
    // decides the spin whatever the others do.
    void (*start)(const float* p, const Int16Start& of_layer, double inverse_scale, std::size_t d,
                  std::int16_t* spins, std::int16_t* fields);

    // Flips the best coordinates again and again until no gain exceeds 2 d / kInt16Slots units: in one pass the best of
    // every quarter of the slots, if it is still good after the better ones. 2 d operations a flip and 4 d a pass. Leaves
    // out rows that are settled, and gives up on a row after `most_passes` more.
    void (*descend)(Int16Descent* rows, std::size_t count, std::size_t most_passes);

    // From the fields of sign(p) and those of the spins: the energy is quadratic, so that a changed spin lowers it by the
    // mean of what it gains before all others and after them.
    Int16Change (*change)(const float* p, const std::int16_t* first_fields, const Int16Descent& row,
                          const float* units, std::size_t d);

    double (*write_step)(const float* p, const std::int16_t* spins, const float* own, bool mask,
                         std::size_t d, std::int8_t* step);
};

}  // namespace qpsbgd
