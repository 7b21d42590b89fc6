// The training step's solver: every row of a layer from sign(p), greedily until no flip helps.
//
// Rows do not depend on each other, so groups of them are shared between threads. Single precision descends in int16 where
// A fits (project_int16.cpp), all else in its own precision (project_float.cpp). Numbers so large that sums over them
// overflow are projected once more, in smaller units.
//
// Promises: steps and residual are written whatever p and A are.
#include <algorithm>
#include <atomic>
#include <optional>
#include <type_traits>
#include <vector>

#include "base/rounding.hpp"
#include "base/threads.hpp"
#include "layer/couplings.hpp"
#include "layer/project_float.hpp"
#include "layer/project_int16.hpp"
#include "layer/smaller_units.hpp"
#include "qpsbgd/layer.hpp"

namespace qpsbgd {
namespace {

// Few enough rows for products of `bytes` an entry in the second cache, enough to use each row of A often, and some for
// every thread.
std::size_t group_rows(std::size_t m, std::size_t d, std::size_t bytes, std::size_t threads) {
    constexpr std::size_t kMostRows = 512;
    constexpr std::size_t kCacheBytes = std::size_t{1} << 20U;
    const std::size_t fitting = std::clamp<std::size_t>(kCacheBytes / (d * bytes), 8, kMostRows);
    return std::min(fitting, rounded_up((m + threads - 1) / threads, 4));
}

// All groups of rows, whose products have `bytes` an entry. Returns false if a sum over p or A leaves the range of numbers.
template <class Projection, class Real>
bool project_groups(const LayerCouplings<Real>& problem, const LayerRows<Real>& rows,
                    const ProjectionOptions& options, std::size_t bytes, std::size_t threads,
                    StopToken& token) {
    const std::size_t most_rows = group_rows(rows.m, rows.d, bytes, threads);
    const std::size_t groups = (rows.m + most_rows - 1) / most_rows;
    std::vector<std::optional<Projection>> workers(std::max<std::size_t>(1, std::min(threads, groups)));
    std::atomic<bool> in_range = true;
    parallel_for(groups, threads, token, [&](std::size_t worker, std::size_t index) {
        if (!workers[worker]) {
            workers[worker].emplace(problem, rows, options, most_rows);
        }
        const std::size_t first = index * most_rows;
        if (!workers[worker]->run(first, std::min(most_rows, rows.m - first), token)) {
            in_range.store(false, std::memory_order_relaxed);
        }
    });
    return in_range;
}

// Returns false if a sum over p or A leaves the range of numbers: then the results mean nothing.
template <class Real>
bool project_in_these_units(Rows<const Real> gram, const LayerRows<Real>& rows,
                            const ProjectionOptions& options, StopToken& token) {
    const std::size_t threads = useful_threads(
        options.threads,
        0.5 * static_cast<double>(rows.m) * static_cast<double>(rows.d) * static_cast<double>(rows.d),
        kWorkOfThread);
    const LayerCouplings<Real> problem(gram, rows.d, options, token);
    if (!problem.in_range()) {
        return false;
    }
    if constexpr (std::is_same_v<Real, float>) {
        if (problem.fits_int16()) {
            return project_groups<Int16Projection>(problem, rows, options, sizeof(std::int16_t), threads,
                                                   token);
        }
    }
    return project_groups<FloatProjection<Real>>(problem, rows, options, sizeof(Real), threads, token);
}

}  // namespace

template <class Real>
bool project_rows(Rows<const Real> gram, const LayerRows<Real>& rows, const ProjectionOptions& options,
                  StopToken& token) {
    if (project_in_these_units(gram, rows, options, token)) {
        return true;
    }
    auto smaller = SmallerUnits<Real>::make(gram, rows, options);
    if (!smaller) {
        std::ranges::fill(rows.steps, std::int8_t{0});
        std::ranges::fill(rows.next_residual, Real{0});
        return false;
    }
    project_in_these_units(smaller->gram(), smaller->rows(), smaller->options(), token);
    smaller->write_residual(rows);
    return true;
}

template bool project_rows(Rows<const float>, const LayerRows<float>&, const ProjectionOptions&, StopToken&);
template bool project_rows(Rows<const double>, const LayerRows<double>&, const ProjectionOptions&,
                           StopToken&);

}  // namespace qpsbgd
