// One batch, one call: chooses the method, sorts the reads.
#include "qpsbgd/solve.hpp"

#include <algorithm>
#include <chrono>
#include <limits>
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

// Best read first; equal energies keep the order of the reads. The least number of reads that a problem has had: those
// that were left out come last, and their memory is not touched.
std::size_t sort_reads(BatchRun& run) {
    const std::size_t reads = run.options.reads;
    std::size_t least = reads;
    std::vector<std::size_t> order;
    std::vector<std::int8_t> unsorted;
    for (std::size_t problem = 0; problem < run.batch.problems; ++problem) {
        const auto energies = run.energies.subspan(problem * reads, reads);
        order.clear();
        for (std::size_t read = 0; read < reads; ++read) {
            if (energies[read] != kLeftOut) {
                order.push_back(read);
            }
        }
        least = std::min(least, order.size());
        const auto before = [&](std::size_t read) { return std::pair(energies[read], read); };
        if (order.empty() ||
            (std::ranges::is_sorted(order, {}, before) && order.back() + 1 == order.size())) {
            continue;
        }
        std::ranges::sort(order, {}, before);
        unsorted.clear();
        for (const std::size_t read : order) {
            const auto spins = run.sample(problem, read);
            unsorted.insert(unsorted.end(), spins.begin(), spins.end());
        }
        std::ranges::copy(unsorted, run.sample(problem, 0).begin());
        std::ranges::sort(energies);
    }
    return least;
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
    report.reads = sort_reads(run);
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
    const std::size_t runs = runs_per_read(batch, options);
    if (runs == 1) {
        return solve_with(options, batch, samples, energies, token);
    }
    options.reads *= runs;
    std::vector<std::int8_t> all_samples(samples.size() * runs);
    std::vector<double> all_energies(energies.size() * runs);
    SolveReport report = solve_with(options, batch, all_samples, all_energies, token);
    report.reads = std::min(report.reads, asked.reads);
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
