// Products with weights of one bit each, for trained networks.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "qpsbgd/cancellation.hpp"

namespace qpsbgd {

// Weights as bits, set for -1: `count` rows of `columns` signs, 32 to a word, each row in whole words whose last bits are
// clear.
struct PackedSigns {
    std::span<const std::uint32_t> bits;
    std::size_t count;
    std::size_t columns;

    std::size_t words() const { return (columns + 31) / 32; }
};

// out (samples x count) = inputs (samples x columns) times the signs. A sample of -1 and +1 alone is multiplied by XNOR
// and counts of bits, exactly; other samples in float32, in the same order on every machine and for any number of threads.
void packed_product(const PackedSigns& signs, std::span<const float> inputs, std::size_t samples,
                    std::span<float> out, std::size_t threads, StopToken& token);

}  // namespace qpsbgd
