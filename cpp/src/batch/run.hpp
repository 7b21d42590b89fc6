// One batch at work: what its parts share, and the ways to solve it.
//
// A piece of work is one read of one problem when the couplings are shared, and one problem with all its reads
// when every problem brings its own couplings, so that these are prepared once.
//
// When the time is up, reads that have not begun are left out, but for the first of every problem: each gets a local
// minimum. Where not even the couplings could be brought into a solver's form, that is the one below the read's start,
// by the caller's own numbers. So an answer takes at least a few passes over the couplings of every problem.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <limits>
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
    std::vector<std::size_t> group;  // places of answers to be searched together
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
    SparseFinish sparse_finish;
    std::optional<BetaRange> first_beta_range;

    std::size_t problem_of(std::size_t answer) const { return answer / options.reads; }
    std::size_t read_of(std::size_t answer) const { return answer % options.reads; }

    // The place of the answer that is found `index`-th: `together` reads of the first problem, as many of each of the
    // others, then the next reads of the first. So all problems have had about as many reads when the time is up.
    std::size_t answer_of(std::size_t index, std::size_t together) const;

    // Every problem gets an answer, late or not.
    bool is_needed(std::size_t answer) const { return read_of(answer) == 0; }

    // Writes the spins that a read starts from: its initial state, or random ones.
    void start(std::size_t problem, std::size_t read, std::span<std::int8_t> spins) const;

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

// Stands for the energy of a read that was left out.
inline constexpr double kLeftOut = std::numeric_limits<double>::infinity();

// Best read first; equal energies keep the order of the reads. The least number of reads that a problem has had: those
// that were left out come last, and their memory is not touched.
std::size_t sort_reads(BatchRun& run);

// The best state that the progress knows is the answer, where the search itself kept another: it judges in its own units.
void take_best_known(BatchRun& run);

// A batch within the token's deadline: by the method asked for, or the ones that "auto" stands for.
SolveReport solve_batch(const IsingBatch& batch, const SolveOptions& asked, std::span<std::int8_t> samples,
                        std::span<double> energies, StopToken& token);

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
