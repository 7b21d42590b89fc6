// What the kernels of this family compute, coordinate by coordinate: tests compare every instruction set with it.
//
// Identity: the descent of projection_float/table.hpp on rounded couplings W_ij = nearest(t A_ij / u_j), with fields in
// units u_i. Products and descents are integers and equal; sums in floats have the order of
// projection_float/reference.inl and are equal to the last bit.
// Alignment: none. Cost: one operation per coordinate, or per coupling of a flipped coordinate.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "kernels/projection_float/reference.inl"
#include "kernels/projection_int16/table.hpp"

namespace qpsbgd::reference::projection_int16 {

using projection_float::sign_of;

// The nearest integer of a number of at most 2^22, modulo 2^16.
inline std::int16_t nearest(float value) { return static_cast<std::int16_t>(std::lrint(value)); }

// Coordinate j of W h for one row of the layer.
inline int sign_product(const Int16SignProducts& what, std::size_t row, std::size_t j) {
    int sum = 0;
    for (std::size_t i = 0; i < what.d; ++i) {
        const std::uint64_t word = what.signs[i / kSignsOfWord * what.signs_stride + row];
        const int entry = what.couplings[i * what.couplings_stride + j];
        sum += (word >> (i % kSignsOfWord) & 1U) != 0 ? -entry : entry;
    }
    return sum;
}

inline double signed_sum(const float* p, const std::int16_t* products, const float* units, std::size_t d) {
    std::vector<float> terms(d);
    for (std::size_t i = 0; i < d; ++i) {
        terms[i] = static_cast<float>(sign_of(p[i]) * products[i]) * units[i];
    }
    return projection_float::sum_or_wider_sum(terms);
}

inline void quantise(const float* row, const float* inverse_units, float factor, std::size_t d,
                     std::int16_t* couplings) {
    for (std::size_t i = 0; i < d; ++i) {
        couplings[i] = nearest(row[i] * factor * inverse_units[i]);
    }
}

// p / s is a product of float32 where 1 / s is far from the ends of its range, else of float64.
inline float pull_of(float p, double inverse_scale) {
    if (inverse_scale < 1e30 && inverse_scale * 1e30 > 1.0) {
        return static_cast<float>(inverse_scale) * p;
    }
    return static_cast<float>(inverse_scale * static_cast<double>(p));
}

inline void start(const float* p, const Int16Start& of_layer, double inverse_scale, std::size_t d,
                  std::int16_t* spins, std::int16_t* fields) {
    for (std::size_t i = 0; i < d; ++i) {
        spins[i] = static_cast<std::int16_t>(sign_of(p[i]));
        const auto spin = static_cast<float>(spins[i]);
        const float bound = of_layer.bounds[i];
        const float pull = std::max(std::min(pull_of(p[i], inverse_scale), bound), -bound);
        const float others = of_layer.inverse_factor * static_cast<float>(fields[i]);
        const float own = (of_layer.rest[i] * spin - pull) * of_layer.inverse_units[i];
        fields[i] = nearest(others + own + of_layer.exclusions[i] * spin);
    }
}

struct Candidate {
    int gain;
    std::size_t coordinate;
};

// Of the coordinates of one quarter of the slots the one with the largest gain, in steps of `step`; among equals the one
// with the largest coordinate / kInt16Slots, and then the one in the first slot.
inline Candidate best_of_quarter(const Int16Descent& row, std::size_t quarter, int step) {
    const auto slot = [](std::size_t i) { return i % kInt16Slots; };
    Candidate best{-32768, row.d};
    for (std::size_t i = 0; i < row.zero_row; ++i) {
        if (slot(i) / (kInt16Slots / 4) != quarter) {
            continue;
        }
        const int gain = row.fields[i] * row.spins[i];
        const int rounded = gain - ((gain % step) + step) % step;
        const bool is_later = best.coordinate < row.d && i / kInt16Slots > best.coordinate / kInt16Slots;
        if (rounded > best.gain || (rounded == best.gain && is_later)) {
            best = {rounded, i};
        }
    }
    return best;
}

// One pass after another: the best of every quarter of the slots, largest gain first, each if it is still good after those
// before it.
inline void descend(Int16Descent& row, std::size_t most_passes) {
    int step = 1;
    while (static_cast<std::size_t>(step) * kInt16Slots < row.d) {
        step *= 2;
    }
    for (std::size_t pass = 0; !row.settled; ++pass) {
        std::array<Candidate, 4> candidates{};
        for (std::size_t quarter = 0; quarter < 4; ++quarter) {
            candidates[quarter] = best_of_quarter(row, quarter, step);
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
            for (std::size_t j = 0; j < row.zero_row; ++j) {
                const int change = row.spins[i] * row.couplings[i * row.stride + j];
                row.fields[j] = static_cast<std::int16_t>(row.fields[j] + change);
            }
        }
    }
}

inline Int16Change change(const float* p, const std::int16_t* first_fields, const Int16Descent& row,
                          const float* units, std::size_t d) {
    std::vector<float> lowered(d, 0.0F);
    std::vector<float> of_units(d, 0.0F);
    for (std::size_t i = 0; i < d; ++i) {
        if (sign_of(p[i]) != row.spins[i]) {
            const auto both = static_cast<float>(first_fields[i] + row.fields[i]);
            lowered[i] = static_cast<float>(sign_of(p[i])) * units[i] * both;
            of_units[i] = units[i];
        }
    }
    return {projection_float::sum_or_wider_sum(lowered) / 2, projection_float::sum_or_wider_sum(of_units)};
}

inline double write_step(const float* p, const std::int16_t* spins, const float* own, bool mask,
                         std::size_t d, std::int8_t* step) {
    std::vector<float> terms(d);
    for (std::size_t i = 0; i < d; ++i) {
        const int sign = sign_of(p[i]);
        const int spin = spins == nullptr ? sign : spins[i];
        const bool is_unknown = p[i] == 0.0F && own[i] == 0.0F;
        step[i] = static_cast<std::int8_t>(is_unknown ? 0 : (mask ? (sign + spin) / 2 : spin));
        terms[i] = p[i] * static_cast<float>(step[i]);
    }
    return projection_float::sum_or_wider_sum(terms);
}

}  // namespace qpsbgd::reference::projection_int16
