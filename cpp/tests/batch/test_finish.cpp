// The exact descent: a local minimum of the caller's numbers from whatever spins, at the cost of the flips.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <vector>

#include "base/rng.hpp"
#include "batch/finish.hpp"

namespace qpsbgd {
namespace {

// Couplings as entries in any order of columns, some of them twice or on the diagonal.
struct Sparse {
    std::size_t n;
    std::vector<std::int64_t> row_start{0};
    std::vector<std::int32_t> column;
    std::vector<double> value;
    std::vector<double> fields;
    std::vector<double> offset{0.25};

    // Entries of sizes between 1 and 10^-`decades`.
    Sparse(std::size_t spins, std::size_t degree, double decades, std::uint64_t seed) : n(spins) {
        Random random(seed, 0, 0);
        const auto draw = [&] {
            const double size = std::pow(10.0, -decades * random.below(1000) / 1000.0);
            return random.below(2) == 0 ? size : -size;
        };
        for (std::size_t i = 0; i < n; ++i) {
            for (std::size_t k = 0; k < degree; ++k) {
                column.push_back(static_cast<std::int32_t>(random.below(static_cast<std::uint32_t>(n))));
                value.push_back(draw());
            }
            row_start.push_back(static_cast<std::int64_t>(column.size()));
            fields.push_back(draw());
        }
    }

    IsingBatch batch() const {
        IsingBatch result;
        result.problems = 1;
        result.n = n;
        result.fields = fields;
        result.offset = offset;
        result.couplings = SparseView<double>{row_start, column, value, n};
        result.coupling_scale = 0.5;
        return result;
    }

    std::vector<double> dense() const {
        std::vector<double> matrix(n * n);
        for (std::size_t i = 0; i < n; ++i) {
            for (auto k = row_start[i]; k < row_start[i + 1]; ++k) {
                const auto at = static_cast<std::size_t>(k);
                matrix[i * n + static_cast<std::size_t>(column[at])] += value[at];
            }
        }
        return matrix;
    }
};

struct Measured {
    double energy = 0.0;
    double worst = 0.0;  // of s_i L_i, in units of what its terms add up to
};

// By the definition.
Measured measure(const Sparse& problem, const std::vector<std::int8_t>& spins) {
    std::vector<double> local = problem.fields;
    std::vector<double> size(problem.n);
    Measured result;
    result.energy = problem.offset[0];
    for (std::size_t i = 0; i < problem.n; ++i) {
        size[i] += std::fabs(problem.fields[i]);
        result.energy += problem.fields[i] * spins[i];
        for (auto k = problem.row_start[i]; k < problem.row_start[i + 1]; ++k) {
            const auto j = static_cast<std::size_t>(problem.column[static_cast<std::size_t>(k)]);
            const double coupling = 0.5 * problem.value[static_cast<std::size_t>(k)];
            result.energy += coupling * spins[i] * spins[j];
            if (i != j) {
                local[i] += coupling * spins[j];
                local[j] += coupling * spins[i];
                size[i] += std::fabs(coupling);
                size[j] += std::fabs(coupling);
            }
        }
    }
    for (std::size_t i = 0; i < problem.n; ++i) {
        result.worst = std::max(result.worst, spins[i] * local[i] / size[i]);
    }
    return result;
}

std::vector<std::int8_t> random_spins(std::size_t n, std::uint64_t seed) {
    Random random(seed, 0, 0);
    std::vector<std::int8_t> spins(n);
    std::ranges::generate(spins, [&] { return random.below(2) == 0 ? std::int8_t{1} : std::int8_t{-1}; });
    return spins;
}

TEST(FinishSparse, leaves_a_local_minimum_of_a_large_problem_from_a_random_state) {
    const Sparse problem(100'000, 3, 0.0, 1);
    const IsingBatch batch = problem.batch();
    SparseFinish finish(batch);
    FinishSpace space;
    StopToken token(std::nullopt, {});
    auto spins = random_spins(problem.n, 2);
    double energy = 0.0;
    const auto start = Clock::now();
    finish.finish({0, spins, &energy}, space, token);
    EXPECT_LT(Clock::now() - start, std::chrono::seconds(2));  // entries times flips: minutes
    const Measured measured = measure(problem, spins);
    EXPECT_NEAR(energy, measured.energy, 1e-12 * static_cast<double>(problem.value.size()));
    EXPECT_LE(measured.worst, 1e-12);
}

TEST(FinishSparse, flips_as_the_dense_one_does) {
    for (const double decades : {0.0, 3.0}) {
        const Sparse problem(60, 4, decades, 3);
        const auto matrix = problem.dense();
        const IsingBatch sparse = problem.batch();
        IsingBatch dense = sparse;
        dense.couplings = DenseView<double>{matrix, problem.n, 1};
        StopToken token(std::nullopt, {});
        Budget budget(token);
        const SymmetricRows rows(std::get<DenseView<double>>(dense.couplings), 0, budget);
        SparseFinish finish(sparse);
        FinishSpace space;
        for (std::uint64_t seed = 0; seed < 30; ++seed) {
            auto of_sparse = random_spins(problem.n, seed);
            auto of_dense = of_sparse;
            double energy = 0.0;
            double other = 0.0;
            finish.finish({0, of_sparse, &energy}, space, token);
            const Finished read{0, of_dense, &other};
            finish_dense(dense, rows, std::span(&read, 1), space, token);
            EXPECT_EQ(of_sparse, of_dense);
            EXPECT_NEAR(energy, other, 1e-10);
        }
    }
}

// Reads that are minima share passes, others do not; one has flips left among eight, and three are left over.
TEST(FinishSparse, gives_the_same_bits_together_as_alone) {
    const Sparse problem(150, 4, 2.0, 9);
    const IsingBatch batch = problem.batch();
    SparseFinish finish(batch);
    FinishSpace space;
    StopToken token(std::nullopt, {});
    std::vector<std::vector<std::int8_t>> together;
    for (std::size_t read = 0; read < 19; ++read) {
        double energy = 0.0;
        together.push_back(random_spins(problem.n, read));
        finish.finish({0, together[read], &energy}, space, token);
    }
    together[5] = random_spins(problem.n, 5);
    auto alone = together;
    std::vector<double> energies(alone.size());
    for (std::size_t read = 0; read < alone.size(); ++read) {
        finish.finish({0, alone[read], &energies[read]}, space, token);
    }
    ASSERT_NE(together, alone);
    std::vector<double> same(together.size());
    std::vector<Finished> reads;
    reads.reserve(together.size());
    for (std::size_t read = 0; read < together.size(); ++read) {
        reads.push_back({0, together[read], &same[read]});
    }
    finish.finish_all(reads, space, token);
    EXPECT_EQ(together, alone);
    EXPECT_EQ(same, energies);
}

TEST(FinishSparse, ends_in_a_minimum_where_sizes_differ_by_many_orders) {
    for (const double decades : {8.0, 14.0, 30.0}) {
        const Sparse problem(2000, 4, decades, 5);
        const IsingBatch batch = problem.batch();
        SparseFinish finish(batch);
        FinishSpace space;
        StopToken token(std::nullopt, {});
        auto spins = random_spins(problem.n, 6);
        double energy = 0.0;
        finish.finish({0, spins, &energy}, space, token);
        std::vector<std::int8_t> again = spins;
        double same = 0.0;
        finish.finish({0, again, &same}, space, token);
        EXPECT_EQ(again, spins);
        EXPECT_NEAR(energy, measure(problem, spins).energy, 1e-10);
    }
}

// Without rows at hand: a budget that is used up leaves no time for a copy of an asymmetric matrix.
TEST(FinishDense, leaves_a_local_minimum_with_and_without_a_copy) {
    const Sparse problem(400, 40, 1.0, 7);
    const auto matrix = problem.dense();
    IsingBatch batch = problem.batch();
    batch.couplings = DenseView<double>{matrix, problem.n, 1};
    StopToken token(std::nullopt, {});
    for (const bool in_time : {true, false}) {
        Budget budget(token, in_time ? std::nullopt : std::optional(Clock::now() - std::chrono::seconds(1)));
        const SymmetricRows rows(std::get<DenseView<double>>(batch.couplings), 0, budget);
        FinishSpace space;
        auto first = random_spins(problem.n, 8);
        auto second = random_spins(problem.n, 9);
        std::vector<double> energies(2);
        const std::vector<Finished> reads{{0, first, &energies[0]}, {0, second, &energies[1]}};
        finish_dense(batch, rows, reads, space, token);
        EXPECT_LE(measure(problem, first).worst, 1e-12);
        EXPECT_LE(measure(problem, second).worst, 1e-12);
        EXPECT_NEAR(energies[0], measure(problem, first).energy, 1e-9);
        EXPECT_NEAR(energies[1], measure(problem, second).energy, 1e-9);
    }
}

}  // namespace
}  // namespace qpsbgd
