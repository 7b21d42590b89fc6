// The k lowest states of a small problem.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "qpsbgd/cancellation.hpp"

namespace qpsbgd {

// A problem of n spins in float64: E(s) = sum_{i<j} coupling[i * n + j] s_i s_j + sum_i field[i] s_i + constant, where
// coupling is symmetric.
struct SmallIsing {
    std::size_t n = 0;
    std::vector<double> coupling;
    std::vector<double> field;
    double constant = 0.0;
};

struct SmallState {
    double energy;
    std::uint64_t up;  // bit i is set when spin i is +1
};

// The `count` states of lowest energy (all where there are fewer), lowest first, equal energies in the order of `up`.
// False, and those of the states visited, when the budget ran out before.
bool find_k_best(const SmallIsing& problem, std::size_t count, Budget& budget, std::vector<SmallState>& best);

}  // namespace qpsbgd
