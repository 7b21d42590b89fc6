// Products of a symmetric matrix with spins against their reference, to the last bit.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <type_traits>
#include <vector>

#include "base/aligned.hpp"
#include "kernels/finish/reference.inl"
#include "kernels/kernel_table.hpp"
#include "support.hpp"

namespace {

using namespace qpsbgd;
using namespace qpsbgd::kernel_tests;

template <class Real>
void check_products(const KernelTable& table, std::size_t n, std::size_t reads, Values values, Draws& draws) {
    const std::size_t stride = (n + kProductColumns - 1) / kProductColumns * kProductColumns;
    const std::size_t words = words_of_signs(n);
    std::vector<Real> matrix(n * n + 1);  // the first entry is not part of it: any alignment will do
    Real* first = matrix.data() + 1;
    for (std::size_t i = 0; i < n; ++i) {
        for (std::size_t j = 0; j <= i; ++j) {
            first[i * n + j] = first[j * n + i] = draws.real<Real>(values);
        }
    }
    std::vector<std::uint16_t> signs(reads * words);
    std::ranges::generate(signs, [&] { return static_cast<std::uint16_t>(draws.word()); });
    AlignedVector<double> out(reads * stride, std::numeric_limits<double>::quiet_NaN());
    const auto multiply = [&](std::size_t begin, std::size_t end) {
        if constexpr (std::is_same_v<Real, float>) {
            table.finish.products_float(first, n, begin, end, signs.data(), reads, stride, out.data());
        } else {
            table.finish.products_double(first, n, begin, end, signs.data(), reads, stride, out.data());
        }
    };
    multiply(0, 0);  // no columns
    multiply(0, kProductColumns);
    multiply(kProductColumns, stride);
    for (std::size_t r = 0; r < reads; ++r) {
        for (std::size_t j = 0; j < n; ++j) {
            const double expected = reference::finish::product(first, n, j, signs.data() + r * words);
            ASSERT_TRUE(same_bits(out[r * stride + j], expected))
                << "n " << n << ", " << reads << " reads, values " << static_cast<int>(values) << ": read "
                << r << ", column " << j << " is " << out[r * stride + j] << ", expected " << expected;
        }
    }
}

class Finish : public OnEveryInstructionSet {};

// Few reads are summed up directly, many by tables.
TEST_P(Finish, products_of_few_and_many_reads) {
    Draws draws(1);
    for (const std::size_t n : sizes()) {
        for (const std::size_t reads : {1U, 2U, 9U, 10U, 32U}) {
            const Values values = all_values()[draws.index(all_values().size())];
            check_products<float>(table(), n, reads, values, draws);
            check_products<double>(table(), n, reads, values, draws);
        }
    }
    for (const Values values : all_values()) {
        for (const std::size_t reads : {3U, 11U}) {
            check_products<float>(table(), 45, reads, values, draws);
            check_products<double>(table(), 45, reads, values, draws);
        }
    }
}

QPSBGD_ON_EVERY_INSTRUCTION_SET(Finish);

}  // namespace
