#include "qpsbgd/schedule.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <iterator>
#include <numbers>
#include <vector>

namespace qpsbgd {
namespace {

// -ln(x) for x in (0, 1): x = 2^e m with m in [1, 2), ln m = 2 atanh((m - 1) / (m + 1)) by its series. Only
// additions, multiplications and divisions in a fixed order, so every machine gets the same bits.
double negative_log(double x) {
    int exponent = 0;
    while (x < 1.0) {
        x *= 2.0;
        --exponent;
    }
    const double ratio = (x - 1.0) / (x + 1.0);
    const double square = ratio * ratio;
    double term = ratio;
    double sum = 0.0;
    for (int k = 1; k < 60; k += 2) {
        sum += term / k;
        term *= square;
    }
    return -(2.0 * sum + exponent * std::numbers::ln2);
}

std::array<float, 4096> make_quantiles() {
    std::array<float, 4096> table{};
    for (std::size_t k = 0; k < table.size(); ++k) {
        table[k] = static_cast<float>(negative_log((static_cast<double>(k) + 0.5) / 4096.0));
    }
    return table;
}

}  // namespace

BetaRange default_beta_range(std::span<const float> typical_fields, double unit) {
    std::vector<float> sorted;
    sorted.reserve(typical_fields.size());
    std::ranges::copy_if(typical_fields, std::back_inserter(sorted),
                         [](float value) { return value > 0.0F; });
    if (sorted.empty()) {
        return {1.0, 1.0};  // no couplings and no fields: every state is a minimum
    }
    std::ranges::sort(sorted);
    const auto quantile = [&](double q) {
        return static_cast<double>(
            sorted[static_cast<std::size_t>(q * static_cast<double>(sorted.size() - 1))]);
    };
    // A flip changes the energy by twice the local field.
    constexpr double kHotFraction = 0.5;
    constexpr double kColdFraction = 0.04;
    const double hot = 2.0 * kHotFraction * quantile(0.75) * unit;
    const double cold = 2.0 * kColdFraction * quantile(0.25) * unit;
    return {1.0 / hot, 1.0 / std::min(cold, hot)};
}

double geometric_beta(BetaRange range, std::size_t step, std::size_t steps) {
    if (steps < 2) {
        return range.cold;
    }
    const double part = static_cast<double>(step) / static_cast<double>(steps - 1);
    return range.hot * std::pow(range.cold / range.hot, part);
}

std::span<const float, 4096> exponential_quantiles() {
    static const std::array<float, 4096> table = make_quantiles();
    return table;
}

}  // namespace qpsbgd
