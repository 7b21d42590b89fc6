// Exhaustive search in two precisions.
//
// All 2^n states are visited in int16: for each state of the outer spins, in Gray code order, the energies of the 256
// states of the inner 8 spins lie in one table that a flip of an outer spin updates by one vector addition (see
// kernels/exact/table.hpp). Rounding the coefficients to int16 changes no energy by more than `error_` units, so only states
// within that distance of the best one can be better, and only these are evaluated in float64. The answer is a proof
// up to float64 rounding, and rests on integers alone when the coefficients are multiples of a common unit.
// Without fields the last spin stays -1: s and -s have the same energy.
// Of states with equal energy the first found is returned: that of a descent from all spins -1, or the first visited.
//
// Cost: 2^n / 256 table updates of about 14 cycles (AVX-512). No allocation after construction.
#include "search/exact/search.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <stdexcept>
#include <variant>

#include "base/rounding.hpp"

namespace qpsbgd {
namespace {

// Two energies closer than this many int16 units are equal: below the rounding error of the float64 sums.
constexpr double kTie = 1e-9;
constexpr std::uint64_t kStepsBetweenPolls = std::uint64_t{1} << 14;  // about a tenth of a millisecond
constexpr std::uint64_t kStepsOfHaste = std::uint64_t{1} << 12;  // that are taken even when the time is up
constexpr std::uint64_t kEnergyInSteps = 8;  // what an energy in float64 costs, in steps through the tables
constexpr int kOrdinary =
    900;  // energies of up to this power of two, and of its inverse, are worked on as they are

}  // namespace

ExactSearch::ExactSearch(const KernelTable& table)
    : kernels_(table.exact), tables_(std::make_unique<ExactTables>()) {}

template <class Real>
void ExactSearch::load(const DenseView<Real>& view, std::size_t problem, double scale) {
    const Real* matrix = view.matrix(problem);
    for (std::size_t i = 0; i < n_; ++i) {
        for (std::size_t j = 0; j < i; ++j) {
            const double coupling =
                scale * (static_cast<double>(matrix[i * n_ + j]) + static_cast<double>(matrix[j * n_ + i]));
            coupling_[i][j] = coupling;
            coupling_[j][i] = coupling;
        }
        coupling_[i][i] = 0.0;
        constant_ += scale * static_cast<double>(matrix[i * n_ + i]);
    }
}

template <class Real>
void ExactSearch::load(const SparseView<Real>& view, std::size_t /*problem*/, double scale) {
    for (std::size_t i = 0; i < n_; ++i) {
        std::fill_n(coupling_[i], n_, 0.0);
    }
    for (std::size_t i = 0; i < n_; ++i) {
        for (auto k = static_cast<std::size_t>(view.row_start[i]);
             k < static_cast<std::size_t>(view.row_start[i + 1]); ++k) {
            const auto j = static_cast<std::size_t>(view.column[k]);
            const double coupling = scale * static_cast<double>(view.value[k]);
            if (i != j) {
                coupling_[i][j] += coupling;
                coupling_[j][i] += coupling;
            } else {
                constant_ += coupling;
            }
        }
    }
}

// Near the ends of float64's range a scale that brings coefficients to int16 is no float64 number, and tiny ones keep few
// bits. Such problems are solved in another power of two, which `energy` takes back.
void ExactSearch::bring_into_range() {
    double largest = 0.0;
    for (std::size_t i = 0; i < n_; ++i) {
        largest = std::max(largest, std::fabs(field_[i]));
        for (std::size_t j = 0; j < i; ++j) {
            largest = std::max(largest, std::fabs(coupling_[i][j]));
        }
    }
    exponent_ = 0;
    if (largest == 0.0 || !std::isfinite(largest) || std::abs(std::ilogb(largest)) <= kOrdinary) {
        return;
    }
    exponent_ = std::ilogb(largest);
    for (std::size_t i = 0; i < n_; ++i) {
        field_[i] = std::ldexp(field_[i], -exponent_);
        for (std::size_t j = 0; j < n_; ++j) {
            coupling_[i][j] = std::ldexp(coupling_[i][j], -exponent_);
        }
    }
}

double ExactSearch::energy() const {
    return (exponent_ == 0 ? best_energy_ : std::ldexp(best_energy_, exponent_)) + constant_;
}

// Rounds to int16 at this scale and measures the error.
void ExactSearch::try_unit(double units_per_energy) {
    scale_ = units_per_energy;
    error_ = 0.0;
    const auto rounded = [&](double value, double& error) {
        constexpr double kMost = 32767.0;
        const double scaled = value * scale_;
        const double within = scaled < kMost ? (scaled > -kMost ? scaled : -kMost) : kMost;
        const double integer = nearest_integer(within);
        error +=
            std::fabs(integer - scaled);  // what does not fit is an error too, or a wrong state were proven
        return static_cast<std::int16_t>(static_cast<std::int32_t>(integer));
    };
    for (std::size_t i = 0; i < n_; ++i) {
        double error = 0.0;  // one sum a row: the processor works on several at once
        tables_->field[i] = rounded(field_[i], error);
        for (std::size_t j = 0; j < i; ++j) {
            const std::int16_t coupling = rounded(coupling_[i][j], error);
            tables_->coupling[i][j] = coupling;
            tables_->coupling[j][i] = coupling;
        }
        error_ += error;
    }
}

void ExactSearch::quantise() {
    double sum = 0.0;
    double least = std::numeric_limits<double>::infinity();
    for (std::size_t i = 0; i < n_; ++i) {
        double row_sum = 0.0;
        const auto add = [&](double value) {
            const double size = std::fabs(value);
            row_sum += size;
            least = size > 0.0 && size < least ? size : least;
        };
        add(field_[i]);
        for (std::size_t j = 0; j < i; ++j) {
            add(coupling_[i][j]);
        }
        sum += row_sum;
    }
    if (!std::isfinite(sum)) {
        throw std::domain_error("an energy overflows float64: h or J is too large");
    }
    if (sum == 0.0) {
        try_unit(1.0);
        return;
    }
    // Rounding may add half a unit to every coefficient.
    const double most = 32766.0 - 0.25 * static_cast<double>(n_ * (n_ + 1));
    const double power_of_two = std::ldexp(1.0, std::clamp(std::ilogb(most / sum), -1000, 1000));
    try_unit(power_of_two);
    if (error_ == 0.0) {
        return;
    }
    // Decimal fractions are often multiples of the smallest one.
    const double multiple = std::floor(most / sum * least);
    if (multiple >= 1.0 && std::isfinite(multiple / least)) {
        try_unit(multiple / least);
        if (error_ <= kTie) {
            return;
        }
        try_unit(power_of_two);
    }
}

double ExactSearch::energy_of(std::uint64_t state) const {
    double spins[kExactSpins];
    double energy = 0.0;
    for (std::size_t i = 0; i < n_; ++i) {
        spins[i] = ((state >> i) & 1) != 0 ? 1.0 : -1.0;
        double local = field_[i];
        for (std::size_t j = 0; j < i; ++j) {
            local += spins[j] * coupling_[i][j];
        }
        energy += spins[i] * local;
    }
    return energy;
}

// The highest int16 energy at which a state can still be better than the best.
std::int32_t ExactSearch::limit() const {
    const double bound = best_energy_ * scale_ + error_ - kTie;
    constexpr double kHighest = std::numeric_limits<std::int16_t>::max();
    return static_cast<std::int32_t>(std::min(std::ceil(bound) - 1.0, kHighest));
}

// A local minimum to begin with, so that few tables have to be looked at.
void ExactSearch::descend() {
    double spins[kExactSpins];
    double local[kExactSpins];
    std::uint64_t state = 0;
    for (std::size_t i = 0; i < n_; ++i) {
        double sum = field_[i];
        for (std::size_t j = 0; j < n_; ++j) {
            sum -= coupling_[i][j];
        }
        spins[i] = -1.0;
        local[i] = sum;
    }
    constexpr int kPasses = 8;  // rounding must not make it run for ever
    bool flipped = true;
    for (int pass = 0; pass < kPasses && flipped; ++pass) {
        flipped = false;
        for (std::size_t i = 0; i < n_; ++i) {
            if (spins[i] * local[i] > 0.0) {
                const double change = -2.0 * spins[i];
                for (std::size_t j = 0; j < n_; ++j) {
                    local[j] += change * coupling_[i][j];
                }
                spins[i] = -spins[i];
                state ^= std::uint64_t{1} << i;
                flipped = true;
            }
        }
    }
    best_state_ = state;
    best_energy_ = energy_of(state);
}

// Looks for better states among the 256 of the present table; the number of them that it had to evaluate.
std::uint64_t ExactSearch::visit_table() {
    const std::uint64_t outer = static_cast<std::uint64_t>(tables_->outer_up) << kInnerSpins;
    const std::size_t states = std::size_t{1} << std::min(n_, kInnerSpins);  // those beyond only repeat them
    std::uint64_t evaluated = 0;
    for (std::size_t inner = 0;; ++inner) {
        inner = kernels_.find(*tables_, inner, limit());
        if (inner >= states) {
            return evaluated;
        }
        ++evaluated;
        const double energy = energy_of(outer | inner);
        if (energy < best_energy_) {
            best_energy_ = energy;
            best_state_ = outer | inner;
        }
    }
}

bool ExactSearch::run(const IsingBatch& batch, std::size_t problem, std::span<std::int8_t> spins,
                      Budget& budget) {
    if (batch.n != n_) {
        *tables_ = {};  // what lies beyond the n spins stays zero
        n_ = batch.n;
    }
    constant_ = batch.offset[problem];
    std::visit([&](const auto& view) { load(view, problem, batch.coupling_scale); }, batch.couplings);
    std::ranges::copy(batch.field(problem), field_);
    bring_into_range();
    quantise();
    kernels_.prepare(*tables_, n_);

    descend();
    std::size_t outer = n_ > kInnerSpins ? n_ - kInnerSpins : 0;
    const bool symmetric = std::all_of(field_, field_ + n_, [](double field) { return field == 0.0; });
    if (symmetric && outer > 0) {
        --outer;
    }
    const std::uint64_t steps = std::uint64_t{1} << outer;
    bool proven = steps < kStepsOfHaste || !budget.exhausted();
    std::uint64_t done =
        0;  // work since the last poll, in steps: where rounding decides little, energies are most of it
    for (std::uint64_t step = 0; step < steps && proven;) {
        const std::uint64_t end = std::min(steps, step + kStepsBetweenPolls);
        const std::uint64_t found = kernels_.advance(*tables_, step, end, limit());
        done += found - step;
        step = found;
        if (found < end) {
            done += 1 + kEnergyInSteps * visit_table();
            ++step;
        }
        if (done >= kStepsBetweenPolls) {
            done = 0;
            if (step < steps && budget.exhausted()) {
                proven = false;
            }
        }
    }
    for (std::size_t i = 0; i < n_; ++i) {
        spins[i] = ((best_state_ >> i) & 1) != 0 ? std::int8_t{1} : std::int8_t{-1};
    }
    return proven;
}

}  // namespace qpsbgd
