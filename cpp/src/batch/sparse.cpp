// Batches with sparse couplings: 64 replicas at a time where that serves, else one read after the other.
#include "base/schedule.hpp"
#include "base/threads.hpp"
#include "batch/replicas.hpp"
#include "batch/run.hpp"

namespace qpsbgd {
namespace {

// Many reads of sparse problems with small integers.
bool solve_as_replicas(BatchRun& run, const SparseMatrix& matrix, SolveReport& report) {
    if (run.options.method != Method::anneal || run.options.sampling ||
        !replicas_pay(run.batch, run.options)) {
        return false;
    }
    const auto start = Clock::now();
    const auto couplings = Int8ReplicaCouplings::make(matrix, run.batch, run.token);
    report.preparation_ns += nanoseconds_since(start);
    if (!couplings) {
        return false;
    }
    const auto finish = [&](std::size_t worker, std::size_t problem, std::size_t read) {
        finish_sparse(run.batch,
                      {problem, run.sample(problem, read), &run.energies[problem * run.options.reads + read]},
                      run.workers[worker].finish, run.token);
        run.note(problem, read);
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

void watch_with_sparse(BatchRun& run) {
    for (Worker& worker : run.workers) {
        worker.evaluate = [&](std::size_t problem, std::span<std::int8_t> spins) {
            double energy = 0.0;
            finish_sparse(run.batch, {problem, spins, &energy}, worker.finish, run.token);
            return energy;
        };
    }
}

}  // namespace

template <class Real>
void solve_sparse(BatchRun& run, const SparseView<Real>& view, SolveReport& report) {
    const auto start = Clock::now();
    const SparseMatrix matrix(view, run.batch.coupling_scale);
    report.preparation_ns = nanoseconds_since(start);
    watch_with_sparse(run);
    if (solve_as_replicas(run, matrix, report)) {
        return;
    }
    parallel_for(run.batch.problems * run.options.reads, run.options.threads, run.token,
                 [&](std::size_t worker, std::size_t piece) {
                     const std::size_t problem = piece / run.options.reads;
                     const std::size_t read = piece % run.options.reads;
                     if (run.left_out(read)) {
                         return;
                     }
                     solve_read(run, matrix, run.workers[worker], problem, read);
                     if (run.keeps_last()) {
                         store_energy(energy_of_state(run.batch, problem, run.sample(problem, read)),
                                      run.energies[piece]);
                     } else {
                         finish_sparse(run.batch, {problem, run.sample(problem, read), &run.energies[piece]},
                                       run.workers[worker].finish, run.token);
                     }
                     run.note(problem, read);
                 });
    report.beta_range = run.first_beta_range;
}

template void solve_sparse(BatchRun&, const SparseView<float>&, SolveReport&);
template void solve_sparse(BatchRun&, const SparseView<double>&, SolveReport&);

}  // namespace qpsbgd
