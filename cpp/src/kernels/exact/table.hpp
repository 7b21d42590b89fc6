// Exhaustive search over at most 24 spins: the first 8, the inner spins, as a table of 256 energies; the others, the
// outer spins, one flip at a time in the order of a Gray code.
//
// Couplings and fields are int16, scaled such that sum |f_i| + sum_{i<j} |S_ij| <= 32767: every partial sum of an
// energy then fits int16, and sums of differences may wrap in between.
#pragma once

#include <cstddef>
#include <cstdint>

namespace qpsbgd {

inline constexpr std::size_t kInnerSpins = 8;
inline constexpr std::size_t kInnerStates = std::size_t{1} << kInnerSpins;
inline constexpr std::size_t kOuterSpins = 16;
inline constexpr std::size_t kExactSpins = kInnerSpins + kOuterSpins;

struct ExactTables {
    // Energy of every inner state beside the present outer spins, their own energy left out. Bit i of a state is set
    // when inner spin i is +1.
    alignas(64) std::int16_t energy[kInnerStates];
    // What outer spin k adds to it by turning to +1 ([k][0]) and to -1 ([k][1]).
    alignas(64) std::int16_t change[kOuterSpins][2][kInnerStates];
    // Local fields f_k + sum_j S_kj s_j of the outer spins among themselves, and what flips add to them.
    alignas(64) std::int16_t outer_local[kOuterSpins];
    alignas(64) std::int16_t outer_change[kOuterSpins][2][kOuterSpins];
    // Given: S and f, zero for spins that do not exist.
    alignas(64) std::int16_t coupling[kExactSpins][kExactSpins];
    std::int16_t field[kExactSpins];
    std::int32_t outer_energy;
    std::uint32_t outer_up;  // bit k is set when outer spin k is +1
};

struct ExactKernels {
    // From `coupling` and `field`, for n spins: the tables for all outer spins -1. 256 (n - 8) multiply-adds.
    void (*prepare)(ExactTables& tables, std::size_t n);

    // Gray code steps [begin, end), step 0 being the state of `prepare`, until one whose lowest energy is at most
    // `limit`. Returns that step, or `end`. 2 additions and 1 minimum of 256 int16 a step: about 14 cycles of AVX-512.
    std::uint64_t (*advance)(ExactTables& tables, std::uint64_t begin, std::uint64_t end, std::int32_t limit);

    // The first inner state from `from` on whose energy is at most `limit`, or 256. 256 comparisons.
    std::size_t (*find)(const ExactTables& tables, std::size_t from, std::int32_t limit);
};

}  // namespace qpsbgd
