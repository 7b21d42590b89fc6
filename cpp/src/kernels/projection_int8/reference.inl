// What the kernels of this family compute, coordinate by coordinate: tests compare every instruction set with it.
//
// Identity: the descent of projection_float/table.hpp on rounded couplings W_ij = nearest(t A_ij / u_j), with fields in
// units u_i that saturate at the ends of int16. All integers, all equal.
// Alignment: none. Cost: one operation per coordinate, or per coupling of a flipped coordinate.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "kernels/projection_int8/table.hpp"

namespace qpsbgd::reference::projection_int8 {

inline float largest(const float* a, std::size_t d) {
    float most = 0.0F;
    for (std::size_t i = 0; i < d; ++i) {
        most = std::max(most, std::fabs(a[i]));
    }
    return most;
}

inline void quantise(const float* row, const float* inverse_units, float factor, std::size_t d,
                     std::int8_t* couplings) {
    for (std::size_t i = 0; i < d; ++i) {
        couplings[i] = static_cast<std::int8_t>(std::lrint(row[i] * factor * inverse_units[i]));
    }
}

inline void start(const float* spins, const float* fields, const float* inverse_units, std::size_t d,
                  std::int16_t* int16_spins, std::int16_t* int16_fields) {
    for (std::size_t i = 0; i < d; ++i) {
        const float field = std::clamp(fields[i] * inverse_units[i], -kMostFirstField, kMostFirstField);
        int16_fields[i] = static_cast<std::int16_t>(std::lrint(field));
        int16_spins[i] = spins[i] < 0.0F ? std::int16_t{-1} : std::int16_t{1};
    }
}

struct Candidate {
    int gain;
    std::size_t coordinate;
};

// The gain, in which the least number of int16 stays what it is when its sign is turned.
inline int gain_of(const Int8Descent& row, std::size_t i) {
    return static_cast<std::int16_t>(row.fields[i] * row.spins[i]);
}

// Of the coordinates of one quarter of the slots the one with the largest gain; among equals the first slot, and its first
// coordinate.
inline Candidate best_of_quarter(const Int8Descent& row, std::size_t quarter) {
    constexpr std::size_t of_quarter = kInt8Slots / 4;
    Candidate best{-32768, quarter * of_quarter};
    for (std::size_t slot = quarter * of_quarter; slot < (quarter + 1) * of_quarter; ++slot) {
        for (std::size_t i = slot; i < row.d; i += kInt8Slots) {
            if (gain_of(row, i) > best.gain) {
                best = {gain_of(row, i), i};
            }
        }
    }
    return best;
}

// One pass after another: the best of every quarter of the slots, largest gain first, each if it is still good after those
// before it. Fields then follow the flips, in the same order.
inline void descend(Int8Descent& row, std::size_t most_passes) {
    for (std::size_t pass = 0; !row.settled; ++pass) {
        std::array<Candidate, 4> candidates{};
        for (std::size_t quarter = 0; quarter < 4; ++quarter) {
            candidates[quarter] = best_of_quarter(row, quarter);
        }
        std::ranges::sort(candidates, [](const Candidate& a, const Candidate& b) {
            return a.gain > b.gain || (a.gain == b.gain && a.coordinate > b.coordinate);
        });
        row.settled = candidates[0].gain <= 0;
        if (pass == most_passes) {
            return;
        }
        std::vector<std::size_t> flipped;
        for (const auto& [gain, i] : candidates) {
            int left = gain;
            for (const std::size_t j : flipped) {
                left +=
                    row.spins[i] * row.spins[j] * row.couplings[j * row.stride + i];  // s_j is turned already
            }
            if (left > 0) {
                row.spins[i] = static_cast<std::int16_t>(-row.spins[i]);
                flipped.push_back(i);
            }
        }
        for (const std::size_t i : flipped) {
            for (std::size_t j = 0; j < row.d; ++j) {
                const int field = row.fields[j] + row.spins[i] * row.couplings[i * row.stride + j];
                row.fields[j] = static_cast<std::int16_t>(std::clamp(field, -32768, 32767));
            }
        }
    }
}

}  // namespace qpsbgd::reference::projection_int8
