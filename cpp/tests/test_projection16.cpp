// Kernels of the training step in int16: exact products, and descents that end at a minimum, on every instruction set.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "qpsbgd/aligned.hpp"
#include "qpsbgd/kernels.hpp"
#include "qpsbgd/rng.hpp"

namespace {

using namespace qpsbgd;

constexpr std::size_t kMostEntry = (std::size_t{1} << 22U) - 1;

std::size_t rounded_up(std::size_t count, std::size_t unit) { return (count + unit - 1) / unit * unit; }

std::uint32_t draw(Random& random, std::uint32_t below) { return random.below(below); }

// Whole numbers as large as may be, so that products overflow 32 bits if anything is added up wrongly.
std::vector<float> large_matrix(std::size_t d, Random& random) {
    std::vector<float> matrix(d * d);
    for (float& entry : matrix) {
        entry = static_cast<float>(draw(random, 2 * kMostEntry + 1)) - static_cast<float>(kMostEntry);
    }
    return matrix;
}

class Projection16 : public testing::TestWithParam<const KernelTable*> {};

TEST_P(Projection16, ProductsWithSignsAreExactModulo32Bits) {
    const Projection16Kernels& table = GetParam()->projection16;
    Random random(1, 0, 0);
    for (const std::size_t d : {1U, 15U, 64U, 100U, 513U, 784U}) {
        for (const std::size_t rows : {1U, 16U, 21U}) {
            const std::vector<float> matrix = large_matrix(d, random);
            const std::vector<float> ones(d, 1.0F);
            AlignedBuffer<std::byte> packed(table.packed_bytes(d));
            for (std::size_t first = 0; first < d; first += kPackedRows) {
                table.pack(matrix.data() + first * d, d, first, std::min(kPackedRows, d - first), ones.data(),
                           d, packed.data());
            }
            std::vector<std::uint64_t> signs((d + kSignsOfWord - 1) / kSignsOfWord * rows);
            for (std::uint64_t& word : signs) {
                word = (std::uint64_t{draw(random, 1U << 31U)} << 33U) ^ draw(random, 1U << 31U);
            }
            const std::size_t stride = rounded_up(d, 64) + 16;
            AlignedBuffer<std::int32_t> products(rows * stride);
            AlignedBuffer<std::byte> workspace(table.workspace_bytes(rows, d));
            table.sign_products({.packed = packed.data(),
                                 .d = d,
                                 .signs = signs.data(),
                                 .signs_stride = rows,
                                 .workspace = workspace.data(),
                                 .products = products.data(),
                                 .stride = stride},
                                rows);
            for (std::size_t row = 0; row < rows; ++row) {
                for (std::size_t j = 0; j < d; ++j) {
                    std::int64_t expected = 0;
                    for (std::size_t i = 0; i < d; ++i) {
                        const std::uint64_t word = signs[i / kSignsOfWord * rows + row];
                        const auto entry = static_cast<std::int64_t>(matrix[i * d + j]);
                        expected += (word >> (i % kSignsOfWord) & 1U) != 0 ? -entry : entry;
                    }
                    ASSERT_EQ(products.data()[row * stride + j], static_cast<std::int32_t>(expected))
                        << "d " << d << ", row " << row << ", coordinate " << j;
                }
            }
        }
    }
}

// Spins, the gain of each in half units, and couplings w = W + 1/2 as the descent has them.
struct Problem {
    explicit Problem(std::size_t size, std::uint64_t seed)
        : d(size),
          stride(padded<std::int16_t>(size)),
          couplings((d + 1) * stride + kSlots16, 0),
          signs(rounded_up(size, kSlots16), 0),
          gains(signs.size(), kNoGain16),
          units(signs.size(), 1.0) {
        Random random(seed, 0, 0);
        for (std::size_t i = 0; i < d; ++i) {
            signs[i] = draw(random, 2) == 0 ? std::int16_t{-1} : std::int16_t{0};
            gains[i] = static_cast<std::int16_t>(static_cast<int>(draw(random, 2001)) - 1000);
            for (std::size_t j = 0; j < i; ++j) {
                const auto coupling = static_cast<std::int16_t>(static_cast<int>(draw(random, 200)) - 100);
                couplings[i * stride + j] = coupling;
                couplings[j * stride + i] = coupling;
            }
        }
    }

    Descent16 descent() {
        return {.couplings = couplings.data(),
                .stride = stride,
                .zero_row = d,
                .d = stride,
                .units = units.data(),
                .first_error = 0.0,
                .signs = signs.data(),
                .gains = gains.data()};
    }

    double spin(std::size_t i) const { return signs[i] < 0 ? -1.0 : 1.0; }

    std::size_t d;
    std::size_t stride;
    AlignedVector<std::int16_t> couplings;
    AlignedVector<std::int16_t> signs;
    AlignedVector<std::int16_t> gains;
    std::vector<double> units;
};

TEST_P(Projection16, DescentEndsWhereNoFlipHelpsAndKnowsItsGains) {
    const Projection16Kernels& table = GetParam()->projection16;
    for (const std::size_t d : {1U, 10U, 31U, 33U, 64U, 128U, 129U, 300U}) {
        std::vector<Problem> problems;
        std::vector<Problem> before;
        std::vector<Descent16> rows;
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
        EXPECT_EQ(problems[3].gains, before[3].gains);
        for (const std::size_t k : {0U, 1U, 2U, 4U}) {
            const Problem& now = problems[k];
            const Problem& then = before[k];
            EXPECT_TRUE(rows[k].settled);
            double lowered = 0.0;
            for (std::size_t i = 0; i < d; ++i) {
                // h_i f_i, f_i = f_i at first - sum over j of w_ij (h_j then - h_j now) / 2.
                double field = then.spin(i) * then.gains[i];
                for (std::size_t j = 0; j < d; ++j) {
                    if (j != i) {
                        field -=
                            (now.couplings[i * now.stride + j] + 0.5) * 0.5 * (then.spin(j) - now.spin(j));
                    }
                }
                const double gain = now.gains[i] - 0.5 * static_cast<double>(rows[k].flips);
                // A spin's own flips round its gain to whole numbers.
                EXPECT_NEAR(gain, now.spin(i) * field, 0.5 * static_cast<double>(rows[k].flips));
                EXPECT_LE(gain, 0.0);
                lowered += 0.5 * (then.spin(i) - now.spin(i)) * (then.spin(i) * then.gains[i] + field);
            }
            // Every flip lowers the energy by twice its gain, half of it counted at either end.
            EXPECT_NEAR(2.0 * rows[k].lowered, lowered,
                        1e-9 + static_cast<double>(rows[k].flips * rows[k].flips));
        }
    }
}

INSTANTIATE_TEST_SUITE_P(EveryInstructionSet, Projection16, testing::ValuesIn(available_kernels()),
                         [](const auto& table) { return std::string(table.param->name); });

}  // namespace
