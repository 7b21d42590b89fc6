// Dense float32 couplings.
//
// Conventions: couplings W_ij = 2 S_ij with S = scale (J + J'), zero diagonal, so that a flip of spin i changes
// every local field L_j = f_j + sum_i S_ij s_i by exactly -s_i W_ij: one rounding, the same on every machine.
// Rows are `stride` floats apart, 64-byte aligned, padded with zeros. Spins are stored as floats -1 and +1.
#pragma once

#include <cstddef>
#include <cstdint>

namespace qpsbgd {

struct Move {
    std::size_t spin;
    bool found;
};

struct DenseFloat32Kernels {
    // L = f + 1/2 sum_i s_i W_i, in the order of i. n^2 additions.
    void (*local_fields)(const float* couplings, std::size_t stride, std::size_t n, const float* fields,
                         const float* spins, float* local);

    // Flips spin i: L -= s_i W_i, s_i = -s_i. n additions.
    void (*flip)(const float* row, std::size_t n, std::size_t spin, float* spins, float* local);

    // Sequential Metropolis over spins [begin, end): flips i when s_i L_i + threshold_i >= 0.
    // Returns the sum of s_i L_i over the flips; the energy falls by twice that. n additions per flip.
    double (*metropolis)(const float* couplings, std::size_t stride, std::size_t n, std::size_t begin,
                         std::size_t end, const float* thresholds, float* spins, float* local);

    // One greedy pass over [begin, end): flips i when s_i L_i > 0. Returns as `metropolis`.
    double (*greedy)(const float* couplings, std::size_t stride, std::size_t n, std::size_t begin,
                     std::size_t end, float* spins, float* local);

    // The spin with the largest s_i L_i (largest fall of the energy) among those with tabu_until_i <= now, or
    // with s_i L_i > aspiration; ties go to the lowest index. n comparisons.
    Move (*best_move)(std::size_t n, const float* spins, const float* local, const std::int32_t* tabu_until,
                      std::int32_t now, float aspiration);
};

}  // namespace qpsbgd
