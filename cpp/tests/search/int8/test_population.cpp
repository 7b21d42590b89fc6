// The crossover of two states, checked against energies by the definition; and what a population promises.
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <numeric>
#include <span>
#include <utility>
#include <vector>

#include "search/int8/crossover.hpp"
#include "search/int8/population.hpp"
#include "search/int8/replica_group.hpp"
#include "support.hpp"

namespace {

using namespace qpsbgd;
using namespace qpsbgd::int8_tests;
using State = std::vector<std::uint64_t>;

// Couplings up to 100, of which the kernels' weights hold the remainder modulo 128 only.
Sparse strong_ring(std::size_t n, std::uint64_t seed) {
    Sparse problem(n, 1);
    Random random(seed, 0, 0);
    std::vector<std::pair<std::size_t, std::size_t>> pairs;
    std::vector<double> values;
    for (std::size_t i = 0; i < n; ++i) {
        pairs.emplace_back(i, (i + 1) % n);
        values.push_back(i % 2 == 0 ? 100.0 - random.below(30) : -1.0 - random.below(20));
    }
    problem.set(pairs, values);
    return problem;
}

std::vector<Sparse> problems() {
    return {lattice(9, 11, 1, 0.25, 1),
            lattice(4, 5, 6, 1.0, 2),
            moebius(130, 3),
            integers(200, 2, 4),
            hubs(2, 5),
            strong_ring(90, 6)};
}

std::vector<int> spins_of(std::span<const std::uint64_t> state, const Int8ReplicaCouplings& couplings) {
    std::vector<int> spins(couplings.n());
    for (std::size_t at = 0; at < spins.size(); ++at) {
        spins[couplings.order()[at]] = (state[at / 64] >> (at % 64) & 1U) != 0 ? 1 : -1;
    }
    return spins;
}

// (E(all -1) - E(state)) / 2 in units.
double gain_by_definition(const Sparse& problem, const Int8ReplicaCouplings& couplings,
                          std::span<const std::uint64_t> state, std::size_t number) {
    const double down = problem.energy(number, std::vector<int>(problem.n, -1));
    return (down - problem.energy(number, spins_of(state, couplings))) / (2.0 * couplings.unit());
}

bool is_local_minimum(const Sparse& problem, std::vector<int> spins, std::size_t number) {
    const double energy = problem.energy(number, spins);
    return std::ranges::all_of(spins, [&](int& spin) {
        spin = -spin;
        const bool higher = problem.energy(number, spins) > energy - 1e-9;
        spin = -spin;
        return higher;
    });
}

// Local minima of a few sweeps, lanes alternating between the problems.
struct Minima {
    std::vector<ReplicaId> ids;
    std::vector<State> states;

    Minima(const Sparse& problem, const Int8ReplicaCouplings& couplings, std::size_t count) {
        StopToken token(std::nullopt, nullptr);
        Budget budget(token, std::nullopt);
        Int8ReplicaGroup group(couplings);
        for (std::size_t k = 0; k < count; ++k) {
            ids.push_back({k * problem.problems / count, k});
        }
        group.assign(ids, 11, 0);
        group.start(problem.batch());
        group.cool({0.1 / couplings.unit(), 0.4 / couplings.unit()}, 4, budget);
        group.settle(token);
        State all;
        group.states(all);
        const auto words = static_cast<std::ptrdiff_t>(words_of(problem.n));
        for (std::size_t k = 0; k < count; ++k) {
            const auto begin = all.begin() + words * static_cast<std::ptrdiff_t>(k);
            states.emplace_back(begin, begin + words);
            EXPECT_EQ(group.gain(k), gain_by_definition(problem, couplings, states.back(), ids[k].problem));
        }
    }
};

// The gain of the best mix: every component of spins that differ is flipped alone, its energy taken by the definition.
double best_mix(const Sparse& problem, const std::vector<int>& a, const std::vector<int>& b,
                std::size_t number, double unit) {
    std::vector<std::size_t> label(problem.n);
    std::iota(label.begin(), label.end(), std::size_t{0});
    for (bool changed = true; changed;) {
        changed = false;
        for (std::size_t i = 0; i < problem.n; ++i) {
            for (auto k = problem.row_start[i]; k < problem.row_start[i + 1]; ++k) {
                const auto j = static_cast<std::size_t>(problem.column[static_cast<std::size_t>(k)]);
                const bool couples = problem.value[static_cast<std::size_t>(k)] != 0.0;
                if (couples && a[i] != b[i] && a[j] != b[j] && label[i] != label[j]) {
                    label[i] = label[j] = std::min(label[i], label[j]);
                    changed = true;
                }
            }
        }
    }
    double total = 0.0;
    const double before = problem.energy(number, a);
    for (std::size_t component = 0; component < problem.n; ++component) {
        std::vector<int> flipped = a;
        for (std::size_t i = 0; i < problem.n; ++i) {
            flipped[i] = a[i] != b[i] && label[i] == component ? b[i] : a[i];
        }
        total += std::max(0.0, before - problem.energy(number, flipped));
    }
    return total / (2.0 * unit);
}

TEST(Crossover, GainsAreDifferencesOfEnergy) {
    for (const Sparse& problem : problems()) {
        const auto couplings = couplings_of(problem);
        ASSERT_TRUE(couplings);
        const PartitionCrossover crossover(*couplings);
        const Minima minima(problem, *couplings, 20);
        for (std::size_t k = 0; k < minima.ids.size(); ++k) {
            const std::size_t number = minima.ids[k].problem;
            EXPECT_EQ(static_cast<double>(crossover.gain_of(minima.states[k], number)),
                      gain_by_definition(problem, *couplings, minima.states[k], number));
        }
    }
}

TEST(Crossover, APinnedHubStaysUpAndGainsDifferAsEnergiesDo) {
    Sparse problem(400, 1);
    Random random(3, 0, 0);
    std::vector<std::pair<std::size_t, std::size_t>> pairs;
    for (std::size_t i = 0; i < 400; ++i) {
        if (i != 17) {
            pairs.emplace_back(17, i);
        }
        pairs.emplace_back(i, (i + 1 + random.below(397)) % 400);
    }
    std::vector<double> values(pairs.size());
    std::ranges::generate(values, [&] { return random.below(2) == 0 ? -1.0 : 1.0; });
    problem.set(pairs, values);
    EXPECT_FALSE(couplings_of(problem));
    const auto couplings = couplings_of(problem, true, true);
    ASSERT_TRUE(couplings);
    EXPECT_EQ(couplings->pinned(), 17U);
    const PartitionCrossover crossover(*couplings);
    StopToken token(std::nullopt, nullptr);
    Budget budget(token, std::nullopt);
    Int8ReplicaGroup group(*couplings);
    group.assign(std::vector<ReplicaId>{{0, 0}, {0, 1}, {0, 2}}, 5, 0);
    group.start(problem.batch());
    group.cool({0.1, 0.4}, 20, budget);
    group.settle(token);
    State all;
    group.states(all);
    std::vector<double> offset;
    for (std::size_t lane = 0; lane < 3; ++lane) {
        const auto state = std::span(all).subspan(lane * words_of(400), words_of(400));
        EXPECT_EQ(spins_of(state, *couplings)[17], 1);
        EXPECT_EQ(group.gain(lane), crossover.gain_of(state, 0));
        offset.push_back(group.gain(lane) - gain_by_definition(problem, *couplings, state, 0));
    }
    EXPECT_EQ(offset[0], offset[1]);
    EXPECT_EQ(offset[0], offset[2]);
    problem.field[3] = 1.0;
    EXPECT_FALSE(couplings_of(problem, true, true));  // the negative of a state is not as good
}

TEST(Crossover, TheChildTakesTheBestOfEveryComponentAndIsALocalMinimum) {
    StopToken token(std::nullopt, nullptr);
    Budget budget(token, std::nullopt);
    for (const Sparse& problem : problems()) {
        const auto couplings = couplings_of(problem);
        ASSERT_TRUE(couplings);
        PartitionCrossover crossover(*couplings);
        const Minima minima(problem, *couplings, 20);
        for (std::size_t k = 1; k < minima.ids.size(); ++k) {
            const std::size_t number = minima.ids[k].problem;
            if (minima.ids[k - 1].problem != number) {
                continue;
            }
            State child = minima.states[k];
            const State& other = minima.states[k - 1];
            const auto before = crossover.gain_of(child, number);
            const auto gain = crossover.improve(child, other, number, budget);
            EXPECT_EQ(crossover.gain_of(child, number), before + gain);
            EXPECT_GE(before + gain, std::max(before, crossover.gain_of(other, number)));
            EXPECT_GE(static_cast<double>(gain),
                      best_mix(problem, spins_of(minima.states[k], *couplings), spins_of(other, *couplings),
                               number, couplings->unit()) -
                          1e-6);
            EXPECT_TRUE(is_local_minimum(problem, spins_of(child, *couplings), number));
        }
    }
}

TEST(Crossover, ComponentsAddUp) {
    // Two rings without a coupling between them: the child has the better one of each parent.
    Sparse problem(128, 1);
    std::vector<std::pair<std::size_t, std::size_t>> pairs;
    pairs.reserve(128);
    for (std::size_t i = 0; i < 128; ++i) {
        pairs.emplace_back(i, i / 64 * 64 + (i + 1) % 64);
    }
    problem.set(pairs, std::vector<double>(128, -1.0));  // ferromagnetic rings
    const auto couplings = couplings_of(problem);
    ASSERT_TRUE(couplings);
    PartitionCrossover crossover(*couplings);
    const auto state_of = [&](const std::vector<int>& spins) {
        State state(2);
        for (std::size_t at = 0; at < 128; ++at) {
            state[at / 64] |= std::uint64_t{spins[couplings->order()[at]] > 0} << (at % 64);
        }
        return state;
    };
    std::vector<int> a(128, 1);
    std::vector<int> b(128, 1);
    for (std::size_t i = 10; i < 30; ++i) {
        a[i] = -1;       // a domain in the first ring
        b[64 + i] = -1;  // and one in the second
    }
    State child = state_of(a);
    StopToken token(std::nullopt, nullptr);
    Budget budget(token, std::nullopt);
    EXPECT_EQ(crossover.improve(child, state_of(b), 0, budget), 2);  // two broken couplings mended
    EXPECT_EQ(spins_of(child, *couplings), std::vector<int>(128, 1));
}

TEST(Crossover, AnExhaustedBudgetLeavesALocalMinimumThatIsNotWorse) {
    const Sparse problem = lattice(200, 200, 1, 1.0, 3);
    const auto couplings = couplings_of(problem);
    ASSERT_TRUE(couplings);
    PartitionCrossover crossover(*couplings);
    const Minima minima(problem, *couplings, 2);
    StopToken token(std::nullopt, nullptr);
    Budget over(token, Clock::now());
    Budget open(token, std::nullopt);
    State child = minima.states[0];
    const auto before = crossover.gain_of(child, 0);
    const auto gain = crossover.improve(child, minima.states[1], 0, over);
    EXPECT_EQ(crossover.gain_of(child, 0), before + gain);
    State whole = minima.states[0];
    EXPECT_LE(gain, crossover.improve(whole, minima.states[1], 0, open));
    EXPECT_NE(child, whole);
}

TEST(Population, BestStatesAreLocalMinimaWithTheGainsItNames) {
    for (const Sparse& problem : problems()) {
        const auto couplings = couplings_of(problem);
        ASSERT_TRUE(couplings);
        PartitionCrossover crossover(*couplings);
        StopToken token(std::nullopt, nullptr);
        Budget budget(token, Clock::now() + std::chrono::milliseconds(50));
        Int8ReplicaGroup group(*couplings);
        const Minima start(problem, *couplings, 33);
        group.assign(start.ids, 11, 0);
        group.start(problem.batch());
        group.settle(token);
        std::vector<std::int64_t> first;
        first.reserve(start.ids.size());
        for (std::size_t lane = 0; lane < start.ids.size(); ++lane) {
            first.push_back(group.gain(lane));
        }
        Int8Population population(group, crossover, Random(1, 2, 3));
        population.evolve({0.1 / couplings->unit(), 1.0 / couplings->unit()}, budget);
        for (std::size_t lane = 0; lane < start.ids.size(); ++lane) {
            const std::size_t number = start.ids[lane].problem;
            EXPECT_GE(population.best_gain(lane), first[lane]);
            EXPECT_EQ(static_cast<double>(population.best_gain(lane)),
                      gain_by_definition(problem, *couplings, population.best(lane), number));
            EXPECT_TRUE(is_local_minimum(problem, spins_of(population.best(lane), *couplings), number));
        }
    }
}

}  // namespace
