// 64 replicas side by side: the same states on every instruction set, by bytes or bits, in any group; and the
// probabilities that the tables promise.
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "qpsbgd/solve.hpp"
#include "search/int8/acceptance.hpp"
#include "search/int8/replica_group.hpp"
#include "support.hpp"

namespace {

using namespace qpsbgd;
using namespace qpsbgd::int8_tests;

// 0 where the problem does not fit.
double unit_of(const Sparse& problem) {
    const auto couplings = couplings_of(problem);
    return couplings ? couplings->unit() : 0.0;
}

struct Outcome {
    std::vector<std::int32_t> gains;
    std::vector<std::uint64_t> bits;

    bool operator==(const Outcome&) const = default;
};

Outcome anneal(const Sparse& problem, const Int8ReplicaCouplings& couplings, const KernelTable& table,
               const std::vector<ReplicaId>& ids, std::size_t sweeps = 40) {
    StopToken token(std::nullopt, nullptr);
    Budget budget(token, std::nullopt);
    Int8ReplicaGroup group(couplings, table);
    group.assign(ids, 7, 0);
    group.start(problem.batch());
    group.descend(budget);
    group.anneal({0.2, 2.0}, sweeps, budget);
    Outcome outcome;
    group.best_bits(outcome.bits);
    outcome.bits.resize(ids.size() * ((problem.n + 63) / 64));  // idle lanes hold nothing of interest
    for (std::size_t lane = 0; lane < ids.size(); ++lane) {
        outcome.gains.push_back(group.best_gain(lane));
    }
    return outcome;
}

std::vector<ReplicaId> reads(std::size_t count) {
    std::vector<ReplicaId> ids(count);
    for (std::size_t read = 0; read < count; ++read) {
        ids[read] = {0, read};
    }
    return ids;
}

std::vector<int> spins_of(const Outcome& outcome, std::size_t lane, std::size_t n) {
    std::vector<int> spins(n);
    for (std::size_t i = 0; i < n; ++i) {
        spins[i] = ((outcome.bits[lane * ((n + 63) / 64) + i / 64] >> (i % 64)) & 1) != 0 ? 1 : -1;
    }
    return spins;
}

TEST(SparseReplicas, EveryInstructionSetGivesTheSameStates) {
    for (const Sparse& problem : {lattice(9, 11, 1, 1.0, 1), lattice(5, 5, 5, 0.5, 2), moebius(130, 3),
                                  integers(300, 1, 4), integers(3, 1, 5), hubs(1, 6)}) {
        const auto couplings = couplings_of(problem);
        ASSERT_TRUE(couplings);
        for (const std::size_t count : {1U, 17U, 64U}) {
            const Outcome expected = anneal(problem, *couplings, *available_kernels().front(), reads(count));
            for (const KernelTable* table : available_kernels()) {
                EXPECT_EQ(anneal(problem, *couplings, *table, reads(count)), expected) << table->name;
            }
        }
    }
}

TEST(SparseReplicas, BitsAndBytesGiveTheSameStates) {
    // Degrees 4, 6, 3, and 2 and 4 mixed.
    for (const Sparse& problem :
         {lattice(9, 11, 1, 1.0, 1), lattice(4, 5, 6, 0.1, 2), moebius(130, 3), lattice(40, 2, 1, 3.0, 4)}) {
        const auto bits = couplings_of(problem);
        const auto bytes = couplings_of(problem, false);
        ASSERT_TRUE(bits && bytes);
        ASSERT_GT(bits->degree(), 0U);
        ASSERT_EQ(bytes->degree(), 0U);
        EXPECT_EQ(anneal(problem, *bits, kernels(), reads(64)),
                  anneal(problem, *bytes, kernels(), reads(64)));
    }
}

TEST(SparseReplicas, FieldsMixedDegreesAndSizesNeedBytes) {
    Sparse with_field = lattice(5, 5, 1, 1.0, 1);
    with_field.field[3] = 1.0;
    Sparse mixed_degrees(4, 1);
    mixed_degrees.set({{0, 1}, {1, 2}}, {1.0, 1.0});
    Sparse mixed_sizes = lattice(5, 5, 1, 1.0, 1);
    mixed_sizes.value[0] = 2.0;
    for (const Sparse& problem : {with_field, mixed_degrees, mixed_sizes}) {
        const auto couplings = couplings_of(problem);
        ASSERT_TRUE(couplings);
        EXPECT_EQ(couplings->degree(), 0U);
    }
}

TEST(SparseReplicas, AReplicaDoesNotDependOnItsGroup) {
    for (const Sparse& problem : {integers(100, 3, 8), lattice(6, 7, 1, 1.0, 9), hubs(3, 10)}) {
        const auto couplings = couplings_of(problem);
        ASSERT_TRUE(couplings);
        std::vector<ReplicaId> ids;
        ids.reserve(64);
        for (std::size_t k = 0; k < 64; ++k) {
            ids.push_back({k % problem.problems, k / problem.problems});
        }
        const Outcome together = anneal(problem, *couplings, kernels(), ids);
        const std::size_t words = (problem.n + 63) / 64;
        for (const std::size_t lane : {0U, 5U, 40U, 63U}) {
            const Outcome alone = anneal(problem, *couplings, kernels(), {ids[lane]});
            EXPECT_EQ(alone.gains[0], together.gains[lane]);
            EXPECT_TRUE(std::equal(alone.bits.begin(), alone.bits.end(),
                                   together.bits.begin() + static_cast<std::ptrdiff_t>(lane * words)));
        }
    }
}

TEST(SparseReplicas, GainsAreDifferencesOfEnergy) {
    for (const Sparse& problem :
         {integers(90, 2, 11), lattice(6, 7, 1, 0.25, 12), moebius(70, 13), hubs(2, 16)}) {
        const auto couplings = couplings_of(problem);
        ASSERT_TRUE(couplings);
        std::vector<ReplicaId> ids;
        ids.reserve(50);
        for (std::size_t k = 0; k < 50; ++k) {
            ids.push_back({k % problem.problems, k});
        }
        const Outcome outcome = anneal(problem, *couplings, kernels(), ids);
        for (std::size_t lane = 0; lane < ids.size(); ++lane) {
            const std::size_t number = ids[lane].problem;
            const double start = problem.energy(number, std::vector<int>(problem.n, -1));
            const double end = problem.energy(number, spins_of(outcome, lane, problem.n));
            EXPECT_NEAR(start - end, 2.0 * couplings->unit() * outcome.gains[lane], 1e-9);
        }
    }
}

TEST(SparseReplicas, AnswersAreLocalMinima) {
    for (const Sparse& problem : {integers(90, 1, 14), lattice(6, 7, 1, 1.0, 15), hubs(1, 17)}) {
        const auto couplings = couplings_of(problem);
        ASSERT_TRUE(couplings);
        const Outcome outcome = anneal(problem, *couplings, kernels(), reads(64), 3);
        for (std::size_t lane = 0; lane < 64; ++lane) {
            auto spins = spins_of(outcome, lane, problem.n);
            const double energy = problem.energy(0, spins);
            for (int& spin : spins) {
                spin = -spin;
                EXPECT_GE(problem.energy(0, spins), energy);
                spin = -spin;
            }
        }
    }
}

TEST(SparseReplicas, TakesWhatFitsACommonUnitOnly) {
    Sparse halves = lattice(5, 5, 1, 0.5, 1);
    std::ranges::fill(halves.field, 0.75);
    EXPECT_EQ(unit_of(halves), 0.25);

    Sparse tenths = lattice(5, 5, 1, 0.1, 1);
    tenths.value[0] = 0.3;
    tenths.field[0] = 0.2;
    EXPECT_NEAR(unit_of(tenths), 0.1, 1e-8);

    Sparse uneven = lattice(5, 5, 1, 1.0, 1);
    uneven.value[0] = 1.37;
    EXPECT_FALSE(couplings_of(uneven));

    Sparse strong = lattice(5, 5, 1, 1.0, 1);
    strong.field[0] = 127.0;
    EXPECT_TRUE(couplings_of(strong));
    strong.field[0] = 128.0;
    EXPECT_FALSE(couplings_of(strong));

    const auto join = [&](std::size_t leaves) {
        Sparse problem(300, 1);
        std::vector<std::pair<std::size_t, std::size_t>> pairs;
        for (std::size_t leaf = 1; leaf <= leaves; ++leaf) {
            pairs.emplace_back(0, leaf);
        }
        problem.set(pairs, std::vector<double>(leaves, 1.0));
        return problem;
    };
    EXPECT_TRUE(couplings_of(join(254)));
    EXPECT_FALSE(couplings_of(join(255)));

    EXPECT_FALSE(couplings_of(Sparse(5, 1)));  // nothing to anneal
}

// Spins in a field without couplings have known probabilities at every temperature; one far below 1/256 needs the
// dithered tables.
TEST(SparseReplicas, SpinsInAFieldFollowBoltzmann) {
    constexpr std::size_t kSpins = 2048;
    Sparse problem(kSpins, 1);
    std::ranges::fill(problem.field, 1.0);
    const auto couplings = couplings_of(problem);
    ASSERT_TRUE(couplings);
    for (const KernelTable* table : available_kernels()) {
        for (const double ratio : {0.5, 0.1, 0.002}) {
            AlignedVector<std::int8_t> local(kSpins * kInt8Replicas, std::int8_t{1});
            AlignedVector<std::uint64_t> up(kSpins);
            AlignedVector<std::uint64_t> random(2 * kInt8Replicas);
            AlignedVector<std::int32_t> gain(kInt8Replicas);
            Random seeds(1, 2, 3);
            std::ranges::generate(random, [&] { return seeds.next(); });
            const Int8Replicas replicas{couplings->row_start().data(),
                                        couplings->edges().data(),
                                        couplings->weights(),
                                        nullptr,
                                        local.data(),
                                        up.data(),
                                        gain.data(),
                                        random.data(),
                                        1};
            Int8AcceptanceTable acceptance;
            acceptance.fill(ratio, 1);
            std::uint64_t excited = 0;
            constexpr std::size_t kSweeps = 64;
            for (std::size_t sweep = 0; sweep < 2 * kSweeps; ++sweep) {
                table->sparse_int8.metropolis(replicas, 0, kSpins, acceptance.of_sweep(sweep));
                for (std::size_t i = 0; sweep >= kSweeps && i < kSpins; ++i) {
                    excited += static_cast<std::uint64_t>(std::popcount(up[i]));
                }
            }
            const auto trials = static_cast<double>(kSweeps * kSpins * kInt8Replicas);
            const double expected = ratio / (1.0 + ratio);
            const double measured = static_cast<double>(excited) / trials;
            // Successive sweeps are correlated: twice the variance of independent trials is ample.
            EXPECT_NEAR(measured, expected, 5.0 * std::sqrt(2.0 * expected / trials)) << table->name;
            EXPECT_EQ(std::accumulate(gain.begin(), gain.end(), std::int64_t{0}),
                      -std::accumulate(
                          up.begin(), up.end(), std::int64_t{0},
                          [](std::int64_t sum, std::uint64_t word) { return sum + std::popcount(word); }));
        }
    }
}

}  // namespace
