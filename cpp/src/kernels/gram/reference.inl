// What the kernels of this family compute, entry by entry: tests compare every instruction set with it.
//
// Identity: block = left'right of two panels, each entry a chain of fused multiply-adds in the order of the samples, or of
// signs samples - 2 popcount(left xor right). Results are equal to the last bit.
// And state = past + weight (value - past), from the end that is nearer, and mean = state / correction.
// Alignment: none. Cost: one multiply-add per sample and entry.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>

namespace qpsbgd::reference::gram {

// Entry (i, j) of left'right, of panels `width` wide.
template <class Real>
Real product(const Real* left, const Real* right, std::size_t samples, std::size_t width, std::size_t i,
             std::size_t j) {
    Real sum = 0;
    for (std::size_t k = 0; k < samples; ++k) {
        sum = std::fma(left[k * width + i], right[k * width + j], sum);
    }
    return sum;
}

// The same of signs: samples with equal ones less those with different ones.
inline std::int64_t product_of_signs(const std::uint32_t* left, const std::uint32_t* right,
                                     std::size_t samples, std::size_t width, std::size_t i, std::size_t j) {
    std::int64_t sum = 0;
    for (std::size_t k = 0; k < samples; ++k) {
        const auto bit = [&](const std::uint32_t* words, std::size_t column) {
            return words[k / 32 * width + column] >> (k % 32) & 1U;
        };
        sum += bit(left, i) == bit(right, j) ? 1 : -1;
    }
    return sum;
}

template <class Real>
void average(const Real* values, const Real* past, Real weight, Real correction, std::size_t count,
             Real* state, Real* mean) {
    for (std::size_t i = 0; i < count; ++i) {
        const Real before = past == nullptr ? Real{0} : past[i];
        const bool near_past = std::fabs(weight) < Real(0.5);
        state[i] = std::fma(near_past ? weight : weight - Real{1}, values[i] - before,
                            near_past ? before : values[i]);
        if (mean != nullptr) {
            mean[i] = state[i] / correction;
        }
    }
}

}  // namespace qpsbgd::reference::gram
