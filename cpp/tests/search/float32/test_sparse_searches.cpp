// Searches over sparse couplings visit only spins that matter. They have to make the moves of the dense ones, which look
// at every spin.
#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <vector>

#include "base/rng.hpp"
#include "search/float32/read_state.hpp"

namespace qpsbgd {
namespace {

// Integers, so that both forms round nothing: many moves are equally good.
struct Problem {
    std::size_t n;
    std::vector<std::int64_t> row_start{0};
    std::vector<std::int32_t> column;
    std::vector<double> value;
    std::vector<double> dense;

    Problem(std::size_t spins, std::uint32_t degree, std::uint32_t sizes, std::uint64_t seed)
        : n(spins), dense(spins * spins) {
        Random random(seed, 0, 0);
        for (std::size_t i = 0; i < n; ++i) {
            for (std::size_t j = i + 1; j < n; ++j) {
                if (random.below(static_cast<std::uint32_t>(n)) < degree) {
                    const double size = 1.0 + random.below(sizes);
                    column.push_back(static_cast<std::int32_t>(j));
                    value.push_back(random.below(2) == 0 ? size : -size);
                    dense[i * n + j] = value.back();
                }
            }
            row_start.push_back(static_cast<std::int64_t>(column.size()));
        }
    }
};

// A read at a random state, with fields of a third of the smallest coupling's size at most.
template <class Matrix>
ReadState begun(const Matrix& matrix, std::uint64_t seed) {
    ReadState state;
    state.resize(matrix.n());
    Random random(seed, 1, 0);
    for (float& field : state.fields) {
        field = static_cast<float>(random.below(3)) * 0x1p-6F;
    }
    state.randomise(random);
    state.refresh(matrix);
    state.forget_best();
    state.keep_if_best();
    return state;
}

void expect_equal(const ReadState& sparse, const ReadState& dense) {
    EXPECT_EQ(sparse.spins, dense.spins);
    EXPECT_EQ(sparse.local, dense.local);
    EXPECT_EQ(sparse.best_spins, dense.best_spins);
    EXPECT_EQ(sparse.best_energy, dense.best_energy);
    EXPECT_EQ(sparse.energy, dense.energy);
    EXPECT_EQ(sparse.sweeps_done, dense.sweeps_done);
}

class SparseSearches : public testing::TestWithParam<std::size_t> {
protected:
    // search(matrix, state, random, budget) on both forms of some problems.
    template <class Search>
    void compare(const Search& search) {
        StopToken token(std::nullopt, {});
        Budget budget(token, std::nullopt);
        for (const std::uint32_t sizes : {1U, 5U}) {
            const Problem problem(GetParam(), 4, sizes, GetParam());
            const SparseMatrix sparse(
                SparseView<double>{problem.row_start, problem.column, problem.value, problem.n}, 1.0);
            const auto dense =
                DenseMatrix::make(DenseView<double>{problem.dense, problem.n, 1}, 0, 1.0, budget);
            ASSERT_EQ(sparse.unit(), dense->unit());
            ReadState of_sparse = begun(sparse, 5);
            ReadState of_dense = begun(*dense, 5);
            Random first(3, 0, 0);
            Random second(3, 0, 0);
            search(sparse, of_sparse, first, budget);
            search(*dense, of_dense, second, budget);
            expect_equal(of_sparse, of_dense);
        }
    }
};

TEST_P(SparseSearches, tabu_search_makes_the_moves_of_dense_tabu_search) {
    compare([](const auto& matrix, ReadState& state, Random& random, Budget& budget) {
        tabu(matrix, state, 100, random, budget);  // long enough for restarts
    });
}

TEST_P(SparseSearches, descent_makes_the_moves_of_dense_descent) {
    compare([](const auto& matrix, ReadState& state, Random& /*random*/, Budget& budget) {
        descend(matrix, state, std::numeric_limits<std::size_t>::max(), budget);
    });
}

INSTANTIATE_TEST_SUITE_P(Spins, SparseSearches, testing::Values(1, 2, 3, 7, 40, 65, 300));

TEST(SparseTabu, costs_a_flips_neighbours_and_not_all_spins) {
    // Flips in a tenth of a second of a ring, for two sizes: with a look at all spins the larger has 30 times fewer.
    const auto flips_of = [](std::size_t n) {
        std::vector<std::int64_t> row_start(n + 1);
        std::vector<std::int32_t> column(n);
        std::vector<double> value(n, -1.0);
        for (std::size_t i = 0; i < n; ++i) {
            row_start[i + 1] = static_cast<std::int64_t>(i + 1);
            column[i] = static_cast<std::int32_t>((i + 1) % n);
        }
        const SparseMatrix ring(SparseView<double>{row_start, column, value, n}, 1.0);
        ReadState state = begun(ring, 7);
        StopToken token(std::nullopt, {});
        const auto start = Clock::now();
        Budget budget(token, start + std::chrono::milliseconds(100));
        Random random(1, 0, 0);
        std::size_t sweeps = 0;
        for (; !budget.exhausted(); ++sweeps) {
            tabu(ring, state, 1, random, budget);
        }
        return static_cast<double>(sweeps * n);
    };
    EXPECT_GT(flips_of(30'000), flips_of(1'000) / 10.0);
}

}  // namespace
}  // namespace qpsbgd
