// Dense int16 couplings: four reads at a time, 32 spins a decision.
//
// Conventions: couplings W_ij = 2 S_ij with integer S in units of energy, symmetric, zero diagonal; rows `stride` elements apart
// (a multiple of 32), 64-byte aligned, padded with zeros, and one row of zeros behind the last. Local fields
// L_j = f_j + sum_i S_ij s_i in the same units, padded with zeros. Spins are bits, set for -1. A flip of spin i
// changes L by -s_i W_i with saturation, which is exact as long as no field leaves the int16 range; every
// instruction set saturates alike and in the same order, so all give the same numbers.
// The kernels count gain = sum of s_i L_i over the flips, by twice which the energy fell; annealing takes it from the
// local fields at the end of every sweep, which is cheaper than at every flip.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/random_state.hpp"

namespace qpsbgd {

inline constexpr std::size_t kBlock = 32;  // spins decided at once
inline constexpr std::size_t kReplicaGroup =
    4;  // reads interleaved, so that one's latency hides behind the others'
inline constexpr std::size_t kExponentials =
    4096;  // entries of the table of exponentials, kBlock more repeat its start
inline constexpr double kLargestExponential = 9.02;  // what 65535 stands for in the table

struct Int16Replica {
    const std::int16_t* couplings;
    const std::int16_t* fields;  // f, stride
    std::int16_t* local;
    std::int16_t* scratch;             // stride: the thresholds of a sweep, or the tabu tenures
    std::uint32_t* negative;           // spins, stride / 32 words
    std::uint32_t* best_negative;      // spins at the best gain
    const std::uint32_t* temperature;  // per sweep: temperature on s_i L_i, times kLargestExponential
    RandomState random;
    std::int64_t start;  // sum of s_i (f_i + L_i), twice the energy, where gain is 0
    std::int64_t gain;
    std::int64_t best_gain;
    // Where an annealing run stands.
    std::size_t sweep;
    std::size_t block;
    std::uint32_t pending;  // spins of the block not yet decided
    bool drawn;             // the sweep's thresholds are in scratch
    // Tabu search: a flipped spin rests for least + 1 .. least + spread iterations.
    std::uint32_t least_tenure;
    std::uint32_t tenure_spread;
    std::size_t since_best;  // iterations since the last new best
};

struct DenseInt16Kernels {
    // L = f + sum_i s_i S_i of `count` <= 4 replicas, from `local` holding f: s_0 S_0 + s_1 S_1 is added, then the next
    // two rows, saturating. n^2 / 2 additions a replica, and 2 n^2 for all with the same couplings.
    void (*local_fields)(const Int16Replica* replicas, std::size_t count, std::size_t n, std::size_t stride);

    // Flips one spin. stride / 32 times 4 vector operations.
    void (*flip)(Int16Replica& replica, std::size_t spin, std::size_t stride);

    // Metropolis sweeps of `count` <= 4 replicas, from where each stands up to sweep `last` or for about `steps` steps
    // (a step decides on 32 spins or flips one), whichever ends first: flips i when s_i L_i > -e_i T with e_i
    // exponential (T = 0: greedy). Keeps the best state seen at the end of a sweep. True when all reached `last`.
    // Per attempt 5/32 vector operations, per flip as `flip`.
    bool (*anneal)(Int16Replica* replicas, std::size_t count, std::size_t n, std::size_t stride,
                   const std::uint16_t* exponentials, std::size_t last, std::size_t steps);

    // `flips` <= 16384 iterations of one-flip tabu search of `count` <= 4 replicas: the best step of all spins that do
    // not rest or whose flip gives a new best. scratch holds what is left of every spin's rest. Per iteration
    // stride / 32 times 7 (up to 128 spins) or 9 vector operations with AVX-512.
    void (*tabu)(Int16Replica* replicas, std::size_t count, std::size_t n, std::size_t stride,
                 std::size_t flips);
};

}  // namespace qpsbgd
