// The last step of every read: from the caller's own numbers, in float64.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "qpsbgd/cancellation.hpp"
#include "qpsbgd/problem.hpp"

namespace qpsbgd {

// Scratch memory of one worker.
struct FinishSpace {
    std::vector<double> spins;
    std::vector<double> local;
};

// Energy of `spins` by the definition, after flipping every spin whose flip lowers it by more than rounding
// error when `descend` is set (the solvers search in float32). Two passes over the couplings.
double finish(const IsingBatch& batch, std::size_t problem, bool descend, std::span<std::int8_t> spins,
              FinishSpace& space, StopToken& token);

// S = scale (J + J') without its diagonal, (n x n) in float64. For small n.
std::vector<double> symmetric_couplings(const IsingBatch& batch, std::size_t problem);

}  // namespace qpsbgd
