// Dense couplings in int16.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "base/aligned.hpp"
#include "qpsbgd/cancellation.hpp"
#include "search/int16/replica_group.hpp"
#include "search/symmetric_rows.hpp"

namespace qpsbgd {

inline constexpr double kInt16Range = 32767.0;

// May local fields far above those of random states saturate, in favour of finer units?
enum class Saturation { allowed, avoided };

class Int16Matrix {
public:
    // Nothing when int16 does not hold the couplings well enough, or the budget runs out first. The rule: rows whose root-mean-square differs by more
    // than a factor of 32 need more digits than int16 has, unless all couplings are exact multiples of the unit.
    // The unit is the finest power of two in which every sum of couplings fits, where it divides every coupling; else
    // such that local fields of four times the largest row's root-mean-square fit; where saturation is to be avoided and
    // that enlarges the unit no more than five times, those of any state. 2 n^2 bytes.
    static std::optional<Int16Matrix> make(const SymmetricRows& rows, double scale, Saturation saturation,
                                           Budget& budget);

    // Do these fields leave room for the couplings? |h_i| of 28000 units is the most.
    bool holds(std::span<const double> fields) const;

    std::size_t n() const { return n_; }
    std::size_t stride() const { return stride_; }
    double unit() const { return unit_; }
    // Of the rows' sums of S_ij s_j over random spins, in units.
    double root_mean_square() const { return root_mean_square_; }
    // At least what the |S_ij| of any row add up to, in units.
    double largest_sum() const { return largest_sum_; }
    const std::int16_t* couplings() const { return values_.data(); }

    // What groups of more than kReplicaGroup reads are annealed with, where the machine has kernels for it and a row's
    // couplings never saturate.
    void prepare_in_step();
    const Int16ReplicaCouplings* in_step() const { return in_step_ ? &*in_step_ : nullptr; }

private:
    Int16Matrix(std::size_t n, double unit);

    std::size_t n_;
    std::size_t stride_;
    double unit_;
    double root_mean_square_ = 0.0;
    double largest_sum_ = 0.0;
    AlignedVector<std::int16_t> values_;
    std::optional<Int16ReplicaCouplings> in_step_;
};

}  // namespace qpsbgd
