// Kernels of the training step in int16: exact products, and descents that end at a minimum, on every instruction set.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "base/aligned.hpp"
#include "base/rng.hpp"
#include "kernels/kernel_table.hpp"

namespace {

using namespace qpsbgd;

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

class Projection16 : public testing::TestWithParam<const KernelTable*> {};

TEST_P(Projection16, ProductsWithSignsAreExact) {
    const ProjectionInt16Kernels& table = GetParam()->projection_int16;
    Random random(1, 0, 0);
    for (const std::size_t d : {1U, 15U, 64U, 100U, 513U, 784U}) {
        for (const std::size_t rows : {1U, 16U, 21U}) {
            const AlignedVector<std::int16_t> couplings = large_couplings(d, random);
            std::vector<std::uint64_t> signs((d + kSignsOfWord - 1) / kSignsOfWord * rows);
            for (std::uint64_t& word : signs) {
                word = (std::uint64_t{draw(random, 1U << 31U)} << 33U) ^ draw(random, 1U << 31U);
            }
            AlignedBuffer<std::int16_t> products(rows * rounded_up(d, kProductsTile));
            AlignedBuffer<std::byte> workspace(table.workspace_bytes(rows, d));
            table.sign_products({.couplings = couplings.data(),
                                 .couplings_stride = padded<std::int16_t>(d),
                                 .d = d,
                                 .signs = signs.data(),
                                 .signs_stride = rows,
                                 .workspace = workspace.data(),
                                 .products = products.data(),
                                 .tile_stride = rows * kProductsTile},
                                rows);
            for (std::size_t row = 0; row < rows; ++row) {
                for (std::size_t j = 0; j < d; ++j) {
                    int expected = 0;
                    for (std::size_t i = 0; i < d; ++i) {
                        const std::uint64_t word = signs[i / kSignsOfWord * rows + row];
                        const int entry = couplings[i * padded<std::int16_t>(d) + j];
                        expected += (word >> (i % kSignsOfWord) & 1U) != 0 ? -entry : entry;
                    }
                    const std::size_t place =
                        (j / kProductsTile * rows + row) * kProductsTile + j % kProductsTile;
                    ASSERT_EQ(products.data()[place], expected)
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

TEST_P(Projection16, DescentEndsWhereNoFlipHelpsAndKnowsItsGains) {
    const ProjectionInt16Kernels& table = GetParam()->projection_int16;
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
        table.descend(rows.data(), rows.size(), 100 * d);
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
                table.change(p.data(), then.fields.data(), rows[k], now.units.data(), d);
            // Sums of small halves: exact.
            EXPECT_EQ(change.lowered, lowered);
            EXPECT_EQ(change.units, changed);
        }
    }
}

INSTANTIATE_TEST_SUITE_P(EveryInstructionSet, Projection16, testing::ValuesIn(available_kernels()),
                         [](const auto& table) { return std::string(table.param->name); });

}  // namespace
