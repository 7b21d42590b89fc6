// What a batch is solved with, where the caller leaves it open: measured rules, first match first.
#include "batch/rules.hpp"

#include <algorithm>
#include <stdexcept>
#include <string>
#include <variant>

#include "search/exact/search.hpp"
#include "search/int16/replica_group.hpp"

namespace qpsbgd {

// The rules of method "auto", first match first. Measured on layer problems and on the public instances: exhaustive
// search is the fastest up to 20 spins; annealing has no time to cool in a few sweeps, where tabu search descends at
// once; with time, annealing reaches lower energies than tabu search on every family.
Method choose_method(const IsingBatch& batch, const SolveOptions& options) {
    if (options.method == Method::exact && batch.n > kExactLimit) {
        throw std::invalid_argument("method 'exact' takes at most " + std::to_string(kExactLimit) +
                                    " spins, but the problem has " + std::to_string(batch.n));
    }
    if (options.method != Method::automatic) {
        return options.method;
    }
    constexpr std::size_t kFewSweeps = 32;
    const bool dense = batch.couplings.index() < 2;
    if (batch.n <= kAutoExactLimit) {
        return Method::exact;
    }
    return dense && options.sweeps && *options.sweeps < kFewSweeps ? Method::tabu : Method::anneal;
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
