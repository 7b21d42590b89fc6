#include "search/symmetric_rows.hpp"

#include <algorithm>
#include <variant>

#include "base/rounding.hpp"
#include "kernels/kernel_table.hpp"

namespace qpsbgd {
namespace {

constexpr std::size_t kShortColumn =
    2048;  // spins up to which a descent over columns takes less time than a copy
constexpr std::size_t kLargestCopy = 4096;  // spins up to which an asymmetric matrix is copied, 128 MiB

// Rows of one call of work that touches n elements a row: short enough to notice an interrupt soon.
std::size_t rows_of_a_call(std::size_t n) { return std::max<std::size_t>(1, (std::size_t{1} << 20) / n); }

}  // namespace

template <class Real>
SymmetricRows::SymmetricRows(const DenseView<Real>& view, std::size_t problem, Budget& budget)
    : n_(view.n), symmetric_(true), matrix_(view.matrix(problem)) {
    const Real* matrix = view.matrix(problem);
    for (std::size_t row = 0; row < n_ && symmetric_; row += kTile) {
        budget.token().throw_if_interrupted();
        for (std::size_t column = 0; column <= row && symmetric_; column += kTile) {
            for (std::size_t i = row; i < std::min(row + kTile, n_); ++i) {
                bool equal = true;
                for (std::size_t j = column; j < std::min(column + kTile, i); ++j) {
                    equal &= matrix[i * n_ + j] == matrix[j * n_ + i];
                }
                symmetric_ = symmetric_ && equal;
            }
        }
    }
    const auto leaves_time = [&] { return n_ > kShortColumn || !budget.exhausted(); };
    if (!symmetric_ && n_ <= kLargestCopy && leaves_time()) {
        copy_.emplace(n_ * n_);
        for (std::size_t first = 0; first < n_; first += kTile) {
            budget.token().throw_if_interrupted();
            if (!leaves_time()) {
                copy_.reset();
                return;
            }
            fill_rows(matrix, first, std::min(first + kTile, n_), copy_->data() + first * n_);
        }
        symmetric_ = true;
        matrix_ = static_cast<const double*>(copy_->data());
    }
}

template SymmetricRows::SymmetricRows(const DenseView<float>&, std::size_t, Budget&);
template SymmetricRows::SymmetricRows(const DenseView<double>&, std::size_t, Budget&);

void SymmetricRows::products(std::span<const std::uint16_t> signs, std::size_t reads, std::size_t stride,
                             double* out, StopToken& token) const {
    const std::size_t rows = rows_of_a_call(n_);
    if (symmetric_) {
        const auto& kernel = kernels().finish;
        const std::size_t columns = rounded_up(rows, kProductColumns);
        for (std::size_t begin = 0; begin < n_; begin += columns) {
            token.throw_if_interrupted();
            const std::size_t end = std::min(begin + columns, rounded_up(n_, kProductColumns));
            if (const auto* floats = std::get_if<const float*>(&matrix_)) {
                kernel.products_float(*floats, n_, begin, end, signs.data(), reads, stride, out);
            } else {
                kernel.products_double(std::get<const double*>(matrix_), n_, begin, end, signs.data(), reads,
                                       stride, out);
            }
        }
        return;
    }
    const std::size_t words = words_of_signs(n_);
    std::vector<double> spins(reads * n_);
    for (std::size_t r = 0; r < reads; ++r) {
        for (std::size_t i = 0; i < n_; ++i) {
            const unsigned negative = signs[r * words + i / kSignsOfProduct] >> (i % kSignsOfProduct) & 1U;
            spins[r * n_ + i] = negative != 0 ? -1.0 : 1.0;
        }
    }
    std::visit(
        [&](const auto* matrix) {
            std::fill_n(out, reads * stride, 0.0);
            for (std::size_t i = 0; i < n_; ++i) {
                if (i % rows == 0) {
                    token.throw_if_interrupted();
                }
                for (std::size_t r = 0; r < reads; ++r) {
                    const double* of_read = &spins[r * n_];
                    double* sums = out + r * stride;
                    double sum = 0.0;
                    for (std::size_t j = 0; j < n_; ++j) {
                        const auto half = 0.5 * static_cast<double>(matrix[i * n_ + j]);
                        sum += half * of_read[j];
                        sums[j] += half * of_read[i];
                    }
                    sums[i] += sum;
                }
            }
        },
        matrix_);
}

void SymmetricRows::add_row(std::size_t i, double factor, std::span<double> out) const {
    std::visit(
        [&](const auto* matrix) {
            for (std::size_t j = 0; j < n_; ++j) {
                const auto entry = static_cast<double>(matrix[i * n_ + j]);
                const auto mirrored = symmetric_ ? entry : static_cast<double>(matrix[j * n_ + i]);
                out[j] += factor * (0.5 * entry + 0.5 * mirrored);
            }
        },
        matrix_);
}

double SymmetricRows::diagonal(std::size_t i) const {
    return std::visit([&](const auto* matrix) { return static_cast<double>(matrix[i * n_ + i]); }, matrix_);
}

}  // namespace qpsbgd
