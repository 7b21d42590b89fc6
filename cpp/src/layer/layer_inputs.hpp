// What all rows of a layer's projection need of its inputs X, where they descend by X itself.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <span>
#include <vector>

#include "base/aligned.hpp"
#include "base/rounding.hpp"
#include "kernels/kernel_table.hpp"
#include "layer/panels.hpp"
#include "qpsbgd/cancellation.hpp"

namespace qpsbgd {

inline constexpr std::size_t kChunk = 512;  // coordinates that are summed by themselves

// X and its columns, in units of A / scale.
template <class Real>
class LayerInputs {
public:
    LayerInputs(std::span<const Real> inputs, std::size_t samples_of_x, std::size_t width, double gram_scale,
                bool mask, std::size_t threads, StopToken& token)
        : table(gram_kernels<Real>()),
          samples(samples_of_x),
          d(width),
          stride(rounded_up(samples, kInputLanes)),
          scale(gram_scale),
          factor(mask ? Real{1} : Real{2}),
          panels(inputs, samples, d, table, threads, token),
          columns(d * stride),
          own(d),
          slacks(d),
          errors(samples),
          ones(d, 1.0),
          zeros(d, 0.0) {
        std::fill_n(columns.data(), d * stride, Real{0});
        const double additions =
            static_cast<double>(kChunk) + static_cast<double>(d) / static_cast<double>(kChunk);
        std::vector<double> squares(d);
        for (std::size_t k = 0; k < samples; ++k) {
            double sum = 0.0;
            for (std::size_t i = 0; i < d; ++i) {
                const Real value = inputs[k * d + i];
                columns.data()[i * stride + k] = value;
                squares[i] += static_cast<double>(value) * static_cast<double>(value);
                sum += std::fabs(static_cast<double>(value));
            }
            errors[k] = 2.0 * epsilon() * additions * sum;
            total += sum;
        }
        for (std::size_t i = 0; i < d; ++i) {
            own[i] = static_cast<Real>(0.5 * static_cast<double>(factor) * squares[i]);
            slacks[i] = static_cast<Real>(8.0 * epsilon() * std::sqrt(squares[i]));
            square += squares[i];
        }
    }

    static double epsilon() { return static_cast<double>(std::numeric_limits<Real>::epsilon()); }
    // Are X G and X'X G far from overflow for every G? No NaN passes.
    bool in_range() const {
        return total < 0x1p-20 * std::sqrt(static_cast<double>(std::numeric_limits<Real>::max()));
    }
    // Are squares far enough from underflow for slacks to mean something?
    bool is_exact() const { return square == 0.0 || square > 0x1p-80; }
    const Real* column(std::size_t i) const { return columns.data() + i * stride; }

    const GramKernels<Real>& table;
    std::size_t samples;
    std::size_t d;
    std::size_t stride;
    double scale;
    Real factor;
    Panels<Real> panels;
    AlignedBuffer<Real> columns;  // X', padded with zeros
    std::vector<Real> own;
    std::vector<Real> slacks;
    std::vector<double> errors;  // of X G where it was summed in Real
    std::vector<double> ones;
    std::vector<double> zeros;
    double total = 0.0;
    double square = 0.0;
};

}  // namespace qpsbgd
