// The training step's solver: every row of a layer from sign(p), greedy passes until no change helps.
//
// Rows are solved in groups. A block of coordinates is decided for every row of the group, each coordinate knowing all
// flips before it, and then the flips are applied to all other columns, so that a row of A is read once for the group.
// A row costs d^2 / 4 additions for A sigma, d comparisons a pass and d multiplications and additions a flip. A row is
// done when a whole pass brought no flip. Rows do not depend on each other, nor on groups and threads.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <limits>
#include <optional>
#include <type_traits>
#include <vector>

#include "qpsbgd/aligned.hpp"
#include "qpsbgd/assembly.hpp"
#include "qpsbgd/kernels.hpp"
#include "qpsbgd/threads.hpp"

namespace qpsbgd {
namespace {

// Rounding could let undecided coordinates alternate for ever; real descents end within some ten passes.
constexpr std::size_t kMostPasses = 1000;
// Rows whose result is better by this part of the terms compared are better whatever the rounding of A G.
constexpr double kCertain = 1e-4;
constexpr std::size_t kFewFlips = 16;  // fewer than d / 16 flips of a row in a pass are few
constexpr double kWorkOfThread = 1e6;  // additions that pay for starting one

template <class Real>
const ProjectionKernels<Real>& projection_kernels() {
    if constexpr (std::is_same_v<Real, float>) {
        return kernels().projection_float;
    } else {
        return kernels().projection_double;
    }
}

std::size_t rounded_up(std::size_t count, std::size_t unit) { return (count + unit - 1) / unit * unit; }

// A as the kernels read it, copied if its rows are not aligned.
template <class Real>
class Couplings {
public:
    Couplings(Rows<const Real> gram, std::size_t d)
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

template <class Real>
class GroupProjection {
public:
    GroupProjection(Rows<const Real> gram, const Real* thresholds, const LayerRows<Real>& layer,
                    const ProjectionOptions& options, std::size_t most_rows)
        : kernels_(projection_kernels<Real>()),
          layer_(layer),
          options_(options),
          most_rows_(most_rows),
          blocks_(rounded_up(layer.d, kernels_.block) / kernels_.block),
          // Whole blocks, and rows that do not compete for the same places of a cache.
          stride_(blocks_ * kernels_.block + kCacheLine / sizeof(Real)),
          local_(most_rows * stride_),
          start_(most_rows * stride_),
          spins_(stride_),
          sums_(keeps_sums() ? most_rows * layer.d : 0),
          signs_(blocks_ * most_rows),
          flips_(blocks_ * most_rows * (kernels_.block + kFlipRoom)),
          counts_(blocks_ * most_rows),
          order_(blocks_ * most_rows),
          touched_(blocks_),
          flipping_(blocks_),
          norms_(most_rows),
          scales_(most_rows),
          active_(most_rows),
          last_flip_(most_rows),
          group_{.matrix = gram.data,
                 .matrix_stride = gram.stride,
                 .d = layer.d,
                 .rows = most_rows,
                 .stride = stride_,
                 .thresholds = thresholds,
                 .factor = options.mask ? Real{1} : Real{2},
                 .local = local_.data(),
                 .signs = signs_.data(),
                 .flips = flips_.data(),
                 .counts = counts_.data(),
                 .order = order_.data(),
                 .touched = touched_.data(),
                 .flipping = flipping_.data()} {}

    // Returns false if a sum over p or A is not finite.
    bool run(std::size_t first, std::size_t count, StopToken& token) {
        first_ = first;
        for (std::size_t row = 0; row < count; ++row) {
            const bool add = !layer_.residual.empty();
            norms_[row] = kernels_.take_signs(of_row(layer_.gradient, row),
                                              add ? of_row(layer_.residual, row) : nullptr, layer_.d,
                                              add ? sum(row) : nullptr, signs_.data() + row, most_rows_);
        }
        kernels_.sign_products(group_, count);
        bool finite = true;
        for (std::size_t row = 0; row < count; ++row) {
            const double curvature = kernels_.dot(spins(row), local(row), layer_.d);
            finite = finite && std::isfinite(norms_[row]) && std::isfinite(curvature);
            scales_[row] = first_scale(norms_[row], curvature);
            if (scales_[row] > 0.0) {
                kernels_.add_fields(p(row), 0.0, 1.0 / scales_[row], layer_.d, local(row));
                std::copy_n(local(row), layer_.d, start(row));
            }
        }
        descend(count, token);
        if (options_.rule == ScaleRule::automatic) {
            for (std::size_t row = 0; row < count; ++row) {
                if (scales_[row] > 0.0) {
                    refit(row);
                }
            }
            descend(count, token);
        }
        for (std::size_t row = 0; row < count; ++row) {
            finish(row);
        }
        return finite;
    }

private:
    Real* local(std::size_t row) { return local_.data() + row * stride_; }
    Real* start(std::size_t row) { return start_.data() + row * stride_; }

    // h of a row, until the next call.
    const Real* spins(std::size_t row) {
        kernels_.expand_signs(signs_.data() + row, most_rows_, layer_.d, spins_.data());
        return spins_.data();
    }

    template <class T>
    T* of_row(std::span<T> values, std::size_t row) const {
        return values.data() + (first_ + row) * layer_.d;
    }

    // Where gradient + residual of a row is kept: in place of the next residual, if there is one.
    bool keeps_sums() const { return !layer_.residual.empty() && layer_.next_residual.empty(); }
    Real* sum(std::size_t row) {
        return keeps_sums() ? sums_.data() + row * layer_.d : of_row(layer_.next_residual, row);
    }
    const Real* p(std::size_t row) {
        return layer_.residual.empty() ? of_row(layer_.gradient, row) : sum(row);
    }

    // s, or 0 where the sign is the answer.
    double first_scale(double norm, double curvature) const {
        double scale = options_.kappa;
        if (options_.rule != ScaleRule::fixed) {
            const double kappa = options_.rule == ScaleRule::relative ? options_.kappa : 1.0;
            scale = curvature > 0.0 ? kappa * norm / curvature
                                    : 0.0;  // no curvature: the sign is best at any step
        }
        return norm > 0.0 && std::isfinite(scale) && std::isfinite(1.0 / scale) ? scale : 0.0;
    }

    void descend(std::size_t count, StopToken& token) {
        auto active_end = active_.begin();
        for (std::size_t row = 0; row < count; ++row) {
            if (scales_[row] > 0.0) {
                *active_end++ = static_cast<std::uint16_t>(row);
                last_flip_[row] = 0;
            }
        }
        std::ranges::fill(flipping_, std::uint16_t{0});
        // Blocks of all rows, while rows of A serve many flips.
        for (std::size_t turn = 0; active_end != active_.begin(); ++turn) {
            token.throw_if_interrupted();
            const std::size_t block = turn % blocks_;
            if (block == 0 && turn > 0 &&
                !flips_are_many(static_cast<std::size_t>(active_end - active_.begin()))) {
                break;
            }
            const std::size_t flipping = kernels_.descend(
                group_, block, active_.data(), static_cast<std::size_t>(active_end - active_.begin()));
            const auto quiet = active_.begin() + static_cast<std::ptrdiff_t>(flipping);
            std::for_each(active_.begin(), quiet, [&](std::uint16_t row) { last_flip_[row] = turn; });
            // The block of a row's last flip is looked at once more: its first coordinates were decided before. By
            // then all other blocks have heard of its flips.
            active_end = std::remove_if(quiet, active_end,
                                        [&](std::uint16_t row) { return turn >= last_flip_[row] + blocks_; });
        }
        kernels_.settle(group_);
        // Then row by row, each with its fields in the first cache.
        std::for_each(active_.begin(), active_end, [&](std::uint16_t row) {
            std::size_t last = last_flip_[row] % blocks_ + 1;
            for (std::size_t pass = 0; last > 0 && pass < kMostPasses; ++pass) {
                token.throw_if_interrupted();
                last = kernels_.descend_row(group_, row, last - 1);
            }
        });
    }

    // In the last pass over all blocks, per row that is not settled.
    bool flips_are_many(std::size_t active) const {
        std::size_t flips = 0;
        for (std::size_t block = 0; block < blocks_; ++block) {
            for (std::size_t k = 0; k < flipping_[block]; ++k) {
                flips += group_.counts[block * most_rows_ + group_.order[block * most_rows_ + k]];
            }
        }
        return flips * kFewFlips > active * layer_.d;
    }

    // The step length that fits X G best to v: s = p'G / G'AG, where A G = e + p / s.
    void refit(std::size_t row) {
        std::int8_t* step = of_row(layer_.steps, row);
        const double slope =
            kernels_.write_step(p(row), spins(row), group_.thresholds, options_.mask, layer_.d, step);
        double curvature = slope / scales_[row];
        for (std::size_t i = 0; i < layer_.d; ++i) {
            curvature += static_cast<double>(step[i]) * static_cast<double>(local(row)[i]);
        }
        const double scale = slope / curvature;
        if (slope > 0.0 && curvature > 0.0 && std::isfinite(scale) && std::isfinite(1.0 / scale)) {
            kernels_.add_fields(p(row), 1.0 / scales_[row], 1.0 / scale, layer_.d, local(row));
            kernels_.add_fields(p(row), 1.0 / scales_[row], 1.0 / scale, layer_.d, start(row));
            scales_[row] = scale;
        }
    }

    void finish(std::size_t row) {
        std::int8_t* step = of_row(layer_.steps, row);
        double slope = 0.0;
        if (norms_[row] == 0.0) {
            std::fill_n(step, layer_.d, std::int8_t{0});
        } else {
            slope = kernels_.write_step(p(row), is_better(row) ? spins(row) : nullptr, group_.thresholds,
                                        options_.mask, layer_.d, step);
        }
        if (!layer_.next_residual.empty()) {
            const double mean = std::max(0.0, slope / static_cast<double>(layer_.d));
            kernels_.subtract_step(p(row), step, static_cast<Real>(mean), layer_.d,
                                   of_row(layer_.next_residual, row));
        }
    }

    // Is the objective of h below that of sign(p)?
    bool is_better(std::size_t row) {
        if (!(scales_[row] > 0.0)) {
            return false;
        }
        const Comparison seen =
            kernels_.compare(p(row), spins(row), start(row), local(row), group_.thresholds, layer_.d);
        if (seen.magnitude == 0.0) {
            return false;  // it is the sign
        }
        return seen.change < -kCertain * seen.magnitude || exact_change(row) < 0.0;
    }

    // F(G) - F(sigma) = sum over the changed coordinates of D (s (A (sigma + G)) - 2 p), D = G - sigma, in float64.
    double exact_change(std::size_t row) {
        const Real* spins_of_row = spins(row);
        const auto sign = [&](std::size_t i) { return p(row)[i] < Real{0} ? -1.0 : 1.0; };
        const auto step = [&](std::size_t i) {
            const auto spin = static_cast<double>(spins_of_row[i]);
            return options_.mask ? 0.5 * (sign(i) + spin) : spin;
        };
        double total = 0.0;
        for (std::size_t i = 0; i < layer_.d; ++i) {
            const double difference = step(i) - sign(i);
            if (difference == 0.0) {
                continue;
            }
            const Real* couplings = group_.matrix + i * group_.matrix_stride;
            double product = 0.0;
            for (std::size_t j = 0; j < layer_.d; ++j) {
                product += static_cast<double>(couplings[j]) * (sign(j) + step(j));
            }
            total += difference * (scales_[row] * product - 2.0 * static_cast<double>(p(row)[i]));
        }
        return total;
    }

    const ProjectionKernels<Real>& kernels_;
    const LayerRows<Real>& layer_;
    const ProjectionOptions& options_;
    std::size_t most_rows_;
    std::size_t blocks_;
    std::size_t stride_;
    std::size_t first_ = 0;      // row of the layer that is row 0 of the group
    AlignedBuffer<Real> local_;  // e = A G - p / s
    AlignedBuffer<Real> start_;  // e at G = sigma
    AlignedBuffer<Real> spins_;  // h of one row
    AlignedBuffer<Real> sums_;
    std::vector<std::uint64_t> signs_;
    AlignedBuffer<std::uint16_t> flips_;
    AlignedBuffer<std::uint16_t> counts_;
    AlignedBuffer<std::uint16_t> order_;
    std::vector<std::uint64_t> touched_;
    std::vector<std::uint16_t> flipping_;
    std::vector<double> norms_;
    std::vector<double> scales_;
    std::vector<std::uint16_t> active_;
    std::vector<std::size_t> last_flip_;
    RowGroup<Real> group_;
};

// What h e must exceed for a flip, f A_ii / 2; never in the padding.
template <class Real>
AlignedVector<Real> flip_thresholds(Rows<const Real> gram, std::size_t d, bool mask) {
    AlignedVector<Real> thresholds(rounded_up(d, projection_kernels<Real>().block),
                                   std::numeric_limits<Real>::infinity());
    for (std::size_t i = 0; i < d; ++i) {
        thresholds[i] = (mask ? Real(0.5) : Real{1}) * gram[i][i];
    }
    return thresholds;
}

// Few enough rows for the second cache, enough to use each row of A often, and some for every thread.
template <class Real>
std::size_t group_rows(std::size_t m, std::size_t d, std::size_t threads) {
    constexpr std::size_t kMostRows = 128;
    constexpr std::size_t kCacheBytes = std::size_t{1} << 19U;
    const std::size_t fitting = std::clamp<std::size_t>(kCacheBytes / (d * sizeof(Real)), 8, kMostRows);
    return std::min(fitting, rounded_up((m + threads - 1) / threads, 4));
}

}  // namespace

template <class Real>
bool project_rows(Rows<const Real> gram, const LayerRows<Real>& rows, const ProjectionOptions& options,
                  StopToken& token) {
    const double work =
        0.5 * static_cast<double>(rows.m) * static_cast<double>(rows.d) * static_cast<double>(rows.d);
    const std::size_t threads = std::min(options.threads, 1 + static_cast<std::size_t>(work / kWorkOfThread));
    const std::size_t most_rows = group_rows<Real>(rows.m, rows.d, threads);
    const std::size_t groups = (rows.m + most_rows - 1) / most_rows;
    const Couplings<Real> couplings(gram, rows.d);
    const AlignedVector<Real> thresholds = flip_thresholds<Real>(couplings.rows(), rows.d, options.mask);
    std::vector<std::optional<GroupProjection<Real>>> workers(
        std::max<std::size_t>(1, std::min(threads, groups)));
    std::atomic<bool> finite = true;
    parallel_for(groups, threads, token, [&](std::size_t worker, std::size_t index) {
        if (!workers[worker]) {
            workers[worker].emplace(couplings.rows(), thresholds.data(), rows, options, most_rows);
        }
        const std::size_t first = index * most_rows;
        if (!workers[worker]->run(first, std::min(most_rows, rows.m - first), token)) {
            finite.store(false, std::memory_order_relaxed);
        }
    });
    return finite;
}

template bool project_rows(Rows<const float>, const LayerRows<float>&, const ProjectionOptions&, StopToken&);
template bool project_rows(Rows<const double>, const LayerRows<double>&, const ProjectionOptions&,
                           StopToken&);

}  // namespace qpsbgd
