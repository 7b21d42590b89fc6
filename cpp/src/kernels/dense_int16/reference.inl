// What the kernels of this family compute, one read after another and one spin after another: tests compare every
// instruction set with it.
//
// Identity: L_j = f_j + sum_i s_i W_ij / 2 and a flip of spin i takes s_i W_ij from every L_j, both saturating at the
// ends of int16. Annealing flips spin i when s_i L_i + e_i T / 65536 - 1 >= 0; tabu search makes the best allowed flip.
// Integers: results are equal.
// Alignment: none. Cost: one addition per coupling of a flipped spin, one comparison per attempt.
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <utility>

#include "base/rng.hpp"
#include "kernels/dense_int16/table.hpp"

namespace qpsbgd::reference::dense_int16 {

inline std::int16_t clamped(int value) { return static_cast<std::int16_t>(std::clamp(value, -32768, 32767)); }

inline bool is_down(const std::uint32_t* negative, std::size_t i) {
    return (negative[i / 32] & std::uint32_t{1} << (i % 32)) != 0;
}

// s_i L_i.
inline int fall_of(const Int16Replica& read, std::size_t i) {
    return clamped(is_down(read.negative, i) ? -read.local[i] : read.local[i]);
}

inline void local_fields(const Int16Replica& read, std::size_t n, std::size_t stride) {
    for (std::size_t j = 0; j < stride; ++j) {
        int sum = read.local[j];
        for (std::size_t i = 0; i < n; i += 2) {
            int of_two = 0;
            for (std::size_t k = i; k < std::min(i + 2, n); ++k) {
                const int half = read.couplings[k * stride + j] / 2;
                of_two += is_down(read.negative, k) ? -half : half;
            }
            sum = clamped(sum + of_two);
        }
        read.local[j] = clamped(sum);
    }
}

inline void flip(const Int16Replica& read, std::size_t spin, std::size_t stride) {
    const bool was_down = is_down(read.negative, spin);
    for (std::size_t j = 0; j < stride; ++j) {
        const int coupling = read.couplings[spin * stride + j];
        read.local[j] = clamped(read.local[j] + (was_down ? coupling : -coupling));
    }
    read.negative[spin / 32] ^= std::uint32_t{1} << (spin % 32);
}

inline void keep_best(Int16Replica& read, std::size_t stride) {
    if (read.gain > read.best_gain) {
        read.best_gain = read.gain;
        read.since_best = 0;
        std::copy_n(read.negative, stride / 32, read.best_negative);
    }
}

// One less than an exponential times the temperature. A temperature of more than 16 bits is rounded to its upper 16; what
// is above all of int16 accepts everything.
inline int threshold(std::uint32_t exponential, std::uint32_t temperature) {
    const int excess = std::max(static_cast<int>(std::bit_width(temperature)) - 16, 0);
    const int shift = std::min(excess, 15);
    const std::uint32_t scaled = exponential * (temperature >> excess) / 65536U;
    return static_cast<int>(std::min(scaled, 32767U >> shift) << shift) - 1;
}

// The place in the table of exponentials where each block of 32 spins begins: twelve bits of a random word, which serves
// five blocks.
class Places {
public:
    explicit Places(RandomState& state) : state_(state) {}

    std::size_t next() {
        if (left_ == 0) {
            Random random(0, 0, 0);
            random.set_state(state_);
            word_ = random.next();
            state_ = random.state();
            left_ = 5;
        }
        const std::size_t place = word_ % kExponentials;
        word_ /= kExponentials;
        --left_;
        return place;
    }

private:
    RandomState& state_;
    std::uint64_t word_ = 0;
    int left_ = 0;
};

// Sweeps up to `last`.
inline void anneal(Int16Replica& read, std::size_t n, std::size_t stride, const std::uint16_t* exponentials,
                   std::size_t last) {
    for (; read.sweep < last; ++read.sweep) {
        Places places(read.random);
        for (std::size_t block = 0; block < stride; block += 32) {
            const std::uint16_t* drawn = exponentials + places.next();
            for (std::size_t i = block; i < std::min(block + 32, n); ++i) {
                if (fall_of(read, i) + threshold(drawn[i - block], read.temperature[read.sweep]) >= 0) {
                    flip(read, i, stride);
                }
            }
        }
        std::int64_t twice_energy = 0;
        for (std::size_t i = 0; i < n; ++i) {
            const int both = read.fields[i] + read.local[i];
            twice_energy += is_down(read.negative, i) ? -both : both;
        }
        read.gain = (read.start - twice_energy) / 4;
        keep_best(read, stride);
    }
}

inline void tabu(Int16Replica& read, std::size_t n, std::size_t stride, std::size_t flips) {
    for (std::size_t now = 1; now <= flips; ++now) {
        ++read.since_best;
        const std::int64_t aspiration = std::min<std::int64_t>(read.best_gain - read.gain, 32767);
        int best = -32768;  // a spin that falls by so little never flips
        std::size_t spin = n;
        for (std::size_t i = 0; i < n; ++i) {
            const bool rests = std::cmp_greater(read.scratch[i], now);
            if (fall_of(read, i) > best && (!rests || fall_of(read, i) > aspiration)) {
                best = fall_of(read, i);
                spin = i;
            }
        }
        if (spin == n) {
            continue;
        }
        read.gain += is_down(read.negative, spin) ? -read.local[spin] : read.local[spin];
        flip(read, spin, stride);
        Random random(0, 0, 0);
        random.set_state(read.random);
        const std::size_t rest = read.least_tenure + 1 + random.below(read.tenure_spread);
        read.random = random.state();
        read.scratch[spin] = static_cast<std::int16_t>(now + rest);
        keep_best(read, stride);
    }
    for (std::size_t i = 0; i < n; ++i) {
        read.scratch[i] = static_cast<std::int16_t>(std::max(0, read.scratch[i] - static_cast<int>(flips)));
    }
}

}  // namespace qpsbgd::reference::dense_int16
