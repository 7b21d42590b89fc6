// State of the random numbers, as plain data that kernels share with the class Random.
#pragma once

#include <cstdint>

namespace qpsbgd {

// xoshiro256++, the stream of one read.
struct RandomState {
    std::uint64_t word[4];
};

}  // namespace qpsbgd
