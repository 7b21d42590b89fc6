// Presolve keeps the least energy: against exhaustive search, however early it ends; and what it claims of rounding.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <numeric>
#include <optional>
#include <stdexcept>
#include <tuple>
#include <vector>

#include "base/rng.hpp"
#include "batch/presolve.hpp"
#include "qpsbgd/cancellation.hpp"
#include "qpsbgd/solve.hpp"

namespace {

using namespace qpsbgd;

// A sparse problem, and the arrays that its batch looks at.
struct Example {
    std::vector<double> fields;
    std::vector<std::tuple<std::size_t, std::size_t, double>> couplings;
    std::vector<std::int64_t> row_start;
    std::vector<std::int32_t> column;
    std::vector<double> value;
    std::vector<double> offset{0.0};

    std::size_t n() const { return fields.size(); }

    IsingBatch batch() {
        std::ranges::sort(couplings);
        row_start.assign(n() + 1, 0);
        column.clear();
        value.clear();
        for (const auto& [i, j, weight] : couplings) {
            ++row_start[i + 1];
            column.push_back(static_cast<std::int32_t>(j));
            value.push_back(weight);
        }
        std::partial_sum(row_start.begin(), row_start.end(), row_start.begin());
        IsingBatch result;
        result.problems = 1;
        result.n = n();
        result.fields = fields;
        result.offset = offset;
        result.couplings = SparseView<double>{row_start, column, value, n()};
        return result;
    }

    double energy(const std::vector<std::int8_t>& spins) const {
        double total = 0.0;
        for (std::size_t i = 0; i < n(); ++i) {
            total += fields[i] * spins[i];
        }
        for (const auto& [i, j, weight] : couplings) {
            total += weight * spins[i] * spins[j];
        }
        return total;
    }

    // The least energy over the states in which `fixed` spins stand as they do in `spins`.
    double minimum(std::vector<std::int8_t> spins, const std::vector<bool>& fixed) const {
        double best = std::numeric_limits<double>::infinity();
        std::vector<std::size_t> free;
        for (std::size_t i = 0; i < n(); ++i) {
            if (!fixed[i]) {
                free.push_back(i);
            }
        }
        for (std::uint64_t state = 0; state < (std::uint64_t{1} << free.size()); ++state) {
            for (std::size_t k = 0; k < free.size(); ++k) {
                spins[free[k]] = ((state >> k) & 1) != 0 ? std::int8_t{1} : std::int8_t{-1};
            }
            best = std::min(best, energy(spins));
        }
        return best;
    }

    double minimum() const {
        return minimum(std::vector<std::int8_t>(n(), 1), std::vector<bool>(n(), false));
    }
};

Example random_example(std::size_t n, std::size_t couplings, std::uint64_t seed, bool integers) {
    Random random(seed, 0, 0);
    const auto draw = [&] {
        return integers ? static_cast<double>(random.below(7)) - 3.0
                        : static_cast<double>(random.below(2001)) / 997.0 - 1.0;
    };
    Example example;
    for (std::size_t i = 0; i < n; ++i) {
        example.fields.push_back(seed % 3 == 0 ? 0.0 : draw());
    }
    for (std::size_t k = 0; k < couplings; ++k) {
        const std::size_t i = random.below(static_cast<std::uint32_t>(n));
        const std::size_t j = random.below(static_cast<std::uint32_t>(n));
        if (i != j) {
            example.couplings.emplace_back(i, j, draw());  // both triangles, pairs several times
        }
    }
    return example;
}

std::optional<Reduction> reduced(Example& example, Budget& budget) {
    return Reduction::make(example.batch(), budget, budget);
}

TEST(Reduction, no_state_of_what_is_left_loses_energy) {
    for (std::uint64_t seed = 0; seed < 300; ++seed) {
        Example example = random_example(10, 5 + seed % 16, seed, seed % 2 == 0);
        StopToken token(std::nullopt, {});
        Budget unlimited(token);
        const auto reduction = reduced(example, unlimited);
        ASSERT_TRUE(reduction);
        EXPECT_EQ(
            reduction->decided() + reduction->degree_one() + reduction->degree_two() + reduction->remaining(),
            example.n());
        std::vector<bool> left(example.n(), false);
        for (std::size_t index = 0; index < reduction->components(); ++index) {
            for (const std::int32_t spin : reduction->spins_of(index)) {
                left[static_cast<std::size_t>(spin)] = true;
            }
        }
        // Spins put back are the best for what is left, but for those that never are better otherwise.
        double best = std::numeric_limits<double>::infinity();
        for (std::uint64_t state = 0; state < 1024; ++state) {
            std::vector<std::int8_t> spins(example.n());
            for (std::size_t i = 0; i < example.n(); ++i) {
                spins[i] = ((state >> i) & 1) != 0 ? std::int8_t{1} : std::int8_t{-1};
            }
            reduction->put_back(spins);
            const double energy = example.energy(spins);
            if (reduction->decided() == 0) {
                EXPECT_NEAR(energy, example.minimum(spins, left), 1e-12);
            }
            best = std::min(best, energy);
        }
        EXPECT_NEAR(best, example.minimum(), 1e-12);
    }
}

// The energies of the components' own problems are those of the whole, but for a constant.
TEST(Reduction, components_are_what_is_left) {
    for (std::uint64_t seed = 0; seed < 100; ++seed) {
        Example example = random_example(12, 26, seed, seed % 2 == 0);
        StopToken token(std::nullopt, {});
        Budget unlimited(token);
        const auto reduction = reduced(example, unlimited);
        ASSERT_TRUE(reduction);
        std::optional<double> constant;
        for (std::uint64_t state = 0; state < 4096; state += 7) {
            std::vector<std::int8_t> spins(example.n());
            for (std::size_t i = 0; i < example.n(); ++i) {
                spins[i] = ((state >> i) & 1) != 0 ? std::int8_t{1} : std::int8_t{-1};
            }
            double energy = 0.0;
            for (std::size_t index = 0; index < reduction->components(); ++index) {
                const Component component = reduction->component(index);
                const auto members = reduction->spins_of(index);
                const auto at = [&](std::size_t k) { return spins[static_cast<std::size_t>(members[k])]; };
                for (std::size_t i = 0; i < members.size(); ++i) {
                    energy += component.fields[i] * at(i);
                    for (auto k = component.row_start[i]; k < component.row_start[i + 1]; ++k) {
                        const auto entry = static_cast<std::size_t>(k);
                        energy += component.value[entry] * at(i) *
                                  at(static_cast<std::size_t>(component.column[entry]));
                    }
                }
            }
            reduction->put_back(spins);
            constant = constant.value_or(example.energy(spins) - energy);
            EXPECT_NEAR(example.energy(spins) - energy, *constant, 1e-12);
        }
    }
}

TEST(Reduction, integers_are_never_rounded) {
    for (std::uint64_t seed = 0; seed < 50; ++seed) {
        Example example = random_example(200, 260, seed, true);
        for (std::size_t k = 0; k < example.couplings.size(); k += 2) {
            std::get<2>(example.couplings[k]) *= 0x1p40;  // sums of these and the others need many bits
        }
        StopToken token(std::nullopt, {});
        Budget unlimited(token);
        const auto reduction = reduced(example, unlimited);
        ASSERT_TRUE(reduction);
        EXPECT_EQ(reduction->rounding(), 0.0);
        EXPECT_TRUE(reduction->is_precise());
    }
}

// A hub's field is the sum of its leaves': exact for integers, else wrong by a rounding error for each leaf.
TEST(Reduction, rounding_that_reaches_the_twelfth_digit_is_no_proof) {
    for (const double unit : {1.0, 0.1}) {
        Example star;
        const std::size_t leaves = 400000;
        star.fields.assign(leaves + 1, -3.0 * unit);
        star.fields[0] = 0.0;
        for (std::size_t leaf = 1; leaf <= leaves; ++leaf) {
            star.couplings.emplace_back(0, leaf, 5.0 * unit);
        }
        StopToken token(std::nullopt, {});
        Budget unlimited(token);
        const auto reduction = reduced(star, unlimited);
        ASSERT_TRUE(reduction);
        EXPECT_EQ(reduction->remaining(), 0U);
        EXPECT_EQ(reduction->is_precise(), unit == 1.0);
        EXPECT_EQ(reduction->rounding() == 0.0, unit == 1.0);
    }
}

// Many middle spins between the same hubs: all their couplings are added to one.
TEST(Reduction, parallel_chains_become_one_coupling) {
    Example example;
    const std::size_t middle = 1000;
    example.fields.assign(middle + 4, 0.0);
    for (std::size_t k = 0; k < middle; ++k) {
        example.couplings.emplace_back(k % 4, 4 + k, -1.0);
        example.couplings.emplace_back((k + 1 + k / 4 % 3) % 4, 4 + k, 1.0);
    }
    StopToken token(std::nullopt, {});
    Budget unlimited(token);
    const auto reduction = reduced(example, unlimited);
    ASSERT_TRUE(reduction);
    EXPECT_EQ(reduction->degree_two(), middle);
    ASSERT_EQ(reduction->components(), 1U);
    const Component component = reduction->component(0);
    EXPECT_EQ(component.fields.size(), 4U);
    EXPECT_EQ(component.value.size(), 6U);
    double sum = 0.0;
    for (const double value : component.value) {
        sum += value;
    }
    EXPECT_EQ(sum, static_cast<double>(middle));
}

TEST(Reduction, out_of_range_coefficients_are_left_alone) {
    for (const double size : {1e-300, 1e305}) {
        Example example;
        example.fields = {size, size, size};
        example.couplings = {{0, 1, size}};
        StopToken token(std::nullopt, {});
        Budget unlimited(token);
        EXPECT_FALSE(reduced(example, unlimited));
    }
}

TEST(Reduction, ends_early_with_a_problem_of_the_same_least_energy) {
    // A long chain, of which a budget that is over leaves most; brute force over what matters: the ends of the rest.
    Example example = random_example(5000, 0, 1, true);
    for (std::size_t i = 0; i + 1 < example.n(); ++i) {
        example.couplings.emplace_back(i, i + 1, i % 3 == 0 ? 2.0 : -1.5);
        example.fields[i] = static_cast<double>(i % 5) / 4.0 - 0.5;
    }
    StopToken token(std::nullopt, {});
    Budget unlimited(token);
    Budget over(token, Clock::now());
    const auto batch = example.batch();
    const auto part = Reduction::make(batch, unlimited, over);
    const auto whole = Reduction::make(batch, unlimited, unlimited);
    ASSERT_TRUE(part && whole);
    EXPECT_EQ(whole->remaining(), 0U);
    ASSERT_GT(part->remaining(), 0U);
    std::vector<std::int8_t> best(example.n());
    whole->put_back(best);
    std::vector<std::int8_t> spins(example.n());
    for (std::size_t index = 0; index < part->components(); ++index) {
        const Component component = part->component(index);
        const auto rest = Reduction::make(component.batch(), unlimited, unlimited);
        ASSERT_TRUE(rest);
        ASSERT_EQ(rest->remaining(), 0U);
        std::vector<std::int8_t> found(component.fields.size());
        rest->put_back(found);
        for (std::size_t k = 0; k < found.size(); ++k) {
            spins[static_cast<std::size_t>(part->spins_of(index)[k])] = found[k];
        }
    }
    part->put_back(spins);
    EXPECT_EQ(example.energy(spins), example.energy(best));
}

// A false yes would only cost time; a false no would leave a problem as it is.
TEST(Presolve, a_cheap_look_sees_whether_spins_can_go) {
    StopToken token(std::nullopt, {});
    Budget unlimited(token);
    for (const bool both_triangles : {false, true}) {
        Example torus;
        const std::size_t side = 8;
        torus.fields.assign(side * side, 0.0);
        for (std::size_t i = 0; i < torus.n(); ++i) {
            for (const std::size_t j :
                 {i / side * side + (i + 1) % side, (i + side) % torus.n(), (i + 2 * side) % torus.n()}) {
                torus.couplings.emplace_back(i, j, 1.0);
                if (both_triangles) {
                    torus.couplings.emplace_back(j, i, 1.0);
                }
            }
        }
        EXPECT_FALSE(presolve_may_pay(torus.batch(), unlimited));
        torus.fields[5] = both_triangles ? 12.0 : 6.0;  // its field decides it
        EXPECT_TRUE(presolve_may_pay(torus.batch(), unlimited));
        torus.fields[5] -= 1.0;
        EXPECT_FALSE(presolve_may_pay(torus.batch(), unlimited));
        for (const std::size_t j : {7UL, 8UL}) {  // a spin of degree 2
            torus.couplings.emplace_back(j, torus.n(), 1.0);
            if (both_triangles) {
                torus.couplings.emplace_back(torus.n(), j, 1.0);
            }
        }
        torus.fields.push_back(0.0);
        EXPECT_TRUE(presolve_may_pay(torus.batch(), unlimited));
    }
    Example parts;  // complete graphs of five spins
    parts.fields.assign(20, 0.0);
    for (std::size_t i = 0; i < parts.n(); ++i) {
        for (std::size_t j = i + 1; j < i / 5 * 5 + 5; ++j) {
            parts.couplings.emplace_back(i, j, 1.0);
        }
    }
    EXPECT_TRUE(presolve_may_pay(parts.batch(), unlimited));
    Budget over(token, Clock::now());
    Example wide = random_example(1000, 200000, 1, false);
    EXPECT_FALSE(presolve_may_pay(wide.batch(), over));
}

TEST(Presolve, is_refused_where_it_cannot_serve) {
    Example example = random_example(30, 30, 1, true);
    std::vector<std::int8_t> start(30, 1);
    std::vector<std::int8_t> samples(30);
    std::vector<double> energies(1);
    SolveOptions options;
    options.presolve = Presolve::on;
    IsingBatch batch = example.batch();
    EXPECT_TRUE(solve(batch, options, samples, energies).presolve);
    batch.initial_states = start;
    EXPECT_THROW(solve(batch, options, samples, energies), std::invalid_argument);
}

TEST(Presolve, an_interrupt_ends_it) {
    Example example = random_example(1000, 1000, 1, false);
    const auto batch = example.batch();
    StopToken token(std::nullopt, [] { return true; });
    const auto begin = Clock::now();
    while (Clock::now() < begin + 2 * StopToken::kCheckInterval) {
    }
    Budget budget(token);
    EXPECT_THROW(Reduction::make(batch, budget, budget), Interrupted);
}

}  // namespace
