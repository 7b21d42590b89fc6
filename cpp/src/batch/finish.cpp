#include "batch/finish.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "kernels/kernel_table.hpp"
#include "base/spin_bits.hpp"

namespace qpsbgd {
namespace {

constexpr std::size_t kLargestCopy = 4096;  // spins up to which an asymmetric matrix is copied, 128 MiB

// Rows of one call of work that touches n elements a row: short enough to notice an interrupt soon.
std::size_t rows_of_a_call(std::size_t n) { return std::max<std::size_t>(1, (std::size_t{1} << 20) / n); }

constexpr std::size_t rounded_up(std::size_t count, std::size_t unit) {
    return (count + unit - 1) / unit * unit;
}

// Words of the spins of one read.
constexpr std::size_t words_of(std::size_t n) { return (n + kSignsOfProduct - 1) / kSignsOfProduct; }

// The largest |value|, in eight maxima that do not wait for each other.
double largest_of(std::span<const double> values) {
    std::array<double, 8> most{};
    std::size_t i = 0;
    for (; i + most.size() <= values.size(); i += most.size()) {
        for (std::size_t k = 0; k < most.size(); ++k) {
            most[k] = std::max(most[k], std::fabs(values[i + k]));
        }
    }
    for (; i < values.size(); ++i) {
        most[0] = std::max(most[0], std::fabs(values[i]));
    }
    return *std::ranges::max_element(most);
}

// Flips spins while that lowers the energy by more than `tolerance`; false when nothing flipped. `flip(i, change)` adds
// change * row i of S to the local fields, whose entry i keeps its value.
template <class Flip>
bool descend_exactly(std::span<std::int8_t> spins, std::span<double> local, std::size_t most_flips,
                     StopToken& token, const Flip& flip) {
    const double largest = largest_of(local);
    const double tolerance = 16.0 * std::numeric_limits<double>::epsilon() * largest;
    std::size_t flips = 0;
    for (bool flipped = true; flipped;) {
        flipped = false;
        for (std::size_t i = 0; i < spins.size(); ++i) {
            if (static_cast<double>(spins[i]) * local[i] > tolerance) {
                if (flips == most_flips) {
                    return true;
                }
                ++flips;
                flipped = true;
                spins[i] = static_cast<std::int8_t>(-spins[i]);
                const double own = local[i];
                flip(i, 2.0 * static_cast<double>(spins[i]));
                local[i] = own;
                token.throw_if_interrupted();
            }
        }
    }
    return flips != 0;
}

// E = sum_i s_i (h_i + L_i) / 2 + constant, for local fields L = h + S s.
double energy_of(std::span<const std::int8_t> spins, std::span<const double> fields,
                 std::span<const double> local) {
    double energy = 0.0;
    for (std::size_t i = 0; i < spins.size(); ++i) {
        energy += 0.5 * static_cast<double>(spins[i]) * (fields[i] + local[i]);
    }
    return energy;
}

// Visits every entry (i, j, J_ij) of a sparse matrix.
template <class Real, class Visit>
void for_each_entry(const SparseView<Real>& view, const Visit& visit) {
    for (std::size_t i = 0; i < view.n; ++i) {
        for (auto k = static_cast<std::size_t>(view.row_start[i]);
             k < static_cast<std::size_t>(view.row_start[i + 1]); ++k) {
            visit(i, static_cast<std::size_t>(view.column[k]), static_cast<double>(view.value[k]));
        }
    }
}

}  // namespace

template <class Real>
SymmetricRows::SymmetricRows(const DenseView<Real>& view, std::size_t problem, StopToken& token)
    : n_(view.n), symmetric_(true), matrix_(view.matrix(problem)) {
    const Real* matrix = view.matrix(problem);
    for (std::size_t row = 0; row < n_ && symmetric_; row += kTile) {
        token.throw_if_interrupted();
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
    if (!symmetric_ && n_ <= kLargestCopy) {
        copy_.resize(n_ * n_);
        for (std::size_t first = 0; first < n_; first += kTile) {
            token.throw_if_interrupted();
            fill_rows(matrix, first, std::min(first + kTile, n_), &copy_[first * n_]);
        }
        symmetric_ = true;
        matrix_ = static_cast<const double*>(copy_.data());
    }
}

template SymmetricRows::SymmetricRows(const DenseView<float>&, std::size_t, StopToken&);
template SymmetricRows::SymmetricRows(const DenseView<double>&, std::size_t, StopToken&);

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
    const std::size_t words = words_of(n_);
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

void finish_dense(const IsingBatch& batch, const SymmetricRows& rows, std::span<const Finished> reads,
                  FinishSpace& space, StopToken& token) {
    const std::size_t n = rows.n();
    const std::size_t stride = rounded_up(n, kProductColumns);
    const double scale = batch.coupling_scale;
    const std::size_t words = words_of(n);
    space.signs.assign(reads.size() * words, 0);
    space.local.resize(reads.size() * stride);
    for (std::size_t r = 0; r < reads.size(); ++r) {
        pack_spins(std::span<const std::int8_t>(reads[r].spins),
                   std::span(space.signs).subspan(r * words, words));
    }
    rows.products(space.signs, reads.size(), stride, space.local.data(), token);

    double trace = 0.0;
    space.diagonal.resize(n);
    for (std::size_t i = 0; i < n; ++i) {
        space.diagonal[i] = rows.diagonal(i);
        trace += space.diagonal[i];
    }
    for (std::size_t r = 0; r < reads.size(); ++r) {
        const Finished& read = reads[r];
        const auto fields = batch.field(read.problem);
        const std::span local(space.local.data() + r * stride, n);
        // S s = 2 scale (M s - diag(M) s)
        for (std::size_t i = 0; i < n; ++i) {
            local[i] =
                fields[i] + 2.0 * scale * (local[i] - space.diagonal[i] * static_cast<double>(read.spins[i]));
        }
        descend_exactly(read.spins, local, n * n, token,
                        [&](std::size_t i, double change) { rows.add_row(i, 2.0 * scale * change, local); });
        *read.energy = energy_of(read.spins, fields, local) + scale * trace + batch.offset[read.problem];
    }
}

void finish_sparse(const IsingBatch& batch, const Finished& read, FinishSpace& space, StopToken& token) {
    const std::size_t n = batch.n;
    const auto fields = batch.field(read.problem);
    const double scale = batch.coupling_scale;
    std::visit(
        [&](const auto& view) {
            if constexpr (requires { view.row_start; }) {
                token.throw_if_interrupted();
                space.local.assign(fields.begin(), fields.end());
                double trace = 0.0;
                for_each_entry(view, [&](std::size_t i, std::size_t j, double value) {
                    if (i == j) {
                        trace += value;
                    } else {
                        space.local[i] += scale * value * static_cast<double>(read.spins[j]);
                        space.local[j] += scale * value * static_cast<double>(read.spins[i]);
                    }
                });
                // A column of compressed rows is not at hand, so a flip scans all entries. The solvers' own descent
                // leaves only those few spins for this one that float32 could not decide, hence the bound.
                const std::size_t most_flips = (std::size_t{1} << 27) / (1 + view.value.size());
                descend_exactly(read.spins, std::span(space.local.data(), n), most_flips, token,
                                [&](std::size_t spin, double change) {
                                    for_each_entry(view, [&](std::size_t i, std::size_t j, double value) {
                                        if (i != j && i == spin) {
                                            space.local[j] += scale * change * value;
                                        } else if (i != j && j == spin) {
                                            space.local[i] += scale * change * value;
                                        }
                                    });
                                });
                *read.energy = energy_of(read.spins, fields, std::span(space.local.data(), n)) +
                               scale * trace + batch.offset[read.problem];
            }
        },
        batch.couplings);
}

std::vector<double> symmetric_couplings(const IsingBatch& batch, std::size_t problem) {
    const std::size_t n = batch.n;
    const double scale = batch.coupling_scale;
    std::vector<double> couplings(n * n, 0.0);
    const auto add = [&](std::size_t i, std::size_t j, double value) {
        if (i != j) {
            couplings[i * n + j] += scale * value;
            couplings[j * n + i] += scale * value;
        }
    };
    std::visit(
        [&](const auto& view) {
            if constexpr (requires { view.row_start; }) {
                for_each_entry(view, add);
            } else {
                const auto* matrix = view.matrix(problem);
                for (std::size_t i = 0; i < n; ++i) {
                    for (std::size_t j = 0; j < n; ++j) {
                        add(i, j, static_cast<double>(matrix[i * n + j]));
                    }
                }
            }
        },
        batch.couplings);
    return couplings;
}

}  // namespace qpsbgd
