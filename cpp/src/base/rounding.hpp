// Rounding that compilers vectorise on every machine.
#pragma once

namespace qpsbgd {

// std::nearbyint in the default rounding mode, to even where two are as near, for |value| < 2^51.
constexpr double nearest_integer(double value) {
    constexpr double kShift = 0x1.8p52;
    return (value + kShift) - kShift;
}

}  // namespace qpsbgd
