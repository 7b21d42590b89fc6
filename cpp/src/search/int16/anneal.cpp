// Annealing over dense int16 couplings: Kirkpatrick, Gelatt and Vecchi (1983), sequential Metropolis on a geometric ladder.
//
// Four reads at a time, or where the machine has kernels for it all reads of one matrix in step.
// Cost of a sweep: n / 32 decisions of five vector operations, and one row of couplings for each flip; in step it grows
// with n^2 and not with the flips.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "base/schedule.hpp"
#include "search/int16/random_bits.hpp"
#include "search/int16/search.hpp"
#include "search/int16/temperature.hpp"

namespace qpsbgd {
namespace {

// Temperatures of sweeps [first, first + count) of a ladder of `sweeps`.
void fill_temperatures(BetaRange range, double unit, std::size_t first, std::size_t count, std::size_t sweeps,
                       std::vector<std::uint32_t>& temperatures) {
    temperatures.resize(count);
    double beta = geometric_beta(range, first, sweeps);
    const double ratio = geometric_ratio(range, sweeps);
    for (std::uint32_t& temperature : temperatures) {
        temperature = temperature_of(beta * unit);
        beta *= ratio;
    }
}

// All replicas at once, from their first sweep. False when the budget ran out.
bool run_in_step(Int16Group& group, std::size_t sweeps, Budget& budget) {
    const std::size_t done = group.enter_step().anneal(sweeps, budget);
    group.leave_step();
    for (std::size_t index = 0; index < group.size(); ++index) {
        group.replica(index).sweep = done;
    }
    return done == sweeps && !budget.exhausted();
}

// One run of every read over its whole ladder; ends in local minima.
void run_schedule(Int16Group& group, std::span<Int16Read> reads, std::size_t sweeps, Budget& budget) {
    constexpr std::size_t kWindow = 1024;  // sweeps whose temperatures are held at once
    const bool in_step = group.fits_in_step();
    bool time_left = true;
    for (std::size_t first = 0; first < sweeps && time_left; first += kWindow) {
        const std::size_t count = std::min(kWindow, sweeps - first);
        for (std::size_t index = 0; index < group.size(); ++index) {
            auto& temperatures = group.temperatures(index);
            fill_temperatures(reads[index].beta_range, group.matrix(index).unit(), first, count, sweeps,
                              temperatures);
            group.begin_sweeps(index, temperatures.data());
        }
        time_left = in_step ? run_in_step(group, count, budget) : group.run_sweeps(count, budget);
        for (std::size_t index = 0; index < group.size(); ++index) {
            reads[index].sweeps_done += group.replica(index).sweep;
        }
    }
    // The answer is a local minimum even when the time is up: this takes far less than a sweep, but for many large reads
    // that have hardly begun. These leave it to the exact descent.
    if (time_left) {
        Budget polish(budget.token());
        group.descend(polish);
        budget.at_minima();
    } else {
        group.complete(budget.token());
    }
}

// Ever longer runs from new states, until the time is up.
void run_until_the_end(Int16Group& group, std::span<Int16Read> reads, Budget& budget) {
    std::vector<std::uint32_t> target(group.best(0).size());
    for (std::size_t length = kFirstRoundSweeps; !budget.exhausted(); length *= 2) {
        run_schedule(group, reads, length, budget);
        for (std::size_t index = 0; index < group.size(); ++index) {
            Random random(0, 0, 0);
            random.set_state(group.replica(index).random);
            random_bits(random, group.n(), target);
            group.replica(index).random = random.state();
            group.move_to(index, target);
        }
    }
}

}  // namespace

void anneal(Int16Group& group, std::span<Int16Read> reads, std::optional<BetaRange> range,
            std::optional<std::size_t> sweeps, Budget& budget) {
    group.load(reads, Int16Group::Start::random);
    if (!range) {
        group.descend(budget);
        if (budget.exhausted()) {
            group.complete(budget.token());
        }
    }
    for (std::size_t index = 0; index < group.size(); ++index) {
        const double unit = group.matrix(index).unit();
        reads[index].beta_range = range ? *range : default_beta_range(group.mean_field(index) * unit);
    }
    if (sweeps || !budget.has_deadline()) {
        run_schedule(group, reads, sweeps.value_or(kDefaultAnnealSweeps), budget);
    } else if (can_exchange(group, reads)) {
        exchange(group, reads, budget);
    } else {
        run_until_the_end(group, reads, budget);
    }
    group.store(reads);
}

}  // namespace qpsbgd
