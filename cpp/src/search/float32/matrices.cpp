// Building the solvers' couplings from the caller's arrays.
#include "search/float32/matrices.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "base/units.hpp"

namespace qpsbgd {
namespace {

constexpr std::size_t kTile = 64;  // rows and columns of a tile: both it and its mirror image stay in L1

}  // namespace

DenseMatrix::DenseMatrix(std::size_t n)
    : n_(n), stride_(padded<float>(n)), values_(n * padded<float>(n), 0.0F) {}

template <class Real>
std::unique_ptr<DenseMatrix> DenseMatrix::make(const DenseView<Real>& view, std::size_t problem, double scale,
                                               Budget& budget) {
    if (budget.exhausted()) {
        return nullptr;
    }
    const std::size_t n = view.n;
    auto matrix = std::unique_ptr<DenseMatrix>(new DenseMatrix(n));
    const Real* source = view.matrix(problem);
    double largest = 0.0;
    for (std::size_t i = 0; i < n; ++i) {
        if (i % kTile == 0 && budget.exhausted()) {
            return nullptr;
        }
        for (std::size_t j = 0; j < n; ++j) {
            largest = std::max(largest, i == j ? 0.0 : std::fabs(static_cast<double>(source[i * n + j])));
        }
    }
    matrix->unit_ = power_of_two_unit(largest) * scale;
    // W_ij / unit = 2 scale (J_ij + J_ji) / unit; halves keep the sum of two huge entries finite.
    const double factor = 4.0 / (matrix->unit_ / scale);
    for (std::size_t row = 0; row < n; row += kTile) {
        if (budget.exhausted()) {
            return nullptr;
        }
        for (std::size_t column = 0; column < n; column += kTile) {
            for (std::size_t i = row; i < std::min(row + kTile, n); ++i) {
                for (std::size_t j = column; j < std::min(column + kTile, n); ++j) {
                    const double mean = 0.5 * static_cast<double>(source[i * n + j]) +
                                        0.5 * static_cast<double>(source[j * n + i]);
                    matrix->values_[i * matrix->stride_ + j] = i == j ? 0.0F : in_float32(factor * mean);
                }
            }
        }
    }
    return matrix;
}

template std::unique_ptr<DenseMatrix> DenseMatrix::make(const DenseView<float>&, std::size_t, double,
                                                        Budget&);
template std::unique_ptr<DenseMatrix> DenseMatrix::make(const DenseView<double>&, std::size_t, double,
                                                        Budget&);

namespace {

struct Entry {
    std::int32_t column;
    double value;
};

// The couplings of a sparse matrix, each in the rows of both of its spins: row i is entries [start[i], start[i + 1]).
struct BothRows {
    std::vector<std::size_t> start;
    std::vector<Entry> entries;
    double largest = 0.0;
};

// Visits every coupling (i, j, J_ij) between two spins. False when the budget ran out before the end.
template <class Real, class Visit>
bool for_each_coupling(const SparseView<Real>& view, Budget& budget, const Visit& visit) {
    constexpr std::size_t kEntriesBetweenPolls = std::size_t{1} << 16;
    std::size_t next_poll = kEntriesBetweenPolls;
    for (std::size_t i = 0; i < view.n; ++i) {
        for (auto k = view.row_start[i]; k < view.row_start[i + 1]; ++k) {
            const auto j = static_cast<std::size_t>(view.column[static_cast<std::size_t>(k)]);
            if (i != j) {
                visit(i, j, static_cast<double>(view.value[static_cast<std::size_t>(k)]));
            }
        }
        if (static_cast<std::size_t>(view.row_start[i + 1]) + i >= next_poll) {
            next_poll += kEntriesBetweenPolls;
            if (budget.exhausted()) {
                return false;
            }
        }
    }
    return true;
}

template <class Real>
std::optional<BothRows> both_rows(const SparseView<Real>& view, Budget& budget) {
    BothRows rows;
    rows.start.assign(view.n + 1, 0);
    if (!for_each_coupling(view, budget, [&](std::size_t i, std::size_t j, double value) {
            ++rows.start[i + 1];
            ++rows.start[j + 1];
            rows.largest = std::max(rows.largest, std::fabs(value));
        })) {
        return std::nullopt;
    }
    for (std::size_t i = 0; i < view.n; ++i) {
        rows.start[i + 1] += rows.start[i];
    }
    rows.entries.resize(rows.start[view.n]);
    std::vector<std::size_t> next(rows.start.begin(), rows.start.end() - 1);
    if (!for_each_coupling(view, budget, [&](std::size_t i, std::size_t j, double value) {
            rows.entries[next[i]++] = {static_cast<std::int32_t>(j), value};
            rows.entries[next[j]++] = {static_cast<std::int32_t>(i), value};
        })) {
        return std::nullopt;
    }
    return rows;
}

}  // namespace

template <class Real>
std::optional<SparseMatrix> SparseMatrix::make(const SparseView<Real>& view, double scale, Budget& budget) {
    // Every coupling stands in both of its spins' rows: count, place, sort, merge.
    auto rows = both_rows(view, budget);
    if (!rows) {
        return std::nullopt;
    }
    SparseMatrix result;
    result.row_start_.assign(view.n + 1, 0);
    result.unit_ = power_of_two_unit(rows->largest) * scale;
    const double factor = 2.0 / (result.unit_ / scale);
    result.column_.reserve(rows->entries.size());
    result.value_.reserve(rows->entries.size());
    constexpr std::size_t kRowsBetweenPolls = 1024;
    for (std::size_t i = 0; i < view.n; ++i) {
        if (i % kRowsBetweenPolls == 0 && budget.exhausted()) {
            return std::nullopt;
        }
        const auto begin = rows->entries.begin() + static_cast<std::ptrdiff_t>(rows->start[i]);
        const auto end = rows->entries.begin() + static_cast<std::ptrdiff_t>(rows->start[i + 1]);
        // Repeated entries are added in a fixed order, so that the sum does not depend on the sort.
        std::ranges::sort(begin, end, {},
                          [](const Entry& entry) { return std::pair(entry.column, entry.value); });
        for (auto entry = begin; entry != end;) {
            const auto column = entry->column;
            double sum = 0.0;
            for (; entry != end && entry->column == column; ++entry) {
                sum += factor * entry->value;
            }
            if (const float value = in_float32(sum); value != 0.0F) {
                result.column_.push_back(column);
                result.value_.push_back(value);
            }
        }
        result.row_start_[i + 1] = result.column_.size();
    }
    return result;
}

template std::optional<SparseMatrix> SparseMatrix::make(const SparseView<float>&, double, Budget&);
template std::optional<SparseMatrix> SparseMatrix::make(const SparseView<double>&, double, Budget&);

void SparseMatrix::local_fields(const float* fields, const float* spins, float* local) const {
    for (std::size_t i = 0; i < n(); ++i) {
        float sum = 0.0F;
        for (std::size_t k = row_start_[i]; k < row_start_[i + 1]; ++k) {
            sum += spins[static_cast<std::size_t>(column_[k])] * value_[k];
        }
        local[i] = fields[i] + 0.5F * sum;
    }
}

double SparseMatrix::metropolis(std::size_t begin, std::size_t end, const float* thresholds, float* spins,
                                float* local) const {
    double gain = 0.0;
    for (std::size_t i = begin; i < end; ++i) {
        const float step = spins[i] * local[i];
        if (step + thresholds[i] >= 0.0F) {
            gain += static_cast<double>(step);
            flip(i, spins, local);
        }
    }
    return gain;
}

double SparseMatrix::greedy(std::size_t begin, std::size_t end, float* spins, float* local) const {
    double gain = 0.0;
    for (std::size_t i = begin; i < end; ++i) {
        const float step = spins[i] * local[i];
        if (step > 0.0F) {
            gain += static_cast<double>(step);
            flip(i, spins, local);
        }
    }
    return gain;
}

}  // namespace qpsbgd
