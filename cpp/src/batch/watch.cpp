#include "batch/watch.hpp"

#include <cmath>
#include <variant>

#include "batch/entries.hpp"

namespace qpsbgd {
namespace {

constexpr int kRest = 20;           // times as long as the last evaluation took
constexpr double kRounding = 1e-4;  // what an energy of a search may be wrong by, relative to itself

}  // namespace

bool Watch::matters(std::size_t problem, double energy) const {
    if (progress_.wanted() != 0 || progress_.would_reach(problem, energy - kRounding * std::fabs(energy))) {
        return true;
    }
    return energy < progress_.best_energy(problem) && Clock::now() >= next_;
}

void Watch::show(std::size_t problem) {
    const auto begin = Clock::now();
    const double energy = evaluate_(problem, spins_);
    progress_.record(problem, energy, spins_);
    if (progress_.reached()) {
        token_.finish();
    }
    const auto end = Clock::now();
    next_ = end + kRest * (end - begin);
}

double constant_of(const IsingBatch& batch, std::size_t problem) {
    double trace = 0.0;
    std::visit(
        [&](const auto& view) {
            if constexpr (requires { view.row_start; }) {
                for_each_entry(batch, problem, [&](std::size_t i, std::size_t j, double value) {
                    trace += i == j ? value : 0.0;
                });
            } else {
                for (std::size_t i = 0; i < view.n; ++i) {
                    trace += static_cast<double>(view.matrix(problem)[i * view.n + i]);
                }
            }
        },
        batch.couplings);
    return batch.coupling_scale * trace + batch.offset[problem];
}

double energy_of_state(const IsingBatch& batch, std::size_t problem, std::span<const std::int8_t> spins) {
    double couplings = 0.0;
    for_each_entry(batch, problem, [&](std::size_t i, std::size_t j, double value) {
        couplings += spins[i] == spins[j] ? value : -value;
    });
    double fields = 0.0;
    const auto field = batch.field(problem);
    for (std::size_t i = 0; i < field.size(); ++i) {
        fields += spins[i] > 0 ? field[i] : -field[i];
    }
    return batch.coupling_scale * couplings + fields + batch.offset[problem];
}

double energy_of_all_down(const IsingBatch& batch, std::size_t problem) {
    double couplings = 0.0;
    for_each_entry(batch, problem, [&](std::size_t, std::size_t, double value) { couplings += value; });
    double fields = 0.0;
    for (const double field : batch.field(problem)) {
        fields += field;
    }
    return batch.coupling_scale * couplings - fields + batch.offset[problem];
}

}  // namespace qpsbgd
