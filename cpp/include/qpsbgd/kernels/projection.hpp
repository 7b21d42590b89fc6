// The training step's solver: many rows with one matrix A and fields of their own, greedily from sign(p).
//
// With spins h in {-1,+1}, local fields e = A G - p / s and a factor f, flipping coordinate i lowers the objective if
//   h_i e_i > f A_ii / 2,      and then      e <- e - f h_i A_i.
// f = 2 for G = h, and f = 1 for G = (sigma + h) / 2, the mask. All arrays of a row are padded to whole blocks of
// `block` coordinates, whose thresholds are infinite; rows of A are aligned and padded to whole cache lines.
#pragma once

#include <cstddef>
#include <cstdint>

namespace qpsbgd {

inline constexpr std::size_t kMostBlockCoordinates = 64;
inline constexpr std::size_t kMostGroupRows = 128;
inline constexpr std::size_t kSignGroup = 4;  // coordinates of a sign pattern

// Rows of one layer that are solved together, because each row of A that is read serves them all.
template <class Real>
struct RowGroup {
    const Real* matrix;  // A
    std::size_t matrix_stride;
    std::size_t d;
    std::size_t stride;          // of `spins`, `local`
    std::size_t pattern_stride;  // of `patterns`
    const Real* thresholds;      // f A_ii / 2
    Real factor;                 // f
    Real* spins;                 // h
    Real* local;                 // e
    std::uint16_t* patterns;     // 16 sign patterns of four coordinates each, times `block`
    std::uint16_t* flipped;      // scratch of a row: block + 1 coordinates of the block, and ...
    Real* changes;               // ... f h of each
    std::uint16_t* counts;       // scratch: flips of each row
};

// What decides whether a result is better than the sign.
struct Comparison {
    double
        change;  // sum of h_i (e_i + start_i) over the coordinates where h is not sign(p): the fall if negative
    double
        magnitude;  // the same with the sizes of all terms, and A_ii: what rounding errors are small against
};

template <class Real>
struct ProjectionKernels {
    std::size_t block;  // coordinates that are decided together: four registers

    // h = sign(p) and its patterns, p = gradient + residual (if there is one), to `p` if that is not null.
    // Returns the sum of |p|.
    double (*take_signs)(const Real* gradient, const Real* residual, std::size_t d, Real* p, Real* spins,
                         std::uint16_t* patterns);

    // local = A h for `rows` rows: the sixteen signed sums of four rows of A at a time are tabulated, so
    // d^2 / 4 additions a row.
    void (*sign_products)(const RowGroup<Real>& group, std::size_t rows);

    // Sum of a_i b_i in float64.
    double (*dot)(const Real* a, const Real* b, std::size_t d);

    // local += before p - after p, each product rounded from float64.
    void (*add_fields)(const Real* p, double before, double after, std::size_t d, Real* local);

    // Coordinates [begin, begin + block) of the rows listed, in order, each with the flips before it. Rows that
    // flipped are moved to the front of the list; returns their number. A check is a multiplication and a
    // comparison, a flip d multiplications and additions.
    std::size_t (*descend)(const RowGroup<Real>& group, std::size_t begin, std::uint32_t* rows,
                           std::size_t count);

    Comparison (*compare)(const Real* p, const Real* spins, const Real* start, const Real* local,
                          const Real* thresholds, std::size_t d);

    // G of h or, where `spins` is null, of sign(p); 0 where p and the threshold are. Returns p'G.
    double (*write_step)(const Real* p, const Real* spins, const Real* thresholds, bool mask, std::size_t d,
                         std::int8_t* step);

    // out = p - size G; out may be p.
    void (*subtract_step)(const Real* p, const std::int8_t* step, Real size, std::size_t d, Real* out);
};

}  // namespace qpsbgd
