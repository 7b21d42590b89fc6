#include "qpsbgd/number_lines.hpp"

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <system_error>

namespace qpsbgd {
namespace {

bool is_digit(char character) { return character >= '0' && character <= '9'; }

bool is_blank(char character) {
    return character == ' ' || character == '\t' || character == '\r' || character == '\v' ||
           character == '\f';
}

// Reads [begin, end), which is one word. False where it is no finite number.
bool read_number(const char* begin, const char* end, double& value) {
    const bool negative = *begin == '-';
    if (negative || *begin == '+') {
        ++begin;
    }
    constexpr std::ptrdiff_t kExactDigits = 18;  // fit in 64 bits
    if (begin != end && end - begin <= kExactDigits && std::all_of(begin, end, is_digit)) {
        std::int64_t whole = 0;
        for (; begin != end; ++begin) {
            whole = 10 * whole + (*begin - '0');
        }
        value = static_cast<double>(negative ? -whole : whole);
        return true;
    }
    // std::from_chars reads "inf" and "nan" too.
    if (begin == end || (!is_digit(*begin) && *begin != '.')) {
        return false;
    }
    const auto [stop, error] = std::from_chars(begin, end, value);
    if (stop != end || error == std::errc::invalid_argument) {
        return false;
    }
    if (error == std::errc::result_out_of_range) {
        const std::string_view word(begin, static_cast<std::size_t>(end - begin));
        if (word.find("e-") == std::string_view::npos && word.find("E-") == std::string_view::npos) {
            return false;  // too large
        }
        value = 0.0;
    }
    value = negative ? -value : value;
    return true;
}

}  // namespace

NumberLines parse_number_lines(std::string_view text) {
    NumberLines result;
    const auto line_ends = static_cast<std::size_t>(std::ranges::count(text, '\n'));
    result.numbers.reserve(3 * (line_ends + 1));
    result.lengths.reserve(line_ends + 1);
    result.lines.reserve(line_ends + 1);
    const char* at = text.data();
    const char* const end = at + text.size();
    for (std::int64_t line = 0; at != end; ++line) {
        std::int64_t length = 0;
        while (at != end && *at != '\n') {
            if (is_blank(*at)) {
                ++at;
                continue;
            }
            const char* const word = at;
            while (at != end && *at != '\n' && !is_blank(*at)) {
                ++at;
            }
            double value = 0.0;
            if (!read_number(word, at, value)) {
                result.bad_line = line;
                return result;
            }
            result.numbers.push_back(value);
            ++length;
        }
        if (length != 0) {
            result.lengths.push_back(length);
            result.lines.push_back(line);
        }
        if (at != end) {
            ++at;
        }
    }
    return result;
}

}  // namespace qpsbgd
