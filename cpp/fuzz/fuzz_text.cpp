// Any text as lines of numbers, and any list of interactions as couplings.
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "bytes.hpp"
#include "qpsbgd/interactions.hpp"
#include "qpsbgd/number_lines.hpp"

namespace qpsbgd::fuzz {
namespace {

void read_lines(std::string_view text) {
    const NumberLines lines = parse_number_lines(text);
    std::size_t numbers = 0;
    for (std::size_t line = 0; line < lines.lengths.size(); ++line) {
        require(lines.lengths[line] > 0, "lines that are blank are left out");
        require(line == 0 || lines.lines[line - 1] < lines.lines[line], "lines come in order");
        numbers += static_cast<std::size_t>(lines.lengths[line]);
    }
    require(lines.lines.size() == lines.lengths.size(), "every line has a place");
    require(lines.bad_line >= 0 || numbers == lines.numbers.size(), "every number has a line");
    for (const double number : lines.numbers) {
        require(std::isfinite(number), "numbers are finite");
    }
    if (lines.bad_line < 0 && lines.numbers.size() == 1) {
        const std::string word(text);
        require(std::strtod(word.c_str(), nullptr) == lines.numbers[0], "a number is what strtod reads");
    }
}

void add_interactions(Bytes& bytes) {
    const std::size_t n = bytes.between(0, 20);
    const std::size_t count = bytes.between(0, 60);
    std::vector<std::int32_t> first;
    std::vector<std::int32_t> second;
    for (std::size_t k = 0; k < count; ++k) {
        first.push_back(static_cast<std::int8_t>(bytes.byte()));
        second.push_back(static_cast<std::int8_t>(bytes.byte()));
    }
    const std::vector<double> values = bytes.numbers<double>(count);
    std::vector<double> couplings(n * n);
    StopToken token(std::nullopt, {});
    try {
        dense_couplings<double>({first, second, values}, n, couplings, token);
        for (std::size_t i = 0; i < n; ++i) {
            for (std::size_t j = 0; j < n; ++j) {
                const double here = couplings[i * n + j];
                const double there = couplings[j * n + i];
                require(here == there || (std::isnan(here) && std::isnan(there)), "couplings are symmetric");
            }
        }
    } catch (const std::invalid_argument&) {  // a spin that is none
    }
}

}  // namespace
}  // namespace qpsbgd::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    qpsbgd::fuzz::read_lines({reinterpret_cast<const char*>(data), size});
    qpsbgd::fuzz::Bytes bytes(data, size);
    qpsbgd::fuzz::add_interactions(bytes);
    return 0;
}
