// Numbers by pairs: against an ordered map.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <map>
#include <utility>

#include "base/pair_table.hpp"
#include "base/rng.hpp"

namespace {

using namespace qpsbgd;

TEST(PairTable, knows_what_was_inserted_in_either_order_and_nothing_else) {
    PairTable table;
    EXPECT_EQ(table.find(0, 1), PairTable::kAbsent);
    std::map<std::pair<std::uint32_t, std::uint32_t>, std::uint64_t> numbers;
    Random random(1, 2, 3);
    for (std::uint64_t number = 0; number < 5000; ++number) {
        const std::uint32_t i = random.below(200);
        const std::uint32_t j = random.below(200);
        const auto pair = std::minmax(i, j);
        if (i != j && numbers.try_emplace(pair, number).second) {
            table.insert(j, i, number);
        }
    }
    for (std::uint32_t i = 0; i < 200; ++i) {
        for (std::uint32_t j = 0; j < 200; ++j) {
            const auto known = numbers.find(std::minmax(i, j));
            if (i != j) {
                EXPECT_EQ(table.find(i, j), known == numbers.end() ? PairTable::kAbsent : known->second);
            }
        }
    }
}

TEST(PairTable, keeps_the_largest_integers_apart) {
    PairTable table;
    const std::uint32_t most = 0xFFFFFFFF;
    table.insert(most, most - 1, 7);
    table.insert(0, most, 8);
    EXPECT_EQ(table.find(most - 1, most), 7U);
    EXPECT_EQ(table.find(most, 0), 8U);
    EXPECT_EQ(table.find(0, most - 1), PairTable::kAbsent);
}

}  // namespace
