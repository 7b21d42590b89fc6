// What all rows of a layer's projection need of A.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <type_traits>
#include <vector>

#include "base/aligned.hpp"
#include "kernels/kernel_table.hpp"
#include "layer/matrix.hpp"
#include "qpsbgd/cancellation.hpp"
#include "qpsbgd/layer.hpp"

namespace qpsbgd {

inline constexpr double kWorkOfThread = 1e6;  // additions that pay for starting a thread

// Is the sum far enough from overflow for the few products and sums that are made from it?
inline bool leaves_room(double sum) { return std::fabs(sum) < 0x1p-40 * std::numeric_limits<double>::max(); }

template <class Real>
const ProjectionKernels<Real>& projection_kernels() {
    if constexpr (std::is_same_v<Real, float>) {
        return kernels().projection_float32;
    } else {
        return kernels().projection_float64;
    }
}

// A as the kernels read it, copied if its rows are not aligned.
template <class Real>
class AlignedRows {
public:
    AlignedRows(Rows<const Real> gram, std::size_t d)
        : view_(gram), copy_(is_aligned(gram) ? 0 : d * spread<Real>(d)) {
        if (!is_aligned(gram)) {
            const Rows<Real> rows{copy_.data(), spread<Real>(d)};
            for (std::size_t i = 0; i < d; ++i) {
                std::copy_n(gram[i], d, rows[i]);
                std::fill(rows[i] + d, rows[i] + rows.stride, Real{0});
            }
            view_ = {rows.data, rows.stride};
        }
    }

    Rows<const Real> rows() const { return view_; }

private:
    static bool is_aligned(Rows<const Real> gram) {
        return reinterpret_cast<std::uintptr_t>(gram.data) % kCacheLine == 0 &&
               gram.stride * sizeof(Real) % kCacheLine == 0;
    }

    Rows<const Real> view_;
    AlignedBuffer<Real> copy_;
};

// What all rows of a layer need of A.
template <class Real>
class LayerCouplings {
public:
    LayerCouplings(Rows<const Real> gram, std::size_t d, const ProjectionOptions& options, StopToken& token);

    std::size_t d() const { return d_; }
    // Are all entries finite, and sums over them far from overflow?
    bool in_range() const { return in_range_; }
    bool fits_int16() const { return fits_int16_; }
    Rows<const Real> rows() const { return couplings_.rows(); }
    const std::int16_t* rows_int16() const { return int16_couplings_.data(); }
    std::size_t stride_int16() const { return padded<std::int16_t>(d_); }
    const Real* own() const { return own_.data(); }
    Int16Start start_int16() const
        requires(std::is_same_v<Real, float>)
    {
        return {rest_.data(), bounds_.data(), inverse_units_.data(), exclusions_.data(), inverse_factor_};
    }
    double trace() const { return trace_; }
    double inverse_factor() const { return static_cast<double>(inverse_factor_); }
    double error_int16() const { return int16_error_; }
    const double* units() const { return units_.data(); }
    const float* units_int16() const { return int16_units_.data(); }
    const double* errors() const { return errors_.data(); }

private:
    static constexpr std::size_t kRowsOfPart = 64;
    static constexpr std::size_t kMostInt16 = 4096;  // spins
    static constexpr double kLeastUnits = 32.0;      // of a diagonal entry, in the mean

    template <class ForAllRows>
    void quantise(double units, bool mask, const ForAllRows& for_all_rows);

    std::size_t d_;
    AlignedRows<Real> couplings_;
    std::vector<Real> own_;  // t A_ii / 2
    std::vector<double> sums_;
    std::vector<double> units_;
    std::vector<double> errors_;
    std::vector<float> int16_units_;
    std::vector<float> bounds_;
    std::vector<float> inverse_units_;
    std::vector<float> exclusions_;
    std::vector<float> rest_;      // A_ii - t A_ii / 2
    float inverse_factor_ = 0.0F;  // 1 / t
    double int16_error_ = 0.0;     // of a gain
    double trace_ = 0.0;
    AlignedBuffer<std::int16_t> int16_couplings_{0};
    bool in_range_ = false;
    bool fits_int16_ = false;
};

}  // namespace qpsbgd
