// The training step's solver: every row of a layer from sign(p), greedily until no flip helps.
//
// A sigma is computed for a group of rows at once, so that a row of A is read once for the group: d^2 / 4 or 5 additions a
// row. Then each row descends by itself, its fields in the first cache: in sweeps that flip the best of every 32nd
// coordinate while it gains more than half of what the best gains; 2 d operations a sweep and 2 d a flip. Rows do not
// depend on each other, nor on groups and threads.
//
// Single precision descends in int16, in units of its own for every coordinate: each pass over the gains flips up to
// four coordinates, the best and others that are still good after it, and looks for the next four. Products and descents
// use the same rounded couplings, in exact arithmetic, so that gains are wrong by what A was rounded by and no more,
// however many flips there are: that much is taken off every spin that changed before a descent is trusted to be one.
// Instruction sets may multiply as they like, tiles of int8 among them.
#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <optional>
#include <span>
#include <type_traits>
#include <vector>

#include "base/aligned.hpp"
#include "base/rounding.hpp"
#include "base/threads.hpp"
#include "layer/couplings.hpp"
#include "qpsbgd/layer.hpp"

namespace qpsbgd {
namespace {

// Rounding could let undecided coordinates alternate for ever; real descents flip each some once.
constexpr std::size_t kMostFlips = 100;
constexpr std::size_t kWorkOfLook = 1U << 22U;  // additions between two looks for an interrupt
// Descents by this part of their size are descents, whatever the rounding of s.
constexpr double kCertain = 1e-4;
// Spins and fields of one row.
template <class Real>
struct RowState {
    explicit RowState(std::size_t d)
        : spins(rounded_up(d, kFlipSlots), Real{0}), fields(rounded_up(d, kFlipSlots), Real{0}) {}

    AlignedVector<Real> spins;
    AlignedVector<Real> fields;
};

constexpr std::size_t kRowsTogether = 32;  // whose p, spins and fields stay in the second cache

// Spins and fields of rows that descend together, and the fields that they began with.
class Int16RowStates {
public:
    explicit Int16RowStates(std::size_t d)
        : stride_(rounded_up(d, kInt16Slots)),
          spins_(kRowsTogether * stride_, std::int16_t{1}),
          fields_(kRowsTogether * stride_, kInt16NoGain),
          first_fields_(kRowsTogether * stride_, kInt16NoGain) {}

    std::int16_t* spins(std::size_t row) { return spins_.data() + row * stride_; }
    std::int16_t* fields(std::size_t row) { return fields_.data() + row * stride_; }
    std::int16_t* first_fields(std::size_t row) { return first_fields_.data() + row * stride_; }

    std::array<Int16Descent, kRowsTogether> descents{};
    std::array<double, kRowsTogether> scales{};  // s, or 0 where the sign is the answer

private:
    std::size_t stride_;
    AlignedVector<std::int16_t> spins_;
    AlignedVector<std::int16_t> fields_;
    AlignedVector<std::int16_t> first_fields_;
};

template <class Real>
class GroupProjection {
public:
    GroupProjection(const LayerCouplings<Real>& problem, const LayerRows<Real>& layer,
                    const ProjectionOptions& options, std::size_t most_rows)
        : kernels_(projection_kernels<Real>()),
          problem_(problem),
          layer_(layer),
          options_(options),
          most_rows_(most_rows),
          // Whole tiles, and rows that do not compete for the same places of a cache.
          stride_(rounded_up(layer.d, kernels_.tile) + kCacheLine / sizeof(Real)),
          products_(problem.fits_int16() ? 0 : most_rows * stride_),
          int16_products_(problem.fits_int16() ? most_rows * rounded_up(layer.d, kProductsTile) : 0),
          workspace_(problem.fits_int16() ? kernels().projection_int16.workspace_bytes(most_rows, layer.d)
                                          : 0),
          sums_(keeps_sums() ? most_rows * layer.d : 0),
          signs_(rounded_up(layer.d, kSignsOfWord) / kSignsOfWord * most_rows),
          norms_(most_rows),
          state_(problem.fits_int16() ? 0 : layer.d),
          int16_states_(problem.fits_int16() ? layer.d : 0) {}

    // Returns false if a sum over p or A is not finite.
    bool run(std::size_t first, std::size_t count, StopToken& token) {
        first_ = first;
        for (std::size_t row = 0; row < count; ++row) {
            const bool add = !layer_.residual.empty();
            norms_[row] = kernels_.take_signs(of_row(layer_.gradient, row),
                                              add ? of_row(layer_.residual, row) : nullptr, layer_.d,
                                              add ? sum(row) : nullptr, signs_.data() + row, most_rows_);
        }
        multiply(count);
        bool finite = true;
        if constexpr (std::is_same_v<Real, float>) {
            if (problem_.fits_int16()) {
                for (std::size_t row = 0; row < count; row += kRowsTogether) {
                    finite = project_int16(row, std::min(kRowsTogether, count - row), token) && finite;
                }
                return finite;
            }
        }
        for (std::size_t row = 0; row < count; ++row) {
            const double curvature = kernels_.signed_sum(p(row), product(row), layer_.d);
            finite = finite && std::isfinite(norms_[row]) && std::isfinite(curvature);
            project(row, first_scale(norms_[row], curvature), token);
        }
        return finite;
    }

private:
    // A sigma of `count` rows.
    void multiply(std::size_t count) {
        if (problem_.fits_int16()) {
            kernels().projection_int16.sign_products({.couplings = problem_.rows_int16(),
                                                      .couplings_stride = problem_.stride_int16(),
                                                      .d = layer_.d,
                                                      .signs = signs_.data(),
                                                      .signs_stride = most_rows_,
                                                      .workspace = workspace_.data(),
                                                      .products = int16_products_.data(),
                                                      .tile_stride = most_rows_ * kProductsTile},
                                                     count);
            return;
        }
        kernels_.sign_products({.matrix = problem_.rows().data,
                                .matrix_stride = problem_.rows().stride,
                                .d = layer_.d,
                                .signs = signs_.data(),
                                .signs_stride = most_rows_,
                                .products = products_.data(),
                                .stride = stride_},
                               count);
    }

    const Real* product(std::size_t row) const { return products_.data() + row * stride_; }

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

    void descend(Descent<Real>& row, StopToken& token) const {
        while (!kernels_.descend(row, flips_of_look()) && row.flips < most_flips()) {
            token.throw_if_interrupted();
        }
    }

    std::size_t flips_of_look() const { return 1 + kWorkOfLook / layer_.d; }
    std::size_t most_flips() const { return kMostFlips * layer_.d + flips_of_look(); }

    // W sigma of one row, whose columns lie in tiles.
    void copy_product_int16(std::size_t row, std::int16_t* product) const {
        const std::int16_t* tile = int16_products_.data() + row * kProductsTile;
        for (std::size_t i = 0; i < layer_.d; i += kProductsTile) {
            std::copy_n(tile, std::min(kProductsTile, layer_.d - i), product + i);
            tile += most_rows_ * kProductsTile;
        }
    }

    // Spins, fields and scale of a row of the group, in place `i` of those together. Returns false if a sum over p or A
    // is not finite.
    bool start_int16(std::size_t row, std::size_t i)
        requires(std::is_same_v<Real, float>)
    {
        const ProjectionInt16Kernels& table = kernels().projection_int16;
        std::int16_t* fields = int16_states_.first_fields(i);
        copy_product_int16(row, fields);
        const double others = table.signed_sum(p(row), fields, problem_.units_int16(), layer_.d);
        const double curvature = problem_.trace() + problem_.inverse_factor() * others;
        const double scale = first_scale(norms_[row], curvature);
        if (scale > 0.0) {
            table.start(p(row), problem_.start_int16(), 1.0 / scale, layer_.d, int16_states_.spins(i),
                        fields);
            std::copy_n(fields, layer_.d, int16_states_.fields(i));
        }
        int16_states_.scales[i] = scale;
        int16_states_.descents[i] = {.couplings = problem_.rows_int16(),
                                     .stride = problem_.stride_int16(),
                                     .zero_row = layer_.d,
                                     .d = problem_.stride_int16(),
                                     .spins = int16_states_.spins(i),
                                     .fields = int16_states_.fields(i),
                                     .settled = !(scale > 0.0)};
        return std::isfinite(norms_[row]) && std::isfinite(curvature);
    }

    bool is_better_int16(std::size_t row, std::size_t i)
        requires(std::is_same_v<Real, float>)
    {
        const Int16Descent& descent = int16_states_.descents[i];
        const Int16Change change = kernels().projection_int16.change(
            p(row), int16_states_.first_fields(i), descent, problem_.units_int16(), layer_.d);
        const double certain = change.lowered - problem_.error_int16() * change.units;
        return change.units > 0.0 &&
               is_better(row, int16_states_.scales[i], change.lowered, certain,
                         [&](std::size_t k) { return static_cast<double>(descent.spins[k]); });
    }

    // Rows of the group from `first`. Returns false if a sum over p or A is not finite.
    bool project_int16(std::size_t first, std::size_t count, StopToken& token)
        requires(std::is_same_v<Real, float>)
    {
        const ProjectionInt16Kernels& table = kernels().projection_int16;
        bool finite = true;
        for (std::size_t i = 0; i < count; ++i) {
            finite = start_int16(first + i, i) && finite;
        }
        const std::span rows = std::span(int16_states_.descents).first(count);
        const auto settled = [](const Int16Descent& row) { return row.settled; };
        // A pass flips one spin or more.
        for (std::size_t passes = 0; passes < most_flips() && !std::ranges::all_of(rows, settled);
             passes += flips_of_look()) {
            table.descend(rows.data(), count, flips_of_look());
            token.throw_if_interrupted();
        }
        for (std::size_t i = 0; i < count; ++i) {
            const Int16Descent& descent = int16_states_.descents[i];
            const bool better = int16_states_.scales[i] > 0.0 && is_better_int16(first + i, i);
            finish(first + i, [&](std::int8_t* step) {
                return table.write_step(p(first + i), better ? descent.spins : nullptr, problem_.own(),
                                        options_.mask, layer_.d, step);
            });
        }
        return finite;
    }

    void project(std::size_t row, double scale, StopToken& token) {
        bool better = false;
        if (scale > 0.0) {
            kernels_.start(p(row), product(row), problem_.own(), 1.0 / scale, layer_.d, state_.spins.data(),
                           state_.fields.data());
            Descent<Real> descent{.couplings = problem_.rows().data,
                                  .stride = problem_.rows().stride,
                                  .d = layer_.d,
                                  .factor = options_.mask ? Real{1} : Real{2},
                                  .units = problem_.units(),
                                  .errors = problem_.errors(),
                                  .first_error = static_cast<double>(layer_.d),
                                  .spins = state_.spins.data(),
                                  .fields = state_.fields.data()};
            descend(descent, token);
            if (options_.rule == ScaleRule::automatic) {
                scale = refit(row, scale);
                descend(descent, token);
                descent.certain = 0.0;  // two scales: not one descent
            }
            better = descent.flips > 0 &&
                     is_better(row, scale, descent.lowered, descent.certain,
                               [&](std::size_t i) { return static_cast<double>(state_.spins[i]); });
        }
        finish(row, [&](std::int8_t* step) {
            return kernels_.write_step(p(row), better ? state_.spins.data() : nullptr, problem_.own(),
                                       options_.mask, layer_.d, step);
        });
    }

    // The step length that fits X G best to v: s = p'G / G'AG. Fields follow it.
    double refit(std::size_t row, double before) {
        std::int8_t* step = of_row(layer_.steps, row);
        const double slope =
            kernels_.write_step(p(row), state_.spins.data(), problem_.own(), options_.mask, layer_.d, step);
        // A G = f + t h A_ii / 2 + p / s
        double curvature = slope / before;
        for (std::size_t i = 0; i < layer_.d; ++i) {
            const Real field = state_.fields[i] + state_.spins[i] * problem_.own()[i];
            curvature += static_cast<double>(step[i]) * static_cast<double>(field);
        }
        const double scale = slope / curvature;
        if (!(slope > 0.0 && curvature > 0.0 && std::isfinite(scale) && std::isfinite(1.0 / scale))) {
            return before;
        }
        for (std::size_t i = 0; i < layer_.d; ++i) {
            const auto value = static_cast<double>(p(row)[i]);
            state_.fields[i] += static_cast<Real>(value / before) - static_cast<Real>(value / scale);
        }
        return scale;
    }

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

    // Is the objective of the spins below that of sign(p)? A descent that certainly was one need not be looked at.
    template <class Spin>
    bool is_better(std::size_t row, double scale, double lowered, double certain, const Spin& spin) {
        return certain > kCertain * lowered || exact_change(p(row), spin, scale) < 0.0;
    }

    // F(G) - F(sigma) = sum over the changed coordinates of D (s (A (sigma + G)) - 2 p), D = G - sigma, in float64.
    template <class Spin>
    double exact_change(const Real* p, const Spin& spin, double scale) const {
        const auto sign = [&](std::size_t i) { return p[i] < Real{0} ? -1.0 : 1.0; };
        const auto step = [&](std::size_t i) { return options_.mask ? 0.5 * (sign(i) + spin(i)) : spin(i); };
        double total = 0.0;
        for (std::size_t i = 0; i < layer_.d; ++i) {
            const double difference = step(i) - sign(i);
            if (difference == 0.0) {
                continue;
            }
            const Real* couplings = problem_.rows()[i];
            double product = 0.0;
            for (std::size_t j = 0; j < layer_.d; ++j) {
                product += static_cast<double>(couplings[j]) * (sign(j) + step(j));
            }
            total += difference * (scale * product - 2.0 * static_cast<double>(p[i]));
        }
        return total;
    }

    const ProjectionKernels<Real>& kernels_;
    const LayerCouplings<Real>& problem_;
    const LayerRows<Real>& layer_;
    const ProjectionOptions& options_;
    std::size_t most_rows_;
    std::size_t stride_;
    std::size_t first_ = 0;                       // row of the layer that is row 0 of the group
    AlignedBuffer<Real> products_;                // A sigma, in one of the two
    AlignedBuffer<std::int16_t> int16_products_;  // W sigma
    AlignedBuffer<std::byte> workspace_;
    AlignedBuffer<Real> sums_;
    std::vector<std::uint64_t> signs_;
    std::vector<double> norms_;
    RowState<Real> state_;  // of the row at work, or of several in int16
    Int16RowStates int16_states_;
};

// Few enough rows for products of `bytes` an entry in the second cache, enough to use each row of A often, and some for
// every thread.
std::size_t group_rows(std::size_t m, std::size_t d, std::size_t bytes, std::size_t threads) {
    constexpr std::size_t kMostRows = 512;
    constexpr std::size_t kCacheBytes = std::size_t{1} << 20U;
    const std::size_t fitting = std::clamp<std::size_t>(kCacheBytes / (d * bytes), 8, kMostRows);
    return std::min(fitting, rounded_up((m + threads - 1) / threads, 4));
}

}  // namespace

template <class Real>
bool project_rows(Rows<const Real> gram, const LayerRows<Real>& rows, const ProjectionOptions& options,
                  StopToken& token) {
    const std::size_t threads = useful_threads(
        options.threads,
        0.5 * static_cast<double>(rows.m) * static_cast<double>(rows.d) * static_cast<double>(rows.d),
        kWorkOfThread);
    const LayerCouplings<Real> problem(gram, rows.d, options, token);
    if (!problem.finite()) {
        return false;
    }
    const std::size_t bytes = problem.fits_int16() ? sizeof(std::int16_t) : sizeof(Real);
    const std::size_t most_rows = group_rows(rows.m, rows.d, bytes, threads);
    const std::size_t groups = (rows.m + most_rows - 1) / most_rows;
    std::vector<std::optional<GroupProjection<Real>>> workers(
        std::max<std::size_t>(1, std::min(threads, groups)));
    std::atomic<bool> finite = true;
    parallel_for(groups, threads, token, [&](std::size_t worker, std::size_t index) {
        if (!workers[worker]) {
            workers[worker].emplace(problem, rows, options, most_rows);
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
