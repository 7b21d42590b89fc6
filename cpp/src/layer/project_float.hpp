// Projection of a group of rows in their own precision.
#pragma once

#include <cstddef>

#include "base/aligned.hpp"
#include "layer/group_rows.hpp"

namespace qpsbgd {

template <class Real>
class FloatProjection {
public:
    FloatProjection(const LayerCouplings<Real>& problem, const LayerRows<Real>& layer,
                    const ProjectionOptions& options, std::size_t most_rows);

    // Projects rows [first, first + count) of the layer. Returns false if a sum over p or A leaves the range of numbers.
    bool run(std::size_t first, std::size_t count, StopToken& token);

private:
    void multiply(std::size_t count);
    const Real* product(std::size_t row) const { return products_.data() + row * stride_; }
    void project(std::size_t row, double scale, StopToken& token);
    void descend(Descent<Real>& row, StopToken& token) const;
    double refit(std::size_t row, double before);

    const ProjectionKernels<Real>& kernels_;
    const LayerCouplings<Real>& problem_;
    GroupRows<Real> rows_;
    std::size_t stride_;
    AlignedBuffer<Real> products_;  // A sigma
    AlignedVector<Real> spins_;     // of the row at work
    AlignedVector<Real> fields_;
};

}  // namespace qpsbgd
