// Sparse small-integer couplings: int8 local fields of 64 replicas side by side.
//
// A replica is one read of one problem; its number in the group of 64 is its lane. Spins are numbered by their position
// in the order of the sweep. Couplings S_ij and fields f_i are integers with |f_i| + sum_j |S_ij| <= 127, so every local
// field L_i = f_i + sum_j S_ij s_j fits int8. A flip of spin i changes L_j by -s_i W_ij with W = 2 S, modulo 256.
//
// Metropolis: each lane draws a random byte u for each visit and flips when u > c(-s_i L_i), c being 0 where the energy
// does not rise. Scaled by 255 / 256, the acceptance probabilities are exact in the mean: c is rounded up or down by
// choosing one of kDithers tables of c, each rounded with another offset, by the position, which is the same in all
// lanes. The least probability above 0 is 1 / (256 kDithers).
//
// Every lane draws from a generator of its own (xoroshiro128++, 8 visits a word), so a replica's numbers do not depend
// on which replicas share its group.
#pragma once

#include <cstddef>
#include <cstdint>

namespace qpsbgd {

inline constexpr std::size_t kInt8Replicas = 64;
inline constexpr std::size_t kDithers = 64;
inline constexpr std::size_t kTableWidth = 16;  // rises of the energy in one part of a table of c
inline constexpr std::size_t kMostTableParts = 8;
inline constexpr std::size_t kVisitsPerWord = 8;
inline constexpr int kInt8Reach = 127;     // largest local field
inline constexpr int kInt8HubReach = 254;  // of a hub, of whose field half is stored

// One coupling, as offsets in bytes: of the neighbour's local fields, and of W in the table of weights.
struct Int8Edge {
    std::uint32_t neighbour;
    std::uint32_t weight;
};

struct Int8Replicas {
    const std::uint32_t* row_start;  // edges of the spin at each position, n + 1
    const Int8Edge* edges;
    const std::int8_t* weights;  // 256 x 64: row w holds w in all lanes
    // Null, or for each spin: -1, or for hubs with fields up to 254, whose `local` is (L - h) / 2, that h, 0 or 1.
    const std::int8_t* halved;
    std::int8_t* local;     // n x 64
    std::uint64_t* up;      // n: bit `lane` is set when the spin is +1 there
    std::int32_t* gain;     // 64: sum of s_i L_i over the flips; the energy fell by twice that
    std::uint64_t* random;  // 2 x 64 words of state; lane 8 q + v is in column 8 v + q
    int reach;              // largest |L| of the others that can occur
};

// c for every rise 0, 1, ... of s_i L_i: [dither][part][rise % 16], the last entry 255 (never) and used for all above.
struct Int8Acceptance {
    const std::uint8_t* table;
    std::size_t parts;
    std::size_t phase;  // of the choice of dithers, another in every sweep
};

// The table that serves kVisitsPerWord visits from a position on.
constexpr std::size_t dither_at(std::size_t position, std::size_t phase) {
    return (39 * (position / kVisitsPerWord) + phase) % kDithers;  // 39 / 64 is close to the golden section
}

struct SparseInt8Kernels {
    // Turns the spins of `target` to +1 in all n positions, from the state that has them all -1. One addition of 64 int8
    // an edge.
    void (*raise)(const Int8Replicas& replicas, const std::uint64_t* target, std::size_t n);

    // Metropolis over positions [begin, end), begin a multiple of 8. AVX-512: about 25 vector operations a spin and 2 an
    // edge, for 64 attempts.
    void (*metropolis)(const Int8Replicas& replicas, std::size_t begin, std::size_t end,
                       const Int8Acceptance& acceptance);

    // One greedy pass over [begin, end). Returns the lanes in which a spin flipped.
    std::uint64_t (*greedy)(const Int8Replicas& replicas, std::size_t begin, std::size_t end);
};

}  // namespace qpsbgd
