// Couplings as the solvers use them: symmetric, diagonal removed, in float32 units of a power of two.
//
// DenseMatrix and SparseMatrix offer the same operations, so each solver is written once over either.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "base/aligned.hpp"
#include "kernels/kernel_table.hpp"
#include "qpsbgd/cancellation.hpp"
#include "qpsbgd/problem.hpp"

namespace qpsbgd {

class DenseMatrix {
public:
    // n^2 elements; 4 n^2 bytes. Nothing when the budget runs out before it is made, which is asked every few rows.
    template <class Real>
    static std::unique_ptr<DenseMatrix> make(const DenseView<Real>& view, std::size_t problem, double scale,
                                             Budget& budget);

    std::size_t n() const { return n_; }
    double unit() const { return unit_; }

    // Elements touched by one flip, for polling at even intervals.
    std::size_t flip_cost() const { return stride_; }

    void local_fields(const float* fields, const float* spins, float* local) const {
        kernels().dense_float32.local_fields(values_.data(), stride_, n_, fields, spins, local);
    }
    void flip(std::size_t spin, float* spins, float* local) const {
        kernels().dense_float32.flip(values_.data() + spin * stride_, n_, spin, spins, local);
    }
    double metropolis(std::size_t begin, std::size_t end, const float* thresholds, float* spins,
                      float* local) const {
        return kernels().dense_float32.metropolis(values_.data(), stride_, n_, begin, end, thresholds, spins,
                                                  local);
    }
    double greedy(std::size_t begin, std::size_t end, float* spins, float* local) const {
        return kernels().dense_float32.greedy(values_.data(), stride_, n_, begin, end, spins, local);
    }

private:
    explicit DenseMatrix(std::size_t n);

    std::size_t n_;
    std::size_t stride_;
    double unit_ = 1.0;
    AlignedVector<float> values_;
};

class SparseMatrix {
public:
    // Merges entries (i, j) and (j, i) and repeated entries. O(nonzeros log(row length)). Nothing when the budget runs out
    // before that is done.
    template <class Real>
    static std::optional<SparseMatrix> make(const SparseView<Real>& view, double scale, Budget& budget);

    // The same, without a budget.
    template <class Real>
    SparseMatrix(const SparseView<Real>& view, double scale) {
        StopToken unlimited(std::nullopt, {});
        Budget budget(unlimited);
        if (auto made = make(view, scale, budget)) {
            *this = std::move(*made);
        }
    }

    std::size_t n() const { return row_start_.size() - 1; }
    double unit() const { return unit_; }

    // Row i is entries [row_start()[i], row_start()[i + 1]): columns, ascending, and values W in units.
    std::span<const std::size_t> row_start() const { return row_start_; }
    std::span<const std::int32_t> column() const { return column_; }
    std::span<const float> value() const { return value_; }
    std::span<const std::int32_t> neighbours(std::size_t spin) const {
        return std::span(column_).subspan(row_start_[spin], row_start_[spin + 1] - row_start_[spin]);
    }
    std::size_t flip_cost() const { return 1 + column_.size() / n(); }

    void local_fields(const float* fields, const float* spins, float* local) const;
    void flip(std::size_t spin, float* spins, float* local) const {
        const float before = spins[spin];
        spins[spin] = -before;
        for (std::size_t k = row_start_[spin]; k < row_start_[spin + 1]; ++k) {
            local[static_cast<std::size_t>(column_[k])] -= before * value_[k];
        }
    }
    double metropolis(std::size_t begin, std::size_t end, const float* thresholds, float* spins,
                      float* local) const;
    double greedy(std::size_t begin, std::size_t end, float* spins, float* local) const;

private:
    SparseMatrix() = default;

    std::vector<std::size_t> row_start_;
    std::vector<std::int32_t> column_;
    std::vector<float> value_;
    double unit_ = 1.0;
};

}  // namespace qpsbgd
