// One batch at work: what its parts share, and the ways to solve it.
//
// A piece of work is one read of one problem when the couplings are shared, and one problem with all its reads
// when every problem brings its own couplings, so that these are prepared once.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "batch/finish.hpp"
#include "batch/share_time.hpp"
#include "batch/watch.hpp"
#include "qpsbgd/cancellation.hpp"
#include "qpsbgd/problem.hpp"
#include "qpsbgd/solve.hpp"
#include "search/float32/read_state.hpp"
#include "search/int16/group.hpp"

namespace qpsbgd {

// The state of one worker: its read, scratch memory, and what it adds to the report.
struct Worker {
    ReadState state;
    FinishSpace finish;
    Int16Group int16;
    std::vector<std::size_t> group;  // pieces of work to be searched together
    Evaluate evaluate;               // where the progress is watched
    std::uint64_t sweeps = 0;
    bool all_proven = true;
};

struct BatchRun {
    BatchRun(const IsingBatch& the_batch, const SolveOptions& chosen, std::span<std::int8_t> all_samples,
             std::span<double> all_energies, StopToken& stop_token);

    const IsingBatch& batch;
    const SolveOptions& options;  // with the method chosen
    std::span<std::int8_t> samples;
    std::span<double> energies;
    StopToken& token;
    std::vector<Worker> workers;
    TimeShare time;
    std::optional<BetaRange> first_beta_range;

    // A read that has not begun when the caller wants to finish; every problem gets one answer.
    bool left_out(std::size_t read) const { return read != 0 && token.finishing(); }

    // Are the answers the last states of the sampling, as they are?
    bool keeps_last() const { return options.sampling && options.sampling->keep_last; }

    // A read that is done: its answer and energy stand in samples and energies.
    void note(std::size_t problem, std::size_t read) const;

    // The spins to start from, or nothing.
    std::span<const std::int8_t> initial_state(std::size_t problem, std::size_t read) const;

    std::span<std::int8_t> sample(std::size_t problem, std::size_t read) const {
        return samples.subspan((problem * options.reads + read) * batch.n, batch.n);
    }
};

std::int64_t nanoseconds_since(Clock::time_point start);

template <class Real>
void solve_dense(BatchRun& run, const DenseView<Real>& view, SolveReport& report);

template <class Real>
void solve_sparse(BatchRun& run, const SparseView<Real>& view, SolveReport& report);

// One answer for all reads of a problem.
void solve_exact(BatchRun& run);

// One read in float32, but for its exact energy.
template <class Matrix>
void solve_read(BatchRun& run, const Matrix& matrix, Worker& worker, std::size_t problem, std::size_t read);

}  // namespace qpsbgd
