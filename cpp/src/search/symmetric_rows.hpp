// The couplings of one dense problem in the caller's own numbers.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <variant>
#include <vector>

#include "base/aligned.hpp"
#include "qpsbgd/cancellation.hpp"
#include "qpsbgd/problem.hpp"

namespace qpsbgd {

// One dense matrix of a batch, M = (J + J') / 2 row by row: the caller's own rows where J is symmetric, else a float64
// copy, or for large matrices, and smaller ones that the budget leaves no time to copy, both triangles of the caller's on every use.
class SymmetricRows {
public:
    template <class Real>
    SymmetricRows(const DenseView<Real>& view, std::size_t problem, Budget& budget);

    std::size_t n() const { return n_; }

    // out_r = M s_r for `reads` reads, laid out as the kernel wants them.
    void products(std::span<const std::uint16_t> signs, std::size_t reads, std::size_t stride, double* out,
                  StopToken& token) const;

    // out += factor * row i.
    void add_row(std::size_t i, double factor, std::span<double> out) const;

    double diagonal(std::size_t i) const;

    // visit(i, row) for every row of M, a pointer to n floats or doubles, until it returns false.
    template <class Visit>
    void for_each_row(StopToken& token, const Visit& visit) const;

private:
    static constexpr std::size_t kTile =
        64;  // rows and columns of a tile: it and its mirror image stay in L1

    template <class Real>
    void fill_rows(const Real* matrix, std::size_t first, std::size_t last, double* rows) const;

    std::size_t n_;
    bool symmetric_ = false;
    std::variant<const float*, const double*> matrix_;
    std::optional<AlignedBuffer<double>> copy_;
};

// Rows [first, last) of M from both triangles.
template <class Real>
void SymmetricRows::fill_rows(const Real* matrix, std::size_t first, std::size_t last, double* rows) const {
    for (std::size_t column = 0; column < n_; column += kTile) {
        for (std::size_t i = first; i < last; ++i) {
            for (std::size_t j = column; j < std::min(column + kTile, n_); ++j) {
                rows[(i - first) * n_ + j] = 0.5 * static_cast<double>(matrix[i * n_ + j]) +
                                             0.5 * static_cast<double>(matrix[j * n_ + i]);
            }
        }
    }
}

template <class Visit>
void SymmetricRows::for_each_row(StopToken& token, const Visit& visit) const {
    std::visit(
        [&](const auto* matrix) {
            std::vector<double> rows(symmetric_ ? 0 : std::min(kTile, n_) * n_);
            for (std::size_t first = 0; first < n_; first += kTile) {
                token.throw_if_interrupted();
                const std::size_t last = std::min(first + kTile, n_);
                if (!symmetric_) {
                    fill_rows(matrix, first, last, rows.data());
                }
                for (std::size_t i = first; i < last; ++i) {
                    if (!(symmetric_ ? visit(i, matrix + i * n_)
                                     : visit(i, static_cast<const double*>(&rows[(i - first) * n_])))) {
                        return;
                    }
                }
            }
        },
        matrix_);
}

}  // namespace qpsbgd
