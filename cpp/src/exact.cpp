// Exhaustive search: the Gray code visits all 2^n states, neighbours differing in one spin, so each state costs one
// row of additions. Local fields and energy are recomputed in float64 every 4096 states, which keeps the rounding
// error of the comparison below 4096 ulp and makes the answer a proof for all but tied states.
#include <algorithm>
#include <bit>
#include <limits>
#include <vector>

#include "qpsbgd/solvers.hpp"

namespace qpsbgd {

ExactResult exact(std::span<const double> couplings, std::span<const double> fields, Budget& budget) {
    const std::size_t n = fields.size();
    constexpr std::uint64_t kRefresh = 4096;
    std::vector<double> spins(n, -1.0);
    std::vector<double> local(n);
    ExactResult best{std::vector<std::int8_t>(n, -1), false};
    double best_energy = std::numeric_limits<double>::infinity();
    double energy = 0.0;

    const std::uint64_t states = std::uint64_t{1} << n;
    for (std::uint64_t state = 0; state < states; ++state) {
        if (state != 0) {
            const auto spin = static_cast<std::size_t>(std::countr_zero(state));
            energy -= 2.0 * spins[spin] * local[spin];
            const double change = -2.0 * spins[spin];
            spins[spin] = -spins[spin];
            const double* row = couplings.data() + spin * n;
            for (std::size_t j = 0; j < n; ++j) {
                local[j] += change * row[j];
            }
        }
        if (state % kRefresh == 0) {
            if (state != 0 && budget.exhausted()) {
                return best;
            }
            energy = 0.0;
            for (std::size_t i = 0; i < n; ++i) {
                double sum = 0.0;
                for (std::size_t j = 0; j < n; ++j) {
                    sum += couplings[i * n + j] * spins[j];
                }
                local[i] = fields[i] + sum;
                energy += spins[i] * (fields[i] + 0.5 * sum);
            }
        }
        if (energy < best_energy) {
            best_energy = energy;
            std::ranges::transform(spins, best.spins.begin(),
                                   [](double spin) { return static_cast<std::int8_t>(spin); });
        }
    }
    best.proven = true;
    return best;
}

}  // namespace qpsbgd
