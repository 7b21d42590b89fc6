// What the kernel of this family computes, one read after another: tests compare every instruction set with it.
//
// Identity: the sweeps of dense_int16/reference.inl, with fields as plain sums L_i = f_i + sum_j S_ij s_j that are added up
// anew for every attempt. Nothing saturates. The gain is the sum of s_i L_i over the flips.
// Alignment: none. Cost: n additions per attempt.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "kernels/dense_int16/reference.inl"
#include "kernels/replicas_int16/table.hpp"

namespace qpsbgd::reference::replicas_int16 {

// One of the 32 reads.
struct Read {
    std::vector<int> spins;
    std::vector<int> best_spins;
    std::vector<int> fields;
    std::vector<std::uint32_t> temperature;
    RandomState random{};
    std::int64_t gain = 0;
    std::int64_t best_gain = 0;
};

// `couplings` is S, n x n.
inline void anneal(Read& read, std::span<const int> couplings, const std::uint16_t* exponentials,
                   std::size_t first, std::size_t last) {
    const std::size_t n = read.spins.size();
    for (std::size_t sweep = first; sweep < last; ++sweep) {
        dense_int16::Places places(read.random);
        const std::uint16_t* drawn = nullptr;
        for (std::size_t i = 0; i < n; ++i) {
            if (i % 32 == 0) {
                drawn = exponentials + places.next();
            }
            int local = read.fields[i];
            for (std::size_t j = 0; j < n; ++j) {
                local += couplings[i * n + j] * read.spins[j];
            }
            const int fall = read.spins[i] * local;
            if (fall + dense_int16::threshold(drawn[i % 32], read.temperature[sweep]) >= 0) {
                read.spins[i] = -read.spins[i];
                read.gain += fall;
            }
        }
        if (read.gain > read.best_gain) {
            read.best_gain = read.gain;
            read.best_spins = read.spins;
        }
    }
}

}  // namespace qpsbgd::reference::replicas_int16
