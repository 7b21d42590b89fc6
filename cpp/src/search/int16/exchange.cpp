// Replica exchange (Hukushima and Nemoto, 1996), until the time is up: every read keeps a temperature of the ladder for
// some sweeps, then neighbours on the ladder swap theirs by the Metropolis rule. Measured against ever longer annealing
// runs in the same time: five times as likely to end at the optimum of a chain with long-range couplings, as good on
// random dense problems. Two ladders of 16 and relinking of their cold ends find that optimum
// about twice as often as one ladder of 32.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "base/schedule.hpp"
#include "search/int16/relink.hpp"
#include "search/int16/search.hpp"
#include "search/int16/temperature.hpp"

namespace qpsbgd {
namespace {

constexpr std::size_t kSweepsOfRound = 4;
constexpr std::size_t kRungs = 16;  // of a ladder; more reads are further ladders
constexpr std::size_t kRoundsOfRelinking = 4;
constexpr std::size_t kColdRungs = 4;  // whose states are relinked
constexpr double kMostRelinking =
    0.4;  // of the time, on problems where a relinking takes longer than a round

struct Rung {
    double beta;  // in units
    std::size_t replica;
    std::array<std::uint32_t, kSweepsOfRound> temperatures;
};

// Ladders one after another, each from hot to cold.
std::vector<Rung> ladders_of(BetaRange range, double unit, std::size_t reads, std::size_t rungs) {
    std::vector<Rung> ladder(reads);
    for (std::size_t k = 0; k < reads; ++k) {
        ladder[k].beta = geometric_beta(range, k % rungs, rungs) * unit;
        ladder[k].replica = k;
        ladder[k].temperatures.fill(temperature_of(ladder[k].beta));
    }
    return ladder;
}

}  // namespace

void exchange(Int16Group& group, std::span<Int16Read> reads, Budget& budget) {
    // Reads that fill no whole ladders are one ladder.
    const std::size_t rungs = group.size() % kRungs == 0 ? kRungs : group.size();
    std::vector<Rung> ladder = ladders_of(reads[0].beta_range, group.matrix(0).unit(), group.size(), rungs);
    for (Rung& rung : ladder) {
        group.replica(rung.replica).temperature = rung.temperatures.data();
    }
    Random random(reads[0].random.next(), 0, 0);  // a stream of its own
    Int16ReplicaGroup& in_step = group.enter_step();
    const auto energy = [&](const Rung& rung) {
        return 0.5 * static_cast<double>(group.replica(rung.replica).start) -
               2.0 * static_cast<double>(in_step.gain(rung.replica));
    };
    const auto uniform = [&] { return static_cast<double>(random.next() >> 11U) * 0x1p-53; };
    const auto swap_neighbours = [&](Rung& hot, Rung& cold) {
        if (uniform() < std::exp((hot.beta - cold.beta) * (energy(hot) - energy(cold)))) {
            std::swap(hot.replica, cold.replica);
            in_step.set_temperatures(hot.replica, hot.temperatures.data());
            in_step.set_temperatures(cold.replica, cold.temperatures.data());
        }
    };
    const auto cold_rung = [&] {
        const auto ladders = static_cast<std::uint32_t>(ladder.size() / rungs);
        const auto cold = static_cast<std::uint32_t>(std::min(kColdRungs, rungs));
        return (random.below(ladders) + 1) * rungs - 1 - random.below(cold);
    };
    PathRelinking relinking(group);
    const auto begin = Clock::now();
    Clock::duration relinked{};
    std::size_t sweeps = 0;
    for (std::size_t round = 0; !budget.exhausted(); ++round) {
        sweeps += in_step.anneal(kSweepsOfRound, budget);
        for (std::size_t k = round % 2; k + 1 < ladder.size(); k += 2) {
            if ((k + 1) % rungs != 0) {
                swap_neighbours(ladder[k], ladder[k + 1]);
            }
        }
        if (round % kRoundsOfRelinking == 0) {
            const std::size_t from = cold_rung();
            const std::size_t to = cold_rung();
            const auto now = Clock::now();
            if (from != to && relinked <= kMostRelinking * (now - begin)) {
                relinking.relink(in_step, ladder[from].replica, ladder[to].replica);
                relinked += Clock::now() - now;
            }
        }
    }
    group.leave_step();
    for (Int16Read& read : reads) {
        read.sweeps_done += sweeps;
    }
    group.complete(budget.token());
}

// Are all reads of the same problem, and in step?
bool can_exchange(const Int16Group& group, std::span<const Int16Read> reads) {
    return group.fits_in_step() && std::ranges::all_of(reads, [&](const Int16Read& read) {
               return read.fields.data() == reads[0].fields.data();
           });
}

}  // namespace qpsbgd
