#include "base/schedule.hpp"

#include <array>
#include <cmath>
#include <numbers>

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

BetaRange default_beta_range(double mean_field) {
    if (!(mean_field > 0.0)) {
        return {1.0, 1.0};  // no couplings and no fields: every state is a minimum
    }
    constexpr double kHot = 0.3;
    constexpr double kCold = 0.05;
    const double typical = 2.0 * mean_field;  // a flip changes the energy by twice the local field
    return {1.0 / (kHot * typical), 1.0 / (kCold * typical)};
}

double geometric_beta(BetaRange range, std::size_t step, std::size_t steps) {
    if (steps < 2) {
        return range.cold;
    }
    const double part = static_cast<double>(step) / static_cast<double>(steps - 1);
    return range.hot * std::pow(range.cold / range.hot, part);
}

double geometric_ratio(BetaRange range, std::size_t steps) {
    return steps < 2 ? 1.0 : std::pow(range.cold / range.hot, 1.0 / static_cast<double>(steps - 1));
}

std::span<const float, 4096> exponential_quantiles() {
    static const std::array<float, 4096> table = make_quantiles();
    return table;
}

}  // namespace qpsbgd
