// Batches with dense couplings: reads in int16 where that serves, else in float32.
#include <algorithm>
#include <array>
#include <optional>
#include <vector>

#include "base/portions.hpp"
#include "base/threads.hpp"
#include "batch/dense_matrices.hpp"
#include "batch/run.hpp"
#include "search/int16/search.hpp"

namespace qpsbgd {
namespace {

// Shows the progress the best states of a worker's group at every poll, and its local minima.
class GroupWatch {
public:
    GroupWatch(BatchRun& run, Worker& worker, std::span<const std::size_t> pieces, Budget& budget)
        : run_(run), group_(worker.int16), pieces_(pieces) {
        if (run.options.progress == nullptr) {
            return;
        }
        watch_.emplace(*run.options.progress, run.token, worker.evaluate, run.batch.n, pieces.size());
        for (const std::size_t piece : pieces) {
            constants_.push_back(constant_of(run.batch, piece / run.options.reads));
        }
        budget.watch([this] { look(); }, [this] { minima(); });
    }

    void look() {
        for (std::size_t index = 0; watch_ && index < group_.size(); ++index) {
            const double energy = group_.best_energy(index) * group_.matrix(index).unit();
            watch_->look(index, problem(index), energy + constants_[index],
                         [&](auto spins) { group_.best_spins(index, spins); });
        }
    }

private:
    void minima() {
        for (std::size_t index = 0; index < group_.size(); ++index) {
            watch_->minimum(problem(index), [&](auto spins) { group_.spins(index, spins); });
        }
    }

    std::size_t problem(std::size_t index) const { return pieces_[index] / run_.options.reads; }

    const BatchRun& run_;
    const Int16Group& group_;
    std::span<const std::size_t> pieces_;
    std::vector<double> constants_;
    std::optional<Watch> watch_;
};

void search_group(BatchRun& run, const DenseMatrices& matrices, Worker& worker,
                  std::span<const std::size_t> pieces) {
    std::array<Int16Read, kInt16Replicas> reads;
    for (std::size_t index = 0; index < pieces.size(); ++index) {
        const std::size_t problem = pieces[index] / run.options.reads;
        const std::size_t read = pieces[index] % run.options.reads;
        reads[index].matrix = &matrices.int16(problem);
        reads[index].fields = run.batch.field(problem);
        reads[index].start = run.initial_state(problem, read);
        reads[index].best = run.sample(problem, read);
        reads[index].random = Random(run.options.seed, run.options.first_problem + problem, read);
    }
    Budget budget(run.token, run.time.share(pieces.size()));
    run.time.begin(pieces.size());
    GroupWatch watch(run, worker, pieces, budget);
    const std::span group(reads.data(), pieces.size());
    if (run.options.method == Method::tabu) {
        tabu(worker.int16, group, run.options.sweeps, budget);
    } else {
        anneal(worker.int16, group, run.options.beta_range, run.options.sweeps, budget);
        if (pieces[0] == 0) {
            run.first_beta_range = reads[0].beta_range;
        }
    }
    watch.look();
    for (const Int16Read& read : group) {
        worker.sweeps += read.sweeps_done;
    }
}

// Exact energies of the worker's group, whose reads may have different matrices.
void finish_group(BatchRun& run, const DenseMatrices& matrices, Worker& worker) {
    const auto finished = [&](std::size_t piece) {
        return Finished{piece / run.options.reads,
                        run.sample(piece / run.options.reads, piece % run.options.reads),
                        &run.energies[piece]};
    };
    std::array<Finished, kProductReads> together;
    for (std::size_t first = 0; first < worker.group.size();) {
        const SymmetricRows& rows = matrices.rows(worker.group[first] / run.options.reads);
        std::size_t count = 0;
        while (first + count < worker.group.size() && count < kProductReads &&
               &matrices.rows(worker.group[first + count] / run.options.reads) == &rows) {
            together[count] = finished(worker.group[first + count]);
            ++count;
        }
        finish_dense(run.batch, rows, std::span(together.data(), count), worker.finish, run.token);
        first += count;
    }
    for (const std::size_t piece : worker.group) {
        run.note(piece / run.options.reads, piece % run.options.reads);
    }
    worker.group.clear();
}

// The worker's pieces: searched in groups of the kernels' size, finished all together.
void solve_group(BatchRun& run, const DenseMatrices& matrices, Worker& worker) {
    std::size_t count = 0;
    for (std::size_t first = 0; first < worker.group.size(); first += count) {
        const std::size_t left = worker.group.size() - first;
        const bool in_step = left >= Int16ReplicaCouplings::least_reads() &&
                             matrices.int16(worker.group[first] / run.options.reads).in_step() != nullptr;
        count = std::min(left, in_step ? kInt16Replicas : kReplicaGroup);
        search_group(run, matrices, worker, std::span(worker.group).subspan(first, count));
    }
    finish_group(run, matrices, worker);
}

// Pieces [first, last) of work, where piece = problem * reads + read.
void solve_pieces(BatchRun& run, const DenseMatrices& matrices, Worker& worker, std::size_t first,
                  std::size_t last) {
    worker.group.clear();
    if (run.options.progress != nullptr) {
        worker.evaluate = [&](std::size_t problem, std::span<std::int8_t> spins) {
            double energy = 0.0;
            const Finished finished{problem, spins, &energy};
            finish_dense(run.batch, matrices.rows(problem), std::span(&finished, 1), worker.finish,
                         run.token);
            return energy;
        };
    }
    for (std::size_t piece = first; piece < last; ++piece) {
        const std::size_t problem = piece / run.options.reads;
        const std::size_t read = piece % run.options.reads;
        if (run.left_out(read)) {
            continue;
        }
        if (!matrices.int16_serves(problem)) {
            solve_read(run, matrices.float32(problem), worker, problem, read);
            const Finished finished{problem, run.sample(problem, read), &run.energies[piece]};
            if (run.keeps_last()) {
                store_energy(energy_of_state(run.batch, problem, finished.spins), *finished.energy);
            } else {
                finish_dense(run.batch, matrices.rows(problem), std::span(&finished, 1), worker.finish,
                             run.token);
            }
            run.note(problem, read);
            continue;
        }
        worker.group.push_back(piece);
        if (worker.group.size() == kProductReads) {
            solve_group(run, matrices, worker);
        }
    }
    solve_group(run, matrices, worker);
}

// One matrix for all problems.
template <class Real>
void solve_with_one_matrix(BatchRun& run, const DenseView<Real>& view, SolveReport& report) {
    constexpr std::size_t kSmallest = 3 * kReplicaGroup;  // enough for tables of sums in the exact finish
    const std::size_t pieces = run.batch.problems * run.options.reads;
    const std::size_t threads = run.options.threads;
    std::optional<DenseMatrices> matrices;
    std::vector<std::size_t> ends;
    const auto prepare = [&] {
        const auto start = Clock::now();
        matrices.emplace(run.batch, run.options, view, 0, run.batch.problems, run.token);
        if (run.options.method == Method::tabu && threads > 1) {
            ends = portions(pieces, threads, kReplicaGroup, kSmallest, kProductReads);
        } else {
            // Whole groups, which reads in step want, unless that leaves threads without work.
            const std::size_t group =
                std::clamp<std::size_t>((pieces + threads - 1) / threads, 1, kProductReads);
            ends = portions(pieces, 1, 1, pieces, group);
        }
        report.preparation_ns = nanoseconds_since(start);
        return ends.size();
    };
    prepare_and_share(pieces, threads, run.token, prepare, [&](std::size_t worker, std::size_t index) {
        solve_pieces(run, *matrices, run.workers[worker], index == 0 ? 0 : ends[index - 1], ends[index]);
    });
}

}  // namespace

template <class Real>
void solve_dense(BatchRun& run, const DenseView<Real>& view, SolveReport& report) {
    if (view.count == 1) {
        solve_with_one_matrix(run, view, report);
    } else {
        const std::size_t group = std::max<std::size_t>(1, kReplicaGroup / run.options.reads);
        parallel_for((run.batch.problems + group - 1) / group, run.options.threads, run.token,
                     [&](std::size_t worker, std::size_t index) {
                         const std::size_t first = index * group;
                         const std::size_t last = std::min(first + group, run.batch.problems);
                         const DenseMatrices matrices(run.batch, run.options, view, first, last, run.token);
                         solve_pieces(run, matrices, run.workers[worker], first * run.options.reads,
                                      last * run.options.reads);
                     });
    }
    report.beta_range = run.first_beta_range;
}

template void solve_dense(BatchRun&, const DenseView<float>&, SolveReport&);
template void solve_dense(BatchRun&, const DenseView<double>&, SolveReport&);

}  // namespace qpsbgd
