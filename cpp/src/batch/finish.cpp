#include "batch/finish.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <utility>
#include <variant>

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

// What a flip must gain at least: more than the rounding error of such local fields.
double tolerance_of(double largest_field) {
    return 16.0 * std::numeric_limits<double>::epsilon() * largest_field;
}

// Few enough flips that the rounding errors which they leave in local fields do not count.
constexpr std::size_t kFlipsOnTrust = 256;

// What a descent works on: spins, and their local fields L = h + S s in float64.
struct Exactly {
    std::span<std::int8_t> spins;
    std::span<const double> fields;
    std::span<double> local;
    double tolerance = 0.0;

    bool improves(std::size_t i) const { return static_cast<double>(spins[i]) * local[i] > tolerance; }
    void set_tolerance() { tolerance = tolerance_of(largest_of(local)); }
};

// E = sum_i s_i (h_i + L_i) / 2 + constant, and what its rounding error may be.
struct Energy {
    double value = 0.0;
    double rounding = 0.0;
};

Energy energy_of(const Exactly& read) {
    Energy energy;
    double sizes = 0.0;
    for (std::size_t i = 0; i < read.spins.size(); ++i) {
        const double term = 0.5 * static_cast<double>(read.spins[i]) * (read.fields[i] + read.local[i]);
        energy.value += term;
        sizes += std::fabs(term);
    }
    energy.rounding = 16.0 * std::numeric_limits<double>::epsilon() * sizes;
    return energy;
}

// Flips spins while that lowers the energy by more than rounding. `next(i)` is the first spin from i on whose flip does, or
// n; `flip(i)` flips it; `refresh()` makes the local fields anew. Rounding errors gather in fields that follow flips, and
// wrong ones could let spins flip for ever: after n flips the fields are made anew, and the descent goes on only if the
// energy has really fallen.
template <class Next, class Flip, class Refresh>
void descend_exactly(const Exactly& read, StopToken& token, const Next& next, const Flip& flip,
                     const Refresh& refresh) {
    const std::size_t n = read.spins.size();
    const std::size_t most_flips = std::max(n, kFlipsOnTrust);
    double known = std::numeric_limits<double>::infinity();
    for (bool verified = false; !verified;) {
        std::size_t flips = 0;
        std::size_t at = next(0);
        while (at < n && flips < most_flips) {
            ++flips;
            flip(at);
            token.throw_if_interrupted();
            at = next(at + 1);
            at = at < n ? at : next(0);
        }
        if (flips <= kFlipsOnTrust && at == n) {
            return;
        }
        refresh();
        const Energy energy = energy_of(read);
        verified = !(energy.value < known - energy.rounding);
        known = energy.value;
    }
}

// A number of each of some reads.
template <std::size_t kReads>
using OfReads = std::array<double, kReads>;

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
    double trace = 0.0;
    space.diagonal.resize(n);
    for (std::size_t i = 0; i < n; ++i) {
        space.diagonal[i] = rows.diagonal(i);
        trace += space.diagonal[i];
    }
    // Local fields of reads [first, last), in space.local.
    const auto make_fields = [&](std::size_t first, std::size_t last) {
        space.signs.assign((last - first) * words, 0);
        for (std::size_t r = first; r < last; ++r) {
            pack_spins(std::span<const std::int8_t>(reads[r].spins),
                       std::span(space.signs).subspan((r - first) * words, words));
        }
        rows.products(space.signs, last - first, stride, space.local.data() + first * stride, token);
        for (std::size_t r = first; r < last; ++r) {
            const auto fields = batch.field(reads[r].problem);
            double* local = space.local.data() + r * stride;
            // S s = 2 scale (M s - diag(M) s)
            for (std::size_t i = 0; i < n; ++i) {
                local[i] =
                    fields[i] +
                    2.0 * scale * (local[i] - space.diagonal[i] * static_cast<double>(reads[r].spins[i]));
            }
        }
    };
    space.local.resize(reads.size() * stride);
    make_fields(0, reads.size());
    for (std::size_t r = 0; r < reads.size(); ++r) {
        Exactly read{reads[r].spins, batch.field(reads[r].problem),
                     std::span(space.local.data() + r * stride, n)};
        read.set_tolerance();
        const auto next = [&](std::size_t i) {
            while (i < n && !read.improves(i)) {
                ++i;
            }
            return i;
        };
        const auto flip = [&](std::size_t i) {
            read.spins[i] = static_cast<std::int8_t>(-read.spins[i]);
            const double own = read.local[i];
            rows.add_row(i, 2.0 * scale * (2.0 * static_cast<double>(read.spins[i])), read.local);
            read.local[i] = own;
        };
        descend_exactly(read, token, next, flip, [&] { make_fields(r, r + 1); });
        store_energy(energy_of(read).value + scale * trace + batch.offset[reads[r].problem],
                     *reads[r].energy);
    }
}

template <class Real>
const SparseFinish::Columns& SparseFinish::columns(const SparseView<Real>& view) {
    std::call_once(made_, [&] {
        std::vector<std::size_t> start(view.n + 1, 0);
        for_each_entry(view, [&](std::size_t /*i*/, std::size_t j, double /*value*/) { ++start[j + 1]; });
        for (std::size_t j = 0; j < view.n; ++j) {
            start[j + 1] += start[j];
        }
        columns_.row.resize(view.value.size());
        columns_.value.resize(view.value.size());
        std::vector<std::size_t> place(start.begin(), start.end() - 1);
        for_each_entry(view, [&](std::size_t i, std::size_t j, double value) {
            columns_.row[place[j]] = static_cast<std::int32_t>(i);
            columns_.value[place[j]++] = value;
        });
        columns_.start = std::move(start);
    });
    return columns_;
}

template <class Real>
void SparseFinish::finish_with(const SparseView<Real>& view, const Finished& finished, FinishSpace& space,
                               StopToken& token) {
    const std::size_t n = view.n;
    const double scale = batch_.coupling_scale;
    space.local.resize(n);
    Exactly read{finished.spins, batch_.field(finished.problem), std::span(space.local.data(), n)};
    double trace = 0.0;
    const auto make_fields = [&] {
        token.throw_if_interrupted();
        trace = 0.0;
        std::ranges::copy(read.fields, read.local.begin());
        for_each_entry(view, [&](std::size_t i, std::size_t j, double value) {
            if (i == j) {
                trace += value;
            } else {
                read.local[i] += scale * value * static_cast<double>(read.spins[j]);
                read.local[j] += scale * value * static_cast<double>(read.spins[i]);
            }
        });
    };
    const auto mark_improving = [&] {
        space.improving.assign(n, [&](std::size_t i) { return read.improves(i); });
    };
    // As a pass over all entries would do it, in that order.
    const auto flip = [&](std::size_t spin) {
        const Columns& by_column = columns(view);
        read.spins[spin] = static_cast<std::int8_t>(-read.spins[spin]);
        const double change = scale * (2.0 * static_cast<double>(read.spins[spin]));
        const auto add = [&](std::size_t other, double value) {
            if (other != spin) {
                read.local[other] += change * value;
                space.improving.set(other, read.improves(other));
            }
        };
        std::size_t k = by_column.start[spin];
        const auto add_column_until = [&](std::size_t row) {
            for (; k < by_column.start[spin + 1] && std::cmp_less(by_column.row[k], row); ++k) {
                add(static_cast<std::size_t>(by_column.row[k]), by_column.value[k]);
            }
        };
        add_column_until(spin);
        for (auto entry = static_cast<std::size_t>(view.row_start[spin]);
             entry < static_cast<std::size_t>(view.row_start[spin + 1]); ++entry) {
            add(static_cast<std::size_t>(view.column[entry]), static_cast<double>(view.value[entry]));
        }
        add_column_until(n);
        space.improving.set(spin, read.improves(spin));
    };
    make_fields();
    read.set_tolerance();
    mark_improving();
    const auto refresh = [&] {
        make_fields();
        mark_improving();
    };
    descend_exactly(read, token, [&](std::size_t i) { return space.improving.next(i); }, flip, refresh);
    store_energy(energy_of(read).value + scale * trace + batch_.offset[finished.problem], *finished.energy);
}

// Energies of the reads that no flip improves; the others go on alone. All sums run in the order of finish_with.
template <class Real>
void SparseFinish::finish_minima(const SparseView<Real>& view, std::span<const Finished, kTogether> reads,
                                 FinishSpace& space, StopToken& token) {
    using Numbers = OfReads<kTogether>;
    token.throw_if_interrupted();
    space.local.resize(view.n * kTogether);
    space.spins.resize(view.n * kTogether);
    const double scale = batch_.coupling_scale;
    const auto at = [](AlignedVector<double>& of, std::size_t i) { return of.data() + i * kTogether; };
    for (std::size_t r = 0; r < kTogether; ++r) {
        const auto fields = batch_.field(reads[r].problem);
        for (std::size_t i = 0; i < view.n; ++i) {
            at(space.local, i)[r] = fields[i];
            at(space.spins, i)[r] = static_cast<double>(reads[r].spins[i]);
        }
    }
    double trace = 0.0;
    for_each_entry(view, [&](std::size_t i, std::size_t j, double value) {
        if (i == j) {
            trace += value;
            return;
        }
        const double coupling = scale * value;
        for (std::size_t r = 0; r < kTogether; ++r) {
            at(space.local, i)[r] += coupling * at(space.spins, j)[r];
        }
        for (std::size_t r = 0; r < kTogether; ++r) {
            at(space.local, j)[r] += coupling * at(space.spins, i)[r];
        }
    });
    Numbers largest{};
    Numbers most_gained;  // by one flip
    most_gained.fill(-std::numeric_limits<double>::infinity());
    for (std::size_t i = 0; i < view.n; ++i) {
        for (std::size_t r = 0; r < kTogether; ++r) {
            const double local = at(space.local, i)[r];
            largest[r] = std::max(largest[r], std::fabs(local));
            most_gained[r] = std::max(most_gained[r], at(space.spins, i)[r] * local);
        }
    }
    Numbers energy{};
    for (std::size_t r = 0; r < kTogether; ++r) {
        const auto fields = batch_.field(reads[r].problem);
        for (std::size_t i = 0; i < view.n; ++i) {
            energy[r] += 0.5 * at(space.spins, i)[r] * (fields[i] + at(space.local, i)[r]);
        }
    }
    for (std::size_t r = 0; r < kTogether; ++r) {
        const double constant = scale * trace + batch_.offset[reads[r].problem];
        if (most_gained[r] > tolerance_of(largest[r])) {
            finish_with(view, reads[r], space, token);
        } else {
            store_energy(energy[r] + constant, *reads[r].energy);
        }
    }
}

void SparseFinish::finish_all(std::span<const Finished> reads, FinishSpace& space, StopToken& token) {
    while (reads.size() >= kTogether) {
        std::visit(
            [&](const auto& view) {
                if constexpr (requires { view.row_start; }) {
                    finish_minima(view, reads.first<kTogether>(), space, token);
                }
            },
            batch_.couplings);
        reads = reads.subspan(kTogether);
    }
    for (const Finished& read : reads) {
        finish(read, space, token);
    }
}

void SparseFinish::finish(const Finished& read, FinishSpace& space, StopToken& token) {
    std::visit(
        [&](const auto& view) {
            if constexpr (requires { view.row_start; }) {
                finish_with(view, read, space, token);
            }
        },
        batch_.couplings);
}

}  // namespace qpsbgd
