// What a batch is solved with, where the caller leaves it open.
#pragma once

#include <cstddef>
#include <vector>

#include "qpsbgd/problem.hpp"
#include "qpsbgd/solve.hpp"

namespace qpsbgd {

inline constexpr std::size_t kExactLimit = 24;      // spins that `exact` accepts
inline constexpr std::size_t kAutoExactLimit = 20;  // spins up to which `auto` chooses it

// Problems [first, last) of a batch, solved by one method.
struct Stretch {
    std::size_t first = 0;
    std::size_t last = 0;
    Method method = Method::automatic;
};

// The method asked for, or the ones that "auto" stands for. Each problem's depends on this problem alone, so that no
// answer depends on how a batch is split. Throws std::invalid_argument where "exact" would take too long.
std::vector<Stretch> choose_methods(const IsingBatch& batch, const SolveOptions& options);

// Runs whose best are the answer to one read.
std::size_t runs_per_read(const IsingBatch& batch, const SolveOptions& options);

}  // namespace qpsbgd
