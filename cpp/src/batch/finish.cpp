#include "batch/finish.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <stdexcept>

#include "base/rounding.hpp"
#include "base/spin_bits.hpp"
#include "kernels/kernel_table.hpp"

namespace qpsbgd {
namespace {

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

void store_energy(double energy, double& place) {
    if (!std::isfinite(energy)) {
        throw std::domain_error("an energy overflows float64: h, J or offset is too large");
    }
    place = energy;
}

void finish_dense(const IsingBatch& batch, const SymmetricRows& rows, std::span<const Finished> reads,
                  FinishSpace& space, StopToken& token) {
    const std::size_t n = rows.n();
    const std::size_t stride = rounded_up(n, kProductColumns);
    const double scale = batch.coupling_scale;
    const std::size_t words = words_of_signs(n);
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
        store_energy(energy_of(read.spins, fields, local) + scale * trace + batch.offset[read.problem],
                     *read.energy);
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
                store_energy(energy_of(read.spins, fields, std::span(space.local.data(), n)) + scale * trace +
                                 batch.offset[read.problem],
                             *read.energy);
            }
        },
        batch.couplings);
}

}  // namespace qpsbgd
