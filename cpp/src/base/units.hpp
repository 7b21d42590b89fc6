// Units of energy in which the solvers store couplings and fields.
#pragma once

#include <cmath>

namespace qpsbgd {

// The power of two that brings `largest` into (1/2, 1]; 1 for zero. Scaling by it rounds nothing.
double power_of_two_unit(double largest);

// `field / unit` as float32. A field so far above every coupling that float32 cannot hold it decides its spin
// alone; it is kept at the largest useful size. Energies are recomputed in float64 from the caller's numbers.
inline float field_in_units(double field, double unit) {
    constexpr double kLargest = 1e30;
    const double value = field / unit;
    return static_cast<float>(std::fmin(std::fmax(value, -kLargest), kLargest));
}

}  // namespace qpsbgd
