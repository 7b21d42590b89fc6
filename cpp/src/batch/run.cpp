#include "batch/run.hpp"

#include <algorithm>

namespace qpsbgd {

BatchRun::BatchRun(const IsingBatch& the_batch, const SolveOptions& chosen,
                   std::span<std::int8_t> all_samples, std::span<double> all_energies, StopToken& stop_token)
    : batch(the_batch),
      options(chosen),
      samples(all_samples),
      energies(all_energies),
      token(stop_token),
      workers(std::max<std::size_t>(1, chosen.threads)),
      time(stop_token, the_batch.problems * chosen.reads, chosen.threads) {}

std::span<const std::int8_t> BatchRun::initial_state(std::size_t problem, std::size_t read) const {
    if (batch.initial_states.empty()) {
        return {};
    }
    return batch.initial_states.subspan(
        (problem * batch.initial_reads + read % batch.initial_reads) * batch.n, batch.n);
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

std::int64_t nanoseconds_since(Clock::time_point start) {
    return std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now() - start).count();
}

}  // namespace qpsbgd
