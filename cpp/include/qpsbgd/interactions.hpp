// Couplings of a model that is given as a list of interactions.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "qpsbgd/cancellation.hpp"

namespace qpsbgd {

// Interactions (i, j, value), i != j, in any order; those of the same two spins add up.
template <class Real>
struct Interactions {
    std::span<const std::int32_t> first;
    std::span<const std::int32_t> second;
    std::span<const Real> value;
};

// couplings (n x n, all zero before) is symmetric, J_ij = J_ji = sum of the values of i and j: every interaction counts
// twice in s'Js. Throws std::invalid_argument for a spin outside [0, n) or an interaction of a spin with itself.
template <class Real>
void dense_couplings(const Interactions<Real>& interactions, std::size_t n, std::span<Real> couplings,
                     StopToken& token);

}  // namespace qpsbgd
