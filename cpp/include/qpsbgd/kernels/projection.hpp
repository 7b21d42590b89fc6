// The training step's solver: many rows with one matrix A and fields of their own, greedily from sign(p).
//
// With spins h in {-1,+1}, local fields e = A G - p / s and a factor f, flipping coordinate i lowers the objective if
//   h_i e_i > f A_ii / 2,      and then      e <- e - f h_i A_i.
// f = 2 for G = h, and f = 1 for G = (sigma + h) / 2, the mask. Coordinates are looked at in blocks of `block`. What a
// block flips is applied to its own fields at once and to those of another block when that one is next looked at:
// the same sums in the same order, but fields and rows of A are read in pieces that stay in the first cache.
//
// Rows of A are aligned and padded to whole cache lines, local fields and thresholds to whole blocks; the thresholds
// of the padding are infinite.
#pragma once

#include <cstddef>
#include <cstdint>

namespace qpsbgd {

inline constexpr std::size_t kMostBlockCoordinates = 64;
inline constexpr std::size_t kFlipRoom =
    32;  // entries after the flips of a block, of which one may be written

// Rows of one layer that are solved together, because each row of A that is read serves them all.
template <class Real>
struct RowGroup {
    const Real* matrix;  // A
    std::size_t matrix_stride;
    std::size_t d;
    std::size_t rows;        // how many there is room for
    std::size_t stride;      // of `local`
    const Real* thresholds;  // f A_ii / 2
    Real factor;             // f
    Real* local;             // e: (rows x stride)
    std::uint64_t* signs;    // (blocks x rows) bits of h: set where it is -1
    // What each block flipped when it was last looked at:
    std::uint16_t* flips;     // (blocks x rows x (block + kFlipRoom)) coordinates and signs
    std::uint16_t* counts;    // (blocks x rows) flips of a row
    std::uint16_t* order;     // (blocks x rows) rows that flipped
    std::uint64_t* touched;   // (blocks) bits of the coordinates that any row flipped
    std::uint16_t* flipping;  // (blocks) number of those; 0 before the first descent
};

// What decides whether a result is better than the sign.
struct Comparison {
    double change;  // sum of h_i (e_i + start_i) where h is not sign(p): below zero if the objective fell
    double
        magnitude;  // the same with the sizes of all terms, and f A_ii / 2: what rounding errors are small against
};

template <class Real>
struct ProjectionKernels {
    std::size_t block;  // coordinates that are decided together: four registers

    // Bits of sign(p), p = gradient + residual, if there is one, which is kept in `p`. Words of blocks are
    // `signs_stride` apart. Returns the sum of |p|.
    double (*take_signs)(const Real* gradient, const Real* residual, std::size_t d, Real* p,
                         std::uint64_t* signs, std::size_t signs_stride);

    // Bits as -1 and +1, padded to whole blocks.
    void (*expand_signs)(const std::uint64_t* signs, std::size_t signs_stride, std::size_t d, Real* spins);

    // local = A h for the first `rows` rows: the sixteen signed sums of four rows of A at a time are tabulated, so
    // d^2 / 4 additions a row.
    void (*sign_products)(const RowGroup<Real>& group, std::size_t rows);

    // Sum of a_i b_i in float64.
    double (*dot)(const Real* a, const Real* b, std::size_t d);

    // local += before p - after p, each product rounded from float64.
    void (*add_fields)(const Real* p, double before, double after, std::size_t d, Real* local);

    // One block for the rows listed: coordinates in order, each with all flips before it. Rows that flipped are moved
    // to the front of the list; returns their number. A check costs a comparison, a flip d multiplications and
    // additions.
    std::size_t (*descend)(const RowGroup<Real>& group, std::size_t block, std::uint16_t* rows,
                           std::size_t count);

    // After a pass over all blocks: applies all flips that some block has not heard of.
    void (*settle)(const RowGroup<Real>& group);

    // One pass over one row, after `settle`: the same, with every flip applied to the whole row at once, which costs
    // less where flips are few. Ends after block `last` if nothing flipped up to there. Returns the number of
    // the last block that flipped plus 1, or 0.
    std::size_t (*descend_row)(const RowGroup<Real>& group, std::size_t row, std::size_t last);

    Comparison (*compare)(const Real* p, const Real* spins, const Real* start, const Real* local,
                          const Real* thresholds, std::size_t d);

    // G of h or, where `spins` is null, of sign(p); 0 where p and the threshold are. Returns p'G.
    double (*write_step)(const Real* p, const Real* spins, const Real* thresholds, bool mask, std::size_t d,
                         std::int8_t* step);

    // out = p - size G; out may be p.
    void (*subtract_step)(const Real* p, const std::int8_t* step, Real size, std::size_t d, Real* out);
};

}  // namespace qpsbgd
