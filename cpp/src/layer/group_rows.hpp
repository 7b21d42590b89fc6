// Rows of a layer that are projected together: their p, signs and norms, and how a row ends.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <span>
#include <vector>

#include "base/aligned.hpp"
#include "base/rounding.hpp"
#include "layer/couplings.hpp"
#include "qpsbgd/layer.hpp"

namespace qpsbgd {

// Up to `most_rows` neighbouring rows of a layer. One worker uses it for one group after the other.
template <class Real>
class GroupRows {
public:
    GroupRows(const LayerRows<Real>& layer, const ProjectionOptions& options, std::size_t most_rows)
        : kernels_(projection_kernels<Real>()),
          layer_(layer),
          options_(options),
          most_rows_(most_rows),
          sums_(keeps_sums() ? most_rows * layer.d : 0),
          signs_(rounded_up(layer.d, kSignsOfWord) / kSignsOfWord * most_rows),
          norms_(most_rows) {}

    // Takes p, signs and norms of rows [first, first + count) of the layer, which are rows 0, 1, ... of the group.
    void begin(std::size_t first, std::size_t count) {
        first_ = first;
        for (std::size_t row = 0; row < count; ++row) {
            const bool add = !layer_.residual.empty();
            norms_[row] = kernels_.take_signs(of_row(layer_.gradient, row),
                                              add ? of_row(layer_.residual, row) : nullptr, layer_.d,
                                              add ? sum(row) : nullptr, signs_.data() + row, most_rows_);
        }
    }

    std::size_t d() const { return layer_.d; }
    std::size_t most_rows() const { return most_rows_; }
    const ProjectionOptions& options() const { return options_; }
    const std::uint64_t* signs() const { return signs_.data(); }  // of row r at r, r + most_rows, ...
    double norm(std::size_t row) const { return norms_[row]; }
    const Real* p(std::size_t row) {
        return layer_.residual.empty() ? of_row(layer_.gradient, row) : sum(row);
    }
    std::int8_t* step(std::size_t row) const { return of_row(layer_.steps, row); }

    // s for the curvature sigma'A sigma, or 0 where the sign is the answer.
    double first_scale(std::size_t row, double curvature) const {
        const double norm = norms_[row];
        double scale = options_.kappa;
        if (options_.rule != ScaleRule::fixed) {
            const double kappa = options_.rule == ScaleRule::relative ? options_.kappa : 1.0;
            scale = curvature > 0.0 ? kappa * norm / curvature
                                    : 0.0;  // no curvature: the sign is best at any step
        }
        return norm > 0.0 && std::isfinite(scale) && std::isfinite(1.0 / scale) ? scale : 0.0;
    }

    // Flips between two looks for an interrupt, and flips at all: rounding could let undecided coordinates alternate for
    // ever, where real descents flip each some once.
    std::size_t flips_of_look() const {
        constexpr std::size_t kWorkOfLook = 1U << 22U;  // additions
        return 1 + kWorkOfLook / layer_.d;
    }
    std::size_t most_flips() const {
        constexpr std::size_t kMostFlips = 100;  // of each coordinate
        return kMostFlips * layer_.d + flips_of_look();
    }

    // Is the objective of the spins below that of sign(p)? `lowered` is by how much a descent lowered it, `certain` the
    // part of that which no rounding can explain: a descent that certainly was one need not be looked at.
    template <class Spin>
    bool is_better(const LayerCouplings<Real>& problem, std::size_t row, double scale, double lowered,
                   double certain, const Spin& spin) {
        constexpr double kCertain = 1e-4;
        return certain > kCertain * lowered || exact_change(problem, p(row), spin, scale) < 0.0;
    }

    // Writes the step, zeros where all of p is 0, and the next residual. write_step(step) returns p'G.
    template <class WriteStep>
    void finish(std::size_t row, const WriteStep& write_step) {
        std::int8_t* step = of_row(layer_.steps, row);
        double slope = 0.0;
        if (norms_[row] == 0.0) {
            std::fill_n(step, layer_.d, std::int8_t{0});
        } else {
            slope = write_step(step);
        }
        if (!layer_.next_residual.empty()) {
            const double mean = std::max(0.0, slope / static_cast<double>(layer_.d));
            kernels_.subtract_step(p(row), step, static_cast<Real>(mean), layer_.d,
                                   of_row(layer_.next_residual, row));
        }
    }

private:
    template <class T>
    T* of_row(std::span<T> values, std::size_t row) const {
        return values.data() + (first_ + row) * layer_.d;
    }

    // Where gradient + residual of a row is kept: in place of the next residual, if there is one.
    bool keeps_sums() const { return !layer_.residual.empty() && layer_.next_residual.empty(); }
    Real* sum(std::size_t row) {
        return keeps_sums() ? sums_.data() + row * layer_.d : of_row(layer_.next_residual, row);
    }

    // F(G) - F(sigma) = sum over the changed coordinates of D (s (A (sigma + G)) - 2 p), D = G - sigma, in float64.
    template <class Spin>
    double exact_change(const LayerCouplings<Real>& problem, const Real* p, const Spin& spin,
                        double scale) const {
        const auto sign = [&](std::size_t i) { return p[i] < Real{0} ? -1.0 : 1.0; };
        const auto step = [&](std::size_t i) { return options_.mask ? 0.5 * (sign(i) + spin(i)) : spin(i); };
        std::vector<double> both(layer_.d);
        for (std::size_t i = 0; i < layer_.d; ++i) {
            both[i] = sign(i) + step(i);
        }
        double total = 0.0;
        for (std::size_t i = 0; i < layer_.d; ++i) {
            const double difference = step(i) - sign(i);
            if (difference != 0.0) {
                const double product = exact_product(problem.rows()[i], both);
                total += difference * (scale * product - 2.0 * static_cast<double>(p[i]));
            }
        }
        return total;
    }

    // Several sums side by side: one addition need not wait for the other.
    static double exact_product(const Real* couplings, const std::vector<double>& values) {
        constexpr std::size_t kSums = 8;
        std::array<double, kSums> sums{};
        const std::size_t d = values.size();
        std::size_t j = 0;
        for (; j + kSums <= d; j += kSums) {
            for (std::size_t k = 0; k < kSums; ++k) {
                sums[k] += static_cast<double>(couplings[j + k]) * values[j + k];
            }
        }
        for (; j < d; ++j) {
            sums[0] += static_cast<double>(couplings[j]) * values[j];
        }
        return std::accumulate(sums.begin(), sums.end(), 0.0);
    }

    const ProjectionKernels<Real>& kernels_;
    const LayerRows<Real>& layer_;
    const ProjectionOptions& options_;
    std::size_t most_rows_;
    std::size_t first_ = 0;  // row of the layer that is row 0 of the group
    AlignedBuffer<Real> sums_;
    std::vector<std::uint64_t> signs_;
    std::vector<double> norms_;
};

}  // namespace qpsbgd
