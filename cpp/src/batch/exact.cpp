// Batches that are searched exhaustively.
#include <algorithm>
#include <span>
#include <variant>
#include <vector>

#include "base/threads.hpp"
#include "batch/run.hpp"
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

}  // namespace

void solve_exact(BatchRun& run) {
    std::vector<ExactSearch> searches(run.workers.size());
    parallel_for(
        run.batch.problems, run.options.threads, run.token, [&](std::size_t worker, std::size_t problem) {
            Budget budget(run.token, run.time.share(run.options.reads));
            const auto spins = run.sample(problem, 0);
            const bool proven = searches[worker].run(run.batch, problem, spins, budget);
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
            run.time.begin(run.options.reads);
        });
}

}  // namespace qpsbgd
