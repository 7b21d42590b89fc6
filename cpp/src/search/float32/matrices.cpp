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

template <class Real>
DenseMatrix::DenseMatrix(const DenseView<Real>& view, std::size_t problem, double scale, StopToken& token)
    : n_(view.n), stride_(padded<float>(view.n)), values_(view.n * padded<float>(view.n), 0.0F) {
    const Real* source = view.matrix(problem);
    double largest = 0.0;
    for (std::size_t i = 0; i < n_; ++i) {
        for (std::size_t j = 0; j < n_; ++j) {
            largest = std::max(largest, i == j ? 0.0 : std::fabs(static_cast<double>(source[i * n_ + j])));
        }
    }
    unit_ = power_of_two_unit(largest) * scale;
    // W_ij / unit = 2 scale (J_ij + J_ji) / unit; halves keep the sum of two huge entries finite.
    const double factor = 4.0 / (unit_ / scale);
    for (std::size_t row = 0; row < n_; row += kTile) {
        token.throw_if_interrupted();
        for (std::size_t column = 0; column < n_; column += kTile) {
            for (std::size_t i = row; i < std::min(row + kTile, n_); ++i) {
                for (std::size_t j = column; j < std::min(column + kTile, n_); ++j) {
                    const double mean = 0.5 * static_cast<double>(source[i * n_ + j]) +
                                        0.5 * static_cast<double>(source[j * n_ + i]);
                    values_[i * stride_ + j] = i == j ? 0.0F : in_float32(factor * mean);
                }
            }
        }
    }
}

template DenseMatrix::DenseMatrix(const DenseView<float>&, std::size_t, double, StopToken&);
template DenseMatrix::DenseMatrix(const DenseView<double>&, std::size_t, double, StopToken&);

template <class Real>
SparseMatrix::SparseMatrix(const SparseView<Real>& view, double scale) : row_start_(view.n + 1, 0) {
    struct Entry {
        std::int32_t column;
        double value;
    };
    const auto for_each_coupling = [&view](const auto& visit) {
        for (std::size_t i = 0; i < view.n; ++i) {
            for (auto k = view.row_start[i]; k < view.row_start[i + 1]; ++k) {
                const auto j = static_cast<std::size_t>(view.column[static_cast<std::size_t>(k)]);
                if (i != j) {
                    visit(i, j, static_cast<double>(view.value[static_cast<std::size_t>(k)]));
                }
            }
        }
    };

    // Every coupling stands in both of its spins' rows: count, place, sort, merge.
    std::vector<std::size_t> start(view.n + 1, 0);
    double largest = 0.0;
    for_each_coupling([&](std::size_t i, std::size_t j, double value) {
        ++start[i + 1];
        ++start[j + 1];
        largest = std::max(largest, std::fabs(value));
    });
    for (std::size_t i = 0; i < view.n; ++i) {
        start[i + 1] += start[i];
    }
    std::vector<Entry> entries(start[view.n]);
    std::vector<std::size_t> next(start.begin(), start.end() - 1);
    for_each_coupling([&](std::size_t i, std::size_t j, double value) {
        entries[next[i]++] = {static_cast<std::int32_t>(j), value};
        entries[next[j]++] = {static_cast<std::int32_t>(i), value};
    });

    unit_ = power_of_two_unit(largest) * scale;
    const double factor = 2.0 / (unit_ / scale);
    column_.reserve(entries.size());
    value_.reserve(entries.size());
    for (std::size_t i = 0; i < view.n; ++i) {
        const auto begin = entries.begin() + static_cast<std::ptrdiff_t>(start[i]);
        const auto end = entries.begin() + static_cast<std::ptrdiff_t>(start[i + 1]);
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
                column_.push_back(column);
                value_.push_back(value);
            }
        }
        row_start_[i + 1] = column_.size();
    }
}

template SparseMatrix::SparseMatrix(const SparseView<float>&, double);
template SparseMatrix::SparseMatrix(const SparseView<double>&, double);

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
