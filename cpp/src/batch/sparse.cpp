// Batches with sparse couplings: 64 replicas at a time where that serves, else one read after the other.
#include <algorithm>
#include <chrono>
#include <optional>
#include <span>
#include <vector>

#include "base/schedule.hpp"
#include "base/threads.hpp"
#include "batch/replicas.hpp"
#include "batch/run.hpp"

namespace qpsbgd {
namespace {

// Is there time for a group of replicas, which take turns with each other at every spin? Seconds that it takes to prepare
// the couplings, to begin a group and to end it, for each vector operation of a sweep: rather too many.
bool replicas_end_in_time(const BatchRun& run, const SparseMatrix& matrix) {
    constexpr double kSecondsOfOperation = 100e-9;
    if (!run.token.deadline()) {
        return true;
    }
    const auto work = static_cast<double>(4 * matrix.n() + matrix.column().size());
    const std::chrono::duration<double> left = *run.token.deadline() - Clock::now();
    return left.count() > kSecondsOfOperation * work;
}

// Many reads of sparse problems with small integers.
bool solve_as_replicas(BatchRun& run, const SparseMatrix& matrix, SolveReport& report) {
    if (run.options.method != Method::anneal || run.options.sampling ||
        !replicas_pay(run.batch, run.options) || !replicas_end_in_time(run, matrix)) {
        return false;
    }
    const auto start = Clock::now();
    const bool timed =
        run.options.time_limit && !run.options.sweeps;  // results without a limit stay as they were
    const auto couplings = Int8ReplicaCouplings::make(matrix, run.batch, run.token, true, timed);
    report.preparation_ns += nanoseconds_since(start);
    if (!couplings) {
        return false;
    }
    const auto finish = [&](std::size_t worker, std::span<const ReplicaId> replicas) {
        std::vector<Finished> reads;
        for (const auto [problem, read] : replicas) {
            reads.push_back(
                {problem, run.sample(problem, read), &run.energies[problem * run.options.reads + read]});
        }
        run.sparse_finish.finish_all(reads, run.workers[worker].finish, run.token);
        for (const auto [problem, read] : replicas) {
            run.note(problem, read);
        }
    };
    const auto evaluate = [&](std::size_t worker) -> const Evaluate& { return run.workers[worker].evaluate; };
    const auto done =
        anneal_replicas(*couplings, run.batch, run.options, run.options.sweeps.value_or(kDefaultAnnealSweeps),
                        run.samples, finish, evaluate, run.token);
    if (!done) {
        return false;
    }
    report.beta_range = done->beta_range;
    report.sweeps = done->sweeps;
    return true;
}

// One read, if it is needed or there is time for it. Without a matrix: the local minimum below its start.
void solve_one(BatchRun& run, const std::optional<SparseMatrix>& matrix, Worker& worker, std::size_t answer) {
    const std::size_t problem = run.problem_of(answer);
    const std::size_t read = run.read_of(answer);
    if (!run.is_needed(answer) && (!matrix || run.token.out_of_time())) {
        run.time.begin(1);
        return;
    }
    if (matrix) {
        solve_read(run, *matrix, worker, problem, read);
    } else {
        run.start(problem, read, run.sample(problem, read));
    }
    if (!run.is_needed(answer) && run.token.out_of_time(kGrace)) {
        return;
    }
    if (run.keeps_last()) {
        store_energy(energy_of_state(run.batch, problem, run.sample(problem, read)), run.energies[answer]);
    } else {
        run.sparse_finish.finish({problem, run.sample(problem, read), &run.energies[answer]}, worker.finish,
                                 run.token);
    }
    run.note(problem, read);
}

// Within a time limit reads go together, as populations whose states recombine.
void solve_populations(BatchRun& run, const SparseMatrix& matrix) {
    constexpr std::size_t kReads = 8;  // of one population
    const std::size_t populations = (run.options.reads + kReads - 1) / kReads;
    const auto work = [&](Worker& worker, std::size_t problem, std::size_t first) {
        const std::size_t count = std::min(kReads, run.options.reads - first);
        if (first != 0 && run.token.out_of_time()) {
            run.time.begin(count);
            return;
        }
        const std::size_t found = solve_population(run, matrix, worker, problem, first, count);
        for (std::size_t read = first; read < first + found; ++read) {
            if (read != 0 && run.token.out_of_time(kGrace)) {
                return;
            }
            run.sparse_finish.finish(
                {problem, run.sample(problem, read), &run.energies[problem * run.options.reads + read]},
                worker.finish, run.token);
            run.note(problem, read);
        }
    };
    // The first population of every problem before any second one.
    parallel_for(populations * run.batch.problems, run.options.threads, run.token,
                 [&](std::size_t worker, std::size_t index) {
                     work(run.workers[worker], index % run.batch.problems,
                          index / run.batch.problems * kReads);
                 });
}

void watch_with_sparse(BatchRun& run) {
    if (run.options.progress == nullptr) {
        return;
    }
    for (Worker& worker : run.workers) {
        worker.evaluate = [&](std::size_t problem, std::span<std::int8_t> spins) {
            double energy = 0.0;
            run.sparse_finish.finish({problem, spins, &energy}, worker.finish, run.token);
            return energy;
        };
    }
}

}  // namespace

template <class Real>
void solve_sparse(BatchRun& run, const SparseView<Real>& view, SolveReport& report) {
    const auto start = Clock::now();
    constexpr double kNanosecondsWithout = 30.0;
    Budget preparation(run.token, TimeShare::preparation_end(run.token.deadline(), view.value.size() + view.n,
                                                             kNanosecondsWithout));
    const auto matrix = SparseMatrix::make(view, run.batch.coupling_scale, preparation);
    report.preparation_ns = nanoseconds_since(start);
    watch_with_sparse(run);
    if (matrix && solve_as_replicas(run, *matrix, report)) {
        return;
    }
    if (matrix && run.options.method == Method::anneal && !run.options.sampling && run.token.deadline() &&
        !run.options.sweeps) {
        solve_populations(run, *matrix);
    } else {
        parallel_for(run.energies.size(), run.options.threads, run.token,
                     [&](std::size_t worker, std::size_t index) {
                         solve_one(run, matrix, run.workers[worker], run.answer_of(index, 1));
                     });
    }
    report.beta_range = run.first_beta_range;
}

template void solve_sparse(BatchRun&, const SparseView<float>&, SolveReport&);
template void solve_sparse(BatchRun&, const SparseView<double>&, SolveReport&);

}  // namespace qpsbgd
