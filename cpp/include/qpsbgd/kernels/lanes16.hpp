// Dense int16 couplings: 32 reads of the same couplings, one to a lane, for machines that multiply tiles of int8.
//
// Sixteen spins at a time: L = f + S s of all reads is multiplied anew, then the spins are decided one after another,
// each for all reads at once, and a flip changes only the fields of the spins of the sixteen that come after it. So a
// flip costs the same as none, and nothing is read that other reads do not share. Conventions are those of
// dense16.hpp; without saturation, which the caller has to rule out, so are the numbers.
#pragma once

#include <cstddef>
#include <cstdint>

#include "qpsbgd/kernels/dense16.hpp"

namespace qpsbgd {

inline constexpr std::size_t kLanes16 = 32;      // reads
inline constexpr std::size_t kTileSpins = 16;    // decided between two multiplications
inline constexpr std::size_t kTileDepth = 64;    // spins that one tile multiplies
inline constexpr std::size_t kTileBytes = 1024;  // of a tile of int8
inline constexpr std::size_t kTilePairs = kTileSpins * (kTileSpins - 1) / 2;

struct Lanes16 {
    std::size_t stride = 0;  // spins, padded to whole blocks of 32
    std::size_t depth = 0;   // spins, padded to whole tiles of kTileDepth
    // S of every sixteen spins i and kTileDepth spins j, as 256 high + low: a tile of low, then one of high parts.
    const std::int8_t* tiles = nullptr;
    // W_ij of every sixteen spins, i < j in order of i, twice in a word.
    const std::int32_t* pairs = nullptr;
    std::size_t real_spins = 0;            // n
    const std::int16_t* fields = nullptr;  // f: stride x kLanes16
    std::uint32_t* negative = nullptr;     // a word of reads for each spin
    std::uint32_t* best_negative = nullptr;
    std::int8_t* spins = nullptr;                     // scratch: depth x kLanes16
    const std::uint32_t* temperature[kLanes16] = {};  // per sweep, as in Replica16
    RandomState random[kLanes16] = {};
    std::int64_t gain[kLanes16] = {};
    std::int64_t best_gain[kLanes16] = {};
};

struct Lanes16Kernels {
    // Metropolis sweeps first .. last - 1 of all reads, as Dense16Kernels::anneal does them. An attempt of one read costs 2 n
    // multiplications of int8 on tiles and about one vector operation. Null where there is no such kernel.
    void (*anneal)(Lanes16& lanes, const std::uint16_t* exponentials, std::size_t first, std::size_t last);
};

}  // namespace qpsbgd
