// Lines of decimal numbers, as instance files hold them.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

namespace qpsbgd {

struct NumberLines {
    std::vector<double> numbers;        // all, in order
    std::vector<std::int64_t> lengths;  // numbers of each line that is not blank
    std::vector<std::int64_t> lines;    // and its place in the text, from 0
    std::int64_t bad_line =
        -1;  // the first line with a word that is no finite number; nothing after it is read
};

// Words are separated by blanks, lines end in '\n'. A number is decimal: sign, digits, point, exponent; neither hex nor
// "inf", "nan" or "1_0". One pass over the text; a number of up to 18 digits costs a multiplication a digit.
NumberLines parse_number_lines(std::string_view text);

}  // namespace qpsbgd
