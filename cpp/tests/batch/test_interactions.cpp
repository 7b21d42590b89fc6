// A list of interactions as a symmetric matrix.
#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <stdexcept>
#include <utility>
#include <vector>

#include "base/rng.hpp"
#include "qpsbgd/interactions.hpp"

namespace qpsbgd {
namespace {

struct List {
    std::vector<std::int32_t> first;
    std::vector<std::int32_t> second;
    std::vector<double> value;

    void add(std::int32_t i, std::int32_t j, double number) {
        first.push_back(i);
        second.push_back(j);
        value.push_back(number);
    }

    std::vector<double> matrix(std::size_t n) const {
        std::vector<double> couplings(n * n);
        StopToken token(std::nullopt, nullptr);
        dense_couplings<double>({first, second, value}, n, couplings, token);
        return couplings;
    }
};

TEST(Interactions, add_up_on_both_sides_of_the_diagonal) {
    for (const std::size_t n : std::initializer_list<std::size_t>{2, 31, 32, 33, 70}) {
        Random random(1, n, 0);
        List list;
        std::vector<double> expected(n * n);
        for (int k = 0; k < 500; ++k) {
            const auto i = random.below(static_cast<std::uint32_t>(n));
            const auto j = (i + 1 + random.below(static_cast<std::uint32_t>(n - 1))) % n;
            const double number = static_cast<double>(random.below(100)) - 50.0;
            list.add(static_cast<std::int32_t>(i), static_cast<std::int32_t>(j), number);
            expected[i * n + j] += number;
            expected[j * n + i] += number;
        }
        EXPECT_EQ(list.matrix(n), expected);
    }
}

TEST(Interactions, of_none_leave_the_matrix_zero) {
    EXPECT_EQ(List{}.matrix(3), std::vector<double>(9));
    EXPECT_TRUE(List{}.matrix(0).empty());
}

TEST(Interactions, must_be_between_two_spins_of_the_model) {
    const std::vector<std::pair<std::int32_t, std::int32_t>> bad{{0, 3}, {-1, 0}, {0, -1}, {1, 1}};
    for (const auto& [i, j] : bad) {
        List list;
        list.add(i, j, 1.0);
        EXPECT_THROW(list.matrix(3), std::invalid_argument);
    }
}

}  // namespace
}  // namespace qpsbgd
