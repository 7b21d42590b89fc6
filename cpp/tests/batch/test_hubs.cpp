// Spins whose local fields leave int8: annealing accepts their flips with the right probabilities.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/aligned.hpp"
#include "base/rng.hpp"
#include "kernels/kernel_table.hpp"
#include "qpsbgd/solve.hpp"
#include "search/int8/acceptance.hpp"
#include "search/int8/replica_group.hpp"

namespace qpsbgd {
namespace {

// Three spins that want to be equal, by couplings of 100, and -1 rather than +1, by fields of 1: a spin that turns alone
// raises s L by 199.
struct Triangle {
    static constexpr std::size_t kSpins = 3;
    std::vector<std::int64_t> row_start{0, 2, 3, 3};
    std::vector<std::int32_t> column{1, 2, 2};
    std::vector<double> value{-100.0, -100.0, -100.0};
    std::vector<double> field{1.0, 1.0, 1.0};
    std::vector<double> offset{0.0};
    std::vector<std::int8_t> start{1, 1, 1};

    IsingBatch batch() const {
        IsingBatch result;
        result.problems = 1;
        result.n = kSpins;
        result.fields = field;
        result.offset = offset;
        result.couplings = SparseView<double>{row_start, column, value, kSpins};
        result.initial_states = start;
        return result;
    }
};

using Spins = std::array<int, Triangle::kSpins>;

double local_field(const Spins& spins, std::size_t i) {
    return 1.0 - 100.0 * (spins[0] + spins[1] + spins[2] - spins[i]);
}

bool descends_to_all_down(Spins spins) {
    for (bool flipped = true; flipped;) {
        flipped = false;
        for (std::size_t i = 0; i < spins.size(); ++i) {
            if (spins[i] * local_field(spins, i) > 0.0) {
                spins[i] = -spins[i];
                flipped = true;
            }
        }
    }
    return spins == Spins{-1, -1, -1};
}

// The probability that a Metropolis sweep from spin `next` on, and a descent, end with all spins down.
double probability_of_all_down(const Spins& spins, std::size_t next, double beta) {
    if (next == spins.size()) {
        return descends_to_all_down(spins) ? 1.0 : 0.0;
    }
    const double rise = -2.0 * spins[next] * local_field(spins, next);
    const double accepted = rise <= 0.0 ? 1.0 : std::exp(-beta * rise);
    Spins flipped = spins;
    flipped[next] = -flipped[next];
    return accepted * probability_of_all_down(flipped, next + 1, beta) +
           (1.0 - accepted) * probability_of_all_down(spins, next + 1, beta);
}

TEST(Hubs, turn_as_often_as_boltzmann_says) {
    const Triangle triangle;
    constexpr std::size_t kReads = 20000;
    for (const double beta : {0.001, 0.004, 0.01}) {
        SolveOptions options;
        options.method = Method::anneal;
        options.reads = kReads;
        options.sweeps = 1;
        options.beta_range = BetaRange{beta, beta};
        options.seed = 5;
        std::vector<std::int8_t> samples(kReads * Triangle::kSpins);
        std::vector<double> energies(kReads);
        solve(triangle.batch(), options, samples, energies);
        std::size_t down = 0;
        for (const double energy : energies) {
            down += energy < -300.0 ? 1 : 0;
        }
        const double expected = probability_of_all_down({1, 1, 1}, 0, beta);
        const double deviation = std::sqrt(expected * (1.0 - expected) / kReads);
        EXPECT_NEAR(static_cast<double>(down) / kReads, expected, 5.0 * deviation + 5e-4) << beta;
    }
}

// A star: the hub has `leaves` neighbours, which all agree with it.
double measured_acceptance(std::size_t leaves, double ratio, const KernelTable& table) {
    const std::size_t n = leaves + 1;
    const std::vector<double> field(n, 0.0);
    std::vector<std::int64_t> row_start(n + 1, static_cast<std::int64_t>(leaves));
    row_start[0] = 0;
    std::vector<std::int32_t> column(leaves);
    for (std::size_t leaf = 0; leaf < leaves; ++leaf) {
        column[leaf] = static_cast<std::int32_t>(leaf + 1);
    }
    const std::vector<double> value(leaves, -1.0);
    const std::vector<double> offset(1, 0.0);
    IsingBatch batch;
    batch.problems = 1;
    batch.n = n;
    batch.fields = field;
    batch.offset = offset;
    const SparseView<double> view{row_start, column, value, n};
    batch.couplings = view;
    StopToken token(std::nullopt, nullptr);
    const auto couplings = Int8ReplicaCouplings::make(SparseMatrix(view, 1.0), batch, token, false);
    if (!couplings) {
        ADD_FAILURE() << "a star of " << leaves << " leaves does not fit int8";
        return 0.0;
    }
    EXPECT_EQ(couplings->order()[0], 0U);
    EXPECT_TRUE(Int8AcceptanceTable::serves(ratio, couplings->hub_reach()));

    AlignedVector<std::uint64_t> random(2 * kInt8Replicas);
    Random seeds(1, leaves, 3);
    std::ranges::generate(random, [&] { return seeds.next(); });
    Int8AcceptanceTable acceptance;
    acceptance.fill(ratio, couplings->hub_reach());
    constexpr std::size_t kTrials = 2000;
    std::size_t turned = 0;
    for (std::size_t trial = 0; trial < kTrials; ++trial) {
        AlignedVector<std::int8_t> local(n * kInt8Replicas);
        for (std::size_t i = 0; i < n; ++i) {
            std::fill_n(&local[i * kInt8Replicas], kInt8Replicas, couplings->base(0)[i]);
        }
        AlignedVector<std::uint64_t> up(n);
        AlignedVector<std::int32_t> gain(kInt8Replicas);
        const Int8Replicas replicas{couplings->row_start().data(),
                                    couplings->edges().data(),
                                    couplings->weights(),
                                    couplings->halved(),
                                    local.data(),
                                    up.data(),
                                    gain.data(),
                                    random.data(),
                                    couplings->reach()};
        table.sparse_int8.metropolis(replicas, 0, 1, acceptance.of_sweep(trial));
        turned += static_cast<std::size_t>(std::popcount(up[0]));
    }
    return static_cast<double>(turned) / static_cast<double>(kTrials * kInt8Replicas);
}

TEST(Hubs, of_stars_turn_as_often_as_boltzmann_says_where_the_tables_serve) {
    for (const KernelTable* table : available_kernels()) {
        for (const std::size_t leaves : {40U, 126U}) {
            const double ratio = 0.99;
            const double expected = 255.0 / 256.0 * std::pow(ratio, static_cast<double>(leaves));
            EXPECT_NEAR(measured_acceptance(leaves, ratio, *table), expected, 0.01) << table->name;
        }
        // So cold that the rise has no chance.
        EXPECT_EQ(measured_acceptance(200, 0.9, *table), 0.0) << table->name;
    }
}

TEST(Hubs, are_left_to_other_searches_where_the_tables_end) {
    EXPECT_TRUE(Int8AcceptanceTable::serves(1.0, 126));
    EXPECT_FALSE(Int8AcceptanceTable::serves(0.99, 127));
    EXPECT_FALSE(Int8AcceptanceTable::serves(0.95, 254));
    EXPECT_TRUE(Int8AcceptanceTable::serves(0.9, 254));
}

}  // namespace
}  // namespace qpsbgd
