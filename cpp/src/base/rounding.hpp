// Rounding to integers and to multiples.
#pragma once

#include <cstddef>

namespace qpsbgd {

// What compilers vectorise on every machine: std::nearbyint in the default rounding mode, to even where two are as near, for |value| < 2^51.
constexpr double nearest_integer(double value) {
    constexpr double kShift = 0x1.8p52;
    return (value + kShift) - kShift;
}

// The least multiple of `unit` that is not below `count`.
constexpr std::size_t rounded_up(std::size_t count, std::size_t unit) {
    return (count + unit - 1) / unit * unit;
}

}  // namespace qpsbgd
