// Exhaustive search by tables: proven minima, the same on every instruction set.
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "base/rng.hpp"
#include "search/exact/search.hpp"

namespace {

using namespace qpsbgd;

struct Dense {
    std::size_t n;
    std::vector<double> field;
    std::vector<double> coupling;
    std::vector<double> offset{0.25};

    // Numbers k * unit with |k| <= levels.
    Dense(std::size_t spins, double unit, std::uint32_t levels, bool with_fields, std::uint64_t seed)
        : n(spins), field(spins, 0.0), coupling(spins * spins) {
        Random random(seed, 0, 0);
        const auto draw = [&] { return unit * (static_cast<double>(random.below(2 * levels + 1)) - levels); };
        if (with_fields) {
            std::ranges::generate(field, draw);
        }
        std::ranges::generate(coupling, draw);
    }

    IsingBatch batch() const {
        IsingBatch result;
        result.problems = 1;
        result.n = n;
        result.fields = field;
        result.offset = offset;
        result.couplings = DenseView<double>{coupling, n, 1};
        result.coupling_scale = 0.5;
        return result;
    }

    double energy(const std::vector<std::int8_t>& spins) const {
        double total = offset[0];
        for (std::size_t i = 0; i < n; ++i) {
            total += field[i] * spins[i];
            for (std::size_t j = 0; j < n; ++j) {
                total += 0.5 * coupling[i * n + j] * spins[i] * spins[j];
            }
        }
        return total;
    }

    double minimum() const {
        double best = std::numeric_limits<double>::infinity();
        std::vector<std::int8_t> spins(n);
        for (std::uint64_t state = 0; state < (std::uint64_t{1} << n); ++state) {
            for (std::size_t i = 0; i < n; ++i) {
                spins[i] = ((state >> i) & 1) != 0 ? std::int8_t{1} : std::int8_t{-1};
            }
            best = std::min(best, energy(spins));
        }
        return best;
    }
};

class OnEveryInstructionSet : public testing::TestWithParam<const KernelTable*> {};

INSTANTIATE_TEST_SUITE_P(Exact, OnEveryInstructionSet, testing::ValuesIn(available_kernels()),
                         [](const auto& example) { return std::string(example.param->name); });

TEST_P(OnEveryInstructionSet, FindsTheMinimumOfAllStates) {
    ExactSearch search(*GetParam());
    StopToken token(std::nullopt, nullptr);
    Budget budget(token, std::nullopt);
    // Reals, decimal fractions with many ties, and integers; magnitudes from 1e-200 to 1e200.
    const struct {
        double unit;
        std::uint32_t levels;
    } kinds[] = {{1e-6, 1000000}, {0.1, 1}, {0.1, 7}, {1.0, 1}, {0.25, 5}, {1e200, 3}, {1e-200, 1000}};
    for (std::size_t n = 1; n <= 11; ++n) {
        for (const auto& kind : kinds) {
            for (const bool with_fields : {true, false}) {
                const Dense problem(n, kind.unit, kind.levels, with_fields, n);
                std::vector<std::int8_t> spins(n);
                EXPECT_TRUE(search.run(problem.batch(), 0, spins, budget));
                const double size = kind.unit * static_cast<double>(kind.levels * n * n);
                EXPECT_NEAR(problem.energy(spins), problem.minimum(), 1e-14 * size + 1e-15);
                EXPECT_NEAR(search.energy(), problem.energy(spins), 1e-14 * size + 1e-15);
            }
        }
    }
}

TEST_P(OnEveryInstructionSet, ReturnsTheSameSpins) {
    ExactSearch search(*GetParam());
    ExactSearch scalar(*available_kernels().front());
    StopToken token(std::nullopt, nullptr);
    Budget budget(token, std::nullopt);
    for (const std::size_t n : {5U, 8U, 9U, 14U, 19U}) {
        for (const std::uint32_t levels : {1U, 1000U}) {
            const Dense problem(n, 0.001, levels, n % 2 == 0, 17 * n);
            std::vector<std::int8_t> spins(n);
            std::vector<std::int8_t> expected(n);
            EXPECT_TRUE(search.run(problem.batch(), 0, spins, budget));
            EXPECT_TRUE(scalar.run(problem.batch(), 0, expected, budget));
            EXPECT_EQ(spins, expected);
        }
    }
}

TEST_P(OnEveryInstructionSet, ManyGroundStatesAreNoHindrance) {
    // Antiferromagnet without fields: every state of zero magnetisation is a minimum.
    const std::size_t n = 22;
    Dense problem(n, 1.0, 0, false, 1);
    std::ranges::fill(problem.coupling, 0.1);
    std::vector<std::int8_t> spins(n);
    ExactSearch search(*GetParam());
    StopToken token(std::nullopt, nullptr);
    Budget budget(token, std::nullopt);
    EXPECT_TRUE(search.run(problem.batch(), 0, spins, budget));
    int magnetisation = 0;
    for (const std::int8_t spin : spins) {
        magnetisation += spin;
    }
    EXPECT_EQ(magnetisation, 0);
}

TEST(Exact, StopsAtTheDeadlineWithTheBestSeen) {
    const Dense problem(24, 1e-6, 1000000, true, 3);
    std::vector<std::int8_t> spins(24);
    ExactSearch search;
    StopToken token(std::nullopt, nullptr);
    Budget exhausted(token, Clock::now());
    EXPECT_FALSE(search.run(problem.batch(), 0, spins, exhausted));
    for (std::size_t i = 0; i < spins.size(); ++i) {
        auto flipped = spins;
        flipped[i] = static_cast<std::int8_t>(-flipped[i]);
        EXPECT_GE(problem.energy(flipped), problem.energy(spins) - 1e-12);
    }
}

TEST(Exact, SparseAndDenseCouplingsGiveTheSameSpins) {
    const std::size_t n = 13;
    const Dense problem(n, 0.5, 4, true, 9);
    std::vector<std::int64_t> row_start{0};
    std::vector<std::int32_t> column;
    std::vector<double> value;
    for (std::size_t i = 0; i < n; ++i) {
        for (std::size_t j = 0; j < n; ++j) {
            column.push_back(static_cast<std::int32_t>(j));
            value.push_back(problem.coupling[i * n + j]);
        }
        row_start.push_back(static_cast<std::int64_t>(column.size()));
    }
    IsingBatch sparse = problem.batch();
    sparse.couplings = SparseView<double>{row_start, column, value, n};
    StopToken token(std::nullopt, nullptr);
    Budget budget(token, std::nullopt);
    ExactSearch search;
    std::vector<std::int8_t> expected(n);
    EXPECT_TRUE(search.run(problem.batch(), 0, expected, budget));
    std::vector<std::int8_t> spins(n);
    EXPECT_TRUE(search.run(sparse, 0, spins, budget));
    EXPECT_EQ(spins, expected);
}

TEST(Exact, OneSearchServesProblemsOfAnySize) {
    ExactSearch search;
    StopToken token(std::nullopt, nullptr);
    Budget budget(token, std::nullopt);
    for (const std::size_t n : {12U, 3U, 20U, 1U, 9U}) {
        const Dense problem(n, 0.01, 100, true, n);
        std::vector<std::int8_t> reused(n);
        std::vector<std::int8_t> fresh(n);
        EXPECT_TRUE(search.run(problem.batch(), 0, reused, budget));
        EXPECT_TRUE(ExactSearch().run(problem.batch(), 0, fresh, budget));
        EXPECT_EQ(reused, fresh);
    }
}

}  // namespace
