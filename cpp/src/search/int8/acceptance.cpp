#include "search/int8/acceptance.hpp"

#include <array>
#include <cmath>
#include <utility>

namespace qpsbgd {
namespace {

constexpr double kOne = 255.0 * 256.0;
constexpr std::size_t kEntries = kMostTableParts * kTableWidth;  // the last one stays 0
constexpr int kStep = 256 / static_cast<int>(kDithers);
constexpr double kLeast = kStep / 2.0;  // what is rounded down to 0 by every dither

}  // namespace

bool Int8AcceptanceTable::serves(double ratio, int reach) {
    constexpr std::size_t kFirstMissing = kEntries - 1;
    return std::cmp_less(reach, kFirstMissing) ||
           kOne * std::pow(ratio, static_cast<double>(kFirstMissing)) < kLeast;
}

void Int8AcceptanceTable::fill(double ratio, int reach) {
    std::array<std::uint16_t, kEntries> probability{};
    double value = kOne;
    std::size_t possible = 0;  // rises below this one may be accepted
    while (std::cmp_less_equal(possible, reach) && possible + 1 < kEntries && value >= kLeast) {
        probability[possible++] = static_cast<std::uint16_t>(value);
        value *= ratio;
    }
    parts_ = possible / kTableWidth + 1;  // the last entry of the last part stays 0
    const std::size_t width = parts_ * kTableWidth;
    for (std::size_t dither = 0; dither < kDithers; ++dither) {
        const auto offset = static_cast<int>(dither) * kStep + kStep / 2;
        std::uint8_t* row = entries_ + dither * width;
        for (std::size_t rise = 0; rise < width; ++rise) {
            row[rise] = static_cast<std::uint8_t>(255 - ((probability[rise] + offset) >> 8));
        }
    }
}

}  // namespace qpsbgd
