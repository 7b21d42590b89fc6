// Tables of exhaustive search against energies computed state by state.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "kernels/exact/reference.inl"
#include "kernels/kernel_table.hpp"
#include "support.hpp"

namespace {

using namespace qpsbgd;
using namespace qpsbgd::kernel_tests;
namespace expected = qpsbgd::reference::exact;

enum class Coefficients : std::uint8_t { small, ties, zero, one_field, one_coupling, all, negative };

// Fields and couplings whose sizes add up to at most 32767, which the largest ones here do exactly.
std::unique_ptr<ExactTables> make_tables(std::size_t n, Coefficients kind, Draws& draws) {
    auto tables = std::make_unique<ExactTables>();
    const auto couple = [&](std::size_t i, std::size_t j, int value) {
        tables->coupling[i][j] = tables->coupling[j][i] = static_cast<std::int16_t>(value);
    };
    const std::size_t last = n - 1;
    const int share = 32767 / static_cast<int>(n * (n + 1) / 2);
    switch (kind) {
        case Coefficients::zero: break;
        case Coefficients::one_field: tables->field[last] = 32767; break;
        case Coefficients::one_coupling:
            if (n > 1) {
                couple(last, 0, -32767);
            }
            break;
        default:
            for (std::size_t i = 0; i < n; ++i) {
                const auto draw = [&] {
                    switch (kind) {
                        case Coefficients::small: return draws.integer(-share, share);
                        case Coefficients::ties: return draws.integer(-1, 1);
                        case Coefficients::all: return share;
                        default: return -share;
                    }
                };
                tables->field[i] = static_cast<std::int16_t>(draw());
                for (std::size_t j = 0; j < i; ++j) {
                    couple(i, j, draw());
                }
            }
    }
    return tables;
}

std::int16_t wrapped(std::int64_t value) {
    return static_cast<std::int16_t>(static_cast<std::uint16_t>(static_cast<std::uint64_t>(value)));
}

// The tables hold the state with these outer spins.
void expect_state(const ExactTables& tables, std::uint32_t outer, std::size_t n) {
    ASSERT_EQ(tables.outer_up, outer);
    ASSERT_EQ(tables.outer_energy, expected::outer_energy(tables, outer, n));
    for (std::size_t inner = 0; inner < kInnerStates; ++inner) {
        ASSERT_EQ(tables.energy[inner], expected::inner_energy(tables, inner, outer, n)) << "state " << inner;
    }
    for (std::size_t k = 0; k + kInnerSpins < n; ++k) {
        ASSERT_EQ(tables.outer_local[k], expected::outer_field(tables, k, outer, n)) << "outer spin " << k;
    }
}

class Exact : public OnEveryInstructionSet {
protected:
    template <class Check>
    static void for_all(const Check& check) {
        Draws draws(1);
        for (const std::size_t n : {1U, 2U, 5U, 7U, 8U, 9U, 10U, 13U, 17U, 23U, 24U}) {
            for (const Coefficients kind :
                 {Coefficients::small, Coefficients::ties, Coefficients::zero, Coefficients::one_field,
                  Coefficients::one_coupling, Coefficients::all, Coefficients::negative}) {
                SCOPED_TRACE(testing::Message() << "n " << n << ", coefficients " << static_cast<int>(kind));
                const auto tables = make_tables(n, kind, draws);
                table().exact.prepare(*tables, n);
                check(*tables, n);
            }
        }
    }
};

TEST_P(Exact, tables_of_the_first_state_and_of_every_change) {
    for_all([](const ExactTables& tables, std::size_t n) {
        expect_state(tables, 0, n);
        for (std::size_t k = 0; k + kInnerSpins < n; ++k) {
            const std::uint32_t up = std::uint32_t{1} << k;
            for (std::size_t inner = 0; inner < kInnerStates; ++inner) {
                const std::int64_t change = expected::inner_energy(tables, inner, up, n) -
                                            expected::inner_energy(tables, inner, 0, n);
                ASSERT_EQ(tables.change[k][0][inner], wrapped(change)) << "outer spin " << k;
                ASSERT_EQ(tables.change[k][1][inner], wrapped(-change)) << "outer spin " << k;
            }
            for (std::size_t j = 0; j + kInnerSpins < n; ++j) {
                const std::int64_t change =
                    expected::outer_field(tables, j, up, n) - expected::outer_field(tables, j, 0, n);
                ASSERT_EQ(tables.outer_change[k][0][j], wrapped(change)) << "outer spins " << k << ", " << j;
                ASSERT_EQ(tables.outer_change[k][1][j], wrapped(-change)) << "outer spins " << k << ", " << j;
            }
        }
    });
}

// Nothing is as low as -40000: every step is visited, and the energies stay exact.
TEST_P(Exact, advance_through_all_states_of_a_gray_code) {
    for_all([](ExactTables& tables, std::size_t n) {
        const std::size_t outer = n > kInnerSpins ? n - kInnerSpins : 0;
        const std::uint64_t steps = std::min(std::uint64_t{1} << outer, std::uint64_t{300});
        for (std::uint64_t step = 0; step < steps; step = step < 20 ? step + 1 : step + 93) {
            const std::uint64_t end = std::min(step < 20 ? step + 1 : step + 93, steps);
            ASSERT_EQ(table().exact.advance(tables, step, end, -40000), end);
            expect_state(tables, expected::outer_of(end - 1), n);
        }
    });
}

TEST_P(Exact, advance_stops_at_the_first_state_at_the_limit) {
    for_all([](const ExactTables& prepared, std::size_t n) {
        const std::size_t outer = n > kInnerSpins ? n - kInnerSpins : 0;
        const std::uint64_t steps = std::min(std::uint64_t{1} << outer, std::uint64_t{64});
        std::vector<std::int64_t> lowest(steps);
        for (std::uint64_t step = 0; step < steps; ++step) {
            lowest[step] = 1 << 20U;
            const std::uint32_t up = expected::outer_of(step);
            for (std::size_t inner = 0; inner < kInnerStates; ++inner) {
                lowest[step] = std::min(lowest[step], expected::inner_energy(prepared, inner, up, n) +
                                                          expected::outer_energy(prepared, up, n));
            }
        }
        for (std::uint64_t step = 0; step < steps; step += 1 + step / 2) {
            for (const std::int64_t below : {0, 1}) {
                const auto limit = static_cast<std::int32_t>(lowest[step] - below);
                ExactTables tables = prepared;
                const auto found = static_cast<std::uint64_t>(
                    std::ranges::find_if(lowest, [&](std::int64_t least) { return least <= limit; }) -
                    lowest.begin());
                ASSERT_EQ(table().exact.advance(tables, 0, steps, limit), found) << "limit " << limit;
            }
        }
        ExactTables tables = prepared;
        EXPECT_EQ(table().exact.advance(tables, 0, steps, 1 << 20U), 0U);  // any energy will do
        EXPECT_EQ(table().exact.advance(tables, 5, 5, 0), 5U);             // no steps
    });
}

TEST_P(Exact, finds_the_first_state_at_the_limit_from_any_on) {
    for_all([](const ExactTables& tables, std::size_t n) {
        std::vector<std::int64_t> energies(kInnerStates);
        for (std::size_t inner = 0; inner < kInnerStates; ++inner) {
            energies[inner] =
                expected::inner_energy(tables, inner, 0, n) + expected::outer_energy(tables, 0, n);
        }
        std::vector<std::int64_t> limits{-40000, 40000};
        for (std::size_t inner = 0; inner < kInnerStates; inner += 37) {
            limits.push_back(energies[inner]);
            limits.push_back(energies[inner] - 1);
        }
        for (const std::int64_t limit : limits) {
            for (std::size_t from = 0; from < kInnerStates; from += from < 70 ? 1 : 23) {
                std::size_t first = from;
                while (first < kInnerStates && energies[first] > limit) {
                    ++first;
                }
                ASSERT_EQ(table().exact.find(tables, from, static_cast<std::int32_t>(limit)), first)
                    << "limit " << limit << " from " << from;
            }
        }
    });
}

QPSBGD_ON_EVERY_INSTRUCTION_SET(Exact);

}  // namespace
