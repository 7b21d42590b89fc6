// Couplings as the solvers use them: symmetric, diagonal removed, in float32 units of a power of two.
//
// DenseMatrix and SparseMatrix offer the same operations, so each solver is written once over either.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/aligned.hpp"
#include "kernels/kernel_table.hpp"
#include "qpsbgd/cancellation.hpp"
#include "qpsbgd/problem.hpp"

namespace qpsbgd {

class DenseMatrix {
public:
    // n^2 elements; 4 n^2 bytes. Polls the token every few rows.
    template <class Real>
    DenseMatrix(const DenseView<Real>& view, std::size_t problem, double scale, StopToken& token);

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
    std::size_t n_;
    std::size_t stride_;
    double unit_ = 1.0;
    AlignedVector<float> values_;
};

class SparseMatrix {
public:
    // Merges entries (i, j) and (j, i) and repeated entries. O(nonzeros log(row length)).
    template <class Real>
    SparseMatrix(const SparseView<Real>& view, double scale);

    std::size_t n() const { return row_start_.size() - 1; }
    double unit() const { return unit_; }

    // Row i is entries [row_start()[i], row_start()[i + 1]): columns, ascending, and values W in units.
    std::span<const std::size_t> row_start() const { return row_start_; }
    std::span<const std::int32_t> column() const { return column_; }
    std::span<const float> value() const { return value_; }
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
    std::vector<std::size_t> row_start_;
    std::vector<std::int32_t> column_;
    std::vector<float> value_;
    double unit_ = 1.0;
};

}  // namespace qpsbgd
