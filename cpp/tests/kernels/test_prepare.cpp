// Statistics and int16 forms of rows against their reference, to the last bit.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <type_traits>
#include <vector>

#include "kernels/kernel_table.hpp"
#include "kernels/prepare/reference.inl"
#include "support.hpp"

namespace {

using namespace qpsbgd;
using namespace qpsbgd::kernel_tests;

template <class Real>
const PrepareKernels<Real>& prepare_of(const KernelTable& table) {
    if constexpr (std::is_same_v<Real, float>) {
        return table.prepare_float32;
    } else {
        return table.prepare_float64;
    }
}

template <class Real>
void check_statistics(const PrepareKernels<Real>& prepare) {
    Draws draws(1);
    for (const std::size_t n : sizes()) {
        for (const Values values : all_values()) {
            const auto row = draws.reals<Real>(n + 1, values);  // any alignment will do
            for (const std::size_t i : {std::size_t{0}, n / 2, n - 1}) {
                const RowStatistics result = prepare.statistics(row.data() + 1, n, i);
                const RowStatistics expected = reference::prepare::statistics(row.data() + 1, n, i);
                ASSERT_TRUE(same_bits(result.sum, expected.sum)) << "n " << n;
                ASSERT_TRUE(same_bits(result.squares, expected.squares)) << "n " << n;
                ASSERT_TRUE(same_bits(result.largest, expected.largest)) << "n " << n;
            }
        }
    }
}

template <class Real>
void check_quantise(const PrepareKernels<Real>& prepare) {
    Draws draws(2);
    using Limits = std::numeric_limits<Real>;
    for (const std::size_t n : sizes()) {
        for (const Values values : {Values::ordinary, Values::few, Values::zero, Values::denormal}) {
            // 16383 x 1 is the largest unit there is, and n / 2 halves must be rounded to even.
            for (const double factor : {16383.0, 1000.0, 0.5, 1e-300}) {
                auto row = draws.reals<Real>(n, values);
                if (values == Values::ordinary && factor == 0.5) {
                    std::ranges::generate(row, [&] { return static_cast<Real>(draws.integer(-999, 999)); });
                }
                for (const std::size_t i : {std::size_t{0}, n / 2, n - 1}) {
                    // The diagonal may be of any size: sixty orders of magnitude above the rest, and not even finite.
                    for (const Real diagonal : {Real{0}, static_cast<Real>(1e30), -Limits::max(),
                                                Limits::infinity(), Limits::quiet_NaN()}) {
                        row[i] = diagonal;
                        std::vector<std::int16_t> out(n + 1, 7);
                        std::vector<std::int16_t> expected(n + 1, 7);
                        prepare.quantise(row.data(), n, i, factor, out.data());
                        reference::prepare::quantise(row.data(), n, i, factor, expected.data());
                        ASSERT_TRUE(same(out, expected)) << "n " << n << ", diagonal " << diagonal;
                    }
                    row[i] = Real{0};
                }
            }
        }
    }
}

class Prepare : public OnEveryInstructionSet {};

TEST_P(Prepare, statistics_of_a_row) {
    check_statistics(prepare_of<float>(table()));
    check_statistics(prepare_of<double>(table()));
}

TEST_P(Prepare, quantise_does_not_look_at_the_diagonal) {
    check_quantise(prepare_of<float>(table()));
    check_quantise(prepare_of<double>(table()));
}

QPSBGD_ON_EVERY_INSTRUCTION_SET(Prepare);

}  // namespace
