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

inline constexpr std::size_t kReplicaLanes = 64;
inline constexpr std::size_t kDithers = 64;
inline constexpr std::size_t kTableWidth = 16;  // rises of the energy in one part of a table of c
inline constexpr std::size_t kMostTableParts = 8;
inline constexpr std::size_t kVisitsPerWord = 8;
inline constexpr int kReach8 = 127;     // largest local field
inline constexpr int kHubReach8 = 254;  // of a hub, of whose field half is stored

// One coupling, as offsets in bytes: of the neighbour's local fields, and of W in the table of weights.
struct Edge8 {
    std::uint32_t neighbour;
    std::uint32_t weight;
};

struct Replicas8 {
    const std::uint32_t* row_start;  // edges of the spin at each position, n + 1
    const Edge8* edges;
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
struct Acceptance8 {
    const std::uint8_t* table;
    std::size_t parts;
    std::size_t phase;  // of the choice of dithers, another in every sweep
};

// The table that serves kVisitsPerWord visits from a position on.
constexpr std::size_t dither_at(std::size_t position, std::size_t phase) {
    return (39 * (position / kVisitsPerWord) + phase) % kDithers;  // 39 / 64 is close to the golden section
}

// Where all couplings are +1 or -1, there are no fields, and all degrees are at most 6 and even, or odd: local fields
// need not be stored but are counted bit by bit, 64 replicas in a word. Same results as with Replicas8.
//
// `words` holds for each of n spins up_i and its inverse, then 0 and the inverse of it. An edge is the offset in
// bytes of that word which differs from up_i where the coupling is satisfied; spins of lower degree have pairs of edges
// to the last two words.
struct Replicas1 {
    const std::uint32_t* edges;  // n x degree
    const std::uint32_t* bonds;  // every coupling once, as two offsets
    std::size_t degree;          // 3 to 6
    std::size_t bond_count;
    std::uint64_t* words;
    std::uint64_t* random;  // as in Replicas8
};
inline constexpr std::size_t kLeastDegree1 = 3;
inline constexpr std::size_t kMostDegree1 = 6;

struct Sparse8Kernels {
    // Turns the spins of `target` to +1 in all n positions, from the state that has them all -1. One addition of 64 int8
    // an edge.
    void (*raise)(const Replicas8& replicas, const std::uint64_t* target, std::size_t n);

    // Metropolis over positions [begin, end), begin a multiple of 8. AVX-512: about 25 vector operations a spin and 2 an
    // edge, for 64 attempts.
    void (*metropolis)(const Replicas8& replicas, std::size_t begin, std::size_t end,
                       const Acceptance8& acceptance);

    // One greedy pass over [begin, end). Returns the lanes in which a spin flipped.
    std::uint64_t (*greedy)(const Replicas8& replicas, std::size_t begin, std::size_t end);

    // The same with local fields counted from bits. AVX-512: 14 vector operations and about 30 others a spin of degree 4.
    void (*metropolis1)(const Replicas1& replicas, std::size_t begin, std::size_t end,
                        const Acceptance8& acceptance);
    std::uint64_t (*greedy1)(const Replicas1& replicas, std::size_t begin, std::size_t end);

    // Satisfied couplings of each lane. About 9 operations a coupling.
    void (*satisfied1)(const Replicas1& replicas, std::int32_t* count);

    // kept_i = up_i in the lanes of `mask`, the up_i `stride` words apart. n words.
    void (*keep)(const std::uint64_t* up, std::size_t stride, std::uint64_t* kept, std::size_t n,
                 std::uint64_t mask);
};

}  // namespace qpsbgd
