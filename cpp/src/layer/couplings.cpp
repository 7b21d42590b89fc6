#include "layer/couplings.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/rounding.hpp"
#include "base/threads.hpp"

namespace qpsbgd {
namespace {

// Errors of int16 gains, in units: their own rounding, and half a unit for t times every entry.
double rounding_error_int16(std::size_t d, double factor) {
    return 1.0 + 0.51 * static_cast<double>(d) / factor;
}
constexpr double kMostInverse = 1e37;  // of a unit, in float32

}  // namespace

template <class Real>
template <class ForAllRows>
void LayerCouplings<Real>::quantise(double units, bool mask, const ForAllRows& for_all_rows) {
    const float factor = mask ? 1.0F : 2.0F;
    inverse_factor_ = 1.0F / factor;
    int16_error_ = rounding_error_int16(d_, static_cast<double>(factor));
    int16_units_.resize(rounded_up(d_, kInt16Slots));
    rest_.resize(d_);
    bounds_.resize(d_);
    inverse_units_.resize(d_);
    exclusions_.resize(d_);
    for (std::size_t i = 0; i < d_; ++i) {
        const double inverse = std::min(units / sums_[i], kMostInverse);
        inverse_units_[i] = sums_[i] > 0.0 ? static_cast<float>(inverse) : 0.0F;
        const double unit = sums_[i] > 0.0 ? 1.0 / inverse : 0.0;
        int16_units_[i] = static_cast<float>(unit);
        exclusions_[i] = sums_[i] > 0.0 ? 0.0F : static_cast<float>(kInt16NoGain);
        rest_[i] = rows()[i][i] - own_[i];
        bounds_[i] = static_cast<float>(sums_[i] + unit * static_cast<double>(d_ + 2));
    }
    int16_couplings_ = AlignedBuffer<std::int16_t>((d_ + 1) * stride_int16() + kInt16Slots);
    std::fill_n(int16_couplings_.data() + d_ * stride_int16(), stride_int16() + kInt16Slots, std::int16_t{0});
    for_all_rows([&](std::size_t i) {
        std::int16_t* row = int16_couplings_.data() + i * stride_int16();
        kernels().projection_int16.quantise(rows()[i], inverse_units_.data(), factor, d_, row);
        row[i] = 0;
        std::fill(row + d_, row + stride_int16(), std::int16_t{0});
    });
}

template <class Real>
LayerCouplings<Real>::LayerCouplings(Rows<const Real> gram, std::size_t d, const ProjectionOptions& options,
                                     StopToken& token)
    : d_(d), couplings_(gram, d), own_(d), sums_(d) {
    const ProjectionKernels<Real>& table = projection_kernels<Real>();
    const std::size_t threads = useful_threads(options.threads, static_cast<double>(d * d), kWorkOfThread);
    const std::size_t parts = (d + kRowsOfPart - 1) / kRowsOfPart;
    const auto for_all_rows = [&](const auto& work) {
        parallel_for(parts, threads, token, [&](std::size_t /*worker*/, std::size_t part) {
            for (std::size_t i = part * kRowsOfPart; i < std::min(d, (part + 1) * kRowsOfPart); ++i) {
                work(i);
            }
        });
    };
    for_all_rows([&](std::size_t i) {
        own_[i] = (options.mask ? Real(0.5) : Real{1}) * gram[i][i];
        sums_[i] = table.magnitude(couplings_.rows()[i], d);
    });
    double size = 0.0;
    double total = 0.0;
    double largest_sum = 0.0;
    for (std::size_t i = 0; i < d; ++i) {
        trace_ += static_cast<double>(gram[i][i]);
        size += static_cast<double>(std::abs(gram[i][i]));
        total += sums_[i];
        largest_sum = std::max(largest_sum, sums_[i]);
    }
    // Fields are sums of a few multiples of |A|; the sum of all bounds curvatures. No NaN passes.
    constexpr auto kMostSum = static_cast<double>(std::numeric_limits<Real>::max()) / 64.0;
    in_range_ = leaves_room(total) && largest_sum < kMostSum;
    if constexpr (std::is_same_v<Real, float>) {
        // Half of int16 for A G, half for p / s, and room for what rounding adds to either.
        const double units = 0.5 * (32767.0 - 2.0 * static_cast<double>(d + 4));
        fits_int16_ = in_range_ && options.rule != ScaleRule::automatic && d <= kMostInt16 &&
                      size * units >= kLeastUnits * total;
        if (fits_int16_) {
            quantise(units, options.mask, for_all_rows);
        }
    }
    if (!fits_int16_) {
        // Rounding errors of a field, in those of A: each addition may add one.
        units_.assign(d, 1.0);
        errors_.assign(d, 0.0);
        for (std::size_t i = 0; i < d; ++i) {
            errors_[i] = 2.0 * static_cast<double>(std::numeric_limits<Real>::epsilon()) * sums_[i];
        }
    }
}

template LayerCouplings<float>::LayerCouplings(Rows<const float>, std::size_t, const ProjectionOptions&,
                                               StopToken&);
template LayerCouplings<double>::LayerCouplings(Rows<const double>, std::size_t, const ProjectionOptions&,
                                                StopToken&);

}  // namespace qpsbgd
