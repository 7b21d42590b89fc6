// Tabu search over dense int16 couplings: Glover (1989), one-flip with random tenure and aspiration, restarted from a
// perturbed best state when it finds nothing new.
//
// Four reads at a time. Cost of an iteration: one row of couplings and one pass over the local fields, fused.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <vector>

#include "base/schedule.hpp"
#include "kernels/kernel_table.hpp"
#include "search/int16/search.hpp"

namespace qpsbgd {
namespace {

// Flipped spins rest for some iterations. Measured on layer problems and public instances: short rests win, by factors in
// flips, where the local fields of a minimum are small beside the couplings, as those of Gram matrices of low rank are;
// else rests grow with n. A multiple now and then helps where couplings differ by orders of magnitude.
void set_tenure(Int16Group& group, std::size_t index, double typical_field, std::uint32_t factor) {
    constexpr double kSmallFields = 0.8;  // of a row's root-mean-square
    const auto size = static_cast<std::uint32_t>(group.n());
    Int16Replica& replica = group.replica(index);
    if (typical_field < kSmallFields * group.matrix(index).root_mean_square()) {
        replica.least_tenure = std::min(2 * factor, size / 4);
        replica.tenure_spread = 4;
    } else {
        replica.least_tenure = std::min(factor * std::min(4 + size / 100, 20U), size / 4);
        replica.tenure_spread = std::min(6 + size / 200, 10U);
    }
}

// Back to the best state with some random spins flipped, and no spin at rest.
void perturb_best(Int16Group& group, std::size_t index, Random& random) {
    const auto size = static_cast<std::uint32_t>(group.n());
    std::vector<std::uint32_t> target(group.best(index).begin(), group.best(index).end());
    const std::uint32_t flips = std::max<std::uint32_t>(3, size / 20);
    for (std::uint32_t k = 0; k < flips; ++k) {
        const std::uint32_t spin = random.below(size);
        target[spin / kBlock] ^= std::uint32_t{1} << (spin % kBlock);
    }
    group.move_to(index, target);
    std::ranges::fill(group.scratch(index), std::int16_t{0});
}

// Elsewhere, with another tenure now and then.
void move_elsewhere(Int16Group& group, std::size_t index, double typical_field) {
    Int16Replica& replica = group.replica(index);
    Random random(0, 0, 0);
    random.set_state(replica.random);
    set_tenure(group, index, typical_field, random.below(3) == 0 ? 4 : 1);
    perturb_best(group, index, random);
    replica.random = random.state();
    replica.since_best = 0;
}

// Iterations of all replicas until `flips` are done or the time is up. Returns how many were done.
std::size_t iterate(Int16Group& group, std::span<const double> typical_fields, std::size_t flips,
                    Budget& budget) {
    const std::size_t patience = 5 * group.n();  // flips without a new best before the search moves elsewhere
    std::size_t done = 0;
    while (done < flips && !budget.exhausted()) {
        std::size_t call = std::min(flips - done, group.steps_of_a_call());
        for (std::size_t index = 0; index < group.size(); ++index) {
            call = std::min(call, patience - group.replica(index).since_best);
        }
        group.run_tabu(call);
        done += call;
        for (std::size_t index = 0; index < group.size(); ++index) {
            if (group.replica(index).since_best >= patience) {
                budget.at_minima();
                move_elsewhere(group, index, typical_fields[index]);
            }
        }
    }
    return done;
}

}  // namespace

void tabu(Int16Group& group, std::span<Int16Read> reads, std::optional<std::size_t> sweeps, Budget& budget) {
    group.load(reads, Int16Group::Start::leaning);
    const std::size_t n = group.n();
    constexpr auto kForEver = std::numeric_limits<std::size_t>::max();
    const std::size_t asked = sweeps.value_or(budget.has_deadline() ? kForEver : kDefaultTabuSweeps);
    const std::size_t flips = asked > kForEver / n ? kForEver : asked * n;
    group.descend(budget);
    if (budget.exhausted()) {
        group.complete(budget.token());
    }
    std::vector<double> typical_fields;  // mean |L| of each read's first local minimum, in units
    for (std::size_t index = 0; index < group.size(); ++index) {
        typical_fields.push_back(group.mean_field(index));
        set_tenure(group, index, typical_fields.back(), 1);
        std::ranges::fill(group.scratch(index), std::int16_t{0});
        group.replica(index).since_best = 0;
    }
    const std::size_t done = iterate(group, typical_fields, flips, budget);
    for (Int16Read& read : reads) {
        read.sweeps_done += done / n;
    }
    group.store(reads);
}

}  // namespace qpsbgd
