// Sparse couplings of +1 and -1: 64 replicas, their local fields counted from bits.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/sparse_int8/table.hpp"

namespace qpsbgd {

// Where all couplings are +1 or -1, there are no fields, and all degrees are at most 6 and even, or odd: local fields
// need not be stored but are counted bit by bit, 64 replicas in a word. Same results as with Int8Replicas.
//
// `words` holds for each of n spins up_i and its inverse, then 0 and the inverse of it. An edge is the offset in
// bytes of that word which differs from up_i where the coupling is satisfied; spins of lower degree have pairs of edges
// to the last two words.
struct BitReplicas {
    const std::uint32_t* edges;  // n x degree
    const std::uint32_t* bonds;  // every coupling once, as two offsets
    std::size_t degree;          // 3 to 6
    std::size_t bond_count;
    std::uint64_t* words;
    std::uint64_t* random;  // as in Int8Replicas
};
inline constexpr std::size_t kLeastBitDegree = 3;
inline constexpr std::size_t kMostBitDegree = 6;

struct SparseBitsKernels {
    // As SparseInt8Kernels::metropolis and greedy, with local fields counted from bits. AVX-512: 14 vector operations and about 30 others a spin of degree 4.
    void (*metropolis)(const BitReplicas& replicas, std::size_t begin, std::size_t end,
                       const Int8Acceptance& acceptance);
    std::uint64_t (*greedy)(const BitReplicas& replicas, std::size_t begin, std::size_t end);

    // Satisfied couplings of each lane. About 9 operations a coupling.
    void (*satisfied)(const BitReplicas& replicas, std::int32_t* count);

    // kept_i = up_i in the lanes of `mask`, the up_i `stride` words apart. n words.
    void (*keep)(const std::uint64_t* up, std::size_t stride, std::uint64_t* kept, std::size_t n,
                 std::uint64_t mask);
};

}  // namespace qpsbgd
