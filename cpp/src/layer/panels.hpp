// Matrices as panels of neighbouring columns, which the kernels of gram/table.hpp multiply.
#pragma once

#include <algorithm>
#include <cstddef>
#include <span>

#include "base/aligned.hpp"
#include "base/threads.hpp"
#include "kernels/kernel_table.hpp"
#include "qpsbgd/cancellation.hpp"

namespace qpsbgd {

template <class Real>
const GramKernels<Real>& gram_kernels() {
    if constexpr (sizeof(Real) == sizeof(float)) {
        return kernels().gram_float32;
    } else {
        return kernels().gram_float64;
    }
}

template <class Real>
class Panels {
public:
    Panels(std::span<const Real> values, std::size_t samples, std::size_t columns,
           const GramKernels<Real>& kernels, std::size_t threads, StopToken& token)
        : width_(kernels.width),
          samples_(samples),
          columns_(columns),
          data_(count() * padded<Real>(samples * width_)) {
        parallel_for(count(), threads, token, [&](std::size_t /*worker*/, std::size_t index) {
            kernels.pack(values.data() + index * width_, columns, samples, width(index), panel(index));
        });
    }

    std::size_t count() const { return (columns_ + width_ - 1) / width_; }
    std::size_t width(std::size_t index) const { return std::min(width_, columns_ - index * width_); }
    Real* panel(std::size_t index) { return data_.data() + index * padded<Real>(samples_ * width_); }
    const Real* panel(std::size_t index) const {
        return data_.data() + index * padded<Real>(samples_ * width_);
    }

private:
    std::size_t width_;
    std::size_t samples_;
    std::size_t columns_;
    AlignedBuffer<Real> data_;
};

}  // namespace qpsbgd
