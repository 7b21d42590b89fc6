// The training step's solver: many rows with one matrix A and fields of their own, greedily from sign(p).
//
// With spins h in {-1,+1} and a factor t, 2 for G = h and 1 for G = (sigma + h) / 2, the mask, the local field of
// coordinate i without its own part is
//   f_i = (A G)_i - p_i / s - t h_i A_ii / 2.
// Flipping i lowers the objective if its gain h_i f_i is positive, by 2 t s times the gain; then, for all others,
//   f <- f - t h_i A_i.
#pragma once

#include <cstddef>
#include <cstdint>

namespace qpsbgd {

inline constexpr std::size_t kSignsOfWord = 64;
inline constexpr std::size_t kFlipSlots =
    32;  // of every so many coordinates the best is a candidate for a flip

// Rows of one layer that are multiplied together, because each row of A that is read serves them all.
template <class Real>
struct SignProducts {
    const Real* matrix;  // A: aligned rows, padded to whole cache lines
    std::size_t matrix_stride;
    std::size_t d;
    const std::uint64_t* signs;  // words of 64 bits, `signs_stride` apart for each row; set where h is -1
    std::size_t signs_stride;
    Real* products;  // out: A h, rows padded to whole tiles
    std::size_t stride;
};

// One row on its way down. Spins and fields are padded with zeros to whole groups of kFlipSlots.
template <class Real>
struct Descent {
    const Real* couplings = nullptr;  // A
    std::size_t stride = 0;
    std::size_t d = 0;
    Real factor = 0;                 // t
    const double* units = nullptr;   // of gains and fields
    const double* errors = nullptr;  // of a field in those of A: this times (first_error + flips so far)
    double first_error = 0.0;
    Real* spins = nullptr;
    Real* fields = nullptr;
    // So far:
    std::size_t flips = 0;
    double lowered = 0.0;  // sum of all gains
    double certain = 0.0;  // the same, less what they may be wrong by
};

inline constexpr std::size_t kInputLanes = 16;  // partial sums of a product over samples

// One row that descends by the inputs X (samples x d) themselves: fields and gains as above, for A = X'X.
template <class Real>
struct InputDescent {
    const Real* inputs = nullptr;  // X': the samples of every coordinate, padded with zeros to `stride`
    std::size_t stride = 0;        // a multiple of kInputLanes
    Real factor = 0;               // t
    const Real* own = nullptr;     // t A_ii / 2
    const Real* slacks = nullptr;  // of a gain, in units of `slack`
    Real slack = 0;
    const Real* pulls = nullptr;  // p / s
    Real* spins = nullptr;
    Real* outputs = nullptr;  // X G, `stride` samples
};

// A coordinate whose flip was good when it was looked at.
template <class Real>
struct Gain {
    std::uint32_t coordinate;
    Real gain;
};

template <class Real>
struct ProjectionKernels {
    std::size_t tile;  // columns that sign_products works on together

    // Bits of sign(p), p = gradient + residual, if there is one, which is kept in `p`. Words are `signs_stride` apart.
    // Returns the sum of |p|.
    double (*take_signs)(const Real* gradient, const Real* residual, std::size_t d, Real* p,
                         std::uint64_t* signs, std::size_t signs_stride);

    // The sixteen signed sums of four rows of A at a time are tabulated, so d^2 / 4 additions a row.
    void (*sign_products)(const SignProducts<Real>& what, std::size_t rows);

    // Sums of |a_i| and of sign(p_i) a_i.
    double (*magnitude)(const Real* a, std::size_t d);
    double (*signed_sum)(const Real* p, const Real* a, std::size_t d);

    // Spins sign(p) and their fields from A sign(p); own = t A_ii / 2.
    void (*start)(const Real* p, const Real* product, const Real* own, double inverse_scale, std::size_t d,
                  Real* spins, Real* fields);

    // Flips the best of every kFlipSlots-th coordinate while its gain is above half of the largest; again until no
    // gain is positive. A look at all gains costs 2 d operations, a flip d multiplications and additions. Returns
    // false if it gave up before that, after some flips more than `most_flips`.
    bool (*descend)(Descent<Real>& row, std::size_t most_flips);

    // Gains of coordinates [first, first + count) from products = X'X G: those above their slacks are written to `found`,
    // which has room for all. Returns how many. 6 operations a coordinate.
    std::size_t (*find_gains)(const InputDescent<Real>& row, const Real* products, std::size_t first,
                              std::size_t count, Gain<Real>* found);

    // Flips one coordinate after another if its gain, computed anew from X G, is above its slack and above a quarter of
    // what it was when it was found. Returns the number of flips. One multiply-add a sample, and as much for a flip.
    std::size_t (*flip_gains)(const InputDescent<Real>& row, const Gain<Real>* found, std::size_t count);

    // Makes the spins of a row those of `spins`, and X G follow them. Returns how many changed. One multiply-add a sample for
    // each of them.
    std::size_t (*follow)(const InputDescent<Real>& row, const Real* spins, std::size_t d);

    // G of h or, where `spins` is null, of sign(p); 0 where p and `own` are. Returns p'G.
    double (*write_step)(const Real* p, const Real* spins, const Real* own, bool mask, std::size_t d,
                         std::int8_t* step);

    // out = p - size G; out may be p.
    void (*subtract_step)(const Real* p, const std::int8_t* step, Real size, std::size_t d, Real* out);

    // weights <- clip(weights - lr G, -clip, clip) for `count` weights.
    void (*move_weights)(Real* weights, const std::int8_t* step, Real lr, Real clip, std::size_t count);
};

}  // namespace qpsbgd
