#include "batch/run.hpp"

#include <algorithm>
#include <utility>
#include <vector>

#include "base/rng.hpp"

namespace qpsbgd {

BatchRun::BatchRun(const IsingBatch& the_batch, const SolveOptions& chosen,
                   std::span<std::int8_t> all_samples, std::span<double> all_energies, StopToken& stop_token)
    : batch(the_batch),
      options(chosen),
      samples(all_samples),
      energies(all_energies),
      token(stop_token),
      workers(std::max<std::size_t>(1, chosen.threads)),
      time(stop_token, the_batch.problems * chosen.reads, chosen.threads),
      sparse_finish(the_batch) {}

std::size_t BatchRun::answer_of(std::size_t index, std::size_t together) const {
    const std::size_t round = index / (together * batch.problems);
    const std::size_t first = round * together;
    const std::size_t reads = std::min(together, options.reads - first);
    const std::size_t in_round = index - first * batch.problems;
    return in_round / reads * options.reads + first + in_round % reads;
}

std::span<const std::int8_t> BatchRun::initial_state(std::size_t problem, std::size_t read) const {
    if (batch.initial_states.empty()) {
        return {};
    }
    return batch.initial_states.subspan(
        (problem * batch.initial_reads + read % batch.initial_reads) * batch.n, batch.n);
}

void BatchRun::start(std::size_t problem, std::size_t read, std::span<std::int8_t> spins) const {
    if (const auto given = initial_state(problem, read); !given.empty()) {
        std::ranges::copy(given, spins.begin());
        return;
    }
    Random random(options.seed, options.first_problem + problem, read);
    std::uint64_t bits = 0;
    for (std::size_t i = 0; i < spins.size(); ++i) {
        bits = i % 64 == 0 ? random.next() : bits >> 1;
        spins[i] = (bits & 1) != 0 ? std::int8_t{1} : std::int8_t{-1};
    }
}

void BatchRun::note(std::size_t problem, std::size_t read) const {
    if (options.progress == nullptr) {
        return;
    }
    options.progress->record(problem, energies[problem * options.reads + read], sample(problem, read));
    if (options.progress->reached()) {
        token.finish();
    }
}

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

std::int64_t nanoseconds_since(Clock::time_point start) {
    return std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now() - start).count();
}

}  // namespace qpsbgd
