// Batches with dense couplings: reads in int16 where that serves, else in float32.
#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <optional>
#include <span>
#include <vector>

#include "base/portions.hpp"
#include "base/threads.hpp"
#include "batch/dense_matrices.hpp"
#include "batch/run.hpp"
#include "search/int16/search.hpp"

namespace qpsbgd {
namespace {

using Deadline = std::optional<Clock::time_point>;

// What it takes to complete the reads of a group, roughly: they descend, and their energies are computed. Large matrices
// come from memory for each of them.
Clock::duration time_to_complete(const BatchRun& run, std::size_t reads) {
    constexpr std::size_t kOfCaches = std::size_t{1} << 22;
    const std::size_t entries = run.batch.n * run.batch.n;
    const std::chrono::duration<double, std::nano> of_entry(entries <= kOfCaches ? 0.4 : 1.5);
    return std::chrono::duration_cast<Clock::duration>(of_entry * static_cast<double>(entries * reads));
}

// Reads that can be worked on together: kProductReads, or as many as can be completed in most of the time left. Some ten
// milliseconds are always there.
std::size_t reads_together(const BatchRun& run) {
    constexpr std::chrono::duration<double> kLeast(0.016);
    if (!run.token.deadline() && !run.token.finishing()) {
        return kProductReads;
    }
    const std::chrono::duration<double> of_read = time_to_complete(run, 1);
    std::chrono::duration<double> left = kLeast;
    if (!run.token.out_of_time() && run.token.deadline()) {
        left = std::max(left, std::chrono::duration<double>(0.8 * (*run.token.deadline() - Clock::now())));
    }
    return static_cast<std::size_t>(std::clamp(left / of_read, 1.0, static_cast<double>(kProductReads)));
}
// Shows the progress the best states of a worker's group at every poll, and its local minima.
class GroupWatch {
public:
    GroupWatch(BatchRun& run, Worker& worker, std::span<const std::size_t> answers, Budget& budget)
        : run_(run), group_(worker.int16), answers_(answers) {
        if (run.options.progress == nullptr) {
            return;
        }
        watch_.emplace(*run.options.progress, run.token, worker.evaluate, run.batch.n, answers.size());
        for (const std::size_t answer : answers) {
            constants_.push_back(constant_of(run.batch, run.problem_of(answer)));
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
        for (std::size_t index = 0; watch_ && index < group_.size(); ++index) {
            watch_->minimum(problem(index), [&](auto spins) { group_.spins(index, spins); });
        }
    }

    std::size_t problem(std::size_t index) const { return run_.problem_of(answers_[index]); }

    const BatchRun& run_;
    const Int16Group& group_;
    std::span<const std::size_t> answers_;
    std::vector<double> constants_;
    std::optional<Watch> watch_;
};

void search_group(BatchRun& run, const DenseMatrices& matrices, Worker& worker,
                  std::span<const std::size_t> answers) {
    std::array<Int16Read, kInt16Replicas> reads;
    for (std::size_t index = 0; index < answers.size(); ++index) {
        const std::size_t problem = run.problem_of(answers[index]);
        const std::size_t read = run.read_of(answers[index]);
        reads[index].matrix = &matrices.int16(problem);
        reads[index].fields = run.batch.field(problem);
        reads[index].start = run.initial_state(problem, read);
        reads[index].best = run.sample(problem, read);
        reads[index].random = Random(run.options.seed, run.options.first_problem + problem, read);
    }
    Budget budget(run.token, run.time.share(answers.size(), time_to_complete(run, worker.group.size())));
    run.time.begin(answers.size());
    GroupWatch watch(run, worker, answers, budget);
    const std::span group(reads.data(), answers.size());
    if (run.options.method == Method::tabu) {
        tabu(worker.int16, group, run.options.sweeps, budget);
    } else {
        anneal(worker.int16, group, run.options.beta_range, run.options.sweeps, budget);
        if (answers[0] == 0) {
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
    std::array<Finished, kProductReads> together;
    for (std::size_t first = 0; first < worker.group.size();) {
        const std::size_t most = reads_together(run);
        if (run.token.out_of_time(kGrace) && !run.is_needed(worker.group[first])) {
            ++first;
            continue;
        }
        const SymmetricRows& rows = matrices.rows(run.problem_of(worker.group[first]));
        std::size_t count = 0;
        while (first + count < worker.group.size() && count < most &&
               &matrices.rows(run.problem_of(worker.group[first + count])) == &rows) {
            const std::size_t answer = worker.group[first + count];
            together[count++] = {run.problem_of(answer),
                                 run.sample(run.problem_of(answer), run.read_of(answer)),
                                 &run.energies[answer]};
        }
        finish_dense(run.batch, rows, std::span(together.data(), count), worker.finish, run.token);
        first += count;
    }
    for (const std::size_t answer : worker.group) {
        run.note(run.problem_of(answer), run.read_of(answer));
    }
    worker.group.clear();
}

// Those of the worker's reads from `first` on that are not needed, once the time is up.
void leave_out_late(BatchRun& run, Worker& worker, std::size_t first, const Deadline& deadline) {
    if (!run.token.finishing() && !(deadline && Clock::now() >= *deadline)) {
        return;
    }
    const auto begin = worker.group.begin() + static_cast<std::ptrdiff_t>(first);
    const auto end =
        std::remove_if(begin, worker.group.end(), [&](std::size_t answer) { return !run.is_needed(answer); });
    run.time.begin(static_cast<std::size_t>(worker.group.end() - end));
    worker.group.erase(end, worker.group.end());
}

// The worker's reads: searched in groups of the kernels' size, finished all together.
void solve_group(BatchRun& run, const DenseMatrices& matrices, Worker& worker, const Deadline& deadline) {
    for (std::size_t first = 0, count = 0; first < worker.group.size(); first += count) {
        leave_out_late(run, worker, first, deadline);
        const std::size_t left = worker.group.size() - first;
        if (left == 0) {
            break;
        }
        const bool in_step = left >= Int16ReplicaCouplings::least_reads() &&
                             matrices.int16(run.problem_of(worker.group[first])).in_step() != nullptr;
        count = std::min(left, in_step ? kInt16Replicas : kReplicaGroup);
        search_group(run, matrices, worker, std::span(worker.group).subspan(first, count));
    }
    finish_group(run, matrices, worker);
}

// One read in float32, or where there was no time to prepare its couplings, the local minimum below its start.
void solve_alone(BatchRun& run, const DenseMatrices& matrices, Worker& worker, std::size_t answer) {
    const std::size_t problem = run.problem_of(answer);
    const std::size_t read = run.read_of(answer);
    const auto spins = run.sample(problem, read);
    if (matrices.are_ready(problem)) {
        solve_read(run, matrices.float32(problem), worker, problem, read);
    } else {
        run.time.begin(1);
        run.start(problem, read, spins);
    }
    if (run.is_needed(answer) || !run.token.out_of_time(kGrace)) {
        const Finished finished{problem, spins, &run.energies[answer]};
        if (run.keeps_last()) {
            store_energy(energy_of_state(run.batch, problem, spins), *finished.energy);
        } else {
            finish_dense(run.batch, matrices.rows(problem), std::span(&finished, 1), worker.finish,
                         run.token);
        }
        run.note(problem, read);
    }
}

// Reads that are found first, ..., last - 1: answer_of(index) says which. Those that have not begun at the deadline are
// left out, if they are not needed.
template <class AnswerOf>
void solve_reads(BatchRun& run, const DenseMatrices& matrices, Worker& worker, std::size_t first,
                 std::size_t last, const Deadline& deadline, const AnswerOf& answer_of) {
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
    for (std::size_t index = first; index < last; ++index) {
        const std::size_t answer = answer_of(index);
        const std::size_t problem = run.problem_of(answer);
        const bool late = run.token.finishing() || (deadline && Clock::now() >= *deadline);
        if (!run.is_needed(answer) && (late || !matrices.are_ready(problem))) {
            run.time.begin(1);
        } else if (!matrices.int16_serves(problem)) {
            solve_alone(run, matrices, worker, answer);
        } else {
            worker.group.push_back(answer);
            if (worker.group.size() >= reads_together(run)) {
                solve_group(run, matrices, worker, deadline);
            }
        }
    }
    solve_group(run, matrices, worker, deadline);
}

// Until when the couplings of a problem are prepared.
Budget preparation_until(BatchRun& run, const Deadline& deadline) {
    constexpr double kNanosecondsWithout = 2.0;
    return {run.token, TimeShare::preparation_end(deadline, run.batch.n * run.batch.n, kNanosecondsWithout)};
}

// One matrix for all problems.
template <class Real>
void solve_with_one_matrix(BatchRun& run, const DenseView<Real>& view, SolveReport& report) {
    constexpr std::size_t kSmallest = 3 * kReplicaGroup;  // enough for tables of sums in the exact finish
    const std::size_t pieces = run.batch.problems * run.options.reads;
    const std::size_t threads = run.options.threads;
    // Reads of one problem that exchange temperatures have to come together.
    const bool exchanges =
        run.options.method == Method::anneal && run.token.deadline() && !run.options.sweeps;
    const std::size_t together = exchanges ? kInt16Replicas : 1;
    std::optional<DenseMatrices> matrices;
    std::vector<std::size_t> ends;
    const auto prepare = [&] {
        const auto start = Clock::now();
        Budget budget = preparation_until(run, run.token.deadline());
        matrices.emplace(run.batch, run.options, view, 0, run.batch.problems, budget);
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
        solve_reads(run, *matrices, run.workers[worker], index == 0 ? 0 : ends[index - 1], ends[index],
                    run.token.deadline(), [&](std::size_t at) { return run.answer_of(at, together); });
    });
}

// A matrix for every problem: some problems at a time, with all their reads, in their share of the time.
template <class Real>
void solve_with_own_matrices(BatchRun& run, const DenseView<Real>& view) {
    const std::size_t reads = run.options.reads;
    const std::size_t group = std::max<std::size_t>(1, kReplicaGroup / reads);
    parallel_for((run.batch.problems + group - 1) / group, run.options.threads, run.token,
                 [&](std::size_t worker, std::size_t index) {
                     const std::size_t first = index * group;
                     const std::size_t last = std::min(first + group, run.batch.problems);
                     const Deadline deadline = run.time.share((last - first) * reads);
                     Budget budget = preparation_until(run, deadline);
                     const DenseMatrices matrices(run.batch, run.options, view, first, last, budget);
                     solve_reads(run, matrices, run.workers[worker], first * reads, last * reads, deadline,
                                 [](std::size_t at) { return at; });
                 });
}

}  // namespace

template <class Real>
void solve_dense(BatchRun& run, const DenseView<Real>& view, SolveReport& report) {
    if (view.count == 1) {
        solve_with_one_matrix(run, view, report);
    } else {
        solve_with_own_matrices(run, view);
    }
    report.beta_range = run.first_beta_range;
}

template void solve_dense(BatchRun&, const DenseView<float>&, SolveReport&);
template void solve_dense(BatchRun&, const DenseView<double>&, SolveReport&);

}  // namespace qpsbgd
