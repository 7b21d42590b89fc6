// One call solves a batch of Ising problems.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "qpsbgd/problem.hpp"
#include "qpsbgd/progress.hpp"

namespace qpsbgd {

enum class Method : std::uint8_t { automatic, exact, descent, anneal, tabu };

// beta multiplies energy differences in the caller's units: a flip by dE is accepted with min(1, exp(-beta dE)).
struct BetaRange {
    double hot = 0.0;   // first and smallest
    double cold = 0.0;  // last and largest
};

// Annealing by another rule than the default's: sequential Metropolis sweeps from hot to cold, of which the best state is
// improved and kept.
struct Sampling {
    std::vector<double> betas;  // of each sweep, in any order
    bool gibbs = false;         // accepts with probability 1 / (1 + exp(beta dE))
    bool random_order = false;  // each proposal is of a random spin
    bool keep_last = false;     // the answer is the last state, as it is
};

// Are spins taken out of a sparse problem before it is solved, where their best values follow from others? `automatic`: of
// one problem of the default method, where that leaves no component of more than half of the spins.
enum class Presolve : std::uint8_t { off, automatic, on };

struct SolveOptions {
    Method method = Method::automatic;
    std::size_t reads = 1;
    std::optional<std::size_t> sweeps;
    std::optional<BetaRange> beta_range;
    std::optional<double> time_limit;  // seconds
    std::optional<Sampling> sampling;  // of method anneal; in float32
    Presolve presolve = Presolve::off;
    std::uint64_t seed = 0;
    std::size_t threads = 1;
    std::uint64_t first_problem = 0;  // number of the batch's first problem in the caller's larger batch
    std::function<bool()> interrupt_check;
    std::function<bool()> finish_check;  // true: return what has been found
    Progress* progress = nullptr;        // of this batch; ends the solve once all targets are reached
};

// Spins that presolve took out, and what it left.
struct PresolveReport {
    std::size_t decided = 0;  // by their fields
    std::size_t degree_one = 0;
    std::size_t degree_two = 0;
    std::size_t remaining = 0;
    std::size_t components = 0;  // of the remaining spins
};

struct SolveReport {
    std::string_view method;
    std::optional<BetaRange> beta_range;  // of the first problem
    std::size_t reads = 0;                // that every problem has had
    std::uint64_t sweeps = 0;             // over all problems and reads
    bool proven = false;                  // every answer is a global minimum
    std::int64_t preparation_ns = 0;
    std::int64_t solve_ns = 0;
    std::optional<PresolveReport> presolve;  // where it acted
};

// Solves the batch into samples (problems x reads x n) and energies (problems x reads), best read first. Once the time
// limit is over, a target is reached or finish_check says so, reads that have not begun are left out, except the first of
// every problem: they stand last, with infinite energy, and their spins are not written. Every read that is not left out is
// a local minimum of the batch's own numbers, up to rounding in float64, unless the last states of a sampling are wanted.
// Threads that the system does not give are done without, and so are those beyond 1024; no result depends on their number,
// unless there is a time limit or a target. With one of these no answer is worse than the progress knows.
// Throws std::invalid_argument for what the batch cannot be, std::domain_error where an energy overflows, Interrupted when
// interrupt_check says so.
SolveReport solve(const IsingBatch& batch, const SolveOptions& asked, std::span<std::int8_t> samples,
                  std::span<double> energies);

}  // namespace qpsbgd
