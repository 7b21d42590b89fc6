#include "finish.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

namespace qpsbgd {
namespace {

// The operations that differ between dense and sparse couplings.
template <class Real>
class Dense {
public:
    Dense(const DenseView<Real>& view, std::size_t problem) : matrix_(view.matrix(problem)), n_(view.n) {}

    // local += J s + J's without the diagonal; returns the trace of J.
    double add_local_fields(std::span<const double> spins, std::span<double> local, StopToken& token) const {
        double trace = 0.0;
        for (std::size_t i = 0; i < n_; ++i) {
            if (i % 64 == 63) {
                token.throw_if_interrupted();
            }
            const Real* row = matrix_ + i * n_;
            const double spin = spins[i];
            const auto diagonal = static_cast<double>(row[i]);
            double sum = 0.0;
            for (std::size_t j = 0; j < n_; ++j) {
                const auto coupling = static_cast<double>(row[j]);
                sum += coupling * spins[j];
                local[j] += coupling * spin;
            }
            local[i] += sum - 2.0 * diagonal * spin;
            trace += diagonal;
        }
        return trace;
    }

    // local += change * (row i + column i) of J, diagonal left out.
    void add_row(std::size_t i, double change, std::span<double> local) const {
        const double own = local[i];
        for (std::size_t j = 0; j < n_; ++j) {
            local[j] += change *
                        (static_cast<double>(matrix_[i * n_ + j]) + static_cast<double>(matrix_[j * n_ + i]));
        }
        local[i] = own;
    }

    // Flips that the last descent may take; a bound only on time.
    std::size_t affordable_flips() const { return n_ * n_; }

private:
    const Real* matrix_;
    std::size_t n_;
};

template <class Real>
class Sparse {
public:
    Sparse(const SparseView<Real>& view, std::size_t /*problem*/) : view_(view) {}

    double add_local_fields(std::span<const double> spins, std::span<double> local, StopToken& token) const {
        token.throw_if_interrupted();
        double trace = 0.0;
        for_each([&](std::size_t i, std::size_t j, double coupling) {
            if (i == j) {
                trace += coupling;
            } else {
                local[i] += coupling * spins[j];
                local[j] += coupling * spins[i];
            }
        });
        return trace;
    }

    // A column of compressed rows is not at hand, so all entries are scanned. The solvers' own descent leaves only
    // those few spins for this one that float32 could not decide, hence the bound on the flips.
    std::size_t affordable_flips() const { return (std::size_t{1} << 27) / (1 + view_.value.size()); }

    void add_row(std::size_t spin, double change, std::span<double> local) const {
        for_each([&](std::size_t i, std::size_t j, double coupling) {
            if (i != j && i == spin) {
                local[j] += change * coupling;
            } else if (i != j && j == spin) {
                local[i] += change * coupling;
            }
        });
    }

private:
    template <class Visit>
    void for_each(const Visit& visit) const {
        for (std::size_t i = 0; i < view_.n; ++i) {
            for (auto k = static_cast<std::size_t>(view_.row_start[i]);
                 k < static_cast<std::size_t>(view_.row_start[i + 1]); ++k) {
                visit(i, static_cast<std::size_t>(view_.column[k]), static_cast<double>(view_.value[k]));
            }
        }
    }

    const SparseView<Real>& view_;
};

template <class Real>
Dense<Real> operations(const DenseView<Real>& view, std::size_t problem) {
    return Dense<Real>(view, problem);
}
template <class Real>
Sparse<Real> operations(const SparseView<Real>& view, std::size_t problem) {
    return Sparse<Real>(view, problem);
}

template <class Operations>
void descend_exactly(const Operations& couplings, double scale, double tolerance, std::span<double> spins,
                     std::span<double> local, StopToken& token) {
    std::size_t left = couplings.affordable_flips();
    bool flipped = true;
    while (flipped) {
        flipped = false;
        for (std::size_t i = 0; i < spins.size(); ++i) {
            if (spins[i] * local[i] > tolerance) {
                if (left-- == 0) {
                    return;
                }
                spins[i] = -spins[i];
                couplings.add_row(i, 2.0 * scale * spins[i], local);
                flipped = true;
                token.throw_if_interrupted();
            }
        }
    }
}

}  // namespace

double finish(const IsingBatch& batch, std::size_t problem, bool descend, std::span<std::int8_t> spins,
              FinishSpace& space, StopToken& token) {
    const std::size_t n = batch.n;
    const auto fields = batch.field(problem);
    const double scale = batch.coupling_scale;
    return std::visit(
        [&](const auto& view) {
            const auto couplings = operations(view, problem);
            const auto energy_of_spins = [&] {
                space.local.assign(n, 0.0);
                const double trace = couplings.add_local_fields(space.spins, space.local, token);
                double energy = 0.0;
                for (std::size_t i = 0; i < n; ++i) {
                    space.local[i] *= scale;
                    energy += space.spins[i] * (fields[i] + 0.5 * space.local[i]);
                    space.local[i] += fields[i];
                }
                return energy + scale * trace + batch.offset[problem];
            };

            space.spins.assign(spins.begin(), spins.end());
            double energy = energy_of_spins();
            if (descend) {
                double largest = 0.0;
                for (const double local : space.local) {
                    largest = std::max(largest, std::fabs(local));
                }
                const double tolerance = 16.0 * std::numeric_limits<double>::epsilon() * largest;
                const auto helps = [&](std::size_t i) { return space.spins[i] * space.local[i] > tolerance; };
                bool any = false;
                for (std::size_t i = 0; i < n && !any; ++i) {
                    any = helps(i);
                }
                if (any) {
                    descend_exactly(couplings, scale, tolerance, space.spins, space.local, token);
                    energy = energy_of_spins();
                    std::ranges::transform(space.spins, spins.begin(),
                                           [](double spin) { return static_cast<std::int8_t>(spin); });
                }
            }
            return energy;
        },
        batch.couplings);
}

std::vector<double> symmetric_couplings(const IsingBatch& batch, std::size_t problem) {
    const std::size_t n = batch.n;
    std::vector<double> couplings(n * n, 0.0);
    std::visit(
        [&](const auto& view) {
            const auto rows = operations(view, problem);
            for (std::size_t i = 0; i < n; ++i) {
                rows.add_row(i, batch.coupling_scale, std::span(couplings).subspan(i * n, n));
            }
        },
        batch.couplings);
    return couplings;
}

}  // namespace qpsbgd
