// Batches that are searched exhaustively.
#include <algorithm>
#include <cstdint>
#include <span>
#include <variant>
#include <vector>

#include "base/threads.hpp"
#include "batch/entries.hpp"
#include "batch/run.hpp"
#include "search/exact/k_best.hpp"
#include "search/exact/search.hpp"
#include "search/symmetric_rows.hpp"

namespace qpsbgd {
namespace {

void finish_one(BatchRun& run, std::size_t problem, std::span<std::int8_t> spins, double* energy,
                FinishSpace& space) {
    const Finished finished{problem, spins, energy};
    std::visit(
        [&](const auto& view) {
            if constexpr (requires { view.row_start; }) {
                run.sparse_finish.finish(finished, space, run.token);
            } else {
                Budget unlimited(run.token);
                const SymmetricRows rows(view, problem, unlimited);
                finish_dense(run.batch, rows, std::span(&finished, 1), space, run.token);
            }
        },
        run.batch.couplings);
}

SmallIsing small_problem(const IsingBatch& batch, std::size_t problem) {
    SmallIsing small;
    small.n = batch.n;
    const auto fields = batch.field(problem);
    small.field.assign(fields.begin(), fields.end());
    small.coupling.assign(batch.n * batch.n, 0.0);
    small.constant = batch.offset[problem];
    for_each_entry(batch, problem, [&](std::size_t i, std::size_t j, double value) {
        if (i == j) {
            small.constant += batch.coupling_scale * value;
        } else {
            small.coupling[i * batch.n + j] += batch.coupling_scale * value;
            small.coupling[j * batch.n + i] += batch.coupling_scale * value;
        }
    });
    return small;
}

// The lowest different states, for a progress that wants several. False when the time ran out.
bool keep_lowest_states(BatchRun& run, std::size_t problem, Budget& budget) {
    Progress& progress = *run.options.progress;
    std::vector<SmallState> best;
    const bool all = find_k_best(small_problem(run.batch, problem), progress.wanted(), budget, best);
    std::vector<std::int8_t> spins(run.batch.n);
    for (const SmallState& state : best) {
        for (std::size_t i = 0; i < spins.size(); ++i) {
            spins[i] = (state.up >> i & 1U) != 0 ? std::int8_t{1} : std::int8_t{-1};
        }
        progress.record(problem, state.energy, spins);
    }
    return all;
}

}  // namespace

void solve_exact(BatchRun& run) {
    std::vector<ExactSearch> searches(run.workers.size());
    parallel_for(
        run.batch.problems, run.options.threads, run.token, [&](std::size_t worker, std::size_t problem) {
            Budget budget(run.token, run.time.share(run.options.reads));
            const auto spins = run.sample(problem, 0);
            bool proven = searches[worker].run(run.batch, problem, spins, budget);
            const Progress* progress = run.options.progress;
            if (progress != nullptr && progress->wanted() > 1) {
                proven = keep_lowest_states(run, problem, budget) && proven;
            }
            run.workers[worker].all_proven = run.workers[worker].all_proven && proven;
            const auto energies = run.energies.subspan(problem * run.options.reads, run.options.reads);
            if (proven) {
                store_energy(searches[worker].energy(), energies[0]);
            } else {
                finish_one(run, problem, spins, energies.data(), run.workers[worker].finish);
            }
            for (std::size_t read = 1; read < run.options.reads && !run.token.out_of_time(kGrace); ++read) {
                std::ranges::copy(spins, run.sample(problem, read).begin());
                energies[read] = energies[0];
            }
            run.note(problem, 0);
            run.time.begin(run.options.reads);
        });
}

}  // namespace qpsbgd
