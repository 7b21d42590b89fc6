// What the kernels of this family compute, one replica after another: tests compare every instruction set with it.
//
// Identity: L_i = f_i + sum_j S_ij s_j; a flip of spin i takes s_i W_ij from every neighbour's L_j and adds s_i L_i to the
// gain. Of a hub L = 2 l + h, and l is stored. Metropolis flips when a random byte is above c(-s_i L_i). Integers: results
// are equal.
// Alignment: none. Cost per replica: one addition per edge of a flipped spin, one comparison per attempt.
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <utility>

#include "kernels/sparse_int8/table.hpp"

namespace qpsbgd::reference::sparse_int8 {

// xoroshiro128++ (Blackman and Vigna, 2019) of one lane. A word serves eight visits, a byte each, lowest first.
inline std::uint64_t next_word(std::uint64_t* random, std::size_t lane) {
    const std::size_t column = 8 * (lane % 8) + lane / 8;
    std::uint64_t s0 = random[column];
    std::uint64_t s1 = random[column + 64];
    const std::uint64_t result = std::rotl(s0 + s1, 17) + s0;
    s1 ^= s0;
    s0 = std::rotl(s0, 49) ^ s1 ^ (s1 << 21U);
    s1 = std::rotl(s1, 28);
    random[column] = s0;
    random[column + 64] = s1;
    return result;
}

inline int spin_of(const Int8Replicas& replicas, std::size_t i, std::size_t lane) {
    return (replicas.up[i] >> lane & 1U) != 0 ? 1 : -1;
}

inline int field_of(const Int8Replicas& replicas, std::size_t i, std::size_t lane) {
    const std::int8_t stored = replicas.local[64 * i + lane];
    const bool is_hub = replicas.halved != nullptr && replicas.halved[i] != -1;
    return is_hub ? 2 * stored + replicas.halved[i] : stored;
}

inline void flip(const Int8Replicas& replicas, std::size_t i, std::size_t lane) {
    const int spin = spin_of(replicas, i, lane);
    replicas.gain[lane] += spin * field_of(replicas, i, lane);
    replicas.up[i] ^= std::uint64_t{1} << lane;
    for (std::uint32_t e = replicas.row_start[i]; e != replicas.row_start[i + 1]; ++e) {
        const std::int8_t weight = replicas.weights[replicas.edges[e].weight + lane];
        std::int8_t& local = replicas.local[replicas.edges[e].neighbour + lane];
        local = static_cast<std::int8_t>(local - spin * weight);  // modulo 256
    }
}

inline void raise(const Int8Replicas& replicas, const std::uint64_t* target, std::size_t n) {
    for (std::size_t lane = 0; lane < 64; ++lane) {
        for (std::size_t i = 0; i < n; ++i) {
            if ((target[i] >> lane & 1U) != 0) {
                flip(replicas, i, lane);
            }
        }
    }
}

inline void metropolis(const Int8Replicas& replicas, std::size_t begin, std::size_t end,
                       const Int8Acceptance& acceptance) {
    const std::size_t entries = acceptance.parts * 16;
    for (std::size_t lane = 0; lane < 64; ++lane) {
        std::uint64_t word = 0;
        for (std::size_t i = begin; i < end; ++i) {
            word = i % 8 == 0 ? next_word(replicas.random, lane) : word >> 8U;
            const int rise = -spin_of(replicas, i, lane) * field_of(replicas, i, lane);
            const std::size_t dither = dither_at(i, acceptance.phase);
            const std::size_t entry = std::min(static_cast<std::size_t>(std::max(rise, 0)), entries - 1);
            const int c = rise < 0 ? 0 : acceptance.table[dither * entries + entry];
            if (std::cmp_greater(word % 256, c)) {
                flip(replicas, i, lane);
            }
        }
    }
}

inline std::uint64_t greedy(const Int8Replicas& replicas, std::size_t begin, std::size_t end) {
    std::uint64_t flipped = 0;
    for (std::size_t lane = 0; lane < 64; ++lane) {
        for (std::size_t i = begin; i < end; ++i) {
            if (spin_of(replicas, i, lane) * field_of(replicas, i, lane) > 0) {
                flip(replicas, i, lane);
                flipped |= std::uint64_t{1} << lane;
            }
        }
    }
    return flipped;
}

}  // namespace qpsbgd::reference::sparse_int8
