// Exhaustive search for a proven minimum of at most 24 spins.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "kernels/kernel_table.hpp"
#include "qpsbgd/cancellation.hpp"
#include "qpsbgd/problem.hpp"

namespace qpsbgd {

// Scratch memory of one worker; serves any number of problems one after the other.
class ExactSearch {
public:
    explicit ExactSearch(const KernelTable& table = kernels());

    // The spins of a state of lowest energy. False when the budget ran out before that was proven; the spins are then
    // the best seen.
    bool run(const IsingBatch& batch, std::size_t problem, std::span<std::int8_t> spins, Budget& budget);

    // Energy of the spins of the last run, in float64 from the caller's numbers.
    double energy() const;

private:
    template <class Real>
    void load(const DenseView<Real>& view, std::size_t problem, double scale);
    template <class Real>
    void load(const SparseView<Real>& view, std::size_t problem, double scale);
    void bring_into_range();
    void quantise();
    void try_unit(double units_per_energy);
    void descend();
    std::uint64_t visit_table();
    double energy_of(std::uint64_t state) const;
    std::int32_t limit() const;

    const ExactKernels& kernels_;
    std::unique_ptr<ExactTables> tables_;
    std::size_t n_ = 0;
    double coupling_[kExactSpins][kExactSpins] = {};  // S, symmetric, zero diagonal
    double field_[kExactSpins] = {};
    int exponent_ =
        0;  // coupling_, field_ and best_energy_ are the caller's, times two to the power of minus this
    double scale_ = 1.0;     // int16 units per unit of energy
    double error_ = 0.0;     // bound on what rounding to int16 changes any state's energy by, in int16 units
    double constant_ = 0.0;  // trace and offset
    double best_energy_ = 0.0;
    std::uint64_t best_state_ = 0;  // bit i is set when spin i is +1
};

}  // namespace qpsbgd
