// What a batch is solved with, where the caller leaves it open: measured rules, first match first.
#include "batch/rules.hpp"

#include <algorithm>
#include <optional>
#include <stdexcept>
#include <string>
#include <variant>
#include <vector>

#include "batch/look.hpp"
#include "search/exact/search.hpp"
#include "search/int16/replica_group.hpp"

namespace qpsbgd {

namespace {

// The rules of method "auto", first match first. benchmarks/choose.py measures them: exhaustive search is the fastest
// up to 20 spins. Tabu search reaches lower energies in the same time wherever fields or couplings of many spins hold
// a spin: layer problems by factors of 2 to 5 in the gap, QUBOs, tours, knapsacks. Annealing is ahead where few
// couplings count and on large spin glasses without fields. Sparse matrices are annealed: a flip of tabu search
// costs more there.
Method choose_for(const Look& look, std::size_t n) {
    constexpr std::size_t kSmallest = 48;  // below, both find the minimum
    constexpr std::size_t kLargeGlass = 350;
    constexpr double kWeakFields = 0.2;  // of a row's norm
    const double few_neighbours = 8.0 + static_cast<double>(n) / 64.0;
    if (n >= kSmallest && look.neighbours < few_neighbours) {
        return Method::anneal;
    }
    if (n >= kLargeGlass && look.fields < kWeakFields) {
        return Method::anneal;
    }
    return Method::tabu;
}

void append(std::vector<Stretch>& stretches, std::size_t problem, Method method) {
    if (stretches.empty() || stretches.back().method != method) {
        stretches.push_back({problem, problem, method});
    }
    ++stretches.back().last;
}

}  // namespace

std::vector<Stretch> choose_methods(const IsingBatch& batch, const SolveOptions& options) {
    if (options.method == Method::exact && batch.n > kExactLimit) {
        throw std::invalid_argument("method 'exact' takes at most " + std::to_string(kExactLimit) +
                                    " spins, but the problem has " + std::to_string(batch.n));
    }
    const auto all = [&](Method method) { return std::vector<Stretch>{{0, batch.problems, method}}; };
    if (options.method != Method::automatic) {
        return all(options.method);
    }
    if (batch.n <= kAutoExactLimit) {
        return all(Method::exact);
    }
    if (options.beta_range) {
        return all(Method::anneal);  // temperatures are wanted
    }
    return std::visit(
        [&](const auto& view) {
            if constexpr (requires { view.row_start; }) {
                return all(Method::anneal);
            } else {
                std::vector<Stretch> stretches;
                std::optional<RowSizes> sizes;
                for (std::size_t problem = 0; problem < batch.problems; ++problem) {
                    if (!sizes || view.count > 1) {
                        sizes = sizes_of_rows(view, problem, batch.coupling_scale);
                    }
                    append(stretches, problem, choose_for(look(*sizes, batch.field(problem)), batch.n));
                }
                return stretches;
            }
        },
        batch.couplings);
}

// With a time limit and no number of sweeps one read seldom is the best use of the time: the landscape decides whether
// a long run or many shorter ones win. So every thread works on eight runs, or on as many as the machine anneals in
// step, as long as beginning them takes a small part of the time, and the best of them are the answer.
std::size_t runs_per_read(const IsingBatch& batch, const SolveOptions& options) {
    if (!options.time_limit || options.sweeps || options.method == Method::exact ||
        options.method == Method::descent) {
        return 1;
    }
    const bool dense = batch.couplings.index() < 2;
    const bool in_step = dense && options.method == Method::anneal && Int16ReplicaCouplings::serve(batch.n);
    const double runs_per_thread = in_step ? static_cast<double>(kInt16Replicas) : 8.0;
    constexpr double kSecondsPerCoupling = 2e-9;  // to begin a run
    const double couplings = std::visit(
        [](const auto& view) {
            if constexpr (requires { view.row_start; }) {
                return static_cast<double>(view.value.size() + view.n);
            } else {
                return static_cast<double>(view.n) * static_cast<double>(view.n);
            }
        },
        batch.couplings);
    const auto reads = static_cast<double>(batch.problems * options.reads);
    const auto threads = static_cast<double>(options.threads);
    const double wanted = runs_per_thread * threads / reads;
    const double affordable = 0.1 * *options.time_limit * threads / (kSecondsPerCoupling * couplings * reads);
    return static_cast<std::size_t>(std::clamp(std::min(wanted, affordable), 1.0, runs_per_thread * threads));
}

}  // namespace qpsbgd
