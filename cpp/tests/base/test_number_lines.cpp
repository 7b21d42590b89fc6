#include <gtest/gtest.h>

#include <limits>
#include <string>
#include <vector>

#include "qpsbgd/number_lines.hpp"

namespace qpsbgd {
namespace {

using Whole = std::vector<std::int64_t>;

TEST(NumberLines, numbers_stand_where_their_lines_say) {
    const NumberLines result = parse_number_lines("1 -2\n\n \t\r\n+3.5e1 .5\v1.\n7");
    EXPECT_EQ(result.numbers, (std::vector<double>{1.0, -2.0, 35.0, 0.5, 1.0, 7.0}));
    EXPECT_EQ(result.lengths, (Whole{2, 3, 1}));
    EXPECT_EQ(result.lines, (Whole{0, 3, 4}));
    EXPECT_EQ(result.bad_line, -1);
}

TEST(NumberLines, an_empty_text_has_none) {
    EXPECT_TRUE(parse_number_lines("").lines.empty());
    EXPECT_TRUE(parse_number_lines("\n\n  ").lines.empty());
}

TEST(NumberLines, long_and_small_numbers_round_to_the_nearest) {
    const NumberLines result =
        parse_number_lines("999999999999999999 1234567890123456789012 1e-400 -0.1 1e308");
    EXPECT_EQ(result.numbers, (std::vector<double>{1e18, 1234567890123456789012.0, 0.0, -0.1, 1e308}));
}

TEST(NumberLines, what_is_no_finite_number_is_bad) {
    for (const std::string word : {"x", "1_0", "0x10", "nan", "inf", "-inf", "1e", "1e+", "1.2.3", "1-2",
                                   "--1", "+", "-", ".", "1e999", "1e5.5", "e5", "1,5", "- 1"}) {
        EXPECT_EQ(parse_number_lines("1 2\n3 " + word + "\nx").bad_line, 1) << word;
    }
}

}  // namespace
}  // namespace qpsbgd
