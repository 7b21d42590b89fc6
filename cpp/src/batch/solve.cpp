// One batch, one call: chooses the method, shares the work between threads, sorts the reads.
//
// A piece of work is one read of one problem when the couplings are shared, and one problem with all its reads
// when every problem brings its own couplings, so that these are prepared once.
#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <memory>
#include <numeric>
#include <stdexcept>
#include <string>
#include <utility>

#include "batch/dense_matrices.hpp"
#include "batch/finish.hpp"
#include "search/int16/search.hpp"
#include "search/exact/search.hpp"
#include "qpsbgd/solve.hpp"
#include "search/int8/replica_group.hpp"
#include "base/threads.hpp"
#include "batch/rules.hpp"

namespace qpsbgd {
namespace {

constexpr std::size_t kDefaultAnnealSweeps = 1000;
constexpr std::size_t kDefaultTabuSweeps = 200;
constexpr std::size_t kFirstRoundSweeps = 100;  // of a time-limited run without `sweeps`; doubled every round

std::int64_t nanoseconds_since(Clock::time_point start) {
    return std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now() - start).count();
}

// The state of one worker: its read, scratch memory, and what it adds to the report.
struct Worker {
    ReadState state;
    FinishSpace finish;
    Group16 search16;
    std::vector<std::size_t> group;  // pieces of work to be searched together
    std::uint64_t sweeps = 0;
    bool all_proven = true;
};

class BatchSolver {
public:
    BatchSolver(const IsingBatch& batch, const SolveOptions& options, std::span<std::int8_t> samples,
                std::span<double> energies, StopToken& token)
        : batch_(batch),
          options_(options),
          samples_(samples),
          energies_(energies),
          token_(token),
          method_(options.method),
          workers_(std::max<std::size_t>(1, options.threads)) {}

    SolveReport run() {
        SolveReport report;
        const auto start = Clock::now();
        std::ranges::fill(energies_, std::numeric_limits<double>::infinity());
        std::visit([&](const auto& view) { run_on(view, report); }, batch_.couplings);
        sort_reads();
        report.method = method_name(method_);
        report.proven = method_ == Method::exact;
        for (const auto& worker : workers_) {
            report.sweeps += worker.sweeps;
            report.proven = report.proven && worker.all_proven;
        }
        report.solve_ns = nanoseconds_since(start) - report.preparation_ns;
        return report;
    }

private:
    static std::string_view method_name(Method method) {
        switch (method) {
            case Method::exact: return "exact";
            case Method::descent: return "descent";
            case Method::tabu: return "tabu";
            default: return "anneal";
        }
    }

    template <class Real>
    void run_on(const DenseView<Real>& view, SolveReport& report) {
        if (method_ == Method::exact) {
            run_exact();
        } else if (view.count == 1) {
            run_on_shared(view, report);
        } else {
            const std::size_t group = std::max<std::size_t>(1, kReplicaGroup / options_.reads);
            parallel_for((batch_.problems + group - 1) / group, options_.threads, token_,
                         [&](std::size_t worker, std::size_t index) {
                             const std::size_t first = index * group;
                             const std::size_t last = std::min(first + group, batch_.problems);
                             const DenseMatrices<Real> matrices(batch_, options_, view, first, last, token_);
                             solve_pieces(matrices, workers_[worker], first * options_.reads,
                                          last * options_.reads);
                         });
        }
        report.beta_range = first_beta_range_;
    }

    // One matrix for all problems.
    template <class Real>
    void run_on_shared(const DenseView<Real>& view, SolveReport& report) {
        constexpr std::size_t kSmallest = 3 * kReplicaGroup;  // enough for tables of sums in the exact finish
        const std::size_t pieces = batch_.problems * options_.reads;
        const std::size_t threads = options_.threads;
        std::optional<DenseMatrices<Real>> matrices;
        std::vector<std::size_t> ends;
        const auto prepare = [&] {
            const auto start = Clock::now();
            matrices.emplace(batch_, options_, view, 0, batch_.problems, token_);
            if (method_ == Method::tabu && threads > 1) {
                ends = portions(pieces, threads, kReplicaGroup, kSmallest, kProductReads);
            } else {
                // Whole groups, which lanes want, unless that leaves threads without work.
                const std::size_t group =
                    std::clamp<std::size_t>((pieces + threads - 1) / threads, 1, kProductReads);
                ends = portions(pieces, 1, 1, pieces, group);
            }
            report.preparation_ns = nanoseconds_since(start);
            return ends.size();
        };
        prepare_and_share(pieces, threads, token_, prepare, [&](std::size_t worker, std::size_t index) {
            solve_pieces(*matrices, workers_[worker], index == 0 ? 0 : ends[index - 1], ends[index]);
        });
    }

    // Pieces [first, last) of work, where piece = problem * reads + read.
    template <class Real>
    void solve_pieces(const DenseMatrices<Real>& matrices, Worker& worker, std::size_t first,
                      std::size_t last) {
        worker.group.clear();
        for (std::size_t piece = first; piece < last; ++piece) {
            const std::size_t problem = piece / options_.reads;
            const std::size_t read = piece % options_.reads;
            if (left_out(read)) {
                continue;
            }
            if (!matrices.int16_serves(problem)) {
                solve_read(matrices.float32(problem), worker, problem, read);
                const Finished finished{problem, sample(problem, read), &energies_[piece]};
                finish_dense(batch_, matrices.rows(problem), std::span(&finished, 1), worker.finish, token_);
                continue;
            }
            worker.group.push_back(piece);
            if (worker.group.size() == kProductReads) {
                solve_group(matrices, worker);
            }
        }
        solve_group(matrices, worker);
    }

    // Exact energies of the worker's group, whose reads may have different matrices.
    template <class Real>
    void finish_group(const DenseMatrices<Real>& matrices, Worker& worker) {
        const auto finished = [&](std::size_t piece) {
            return Finished{piece / options_.reads, sample(piece / options_.reads, piece % options_.reads),
                            &energies_[piece]};
        };
        std::array<Finished, kProductReads> together;
        for (std::size_t first = 0; first < worker.group.size();) {
            const SymmetricRows& rows = matrices.rows(worker.group[first] / options_.reads);
            std::size_t count = 0;
            while (first + count < worker.group.size() && count < kProductReads &&
                   &matrices.rows(worker.group[first + count] / options_.reads) == &rows) {
                together[count] = finished(worker.group[first + count]);
                ++count;
            }
            finish_dense(batch_, rows, std::span(together.data(), count), worker.finish, token_);
            first += count;
        }
        worker.group.clear();
    }

    // The worker's pieces: searched in groups of the kernels' size, finished all together.
    template <class Real>
    void solve_group(const DenseMatrices<Real>& matrices, Worker& worker) {
        std::size_t count = 0;
        for (std::size_t first = 0; first < worker.group.size(); first += count) {
            const std::size_t left = worker.group.size() - first;
            const bool lanes = left >= LaneCouplings::least_reads() &&
                               matrices.int16(worker.group[first] / options_.reads).lanes() != nullptr;
            count = std::min(left, lanes ? kLanes16 : kReplicaGroup);
            search_group(matrices, worker, std::span(worker.group).subspan(first, count));
        }
        finish_group(matrices, worker);
    }

    template <class Real>
    void search_group(const DenseMatrices<Real>& matrices, Worker& worker,
                      std::span<const std::size_t> pieces) {
        std::array<Read16, kLanes16> reads;
        for (std::size_t index = 0; index < pieces.size(); ++index) {
            const std::size_t problem = pieces[index] / options_.reads;
            const std::size_t read = pieces[index] % options_.reads;
            reads[index].matrix = &matrices.int16(problem);
            reads[index].fields = batch_.field(problem);
            reads[index].start = initial_state(problem, read);
            reads[index].best = sample(problem, read);
            reads[index].random = Random(options_.seed, options_.first_problem + problem, read);
        }
        Budget budget(token_, share_of_time(pieces.size()));
        started_.fetch_add(pieces.size());
        const std::span group(reads.data(), pieces.size());
        if (method_ == Method::tabu) {
            worker.search16.tabu(group, options_.sweeps, budget);
        } else {
            worker.search16.anneal(group, options_.beta_range, options_.sweeps, budget);
            if (pieces[0] == 0) {
                first_beta_range_ = reads[0].beta_range;
            }
        }
        for (const Read16& read : group) {
            worker.sweeps += read.sweeps_done;
        }
    }

    template <class Real>
    void run_on(const SparseView<Real>& view, SolveReport& report) {
        run_shared([&] { return SparseMatrix(view, batch_.coupling_scale); }, report);
    }

    template <class MakeMatrix>
    void run_shared(const MakeMatrix& make_matrix, SolveReport& report) {
        if (method_ == Method::exact) {
            run_exact();
            return;
        }
        const auto start = Clock::now();
        const auto matrix = make_matrix();
        report.preparation_ns = nanoseconds_since(start);
        if (run_as_replicas(matrix, report)) {
            return;
        }
        parallel_for(batch_.problems * options_.reads, options_.threads, token_,
                     [&](std::size_t worker, std::size_t piece) {
                         const std::size_t problem = piece / options_.reads;
                         const std::size_t read = piece % options_.reads;
                         if (left_out(read)) {
                             return;
                         }
                         solve_read(matrix, workers_[worker], problem, read);
                         finish_sparse(batch_, {problem, sample(problem, read), &energies_[piece]},
                                       workers_[worker].finish, token_);
                     });
        report.beta_range = first_beta_range_;
    }

    // Many reads of sparse problems with small integers.
    bool run_as_replicas(const SparseMatrix& matrix, SolveReport& report) {
        if (method_ != Method::anneal || !replicas_pay(batch_, options_)) {
            return false;
        }
        const auto start = Clock::now();
        const auto couplings = ReplicaCouplings::make(matrix, batch_, token_);
        report.preparation_ns += nanoseconds_since(start);
        if (!couplings) {
            return false;
        }
        const auto finish = [&](std::size_t worker, std::size_t problem, std::size_t read) {
            finish_sparse(batch_,
                          {problem, sample(problem, read), &energies_[problem * options_.reads + read]},
                          workers_[worker].finish, token_);
        };
        const auto done =
            anneal_replicas(*couplings, batch_, options_, options_.sweeps.value_or(kDefaultAnnealSweeps),
                            samples_, finish, token_);
        report.beta_range = done.beta_range;
        report.sweeps = done.sweeps;
        return true;
    }

    // One answer for all reads of a problem.
    void run_exact() {
        std::vector<ExactSearch> searches(workers_.size());
        parallel_for(batch_.problems, options_.threads, token_, [&](std::size_t worker, std::size_t problem) {
            Budget budget(token_, share_of_time(1));
            const auto spins = sample(problem, 0);
            const bool proven = searches[worker].run(batch_, problem, spins, budget);
            workers_[worker].all_proven = workers_[worker].all_proven && proven;
            const auto energies = energies_.subspan(problem * options_.reads, options_.reads);
            if (proven) {
                energies[0] = searches[worker].energy();
            } else {
                finish_one(problem, spins, energies.data(), workers_[worker].finish);
            }
            for (std::size_t read = 1; read < options_.reads; ++read) {
                std::ranges::copy(spins, sample(problem, read).begin());
                energies[read] = energies[0];
            }
            started_.fetch_add(options_.reads);
        });
    }

    void finish_one(std::size_t problem, std::span<std::int8_t> spins, double* energy, FinishSpace& space) {
        const Finished finished{problem, spins, energy};
        std::visit(
            [&](const auto& view) {
                if constexpr (requires { view.row_start; }) {
                    finish_sparse(batch_, finished, space, token_);
                } else {
                    const SymmetricRows rows(view, problem, token_);
                    finish_dense(batch_, rows, std::span(&finished, 1), space, token_);
                }
            },
            batch_.couplings);
    }

    template <class Matrix>
    void solve_read(const Matrix& matrix, Worker& worker, std::size_t problem, std::size_t read) {
        Random random(options_.seed, options_.first_problem + problem, read);
        Budget budget(token_, share_of_time(1));
        started_.fetch_add(1);
        ReadState& state = worker.state;
        prepare(matrix, state, problem, read, random);
        search(matrix, state, problem, read, random, budget);
        worker.sweeps += state.sweeps_done;

        const auto spins = sample(problem, read);
        std::ranges::transform(state.best_spins, spins.begin(),
                               [](float spin) { return static_cast<std::int8_t>(spin); });
    }

    template <class Matrix>
    void prepare(const Matrix& matrix, ReadState& state, std::size_t problem, std::size_t read,
                 Random& random) {
        state.resize(batch_.n);
        const auto fields = batch_.field(problem);
        std::ranges::transform(fields, state.fields.begin(),
                               [&](double field) { return field_in_units(field, matrix.unit()); });
        const auto start = initial_state(problem, read);
        if (start.empty()) {
            state.randomise(random);
        } else {
            std::ranges::copy(start, state.spins.begin());
        }
        state.refresh(matrix);
        state.forget_best();
        state.keep_if_best();
    }

    template <class Matrix>
    void search(const Matrix& matrix, ReadState& state, std::size_t problem, std::size_t read, Random& random,
                Budget& budget) {
        if (method_ == Method::descent) {
            descend(matrix, state, options_.sweeps.value_or(std::numeric_limits<std::size_t>::max()), budget);
            return;
        }
        if (method_ == Method::tabu) {
            const auto unlimited = std::numeric_limits<std::size_t>::max();
            tabu(matrix, state,
                 options_.sweeps.value_or(budget.has_deadline() ? unlimited : kDefaultTabuSweeps), random,
                 budget);
            return;
        }
        const BetaRange range = beta_range(matrix, state, problem, read, budget);
        if (options_.sweeps || !budget.has_deadline()) {
            anneal(matrix, state, range, options_.sweeps.value_or(kDefaultAnnealSweeps), random, budget);
            return;
        }
        // Until the time is up: ever longer runs from new states.
        for (std::size_t sweeps = kFirstRoundSweeps; !budget.exhausted(); sweeps *= 2) {
            anneal(matrix, state, range, sweeps, random, budget);
            state.randomise(random);
            state.refresh(matrix);
        }
    }

    // Without a given range the read first descends to a local minimum, whose fields set the scale.
    template <class Matrix>
    BetaRange beta_range(const Matrix& matrix, ReadState& state, std::size_t problem, std::size_t read,
                         Budget& budget) {
        BetaRange range{};
        if (options_.beta_range) {
            range = *options_.beta_range;
        } else {
            descend(matrix, state, std::numeric_limits<std::size_t>::max(), budget);
            double sum = 0.0;
            for (const float local : state.local) {
                sum += std::fabs(static_cast<double>(local));
            }
            range = default_beta_range(sum / static_cast<double>(batch_.n) * matrix.unit());
        }
        if (problem == 0 && read == 0) {
            first_beta_range_ = range;
        }
        return range;
    }

    // The time left, shared evenly between the pieces of work that have not begun; what `pieces` of them get that one
    // thread works on at once.
    std::optional<Clock::time_point> share_of_time(std::size_t pieces) const {
        if (!token_.deadline()) {
            return std::nullopt;
        }
        const auto now = Clock::now();
        const auto left = std::max(*token_.deadline() - now, Clock::duration::zero());
        const auto waiting = static_cast<double>(batch_.problems * options_.reads - started_.load());
        const double share = static_cast<double>(options_.threads * pieces) / std::max(waiting, 1.0);
        return now + std::chrono::duration_cast<Clock::duration>(left * std::min(share, 1.0));
    }

    // A read that has not begun when the caller wants to finish; every problem gets one answer.
    bool left_out(std::size_t read) const { return read != 0 && token_.finishing(); }

    // The spins to start from, or nothing.
    std::span<const std::int8_t> initial_state(std::size_t problem, std::size_t read) const {
        if (batch_.initial_states.empty()) {
            return {};
        }
        return batch_.initial_states.subspan(
            (problem * batch_.initial_reads + read % batch_.initial_reads) * batch_.n, batch_.n);
    }

    std::span<std::int8_t> sample(std::size_t problem, std::size_t read) const {
        return samples_.subspan((problem * options_.reads + read) * batch_.n, batch_.n);
    }

    // Best read first; equal energies keep the order of the reads.
    void sort_reads() {
        const std::size_t reads = options_.reads;
        std::vector<std::size_t> order(reads);
        std::vector<std::int8_t> unsorted;
        for (std::size_t problem = 0; reads > 1 && problem < batch_.problems; ++problem) {
            const auto energies = energies_.subspan(problem * reads, reads);
            std::iota(order.begin(), order.end(), std::size_t{0});
            std::ranges::sort(order, {}, [&](std::size_t read) { return std::pair(energies[read], read); });
            const auto all = samples_.subspan(problem * reads * batch_.n, reads * batch_.n);
            unsorted.assign(all.begin(), all.end());
            for (std::size_t read = 0; read < reads; ++read) {
                const auto from = unsorted.begin() + static_cast<std::ptrdiff_t>(order[read] * batch_.n);
                std::copy_n(from, batch_.n, sample(problem, read).begin());
            }
            std::ranges::sort(energies);
        }
    }

    const IsingBatch& batch_;
    const SolveOptions& options_;
    std::span<std::int8_t> samples_;
    std::span<double> energies_;
    StopToken& token_;
    Method method_;
    std::vector<Worker> workers_;
    std::atomic<std::size_t> started_{0};
    std::optional<BetaRange> first_beta_range_;
};

// What NumPy cannot be asked about cheaply: compressed rows that point outside the matrix.
template <class Real>
void check(const SparseView<Real>& view) {
    if (view.row_start.size() != view.n + 1 || view.row_start[0] != 0 ||
        view.column.size() != view.value.size() ||
        view.row_start[view.n] != static_cast<std::int64_t>(view.column.size()) ||
        !std::ranges::is_sorted(view.row_start)) {
        throw std::invalid_argument("sparse J has inconsistent indptr, indices and data");
    }
    for (const std::int32_t column : view.column) {
        if (column < 0 || static_cast<std::size_t>(column) >= view.n) {
            throw std::invalid_argument("sparse J has column index " + std::to_string(column) + " but only " +
                                        std::to_string(view.n) + " spins");
        }
    }
}

template <class Real>
void check(const DenseView<Real>& /*view*/) {}

}  // namespace

void ReadState::resize(std::size_t n) {
    fields.resize(n);
    spins.resize(n);
    local.resize(n);
    thresholds.resize(n);
    best_spins.resize(n);
    tabu_until.resize(n);
    sweeps_done = 0;
}

void ReadState::randomise(Random& random) {
    std::uint64_t bits = 0;
    for (std::size_t i = 0; i < spins.size(); ++i) {
        bits = i % 64 == 0 ? random.next() : bits >> 1;
        spins[i] = (bits & 1) != 0 ? 1.0F : -1.0F;
    }
}

SolveReport solve(const IsingBatch& batch, const SolveOptions& asked, std::span<std::int8_t> samples,
                  std::span<double> energies) {
    std::visit([](const auto& view) { check(view); }, batch.couplings);
    SolveOptions options = asked;
    options.method = choose_method(batch, options);
    std::optional<Clock::time_point> deadline;
    if (options.time_limit) {
        deadline = Clock::now() + std::chrono::duration_cast<Clock::duration>(
                                      std::chrono::duration<double>(std::min(*options.time_limit, 1e9)));
    }
    StopToken token(deadline, options.interrupt_check, options.finish_check);
    const std::size_t runs = runs_per_read(batch, options);
    if (runs == 1) {
        return BatchSolver(batch, options, samples, energies, token).run();
    }
    options.reads *= runs;
    std::vector<std::int8_t> all_samples(samples.size() * runs);
    std::vector<double> all_energies(energies.size() * runs);
    const SolveReport report = BatchSolver(batch, options, all_samples, all_energies, token).run();
    for (std::size_t problem = 0; problem < batch.problems; ++problem) {
        const std::size_t size = asked.reads * batch.n;
        const auto best = all_samples.begin() + static_cast<std::ptrdiff_t>(problem * size * runs);
        std::copy_n(best, size, samples.begin() + static_cast<std::ptrdiff_t>(problem * size));
        std::copy_n(all_energies.begin() + static_cast<std::ptrdiff_t>(problem * options.reads), asked.reads,
                    energies.begin() + static_cast<std::ptrdiff_t>(problem * asked.reads));
    }
    return report;
}

}  // namespace qpsbgd
