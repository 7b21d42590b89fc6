// Random numbers that annealing in int16 compares with.
#pragma once

#include <cstdint>

namespace qpsbgd {

// The quantiles of the exponential distribution in a fixed random order, in units of kLargestExponential / 65535; the
// first block is repeated behind the end, so that a block may be read from any place.
const std::uint16_t* exponentials_int16();

}  // namespace qpsbgd
