#include "layer/smaller_units.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>

namespace qpsbgd {
namespace {

// The exponent of the largest entry, or nothing if one is not finite.
template <class Real>
std::optional<int> exponent_of(const std::vector<Real>& values) {
    Real largest = 0;
    for (const Real value : values) {
        if (!std::isfinite(value)) {
            return std::nullopt;
        }
        largest = std::max(largest, std::abs(value));
    }
    int exponent = 0;
    std::frexp(largest, &exponent);
    return exponent;
}

// Zero only where the value is zero: such entries have a meaning of their own.
template <class Real>
void divide(std::vector<Real>& values, int exponent) {
    for (Real& value : values) {
        const Real smaller = std::ldexp(value, -exponent);
        const bool lost = smaller == Real{0} && value != Real{0};
        value = lost ? std::copysign(std::numeric_limits<Real>::min(), value) : smaller;
    }
}

}  // namespace

template <class Real>
std::optional<SmallerUnits<Real>> SmallerUnits<Real>::make(Rows<const Real> gram, const LayerRows<Real>& rows,
                                                           const ProjectionOptions& options) {
    SmallerUnits result;
    result.d_ = rows.d;
    result.given_ = rows;
    result.options_ = options;
    result.gram_.reserve(rows.d * rows.d);
    for (std::size_t i = 0; i < rows.d; ++i) {
        result.gram_.insert(result.gram_.end(), gram[i], gram[i] + rows.d);
    }
    result.p_.assign(rows.gradient.begin(), rows.gradient.end());
    for (std::size_t k = 0; k < rows.residual.size(); ++k) {
        result.p_[k] += rows.residual[k];
    }
    const auto of_gram = exponent_of(result.gram_);
    const auto of_p = exponent_of(result.p_);
    if (!of_gram || !of_p) {
        return std::nullopt;
    }
    divide(result.gram_, *of_gram);
    divide(result.p_, *of_p);
    result.exponent_ = *of_p;
    if (options.rule == ScaleRule::fixed) {
        // s G'AG - 2 p'G, divided by 2^b. Where s is too large for any number, p does not matter beside A.
        constexpr double kMost = 0x1p1000;
        result.options_.kappa = std::min(std::ldexp(options.kappa, *of_gram - *of_p), kMost);
    }
    result.next_residual_.resize(rows.next_residual.size());
    return result;
}

template <class Real>
LayerRows<Real> SmallerUnits<Real>::rows() {
    return {.gradient = p_,
            .residual = {},
            .m = given_.m,
            .d = given_.d,
            .steps = given_.steps,
            .next_residual = next_residual_};
}

template <class Real>
void SmallerUnits<Real>::write_residual(const LayerRows<Real>& rows) const {
    for (std::size_t k = 0; k < next_residual_.size(); ++k) {
        const Real value = std::ldexp(next_residual_[k], exponent_);
        if (!std::isfinite(value)) {
            throw std::domain_error("gradient + residual is so large that the next residual overflows");
        }
        rows.next_residual[k] = value;
    }
}

template class SmallerUnits<float>;
template class SmallerUnits<double>;

}  // namespace qpsbgd
