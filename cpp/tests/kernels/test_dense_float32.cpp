// Dense float32 kernels against their reference, to the last bit.
#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

#include "base/aligned.hpp"
#include "kernels/dense_float32/reference.inl"
#include "kernels/kernel_table.hpp"
#include "support.hpp"

namespace {

using namespace qpsbgd;
using namespace qpsbgd::kernel_tests;

struct Problem {
    Problem(std::size_t size, Values values, Draws& draws)
        : n(size),
          stride(padded<float>(size)),
          couplings(size * stride, 0.0F),
          fields(stride, 0.0F),
          thresholds(stride, 0.0F),
          spins(stride, 0.0F),
          local(stride, 0.0F) {
        for (std::size_t i = 0; i < n; ++i) {
            for (std::size_t j = 0; j < i; ++j) {
                couplings[i * stride + j] = couplings[j * stride + i] = draws.real<float>(values);
            }
            fields[i] = draws.real<float>(values);
            thresholds[i] = draws.real<float>(values);
            spins[i] = draws.integer(0, 1) == 0 ? -1.0F : 1.0F;
            local[i] = draws.real<float>(values);
        }
    }

    std::size_t n;
    std::size_t stride;
    AlignedVector<float> couplings;
    AlignedVector<float> fields;
    AlignedVector<float> thresholds;
    AlignedVector<float> spins;
    AlignedVector<float> local;
};

class DenseFloat32 : public OnEveryInstructionSet {
protected:
    // Calls check(problem) for problems of every size and kind.
    template <class Check>
    static void for_all(const Check& check) {
        Draws draws(1);
        for (const std::size_t n : sizes()) {
            for (const Values values : all_values()) {
                SCOPED_TRACE(testing::Message() << "n " << n << ", values " << static_cast<int>(values));
                check(Problem(n, values, draws));
            }
        }
    }
};

TEST_P(DenseFloat32, local_fields) {
    for_all([](const Problem& given) {
        Problem a = given;
        Problem b = given;
        table().dense_float32.local_fields(a.couplings.data(), a.stride, a.n, a.fields.data(), a.spins.data(),
                                           a.local.data());
        reference::dense_float32::local_fields(b.couplings.data(), b.stride, b.n, b.fields.data(),
                                               b.spins.data(), b.local.data());
        EXPECT_TRUE(same(a.local, b.local));
    });
}

TEST_P(DenseFloat32, flips_of_every_spin) {
    for_all([](const Problem& given) {
        Problem a = given;
        Problem b = given;
        for (std::size_t i = 0; i < given.n; ++i) {
            const float* row = given.couplings.data() + i * given.stride;
            table().dense_float32.flip(row, a.n, i, a.spins.data(), a.local.data());
            reference::dense_float32::flip(row, b.n, i, b.spins.data(), b.local.data());
        }
        EXPECT_TRUE(same(a.spins, b.spins));
        EXPECT_TRUE(same(a.local, b.local));
    });
}

TEST_P(DenseFloat32, metropolis_from_any_spin_to_any_other) {
    for_all([](const Problem& given) {
        for (const std::size_t begin : {std::size_t{0}, given.n / 2, given.n}) {
            Problem a = given;
            Problem b = given;
            const double gain =
                table().dense_float32.metropolis(a.couplings.data(), a.stride, a.n, begin, a.n,
                                                 a.thresholds.data(), a.spins.data(), a.local.data());
            const double expected =
                reference::dense_float32::metropolis(b.couplings.data(), b.stride, b.n, begin, b.n,
                                                     b.thresholds.data(), b.spins.data(), b.local.data());
            EXPECT_TRUE(same_bits(gain, expected)) << gain << ", expected " << expected;
            EXPECT_TRUE(same(a.spins, b.spins));
            EXPECT_TRUE(same(a.local, b.local));
        }
    });
}

TEST_P(DenseFloat32, greedy_passes) {
    for_all([](const Problem& given) {
        Problem a = given;
        Problem b = given;
        for (int pass = 0; pass < 3; ++pass) {
            const double gain = table().dense_float32.greedy(a.couplings.data(), a.stride, a.n, 0, a.n,
                                                             a.spins.data(), a.local.data());
            const double expected = reference::dense_float32::greedy(b.couplings.data(), b.stride, b.n, 0,
                                                                     b.n, b.spins.data(), b.local.data());
            EXPECT_TRUE(same_bits(gain, expected)) << gain << ", expected " << expected;
        }
        EXPECT_TRUE(same(a.spins, b.spins));
        EXPECT_TRUE(same(a.local, b.local));
    });
}

TEST_P(DenseFloat32, best_move_with_and_without_aspiration) {
    Draws draws(2);
    for_all([&](const Problem& given) {
        constexpr float kInfinity = std::numeric_limits<float>::infinity();
        std::vector<std::int32_t> until(given.n);
        for (std::int32_t& end : until) {
            end = draws.integer(0, 2);
        }
        // At time -1 every spin rests.
        for (const std::int32_t now : {-1, 0, 1, 2}) {
            for (const float aspiration : {-kInfinity, 0.0F, 0.5F, kInfinity}) {
                const Move move = table().dense_float32.best_move(
                    given.n, given.spins.data(), given.local.data(), until.data(), now, aspiration);
                const Move expected = reference::dense_float32::best_move(
                    given.n, given.spins.data(), given.local.data(), until.data(), now, aspiration);
                ASSERT_EQ(move.found, expected.found);
                ASSERT_EQ(move.spin, expected.spin);
            }
        }
    });
}

QPSBGD_ON_EVERY_INSTRUCTION_SET(DenseFloat32);

}  // namespace
