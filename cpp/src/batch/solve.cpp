// One batch, one call: chooses the method, sorts the reads.
#include "qpsbgd/solve.hpp"

#include <algorithm>
#include <chrono>
#include <optional>
#include <stdexcept>
#include <string>
#include <variant>
#include <vector>

#include "batch/remainder.hpp"
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

constexpr std::size_t kMostThreads = 1024;  // more than pay on any machine

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

// Problems [first, last) of a batch.
IsingBatch part_of(const IsingBatch& batch, std::size_t first, std::size_t last) {
    IsingBatch part = batch;
    part.problems = last - first;
    part.fields = batch.fields.subspan(first * batch.n, part.problems * batch.n);
    part.offset = batch.offset.subspan(first, part.problems);
    if (!batch.initial_states.empty()) {
        const std::size_t size = batch.initial_reads * batch.n;
        part.initial_states = batch.initial_states.subspan(first * size, part.problems * size);
    }
    std::visit(
        [&](auto& view) {
            if constexpr (!requires { view.row_start; }) {
                if (view.count > 1) {
                    view.values =
                        view.values.subspan(first * view.n * view.n, part.problems * view.n * view.n);
                    view.count = part.problems;
                }
            }
        },
        part.couplings);
    return part;
}

// What solves one problem after the other adds up; the first problem's method and temperatures stand for all.
void add_up(SolveReport& total, const SolveReport& part) {
    total.sweeps += part.sweeps;
    total.proven = total.proven && part.proven;
    total.reads = std::min(total.reads, part.reads);
    total.preparation_ns += part.preparation_ns;
    total.solve_ns += part.solve_ns;
}

std::optional<Clock::time_point> deadline_after(std::optional<double> seconds) {
    if (!seconds) {
        return std::nullopt;
    }
    return Clock::now() + std::chrono::duration_cast<Clock::duration>(
                              std::chrono::duration<double>(std::min(*seconds, 1e9)));
}

// With a method chosen: as many runs for a read as pay, of which the best are kept.
SolveReport solve_runs(const SolveOptions& asked, const IsingBatch& batch, std::span<std::int8_t> samples,
                       std::span<double> energies, StopToken& token) {
    const std::size_t runs = runs_per_read(batch, asked);
    if (runs == 1) {
        return solve_with(asked, batch, samples, energies, token);
    }
    SolveOptions options = asked;
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

}  // namespace

SolveReport solve_batch(const IsingBatch& batch, const SolveOptions& asked, std::span<std::int8_t> samples,
                        std::span<double> energies, StopToken& token) {
    SolveOptions options = asked;
    const auto end = token.deadline();
    SolveReport total;
    for (const Stretch& stretch : choose_methods(batch, options)) {
        if (end) {
            // Its share of the time that is left.
            const std::chrono::duration<double> left = *end - Clock::now();
            options.time_limit = left.count() * static_cast<double>(stretch.last - stretch.first) /
                                 static_cast<double>(batch.problems - stretch.first);
            token.set_deadline(deadline_after(options.time_limit));
        }
        if (options.progress != nullptr) {
            options.progress->set_first(stretch.first);
        }
        options.method = stretch.method;
        options.first_problem = asked.first_problem + stretch.first;
        const std::size_t reads = stretch.first * options.reads;
        const std::size_t count = (stretch.last - stretch.first) * options.reads;
        const SolveReport part = solve_runs(options, part_of(batch, stretch.first, stretch.last),
                                            samples.subspan(reads * batch.n, count * batch.n),
                                            energies.subspan(reads, count), token);
        if (stretch.first == 0) {
            total = part;
        } else {
            add_up(total, part);
        }
    }
    if (options.progress != nullptr) {
        options.progress->set_first(0);
    }
    return total;
}

SolveReport solve(const IsingBatch& batch, const SolveOptions& asked, std::span<std::int8_t> samples,
                  std::span<double> energies) {
    std::visit([](const auto& view) { check(view); }, batch.couplings);
    SolveOptions options = asked;
    options.threads = std::clamp<std::size_t>(asked.threads, 1, kMostThreads);
    StopToken token(deadline_after(options.time_limit), options.interrupt_check, options.finish_check);
    if (options.progress != nullptr) {
        options.progress->begin();
    }
    const auto start = Clock::now();
    if (auto report = solve_presolved(batch, options, samples, energies, token)) {
        return *report;
    }
    const auto looked = nanoseconds_since(start);
    SolveReport report = solve_batch(batch, options, samples, energies, token);
    report.preparation_ns += looked;
    return report;
}

}  // namespace qpsbgd
