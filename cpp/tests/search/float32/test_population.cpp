// Recombination of sparse states: the child is the best of all mixes, and a population keeps its promises.
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/rng.hpp"
#include "qpsbgd/cancellation.hpp"
#include "search/float32/crossover.hpp"
#include "search/float32/population.hpp"

namespace {

using namespace qpsbgd;

// A ring of spins with couplings to the next and the one after, and fields.
struct Ring {
    std::vector<std::int64_t> row_start{0};
    std::vector<std::int32_t> column;
    std::vector<double> value;
    std::vector<float> fields;
    SparseMatrix matrix;

    Ring(std::size_t n, std::uint64_t seed, bool with_fields)
        : fields(n, 0.0F), matrix(make(n, seed, with_fields)) {}

    SparseMatrix make(std::size_t n, std::uint64_t seed, bool with_fields) {
        Random random(seed, 0, 0);
        const auto draw = [&] { return static_cast<double>(random.below(2001)) / 1000.0 - 1.0; };
        for (std::size_t i = 0; i < n; ++i) {
            for (const std::size_t step : {1UL, 2UL}) {
                column.push_back(static_cast<std::int32_t>((i + step) % n));
                value.push_back(draw());
            }
            row_start.push_back(static_cast<std::int64_t>(column.size()));
            fields[i] = with_fields ? static_cast<float>(draw()) : 0.0F;
        }
        return SparseMatrix(SparseView<double>{row_start, column, value, n}, 1.0);
    }

    // Of the caller's numbers: each entry of the matrix is twice a coupling, which stands in two rows.
    double energy(const std::vector<std::int8_t>& spins) const {
        double total = 0.0;
        for (std::size_t i = 0; i < spins.size(); ++i) {
            total += static_cast<double>(fields[i]) * spins[i];
            for (std::size_t k = matrix.row_start()[i]; k < matrix.row_start()[i + 1]; ++k) {
                const auto j = static_cast<std::size_t>(matrix.column()[k]);
                total += 0.25 * static_cast<double>(matrix.value()[k]) * spins[i] * spins[j];
            }
        }
        return total;
    }
};

// The components of the spins in which two states differ: three in a row that agree part a ring of couplings to the second
// neighbour.
std::vector<std::vector<std::size_t>> components(const std::vector<std::int8_t>& a,
                                                 const std::vector<std::int8_t>& b) {
    std::vector<std::vector<std::size_t>> found;
    const std::size_t n = a.size();
    std::vector<bool> seen(n, false);
    for (std::size_t root = 0; root < n; ++root) {
        if (a[root] == b[root] || seen[root]) {
            continue;
        }
        std::vector<std::size_t> open{root};
        seen[root] = true;
        for (std::size_t next = 0; next < open.size(); ++next) {
            for (const std::size_t step : {std::size_t{1}, std::size_t{2}, n - 1, n - 2}) {
                const std::size_t other = (open[next] + step) % n;
                if (a[other] != b[other] && !seen[other]) {
                    seen[other] = true;
                    open.push_back(other);
                }
            }
        }
        found.push_back(open);
    }
    return found;
}

TEST(SparseCrossover, child_is_the_best_of_all_mixes) {
    StopToken token(std::nullopt, {});
    Budget unlimited(token);
    for (std::uint64_t seed = 0; seed < 60; ++seed) {
        const Ring ring(60, seed, true);
        Random random(seed, 1, 0);
        std::vector<std::int8_t> state(60);
        std::ranges::generate(state, [&] { return random.below(2) == 0 ? std::int8_t{1} : std::int8_t{-1}; });
        std::vector<std::int8_t> other = state;
        for (std::size_t k = 0; k < 14; ++k) {
            const std::size_t i = random.below(60);
            other[i] = static_cast<std::int8_t>(-other[i]);
        }
        const auto parts = components(state, other);
        ASSERT_LE(parts.size(), 14U);
        double best = ring.energy(state);
        for (std::uint64_t mix = 0; mix < (std::uint64_t{1} << parts.size()); ++mix) {
            std::vector<std::int8_t> child = state;
            for (std::size_t p = 0; p < parts.size(); ++p) {
                for (const std::size_t i : parts[p]) {
                    child[i] = (mix >> p & 1U) != 0 ? other[i] : state[i];
                }
            }
            best = std::min(best, ring.energy(child));
        }
        SparseCrossover crossover(ring.matrix, ring.fields);
        crossover.improve(state, other, unlimited);
        EXPECT_NEAR(ring.energy(state), best, 1e-5);
    }
}

TEST(SparseCrossover, takes_the_closer_of_a_state_and_its_negative_without_fields) {
    StopToken token(std::nullopt, {});
    Budget unlimited(token);
    const Ring ring(60, 3, false);
    std::vector<std::int8_t> state(60, 1);
    std::vector<std::int8_t> other(60, 1);
    for (const std::size_t i : {4UL, 5UL, 20UL, 21UL, 22UL, 40UL}) {
        other[i] = -1;
    }
    std::vector<std::int8_t> negative(60);
    std::ranges::transform(other, negative.begin(),
                           [](std::int8_t spin) { return static_cast<std::int8_t>(-spin); });
    std::vector<std::int8_t> mirrored = state;
    SparseCrossover crossover(ring.matrix, ring.fields);
    crossover.improve(state, other, unlimited);
    crossover.improve(mirrored, negative, unlimited);
    EXPECT_EQ(state, mirrored);
}

class Population : public testing::TestWithParam<bool> {};

TEST_P(Population, knows_the_energies_of_its_states_and_ends_in_time) {
    const Ring ring(2000, 5, GetParam());
    const auto begin = Clock::now();
    const auto limit = std::chrono::milliseconds(400);  // enough under sanitizers, too
    StopToken token(begin + limit, {});
    Budget budget(token, token.deadline());
    ReadState state;
    state.resize(2000);
    std::ranges::copy(ring.fields, state.fields.begin());
    Random random(1, 2, 3);
    state.randomise(random);
    state.refresh(ring.matrix);
    state.forget_best();
    SparsePopulation population(ring.matrix, state, random, 5);
    population.evolve({0.5, 8.0}, budget);
    EXPECT_LT(Clock::now() - begin, 3 * limit);
    ASSERT_EQ(population.best().size(), 5U);
    double last = -1e300;
    for (const KnownState& known : population.best()) {
        EXPECT_NEAR(known.energy, ring.energy(known.spins), 1e-5 * std::fabs(known.energy));
        EXPECT_GE(known.energy, last);
        last = known.energy;
    }
}

TEST_P(Population, has_one_state_where_there_is_no_time) {
    const Ring ring(200, 5, GetParam());
    StopToken token(Clock::now(), {});
    Budget budget(token, token.deadline());
    ReadState state;
    state.resize(200);
    std::ranges::copy(ring.fields, state.fields.begin());
    Random random(1, 2, 3);
    state.randomise(random);
    state.refresh(ring.matrix);
    state.forget_best();
    state.keep_if_best();
    SparsePopulation population(ring.matrix, state, random, 5);
    population.evolve({0.5, 8.0}, budget);
    EXPECT_EQ(population.best().size(), 1U);
}

INSTANTIATE_TEST_SUITE_P(All, Population, testing::Bool());

}  // namespace
