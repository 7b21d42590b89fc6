// What the kernels of this family compute, state by state from the couplings: tests compare every instruction set with it.
//
// Identity: E = sum_i f_i s_i + sum_{i<j} S_ij s_i s_j, split into the energy of the outer spins alone and the rest, of
// which a table has the 256 values of the inner states. Integers: results are equal, tables modulo 2^16.
// Alignment: none. Cost: n^2 multiplications per state.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>

#include "kernels/exact/table.hpp"

namespace qpsbgd::reference::exact {

using Spins = std::array<int, kExactSpins>;

// Bit i of `inner` and bit k of `outer` are set when inner spin i and outer spin k are +1; spins beyond n are absent.
inline Spins spins_of(std::size_t inner, std::uint32_t outer, std::size_t n) {
    Spins spins{};
    for (std::size_t i = 0; i < n; ++i) {
        const std::size_t bit = i < kInnerSpins ? inner >> i & 1U : outer >> (i - kInnerSpins) & 1U;
        spins[i] = bit != 0 ? 1 : -1;
    }
    return spins;
}

// Energy of spins [first, last) among themselves.
inline std::int64_t energy_among(const ExactTables& given, const Spins& spins, std::size_t first,
                                 std::size_t last) {
    std::int64_t energy = 0;
    for (std::size_t i = first; i < last; ++i) {
        energy += std::int64_t{given.field[i]} * spins[i];
        for (std::size_t j = first; j < i; ++j) {
            energy += std::int64_t{given.coupling[i][j]} * spins[i] * spins[j];
        }
    }
    return energy;
}

inline std::int64_t outer_energy(const ExactTables& given, std::uint32_t outer, std::size_t n) {
    return energy_among(given, spins_of(0, outer, n), kInnerSpins, kExactSpins);
}

// Of an inner state beside the outer ones, whose own energy is left out.
inline std::int64_t inner_energy(const ExactTables& given, std::size_t inner, std::uint32_t outer,
                                 std::size_t n) {
    // Inner spins that do not exist have neither fields nor couplings.
    return energy_among(given, spins_of(inner, outer, n), 0, kExactSpins) - outer_energy(given, outer, n);
}

// f_k + sum_j S_kj s_j over the outer spins.
inline std::int64_t outer_field(const ExactTables& given, std::size_t k, std::uint32_t outer, std::size_t n) {
    const Spins spins = spins_of(0, outer, n);
    std::int64_t field = given.field[kInnerSpins + k];
    for (std::size_t j = kInnerSpins; j < kExactSpins; ++j) {
        field += std::int64_t{given.coupling[kInnerSpins + k][j]} * spins[j];
    }
    return field;
}

// Outer spins after Gray code step `step`: the state of step 0 is all -1, and consecutive ones differ in one spin.
inline std::uint32_t outer_of(std::uint64_t step) { return static_cast<std::uint32_t>(step ^ (step >> 1U)); }

// The first of steps [begin, end) with a state of at most this energy, or `end`.
inline std::uint64_t advance(const ExactTables& given, std::size_t n, std::uint64_t begin, std::uint64_t end,
                             std::int64_t limit) {
    for (std::uint64_t step = begin; step < end; ++step) {
        for (std::size_t inner = 0; inner < kInnerStates; ++inner) {
            const std::uint32_t outer = outer_of(step);
            if (inner_energy(given, inner, outer, n) + outer_energy(given, outer, n) <= limit) {
                return step;
            }
        }
    }
    return end;
}

// The first inner state from `from` on of at most this energy, or 256.
inline std::size_t find(const ExactTables& given, std::size_t n, std::uint32_t outer, std::size_t from,
                        std::int64_t limit) {
    std::size_t inner = from;
    while (inner < kInnerStates &&
           inner_energy(given, inner, outer, n) + outer_energy(given, outer, n) > limit) {
        ++inner;
    }
    return inner;
}

}  // namespace qpsbgd::reference::exact
