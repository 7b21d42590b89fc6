// Random spins as bits.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/rng.hpp"
#include "kernels/dense_int16/table.hpp"

namespace qpsbgd {

// Bits of n random spins, padding clear.
inline void random_bits(Random& random, std::size_t n, std::span<std::uint32_t> bits) {
    for (std::uint32_t& word : bits) {
        word = static_cast<std::uint32_t>(random.next() >> 32);
    }
    if (n % kBlock != 0) {
        bits.back() &= (std::uint32_t{1} << (n % kBlock)) - 1;
    }
}

}  // namespace qpsbgd
