// Units of energy in which the solvers store couplings and fields.
#pragma once

#include <cmath>

namespace qpsbgd {

// The power of two that brings `largest` into (1/2, 1]; 1 for zero. Scaling by it rounds nothing.
double power_of_two_unit(double largest);

// A number as float32, or 0 where it is negligible beside 1, the size of the largest coupling. All others are multiples of
// 2^-124, and so are sums of them: no local field is ever subnormal, which would slow processors down a hundred times.
// Spins that such small numbers decide are left to the last descent, in float64 and from the caller's numbers.
inline float in_float32(double value) {
    constexpr double kNegligible = 0x1p-100;
    return std::fabs(value) < kNegligible ? 0.0F : static_cast<float>(value);
}

// `field / unit` as float32. A field so far above every coupling that float32 cannot hold it decides its spin
// alone; it is kept at the largest useful size. Energies are recomputed in float64 from the caller's numbers.
inline float field_in_units(double field, double unit) {
    constexpr double kLargest = 1e30;
    const double value = field / unit;
    return in_float32(std::fmin(std::fmax(value, -kLargest), kLargest));
}

}  // namespace qpsbgd
