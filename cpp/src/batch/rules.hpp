// What a batch is solved with, where the caller leaves it open.
#pragma once

#include <cstddef>

#include "qpsbgd/problem.hpp"
#include "qpsbgd/solve.hpp"

namespace qpsbgd {

inline constexpr std::size_t kExactLimit = 24;      // spins that `exact` accepts
inline constexpr std::size_t kAutoExactLimit = 20;  // spins up to which `auto` chooses it

// The method asked for, or the one that "auto" stands for. Throws std::invalid_argument where "exact" would take too long.
Method choose_method(const IsingBatch& batch, const SolveOptions& options);

// Runs whose best are the answer to one read.
std::size_t runs_per_read(const IsingBatch& batch, const SolveOptions& options);

}  // namespace qpsbgd
