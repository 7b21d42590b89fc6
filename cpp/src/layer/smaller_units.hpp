// A layer's problem in units in which no sum overflows.
#pragma once

#include <optional>
#include <vector>

#include "layer/matrix.hpp"
#include "qpsbgd/layer.hpp"

namespace qpsbgd {

// The problem of A / 2^a and p / 2^b, whose largest entries are between 1/2 and 1. Its steps are those of A and p: only s
// and the residual change their units. Powers of two round nothing, but for entries some 10^38 (float32) or 10^308 times
// smaller than the largest; these keep a sign. One copy of A and p.
template <class Real>
class SmallerUnits {
public:
    // Nothing if an entry of A or of gradient + residual is not finite.
    static std::optional<SmallerUnits> make(Rows<const Real> gram, const LayerRows<Real>& rows,
                                            const ProjectionOptions& options);

    Rows<const Real> gram() const { return {gram_.data(), d_}; }
    // The steps are those of the rows given; the residual has a place of its own.
    LayerRows<Real> rows();
    const ProjectionOptions& options() const { return options_; }

    // The next residual in the caller's units. Throws std::domain_error where that overflows.
    void write_residual(const LayerRows<Real>& rows) const;

private:
    SmallerUnits() = default;

    std::size_t d_ = 0;
    LayerRows<Real> given_;
    ProjectionOptions options_;
    int exponent_ = 0;  // b
    std::vector<Real> gram_;
    std::vector<Real> p_;
    std::vector<Real> next_residual_;
};

}  // namespace qpsbgd
