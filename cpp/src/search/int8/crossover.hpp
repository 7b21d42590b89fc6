// Partition crossover of two states of a sparse problem: the better of both in every region where they differ.
//
// The spins in which two states differ fall into connected components. Nothing couples two components, so flipping one
// changes the energy by the same amount whatever the others do. The child takes every component that lowers the energy:
// of the 2^c children that mix c components it is the best, and never above either parent.
//
// Source: D. Whitley, F. Chicano and B. Goldman, Gray box optimization for Mk landscapes (2016); as a move between
// replicas J. Houdayer, A cluster Monte Carlo algorithm for 2-dimensional spin glasses (2001).
// Cost: n / 64 words, and the couplings of the spins that differ.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "qpsbgd/cancellation.hpp"
#include "search/int8/couplings.hpp"

namespace qpsbgd {

// States are bits, set for +1, in the order of the sweep.
class PartitionCrossover {
public:
    explicit PartitionCrossover(const Int8ReplicaCouplings& couplings);

    // Takes from `other` every component whose flip does not raise the energy of `state`, then flips single spins beside them
    // while that lowers it. Both states are local minima, and so is the child. Returns the gain: the energy falls by twice as
    // many units. With the budget exhausted the components left stay as they are.
    std::int64_t improve(std::span<std::uint64_t> state, std::span<const std::uint64_t> other,
                         std::size_t problem, Budget& budget);

    // The gain from the state with all spins -1.
    std::int64_t gain_of(std::span<const std::uint64_t> state, std::size_t problem) const;

    std::size_t n() const { return row_start_.size() - 1; }

    // Is the negative of every state as good as the state itself?
    bool symmetric() const { return symmetric_; }

private:
    struct Coupling {
        std::uint32_t neighbour;
        std::int32_t strength;
    };

    std::span<const Coupling> couplings_of(std::size_t at) const {
        return std::span(couplings_).subspan(row_start_[at], row_start_[at + 1] - row_start_[at]);
    }
    int local_field(std::span<const std::uint64_t> state, std::size_t at, std::size_t problem) const;
    std::int64_t collect(std::span<const std::uint64_t> state, std::size_t first, std::size_t problem);
    void flip_component(std::span<std::uint64_t> state);
    std::int64_t settle(std::span<std::uint64_t> state, std::size_t problem);

    std::vector<std::size_t> row_start_;
    std::vector<Coupling> couplings_;
    std::vector<std::int16_t> fields_;  // problems x n
    bool symmetric_ = true;
    std::vector<std::uint64_t> differ_;
    std::vector<std::uint64_t> unseen_;
    std::vector<std::uint32_t> component_;
    std::vector<std::uint32_t> rim_;
};

}  // namespace qpsbgd
