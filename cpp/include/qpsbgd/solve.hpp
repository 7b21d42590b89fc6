// The solvers. Each works on the state of one read and knows nothing of threads, batches or Python.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "base/aligned.hpp"
#include "qpsbgd/cancellation.hpp"
#include "search/float32/matrices.hpp"
#include "qpsbgd/problem.hpp"
#include "base/rng.hpp"
#include "base/schedule.hpp"

namespace qpsbgd {

enum class Method : std::uint8_t { automatic, exact, descent, anneal, tabu };

inline constexpr std::size_t kExactLimit = 24;      // spins that `exact` accepts
inline constexpr std::size_t kAutoExactLimit = 20;  // spins up to which `auto` chooses it

// Everything that one read changes. Energies are in the matrix's units.
struct ReadState {
    AlignedVector<float> fields;      // f, (n,)
    AlignedVector<float> spins;       // s, -1 or +1
    AlignedVector<float> local;       // L = f + S s
    AlignedVector<float> thresholds;  // of one sweep
    AlignedVector<float> best_spins;
    std::vector<std::int32_t> tabu_until;
    double energy = 0.0;
    double best_energy = 0.0;
    std::size_t sweeps_done = 0;

    void resize(std::size_t n);

    // Recomputes local fields and energy from the spins.
    template <class Matrix>
    void refresh(const Matrix& matrix) {
        matrix.local_fields(fields.data(), spins.data(), local.data());
        energy = 0.0;
        for (std::size_t i = 0; i < spins.size(); ++i) {
            energy += 0.5 * static_cast<double>(spins[i]) *
                      (static_cast<double>(fields[i]) + static_cast<double>(local[i]));
        }
    }

    void forget_best() { best_energy = std::numeric_limits<double>::infinity(); }

    void keep_if_best() {
        if (energy < best_energy) {
            best_energy = energy;
            best_spins = spins;
        }
    }

    void randomise(Random& random);
};

// Greedy passes until no flip helps, at most `max_sweeps`.
template <class Matrix>
void descend(const Matrix& matrix, ReadState& state, std::size_t max_sweeps, Budget& budget);

// One annealing run from the state's spins over the whole ladder.
template <class Matrix>
void anneal(const Matrix& matrix, ReadState& state, BetaRange range, std::size_t sweeps, Random& random,
            Budget& budget);

// Tabu search from the state's spins, sweeps * n flips.
template <class Matrix>
void tabu(const Matrix& matrix, ReadState& state, std::size_t sweeps, Random& random, Budget& budget);

struct SolveOptions {
    Method method = Method::automatic;
    std::size_t reads = 1;
    std::optional<std::size_t> sweeps;
    std::optional<BetaRange> beta_range;
    std::optional<double> time_limit;  // seconds
    std::uint64_t seed = 0;
    std::size_t threads = 1;
    std::uint64_t first_problem = 0;  // number of the batch's first problem in the caller's larger batch
    std::function<bool()> interrupt_check;
    std::function<bool()> finish_check;  // true: return what has been found
};

struct SolveReport {
    std::string_view method;
    std::optional<BetaRange> beta_range;  // of the first problem
    std::uint64_t sweeps = 0;             // over all problems and reads
    bool proven = false;                  // every answer is a global minimum
    std::int64_t preparation_ns = 0;
    std::int64_t solve_ns = 0;
};

// Solves the batch into samples (problems x reads x n) and energies (problems x reads), best read first. Once
// finish_check says so, reads that have not begun are left out, except the first of every problem: they stand last,
// with infinite energy.
// Throws std::invalid_argument for what the batch cannot be, Interrupted when interrupt_check says so.
SolveReport solve(const IsingBatch& batch, const SolveOptions& asked, std::span<std::int8_t> samples,
                  std::span<double> energies);

}  // namespace qpsbgd
