#include "search/int16/matrix.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <type_traits>

#include "base/rounding.hpp"
#include "base/units.hpp"
#include "kernels/kernel_table.hpp"

namespace qpsbgd {
namespace {

constexpr double kLargestField = 28000.0;   // units
constexpr double kCouplingRange = 16000.0;  // units that the couplings' part of a local field may take up
constexpr double kDeviations = 4.0;         // root-mean-squares of a row that fit into kCouplingRange
constexpr double kUnevenRows = 32.0;
constexpr double kSumRange =
    24000.0;                      // units that a whole row may add up to, so that no field ever saturates
constexpr double kCoarser = 5.0;  // by how much that may enlarge the unit

template <class Real>
const PrepareKernels<Real>& prepare_kernels() {
    if constexpr (std::is_same_v<Real, float>) {
        return kernels().prepare_float32;
    } else {
        return kernels().prepare_float64;
    }
}

}  // namespace

Int16Matrix::Int16Matrix(std::size_t n, double unit)
    : n_(n),
      stride_((n + kBlock - 1) / kBlock * kBlock),
      unit_(unit),
      values_((n + 1) * stride_, std::int16_t{0}) {}

std::optional<Int16Matrix> Int16Matrix::make(const SymmetricRows& rows, double scale, Saturation saturation,
                                             Budget& budget) {
    const std::size_t n = rows.n();
    if (n > 65000 || budget.exhausted()) {
        return std::nullopt;  // the kernels count spins in 16 bits
    }
    StopToken& token = budget.token();
    bool time_left = true;
    const auto poll = [&](std::size_t row) {
        constexpr std::size_t kRowsBetweenPolls = 16;
        time_left = row % kRowsBetweenPolls != 0 || !budget.exhausted();
        return time_left;
    };
    // S_ij / scale = 2 M_ij
    double largest = 0.0;
    double largest_sum = 0.0;
    double least_square = std::numeric_limits<double>::infinity();
    double most_square = 0.0;
    double squares = 0.0;
    rows.for_each_row(token, [&]<class Real>(std::size_t i, const Real* row) {
        const RowStatistics of_row = prepare_kernels<Real>().statistics(row, n, i);
        largest = std::max(largest, 2.0 * of_row.largest);
        largest_sum = std::max(largest_sum, 2.0 * of_row.sum);
        least_square = std::min(least_square, 4.0 * of_row.squares);
        most_square = std::max(most_square, 4.0 * of_row.squares);
        squares += 4.0 * of_row.squares;
        return poll(i);
    });
    if (!time_left || !(largest > 0.0) || !std::isfinite(largest) || largest > 1e150 || largest < 1e-150) {
        return std::nullopt;
    }
    double unit = power_of_two_unit(largest_sum / kCouplingRange);
    bool exact = true;
    rows.for_each_row(token, [&](std::size_t i, const auto* row) {
        for (std::size_t j = 0; j < i && exact; ++j) {
            const double units = 2.0 * static_cast<double>(row[j]) / unit;
            exact = units == nearest_integer(units);
        }
        return exact && poll(i);
    });
    if (!time_left) {
        return std::nullopt;
    }
    if (!exact) {
        if (least_square * kUnevenRows * kUnevenRows < most_square) {
            return std::nullopt;
        }
        unit = std::min(largest_sum, kDeviations * std::sqrt(most_square)) / kCouplingRange;
        unit = std::max(unit, largest / kCouplingRange);
        const double without_saturation = largest_sum / kSumRange;
        if (saturation == Saturation::avoided && without_saturation <= kCoarser * unit) {
            unit = std::max(unit, without_saturation);
        }
    }
    Int16Matrix result(n, unit * scale);
    result.largest_sum_ = largest_sum / unit + 0.5 * static_cast<double>(n);
    result.root_mean_square_ = std::sqrt(squares / static_cast<double>(n)) / unit;
    rows.for_each_row(token, [&]<class Real>(std::size_t i, const Real* row) {
        prepare_kernels<Real>().quantise(row, n, i, 2.0 / unit, &result.values_[i * result.stride_]);
        return poll(i);
    });
    if (!time_left) {
        return std::nullopt;
    }
    return result;
}

void Int16Matrix::prepare_in_step() {
    if (Int16ReplicaCouplings::serve(n_) && largest_sum_ < kInt16Range) {
        in_step_.emplace(values_, n_, stride_);
    }
}

bool Int16Matrix::holds(std::span<const double> fields) const {
    return std::ranges::all_of(fields,
                               [&](double field) { return std::fabs(field) <= kLargestField * unit_; });
}

}  // namespace qpsbgd
