// A sigma is computed for a group of rows at once, so that a row of A is read once for the group: d^2 / 4 or 5 additions a
// row. Then each row descends by itself, its fields in the first cache: in sweeps that flip the best of every 32nd
// coordinate while it gains more than half of what the best gains; 2 d operations a sweep and 2 d a flip.
#include "layer/project_float.hpp"

#include <cmath>

#include "base/rounding.hpp"

namespace qpsbgd {

template <class Real>
FloatProjection<Real>::FloatProjection(const LayerCouplings<Real>& problem, const LayerRows<Real>& layer,
                                       const ProjectionOptions& options, std::size_t most_rows)
    : kernels_(projection_kernels<Real>()),
      problem_(problem),
      rows_(layer, options, most_rows),
      // Whole tiles, and rows that do not compete for the same places of a cache.
      stride_(rounded_up(layer.d, kernels_.tile) + kCacheLine / sizeof(Real)),
      products_(most_rows * stride_),
      spins_(rounded_up(layer.d, kFlipSlots), Real{0}),
      fields_(rounded_up(layer.d, kFlipSlots), Real{0}) {}

template <class Real>
bool FloatProjection<Real>::run(std::size_t first, std::size_t count, StopToken& token) {
    rows_.begin(first, count);
    multiply(count);
    bool in_range = true;
    for (std::size_t row = 0; row < count; ++row) {
        const double curvature = kernels_.signed_sum(rows_.p(row), product(row), rows_.d());
        in_range = in_range && leaves_room(rows_.norm(row)) && leaves_room(curvature);
        project(row, rows_.first_scale(row, curvature), token);
    }
    return in_range;
}

// A sigma of `count` rows.
template <class Real>
void FloatProjection<Real>::multiply(std::size_t count) {
    kernels_.sign_products({.matrix = problem_.rows().data,
                            .matrix_stride = problem_.rows().stride,
                            .d = rows_.d(),
                            .signs = rows_.signs(),
                            .signs_stride = rows_.most_rows(),
                            .products = products_.data(),
                            .stride = stride_},
                           count);
}

template <class Real>
void FloatProjection<Real>::descend(Descent<Real>& row, StopToken& token) const {
    while (!kernels_.descend(row, rows_.flips_of_look()) && row.flips < rows_.most_flips()) {
        token.throw_if_interrupted();
    }
}

template <class Real>
void FloatProjection<Real>::project(std::size_t row, double scale, StopToken& token) {
    const ProjectionOptions& options = rows_.options();
    bool better = false;
    if (scale > 0.0) {
        kernels_.start(rows_.p(row), product(row), problem_.own(), 1.0 / scale, rows_.d(), spins_.data(),
                       fields_.data());
        Descent<Real> descent{.couplings = problem_.rows().data,
                              .stride = problem_.rows().stride,
                              .d = rows_.d(),
                              .factor = options.mask ? Real{1} : Real{2},
                              .units = problem_.units(),
                              .errors = problem_.errors(),
                              .first_error = static_cast<double>(rows_.d()),
                              .spins = spins_.data(),
                              .fields = fields_.data()};
        descend(descent, token);
        if (options.rule == ScaleRule::automatic) {
            scale = refit(row, scale);
            descend(descent, token);
            descent.certain = 0.0;  // two scales: not one descent
        }
        better = descent.flips > 0 &&
                 rows_.is_better(problem_, row, scale, descent.lowered, descent.certain,
                                 [&](std::size_t i) { return static_cast<double>(spins_[i]); });
    }
    rows_.finish(row, [&](std::int8_t* step) {
        return kernels_.write_step(rows_.p(row), better ? spins_.data() : nullptr, problem_.own(),
                                   options.mask, rows_.d(), step);
    });
}

// The step length that fits X G best to v: s = p'G / G'AG. Fields follow it.
template <class Real>
double FloatProjection<Real>::refit(std::size_t row, double before) {
    std::int8_t* step = rows_.step(row);
    const Real* p = rows_.p(row);
    const std::size_t d = rows_.d();
    const double slope = kernels_.write_step(p, spins_.data(), problem_.own(), rows_.options().mask, d, step);
    // A G = f + t h A_ii / 2 + p / s
    double curvature = slope / before;
    for (std::size_t i = 0; i < d; ++i) {
        const Real field = fields_[i] + spins_[i] * problem_.own()[i];
        curvature += static_cast<double>(step[i]) * static_cast<double>(field);
    }
    const double scale = slope / curvature;
    if (!(slope > 0.0 && curvature > 0.0 && std::isfinite(scale) && std::isfinite(1.0 / scale))) {
        return before;
    }
    for (std::size_t i = 0; i < d; ++i) {
        const auto value = static_cast<double>(p[i]);
        fields_[i] += static_cast<Real>(value / before) - static_cast<Real>(value / scale);
    }
    return scale;
}

template class FloatProjection<float>;
template class FloatProjection<double>;

}  // namespace qpsbgd
