#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/aligned.hpp"
#include "base/rounding.hpp"
#include "kernels/projection_int8/reference.inl"
#include "support.hpp"

namespace {

using namespace qpsbgd;
using namespace qpsbgd::kernel_tests;
namespace expected = qpsbgd::reference::projection_int8;

class ProjectionInt8 : public OnEveryInstructionSet {
protected:
    static const ProjectionInt8Kernels& kernels() { return table().projection_int8; }
};

TEST_P(ProjectionInt8, couplings_and_first_fields) {
    Draws draws(1);
    for (const std::size_t d : sizes()) {
        for (const float unit : {1e-30F, 1.0F, 1e30F}) {
            SCOPED_TRACE(testing::Message() << "d " << d << ", unit " << unit);
            std::vector<float> row(d);
            std::vector<float> fields(d);
            std::vector<float> spins(d);
            const std::vector<float> inverse_units(d, 1.0F / unit);
            for (std::size_t i = 0; i < d; ++i) {
                row[i] = unit * static_cast<float>(draws.integer(-253, 253)) / 4.0F;  // halves among them
                fields[i] = unit * static_cast<float>(draws.integer(-60000, 60000)) / 2.0F;
                spins[i] = static_cast<float>(2 * draws.integer(0, 1) - 1);
            }
            EXPECT_EQ(kernels().largest(row.data(), d), expected::largest(row.data(), d));
            std::vector<std::int8_t> couplings(d);
            std::vector<std::int8_t> expected_couplings(d);
            kernels().quantise(row.data(), inverse_units.data(), 2.0F, d, couplings.data());
            expected::quantise(row.data(), inverse_units.data(), 2.0F, d, expected_couplings.data());
            EXPECT_TRUE(same(couplings, expected_couplings));
            std::vector<std::int16_t> a(d);
            std::vector<std::int16_t> b(d);
            std::vector<std::int16_t> a_spins(d);
            std::vector<std::int16_t> b_spins(d);
            kernels().start(spins.data(), fields.data(), inverse_units.data(), d, a_spins.data(), a.data());
            expected::start(spins.data(), fields.data(), inverse_units.data(), d, b_spins.data(), b.data());
            EXPECT_TRUE(same(a, b));
            EXPECT_TRUE(same(a_spins, b_spins));
        }
    }
    EXPECT_EQ(kernels().largest(nullptr, 0), 0.0F);
}

// Spins, fields and couplings as the descent has them; with fields of up to `most`.
struct Problem {
    Problem(std::size_t size, std::uint64_t seed, int most)
        : d(size),
          stride((size + kInt8Slots - 1) / kInt8Slots * kInt8Slots),
          couplings((d + 1) * stride, 0),
          spins(stride, 1),
          fields(stride, kInt16NoGain) {
        Draws draws(seed);
        for (std::size_t i = 0; i < d; ++i) {
            spins[i] = static_cast<std::int16_t>(2 * draws.integer(0, 1) - 1);
            fields[i] = static_cast<std::int16_t>(most < 0 ? -spins[i] : draws.integer(-most, most));
            for (std::size_t j = 0; j < i; ++j) {
                const auto coupling = static_cast<std::int8_t>(draws.integer(-127, 127));
                couplings[i * stride + j] = coupling;
                couplings[j * stride + i] = coupling;
            }
        }
    }

    Int8Descent descent() {
        return {.couplings = couplings.data(),
                .stride = stride,
                .zero_row = d,
                .d = stride,
                .spins = spins.data(),
                .fields = fields.data()};
    }

    std::size_t d;
    std::size_t stride;
    AlignedVector<std::int8_t> couplings;
    AlignedVector<std::int16_t> spins;
    AlignedVector<std::int16_t> fields;
};

TEST_P(ProjectionInt8, descents_flip_by_flip) {
    for (const std::size_t d : {1U, 3U, 15U, 16U, 17U, 63U, 64U, 65U, 128U, 200U, 300U}) {
        // None is worth a flip; ties; many are; fields that saturate.
        for (const int most : {-1, 1, 1000, 32767}) {
            for (const std::size_t most_passes : {std::size_t{0}, std::size_t{1}, std::size_t{4}, 100 * d}) {
                SCOPED_TRACE(testing::Message()
                             << "d " << d << ", fields " << most << ", " << most_passes << " passes");
                std::vector<Problem> problems;
                problems.reserve(4);
                for (std::uint64_t seed = 0; seed < 4; ++seed) {
                    problems.emplace_back(d, seed, most);
                }
                std::vector<Problem> expected_problems = problems;
                std::vector<Int8Descent> rows;
                std::vector<Int8Descent> expected_rows;
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

// Where no field saturates, a descent that has settled is at a minimum of its own couplings, and knows its fields.
TEST_P(ProjectionInt8, a_settled_row_is_at_a_minimum) {
    const Problem before(300, 7, 1000);
    Problem now = before;
    Int8Descent row = now.descent();
    kernels().descend(&row, 1, 30000);
    ASSERT_TRUE(row.settled);
    std::size_t changes = 0;
    for (std::size_t i = 0; i < now.d; ++i) {
        int field = before.fields[i];
        for (std::size_t j = 0; j < now.d; ++j) {
            field -= now.couplings[i * now.stride + j] * (before.spins[j] - now.spins[j]) / 2;
        }
        ASSERT_EQ(now.fields[i], field);
        ASSERT_LE(now.spins[i] * field, 0);
        changes += now.spins[i] != before.spins[i] ? 1 : 0;
    }
    EXPECT_GT(changes, 10U);
}

QPSBGD_ON_EVERY_INSTRUCTION_SET(ProjectionInt8);

}  // namespace
