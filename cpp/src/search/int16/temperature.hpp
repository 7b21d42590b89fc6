// Temperatures of the int16 kernels.
#pragma once

#include <cmath>
#include <cstdint>

#include "kernels/dense_int16/table.hpp"

namespace qpsbgd {

// As the kernels take it, for beta in units. The energy rises by -2 s L, so the temperature on s L is half of that on the
// energy.
inline std::uint32_t temperature_of(double beta) {
    constexpr double kMost = 1e9;  // by far hot enough for anything
    return static_cast<std::uint32_t>(std::fmin(0.5 / beta * kLargestExponential, kMost));
}

}  // namespace qpsbgd
