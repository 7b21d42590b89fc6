// Dense int16 couplings: 32 reads of the same couplings, one to a lane.
//
// Sixteen spins at a time: L = f + S s of all reads is summed anew, then the spins are decided one after another,
// each for all reads at once, and a flip changes only the fields of the spins of the sixteen that come after it. So a
// flip costs the same as none, and nothing is read that other reads do not share. Conventions are those of
// dense_int16/table.hpp; without saturation, which the caller has to rule out, so are the numbers.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/dense_int16/table.hpp"

namespace qpsbgd {

inline constexpr std::size_t kInt16Replicas = 32;  // reads
inline constexpr std::size_t kTileSpins = 16;      // decided between two sums
inline constexpr std::size_t kTilePairs = kTileSpins * (kTileSpins - 1) / 2;

struct Int16Replicas {
    std::size_t stride = 0;        // spins, padded to whole blocks of 32
    const void* packed = nullptr;  // S, by ReplicasInt16Kernels::pack
    // W_ij of every sixteen spins, i < j in order of i, twice in a word.
    const std::int32_t* pairs = nullptr;
    std::size_t real_spins = 0;            // n
    const std::int16_t* fields = nullptr;  // f: stride x kInt16Replicas
    std::uint32_t* negative = nullptr;     // a word of reads for each spin
    std::uint32_t* best_negative = nullptr;
    void* workspace = nullptr;                              // zeros at first
    const std::uint32_t* temperature[kInt16Replicas] = {};  // per sweep, as in Int16Replica
    RandomState random[kInt16Replicas] = {};
    std::int64_t gain[kInt16Replicas] = {};
    std::int64_t best_gain[kInt16Replicas] = {};
};

struct ReplicasInt16Kernels {
    // Metropolis sweeps first .. last - 1 of all reads, as DenseInt16Kernels::anneal does them.
    void (*anneal)(Int16Replicas& replicas, const std::uint16_t* exponentials, std::size_t first,
                   std::size_t last);

    // S = W / 2 of n spins as anneal reads it; rows of W are `stride` elements apart.
    std::size_t (*packed_bytes)(std::size_t n, std::size_t stride);
    void (*pack)(const std::int16_t* couplings, std::size_t n, std::size_t stride, void* packed);
    std::size_t (*workspace_bytes)(std::size_t n);

    // Measured: more spins, or fewer reads, are faster four reads at a time. Time of a sweep of 32 reads in microseconds, in
    // step and four at a time, over an annealing schedule of random couplings (Xeon of 2023, one thread):
    //                n = 64        100        150        200        256        400        600
    //     AVX2     1.3 / 2.6  2.9 / 5.6  4.9 / 7.2  7.8 / 12   12 / 15    32 / 32   200 / 63
    //     scalar   3.3 / 15   6.5 / 38   12 / 47    17 / 99    25 / 143   70 / 305  240 / 596
    std::size_t most_spins;
    std::size_t least_reads;
};

}  // namespace qpsbgd
