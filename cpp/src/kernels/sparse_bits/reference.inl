// What the kernels of this family compute, one replica after another: tests compare every instruction set with it.
//
// Identity: with k of a spin's `degree` couplings satisfied a flip raises s_i L_i by 2 k - degree. Metropolis flips when a
// random byte is above c of that rise, and above 0 where there is none. Bits: results are equal.
// Alignment: of words. Cost per replica: one addition per edge and attempt.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>

#include "kernels/sparse_bits/table.hpp"
#include "kernels/sparse_int8/reference.inl"

namespace qpsbgd::reference::sparse_bits {

inline bool bit_of(const BitReplicas& replicas, std::uint32_t offset, std::size_t lane) {
    return (replicas.words[offset / sizeof(std::uint64_t)] >> lane & 1U) != 0;
}

inline int rise_of(const BitReplicas& replicas, std::size_t i, std::size_t lane) {
    const auto own = static_cast<std::uint32_t>(2 * i * sizeof(std::uint64_t));
    int satisfied = 0;
    for (std::size_t e = 0; e < replicas.degree; ++e) {
        const std::uint32_t other = replicas.edges[i * replicas.degree + e];
        satisfied += bit_of(replicas, other, lane) != bit_of(replicas, own, lane) ? 1 : 0;
    }
    return 2 * satisfied - static_cast<int>(replicas.degree);
}

inline void flip(const BitReplicas& replicas, std::size_t i, std::size_t lane) {
    replicas.words[2 * i] ^= std::uint64_t{1} << lane;
    replicas.words[2 * i + 1] ^= std::uint64_t{1} << lane;
}

inline void metropolis(const BitReplicas& replicas, std::size_t begin, std::size_t end,
                       const Int8Acceptance& acceptance) {
    for (std::size_t lane = 0; lane < 64; ++lane) {
        std::uint64_t word = 0;
        for (std::size_t i = begin; i < end; ++i) {
            word = i % 8 == 0 ? sparse_int8::next_word(replicas.random, lane) : word >> 8U;
            const int rise = rise_of(replicas, i, lane);
            const std::uint8_t* table = acceptance.table + 16 * dither_at(i, acceptance.phase);
            const int c = rise <= 0 ? 0 : table[rise];
            if (std::cmp_greater(word % 256, c)) {
                flip(replicas, i, lane);
            }
        }
    }
}

inline std::uint64_t greedy(const BitReplicas& replicas, std::size_t begin, std::size_t end) {
    std::uint64_t flipped = 0;
    for (std::size_t lane = 0; lane < 64; ++lane) {
        for (std::size_t i = begin; i < end; ++i) {
            if (rise_of(replicas, i, lane) < 0) {
                flip(replicas, i, lane);
                flipped |= std::uint64_t{1} << lane;
            }
        }
    }
    return flipped;
}

inline void satisfied(const BitReplicas& replicas, std::int32_t* count) {
    for (std::size_t lane = 0; lane < 64; ++lane) {
        count[lane] = 0;
        for (std::size_t bond = 0; bond < replicas.bond_count; ++bond) {
            const std::uint32_t* ends = replicas.bonds + 2 * bond;
            count[lane] += bit_of(replicas, ends[0], lane) != bit_of(replicas, ends[1], lane) ? 1 : 0;
        }
    }
}

}  // namespace qpsbgd::reference::sparse_bits
