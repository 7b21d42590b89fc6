// Gains of a descent by inputs: in which order they are tried, and what changed spins gain of p.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <vector>

#include "kernels/projection_float/table.hpp"

namespace qpsbgd {

// p'(h - sigma). Several sums side by side: one addition need not wait for the other.
template <class Real>
double pull_of_changes(const Real* p, const Real* spins, std::size_t d) {
    constexpr std::size_t kSums = 8;
    std::array<double, kSums> sums{};
    const auto term = [&](std::size_t i) {
        const Real sign = p[i] < Real{0} ? Real{-1} : Real{1};
        return static_cast<double>(p[i]) * static_cast<double>(spins[i] - sign);
    };
    std::size_t i = 0;
    for (; i + kSums <= d; i += kSums) {
        for (std::size_t k = 0; k < kSums; ++k) {
            sums[k] += term(i + k);
        }
    }
    for (; i < d; ++i) {
        sums[0] += term(i);
    }
    return std::accumulate(sums.begin(), sums.end(), 0.0);
}

// Largest gains first, in classes of half an octave; their order in a class is that of the coordinates.
template <class Real>
void sort_gains(const std::vector<Gain<Real>>& found, std::size_t size, std::vector<Gain<Real>>& sorted) {
    constexpr std::size_t kClasses = 32;
    const auto level = [](Real gain) {
        return std::bit_cast<std::uint32_t>(static_cast<float>(gain)) >> 22U;
    };
    std::uint32_t most = 0;
    for (std::size_t k = 0; k < size; ++k) {
        most = std::max(most, level(found[k].gain));
    }
    const auto class_of = [&](Real gain) { return std::min<std::size_t>(most - level(gain), kClasses - 1); };
    std::array<std::size_t, kClasses + 1> begins{};
    for (std::size_t k = 0; k < size; ++k) {
        ++begins[class_of(found[k].gain) + 1];
    }
    for (std::size_t c = 0; c < kClasses; ++c) {
        begins[c + 1] += begins[c];
    }
    sorted.resize(size);
    for (std::size_t k = 0; k < size; ++k) {
        sorted[begins[class_of(found[k].gain)]++] = found[k];
    }
}

}  // namespace qpsbgd
