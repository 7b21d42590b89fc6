// Kernels of the training step in int16 against their reference; and descents that end at a minimum and know their gains.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "base/aligned.hpp"
#include "base/rng.hpp"
#include "kernels/kernel_table.hpp"
#include "kernels/projection_int16/reference.inl"
#include "support.hpp"

namespace {

using namespace qpsbgd;
using namespace qpsbgd::kernel_tests;
namespace expected = qpsbgd::reference::projection_int16;

std::size_t rounded_up(std::size_t count, std::size_t unit) { return (count + unit - 1) / unit * unit; }

std::uint32_t draw(Random& random, std::uint32_t below) { return random.below(below); }

// Couplings as large as may be, so that products overflow 16 bits if anything is added up wrongly.
AlignedVector<std::int16_t> large_couplings(std::size_t d, Random& random) {
    const std::size_t stride = padded<std::int16_t>(d);
    const std::uint32_t most = 32767 / static_cast<std::uint32_t>(d);
    AlignedVector<std::int16_t> couplings((d + 1) * stride + kInt16Slots, 0);
    for (std::size_t i = 0; i < d; ++i) {
        for (std::size_t j = 0; j < d; ++j) {
            const auto entry = static_cast<int>(draw(random, 2 * most + 1)) - static_cast<int>(most);
            couplings[i * stride + j] = static_cast<std::int16_t>(entry);
        }
    }
    return couplings;
}

class ProjectionInt16 : public OnEveryInstructionSet {
protected:
    static const ProjectionInt16Kernels& kernels() { return table().projection_int16; }
};

TEST_P(ProjectionInt16, products_with_signs_are_exact) {
    Random random(1, 0, 0);
    for (const std::size_t d : {1U, 15U, 64U, 100U, 513U, 784U}) {
        for (const std::size_t rows : {1U, 16U, 21U}) {
            const AlignedVector<std::int16_t> couplings = large_couplings(d, random);
            std::vector<std::uint64_t> signs((d + kSignsOfWord - 1) / kSignsOfWord * rows);
            for (std::uint64_t& word : signs) {
                word = (std::uint64_t{draw(random, 1U << 31U)} << 33U) ^ draw(random, 1U << 31U);
            }
            AlignedBuffer<std::int16_t> products(rows * rounded_up(d, kProductsTile));
            AlignedBuffer<std::byte> workspace(kernels().workspace_bytes(rows, d));
            const Int16SignProducts what{.couplings = couplings.data(),
                                         .couplings_stride = padded<std::int16_t>(d),
                                         .d = d,
                                         .signs = signs.data(),
                                         .signs_stride = rows,
                                         .workspace = workspace.data(),
                                         .products = products.data(),
                                         .tile_stride = rows * kProductsTile};
            kernels().sign_products(what, rows);
            for (std::size_t row = 0; row < rows; ++row) {
                for (std::size_t j = 0; j < d; ++j) {
                    const std::size_t place =
                        (j / kProductsTile * rows + row) * kProductsTile + j % kProductsTile;
                    ASSERT_EQ(products.data()[place], expected::sign_product(what, row, j))
                        << "d " << d << ", row " << row << ", coordinate " << j;
                }
            }
        }
    }
}

// Spins, fields and couplings as the descent has them.
struct Problem {
    explicit Problem(std::size_t size, std::uint64_t seed)
        : d(size),
          stride(padded<std::int16_t>(size)),
          couplings((d + 1) * stride + kInt16Slots, 0),
          spins(rounded_up(size, kInt16Slots), 1),
          fields(spins.size(), kInt16NoGain),
          units(spins.size()) {
        Random random(seed, 0, 0);
        for (std::size_t i = 0; i < d; ++i) {
            spins[i] = draw(random, 2) == 0 ? std::int16_t{-1} : std::int16_t{1};
            fields[i] = static_cast<std::int16_t>(static_cast<int>(draw(random, 2001)) - 1000);
            units[i] = static_cast<float>(1 + draw(random, 4));
            for (std::size_t j = 0; j < i; ++j) {
                const auto coupling = static_cast<std::int16_t>(static_cast<int>(draw(random, 200)) - 100);
                couplings[i * stride + j] = coupling;
                couplings[j * stride + i] = coupling;
            }
        }
    }

    Int16Descent descent() {
        return {.couplings = couplings.data(),
                .stride = stride,
                .zero_row = d,
                .d = stride,
                .spins = spins.data(),
                .fields = fields.data()};
    }

    std::size_t d;
    std::size_t stride;
    AlignedVector<std::int16_t> couplings;
    AlignedVector<std::int16_t> spins;
    AlignedVector<std::int16_t> fields;
    std::vector<float> units;
};

TEST_P(ProjectionInt16, descent_ends_where_no_flip_helps_and_knows_its_gains) {
    for (const std::size_t d : {1U, 10U, 31U, 33U, 64U, 128U, 129U, 300U}) {
        std::vector<Problem> problems;
        std::vector<Problem> before;
        std::vector<Int16Descent> rows;
        problems.reserve(5);
        rows.reserve(5);
        for (std::uint64_t seed = 0; seed < 5; ++seed) {
            problems.emplace_back(d, seed);
        }
        before = problems;
        for (Problem& problem : problems) {
            rows.push_back(problem.descent());
        }
        rows[3].settled = true;
        kernels().descend(rows.data(), rows.size(), 100 * d);
        EXPECT_EQ(problems[3].fields, before[3].fields);
        for (const std::size_t k : {0U, 1U, 2U, 4U}) {
            const Problem& now = problems[k];
            const Problem& then = before[k];
            EXPECT_TRUE(rows[k].settled);
            float lowered = 0.0F;
            float changed = 0.0F;
            std::vector<float> p(d);
            for (std::size_t i = 0; i < d; ++i) {
                // f_i = f_i at first - sum over j of W_ij (h_j then - h_j now) / 2.
                int field = then.fields[i];
                for (std::size_t j = 0; j < d; ++j) {
                    field -= now.couplings[i * now.stride + j] * (then.spins[j] - now.spins[j]) / 2;
                }
                ASSERT_EQ(now.fields[i], field);
                // Gains are told apart from this step on, or better.
                ASSERT_LT(now.spins[i] * field, std::max(1, static_cast<int>(2 * d / kInt16Slots)));
                p[i] = static_cast<float>(then.spins[i]);
                const int difference = (then.spins[i] - now.spins[i]) / 2;
                lowered += 0.5F * now.units[i] * static_cast<float>(difference * (then.fields[i] + field));
                changed += difference != 0 ? now.units[i] : 0.0F;
            }
            const Int16Change change =
                kernels().change(p.data(), then.fields.data(), rows[k], now.units.data(), d);
            // Sums of small halves: exact.
            EXPECT_EQ(change.lowered, lowered);
            EXPECT_EQ(change.units, changed);
        }
    }
}

// Up to the ends of int16: all of a column's couplings are as large as may be, and so are the signs.
TEST_P(ProjectionInt16, products_reach_the_ends_of_their_range) {
    for (const std::size_t d : {1U, 7U, 31U, 63U, 65U, 217U}) {
        const auto most = static_cast<std::int16_t>(32767 / d);
        for (const std::int16_t entry : {most, static_cast<std::int16_t>(-most)}) {
            AlignedVector<std::int16_t> couplings((d + 1) * padded<std::int16_t>(d) + kInt16Slots, 0);
            for (std::size_t i = 0; i < d; ++i) {
                std::fill_n(couplings.begin() + static_cast<std::ptrdiff_t>(i * padded<std::int16_t>(d)), d,
                            entry);
            }
            const std::vector<std::uint64_t> signs((d + kSignsOfWord - 1) / kSignsOfWord * 2,
                                                   ~std::uint64_t{0});
            AlignedVector<std::int16_t> products(2 * rounded_up(d, kProductsTile));
            AlignedVector<std::byte> workspace(kernels().workspace_bytes(2, d));
            kernels().sign_products({.couplings = couplings.data(),
                                     .couplings_stride = padded<std::int16_t>(d),
                                     .d = d,
                                     .signs = signs.data(),
                                     .signs_stride = 2,
                                     .workspace = workspace.data(),
                                     .products = products.data(),
                                     .tile_stride = 2 * kProductsTile},
                                    2);
            EXPECT_EQ(products[0], -entry * static_cast<int>(d));
        }
    }
}

TEST_P(ProjectionInt16, sums_and_steps_of_a_row) {
    Draws draws(2);
    for (const std::size_t d : sizes()) {
        for (const Values values : all_values()) {
            SCOPED_TRACE(testing::Message() << "d " << d << ", values " << static_cast<int>(values));
            auto p = draws.reals<float>(d, values);
            p[draws.index(d)] = 0.0F;
            const auto own = draws.reals<float>(d, Values::few);
            std::vector<float> units = draws.reals<float>(d, values);
            std::vector<std::int16_t> products(d);
            std::vector<std::int16_t> spins(d);
            for (std::size_t i = 0; i < d; ++i) {
                units[i] = std::fabs(units[i]);
                products[i] = static_cast<std::int16_t>(draws.integer(-32767, 32767));
                spins[i] = static_cast<std::int16_t>(2 * draws.integer(0, 1) - 1);
            }
            const double sum = kernels().signed_sum(p.data(), products.data(), units.data(), d);
            EXPECT_TRUE(same_bits(sum, expected::signed_sum(p.data(), products.data(), units.data(), d)));
            for (const std::int16_t* of_row :
                 {static_cast<const std::int16_t*>(nullptr), std::as_const(spins).data()}) {
                for (const bool mask : {false, true}) {
                    std::vector<std::int8_t> step(d, 7);
                    std::vector<std::int8_t> expected_step(d, 7);
                    const double product =
                        kernels().write_step(p.data(), of_row, own.data(), mask, d, step.data());
                    const double expected_product =
                        expected::write_step(p.data(), of_row, own.data(), mask, d, expected_step.data());
                    EXPECT_TRUE(same_bits(product, expected_product)) << product;
                    EXPECT_TRUE(same(step, expected_step));
                }
            }
            std::vector<std::int16_t> fields = products;
            std::ranges::reverse(fields);
            const Int16Descent row{.d = d, .spins = spins.data(), .fields = fields.data()};
            const Int16Change change = kernels().change(p.data(), products.data(), row, units.data(), d);
            const Int16Change expected_change =
                expected::change(p.data(), products.data(), row, units.data(), d);
            EXPECT_TRUE(same_bits(change.lowered, expected_change.lowered)) << change.lowered;
            EXPECT_TRUE(same_bits(change.units, expected_change.units)) << change.units;
        }
    }
}

// Results of at most 32767, from numbers of very different sizes.
TEST_P(ProjectionInt16, couplings_and_first_fields) {
    Draws draws(3);
    for (const std::size_t d : sizes()) {
        for (const double unit : {1e-30, 1.0, 1e30}) {
            SCOPED_TRACE(testing::Message() << "d " << d << ", unit " << unit);
            const auto size = static_cast<float>(unit);
            std::vector<float> row(d);
            std::vector<float> p(d);
            std::vector<float> rest(d);
            std::vector<float> bounds(d);
            std::vector<float> exclusions(d);
            const std::vector<float> inverse_units(d, 1.0F / size);
            std::vector<std::int16_t> couplings(d);
            std::vector<std::int16_t> expected_couplings(d);
            std::vector<std::int16_t> fields(d);
            for (std::size_t i = 0; i < d; ++i) {
                // Halves, which are rounded to even, and the largest numbers there are.
                row[i] = size * static_cast<float>(draws.integer(-65534, 65534)) / 4.0F;
                rest[i] = size * static_cast<float>(draws.integer(-8000, 8000)) / 2.0F;
                bounds[i] = size * static_cast<float>(draws.integer(0, 8000));
                exclusions[i] = draws.integer(0, 5) == 0 ? static_cast<float>(kInt16NoGain) : 0.0F;
                fields[i] = static_cast<std::int16_t>(exclusions[i] != 0.0F ? 0 : draws.integer(-9000, 9000));
                rest[i] = exclusions[i] != 0.0F ? 0.0F : rest[i];
                bounds[i] = exclusions[i] != 0.0F ? 0.0F : bounds[i];
                p[i] = draws.real<float>(all_values()[draws.index(all_values().size())]);
            }
            kernels().quantise(row.data(), inverse_units.data(), 2.0F, d, couplings.data());
            expected::quantise(row.data(), inverse_units.data(), 2.0F, d, expected_couplings.data());
            EXPECT_TRUE(same(couplings, expected_couplings));
            for (const double inverse_scale : {unit, 1.0, 1e-40, 1e40}) {
                const Int16Start of_layer{.rest = rest.data(),
                                          .bounds = bounds.data(),
                                          .inverse_units = inverse_units.data(),
                                          .exclusions = exclusions.data(),
                                          .inverse_factor = 0.5F};
                std::vector<std::int16_t> spins(d);
                std::vector<std::int16_t> expected_spins(d);
                std::vector<std::int16_t> a = fields;
                std::vector<std::int16_t> b = fields;
                kernels().start(p.data(), of_layer, inverse_scale, d, spins.data(), a.data());
                expected::start(p.data(), of_layer, inverse_scale, d, expected_spins.data(), b.data());
                EXPECT_TRUE(same(spins, expected_spins));
                EXPECT_TRUE(same(a, b));
            }
        }
    }
}

TEST_P(ProjectionInt16, descents_flip_by_flip) {
    for (const std::size_t d : {1U, 3U, 31U, 32U, 33U, 64U, 127U, 128U, 129U, 200U, 257U, 300U}) {
        for (const int levels : {0, 1, 1000}) {  // of fields: none is worth a flip, ties, many
            for (const std::size_t most_passes : {std::size_t{0}, std::size_t{1}, std::size_t{4}, 100 * d}) {
                SCOPED_TRACE(testing::Message()
                             << "d " << d << ", " << levels << " levels, " << most_passes << " passes");
                std::vector<Problem> problems;
                for (std::uint64_t seed = 0; seed < 4; ++seed) {
                    problems.emplace_back(d, seed);
                    Draws draws(seed);
                    for (std::size_t i = 0; i < d && levels < 1000; ++i) {
                        const int field = levels == 0 ? -problems.back().spins[i] : draws.integer(-1, 1);
                        problems.back().fields[i] = static_cast<std::int16_t>(field);
                    }
                }
                std::vector<Problem> expected_problems = problems;
                std::vector<Int16Descent> rows;
                std::vector<Int16Descent> expected_rows;
                for (std::size_t k = 0; k < problems.size(); ++k) {
                    rows.push_back(problems[k].descent());
                    expected_rows.push_back(expected_problems[k].descent());
                    expected::descend(expected_rows.back(), most_passes);
                }
                kernels().descend(rows.data(), rows.size(), most_passes);
                for (std::size_t k = 0; k < problems.size(); ++k) {
                    EXPECT_EQ(rows[k].settled, expected_rows[k].settled) << "row " << k;
                    EXPECT_TRUE(same(problems[k].spins, expected_problems[k].spins)) << "row " << k;
                    EXPECT_TRUE(same(problems[k].fields, expected_problems[k].fields)) << "row " << k;
                }
            }
        }
    }
    kernels().descend(nullptr, 0, 5);  // no rows
}

QPSBGD_ON_EVERY_INSTRUCTION_SET(ProjectionInt16);

}  // namespace
