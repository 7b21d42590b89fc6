// What presolve leaves of a problem: solved component by component, and put back.
//
// Components of few spins are searched exhaustively, the others by the method asked for, each with all its reads: the best
// reads of all of them make the best answer, the second best ones the second. Every answer ends as all do, as a local
// minimum of the caller's own numbers in float64 (batch/finish.hpp).
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "qpsbgd/cancellation.hpp"
#include "qpsbgd/problem.hpp"
#include "qpsbgd/solve.hpp"

namespace qpsbgd {

// Solves the problem after presolve; nothing, and nothing done, where presolve is not wanted or does not pay. The answer is
// proven where nothing is left but small components and rounding cannot have changed more than the twelfth digit.
// Throws std::invalid_argument where presolve is asked for and cannot serve the batch.
std::optional<SolveReport> solve_presolved(const IsingBatch& batch, const SolveOptions& options,
                                           std::span<std::int8_t> samples, std::span<double> energies,
                                           StopToken& token);

}  // namespace qpsbgd
