// What the kernels of this family compute, written on their own: tests compare every instruction set with it.
//
// Identity: L_j = f_j + sum_i S_ij s_i with W = 2 S; a flip of spin i takes s_i W_ij from every L_j and lowers the energy
// by 2 s_i L_i. Sums run in the order of i, and every operation rounds once, so results are equal to the last bit.
// Alignment: none. Cost: one multiplication and one addition per coupling.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/dense_float32/table.hpp"

namespace qpsbgd::reference::dense_float32 {

inline void local_fields(const float* couplings, std::size_t stride, std::size_t n, const float* fields,
                         const float* spins, float* local) {
    for (std::size_t j = 0; j < n; ++j) {
        float sum = 0.0F;
        for (std::size_t i = 0; i < n; ++i) {
            sum += couplings[i * stride + j] * spins[i];
        }
        local[j] = 0.5F * sum + fields[j];
    }
}

inline void flip(const float* row, std::size_t n, std::size_t spin, float* spins, float* local) {
    for (std::size_t j = 0; j < n; ++j) {
        local[j] = spins[spin] > 0.0F ? local[j] - row[j] : local[j] + row[j];
    }
    spins[spin] = spins[spin] > 0.0F ? -1.0F : 1.0F;
}

// Visits spins [begin, end) in order and flips those that accepts(i, s_i L_i) names. The sum of s_i L_i over the flips.
template <class Accepts>
double visit(const float* couplings, std::size_t stride, std::size_t n, std::size_t begin, std::size_t end,
             const Accepts& accepts, float* spins, float* local) {
    double gain = 0.0;
    for (std::size_t i = begin; i < end; ++i) {
        const float fall = spins[i] > 0.0F ? local[i] : -local[i];
        if (accepts(i, fall)) {
            gain += static_cast<double>(fall);
            flip(couplings + i * stride, n, i, spins, local);
        }
    }
    return gain;
}

inline double metropolis(const float* couplings, std::size_t stride, std::size_t n, std::size_t begin,
                         std::size_t end, const float* thresholds, float* spins, float* local) {
    const auto accepts = [&](std::size_t i, float fall) { return fall + thresholds[i] >= 0.0F; };
    return visit(couplings, stride, n, begin, end, accepts, spins, local);
}

inline double greedy(const float* couplings, std::size_t stride, std::size_t n, std::size_t begin,
                     std::size_t end, float* spins, float* local) {
    const auto accepts = [](std::size_t /*i*/, float fall) { return fall > 0.0F; };
    return visit(couplings, stride, n, begin, end, accepts, spins, local);
}

// Spin i is the move if no allowed spin falls by more, and none before it by as much.
inline Move best_move(std::size_t n, const float* spins, const float* local, const std::int32_t* tabu_until,
                      std::int32_t now, float aspiration) {
    const auto fall = [&](std::size_t i) { return spins[i] * local[i]; };
    const auto allowed = [&](std::size_t i) { return tabu_until[i] <= now || fall(i) > aspiration; };
    for (std::size_t i = 0; i < n; ++i) {
        bool is_best = allowed(i);
        for (std::size_t j = 0; j < n && is_best; ++j) {
            is_best = !allowed(j) || fall(j) < fall(i) || (fall(j) == fall(i) && j >= i);
        }
        if (is_best) {
            return {i, true};
        }
    }
    return {0, false};
}

}  // namespace qpsbgd::reference::dense_float32
