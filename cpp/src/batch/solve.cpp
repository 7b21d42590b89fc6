// One batch, one call: chooses the method, sorts the reads.
#include "qpsbgd/solve.hpp"

#include <algorithm>
#include <chrono>
#include <limits>
#include <numeric>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "batch/rules.hpp"
#include "batch/run.hpp"

namespace qpsbgd {
namespace {

std::string_view method_name(Method method) {
    switch (method) {
        case Method::exact: return "exact";
        case Method::descent: return "descent";
        case Method::tabu: return "tabu";
        default: return "anneal";
    }
}

// Stands for the energy of a read that was left out.
constexpr double kLeftOut = std::numeric_limits<double>::infinity();
constexpr std::size_t kMostThreads = 1024;  // more than pay on any machine

// Best read first; equal energies keep the order of the reads.
void sort_reads(BatchRun& run) {
    const std::size_t reads = run.options.reads;
    std::vector<std::size_t> order(reads);
    std::vector<std::int8_t> unsorted;
    for (std::size_t problem = 0; reads > 1 && problem < run.batch.problems; ++problem) {
        const auto energies = run.energies.subspan(problem * reads, reads);
        std::iota(order.begin(), order.end(), std::size_t{0});
        std::ranges::sort(order, {}, [&](std::size_t read) { return std::pair(energies[read], read); });
        const auto all = run.samples.subspan(problem * reads * run.batch.n, reads * run.batch.n);
        unsorted.assign(all.begin(), all.end());
        for (std::size_t read = 0; read < reads; ++read) {
            const auto from = unsorted.begin() + static_cast<std::ptrdiff_t>(order[read] * run.batch.n);
            std::copy_n(from, run.batch.n, run.sample(problem, read).begin());
        }
        std::ranges::sort(energies);
    }
}

// The best state that the progress knows is the answer, where the search itself kept another: it judges in its own units.
void take_best_known(BatchRun& run) {
    const Progress* progress = run.options.progress;
    if (progress == nullptr || run.keeps_last() || !(run.options.time_limit || progress->has_targets())) {
        return;  // what polls happened to see must not change the answer
    }
    for (std::size_t problem = 0; problem < run.batch.problems; ++problem) {
        double& energy = run.energies[problem * run.options.reads];
        if (progress->best_energy(problem) < energy) {
            energy = progress->best_energy(problem);
            std::ranges::copy(progress->best_spins(problem), run.sample(problem, 0).begin());
        }
    }
}

// Reads that were left out have spins too: all +1.
void fill_left_out(BatchRun& run) {
    for (std::size_t piece = 0; piece < run.energies.size(); ++piece) {
        if (run.energies[piece] == kLeftOut) {
            std::ranges::fill(run.samples.subspan(piece * run.batch.n, run.batch.n), std::int8_t{1});
        }
    }
}

SolveReport solve_with(const SolveOptions& options, const IsingBatch& batch, std::span<std::int8_t> samples,
                       std::span<double> energies, StopToken& token) {
    SolveReport report;
    const auto start = Clock::now();
    BatchRun run(batch, options, samples, energies, token);
    std::ranges::fill(energies, kLeftOut);
    if (options.method == Method::exact) {
        solve_exact(run);
    } else {
        std::visit(
            [&](const auto& view) {
                if constexpr (requires { view.row_start; }) {
                    solve_sparse(run, view, report);
                } else {
                    solve_dense(run, view, report);
                }
            },
            batch.couplings);
    }
    fill_left_out(run);
    sort_reads(run);
    take_best_known(run);
    report.method = method_name(options.method);
    report.proven = options.method == Method::exact;
    for (const Worker& worker : run.workers) {
        report.sweeps += worker.sweeps;
        report.proven = report.proven && worker.all_proven;
    }
    report.solve_ns = nanoseconds_since(start) - report.preparation_ns;
    return report;
}

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

SolveReport solve(const IsingBatch& batch, const SolveOptions& asked, std::span<std::int8_t> samples,
                  std::span<double> energies) {
    std::visit([](const auto& view) { check(view); }, batch.couplings);
    SolveOptions options = asked;
    options.threads = std::clamp<std::size_t>(asked.threads, 1, kMostThreads);
    options.method = choose_method(batch, options);
    std::optional<Clock::time_point> deadline;
    if (options.time_limit) {
        deadline = Clock::now() + std::chrono::duration_cast<Clock::duration>(
                                      std::chrono::duration<double>(std::min(*options.time_limit, 1e9)));
    }
    StopToken token(deadline, options.interrupt_check, options.finish_check);
    if (options.progress != nullptr) {
        options.progress->begin();
    }
    const std::size_t runs = runs_per_read(batch, options);
    if (runs == 1) {
        return solve_with(options, batch, samples, energies, token);
    }
    options.reads *= runs;
    std::vector<std::int8_t> all_samples(samples.size() * runs);
    std::vector<double> all_energies(energies.size() * runs);
    const SolveReport report = solve_with(options, batch, all_samples, all_energies, token);
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
