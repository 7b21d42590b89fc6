// Partition crossover of two states of a sparse problem with couplings of any size: the better of both in every region
// where they differ.
//
// The spins in which two states differ fall into connected components. Nothing couples two components, so each is taken or
// left by its own change of the energy; search/int8/crossover.hpp has the source.
// Cost: n comparisons, and the couplings of the spins that differ.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "qpsbgd/cancellation.hpp"
#include "search/float32/matrices.hpp"

namespace qpsbgd {

class SparseCrossover {
public:
    // The fields stand in the matrix's units; both have to stay.
    SparseCrossover(const SparseMatrix& matrix, std::span<const float> fields);

    // Takes from `other` every component whose flip does not raise the energy of `state`. Without fields the negative of a
    // state is as good: the closer of the two is taken. With the budget exhausted the components left stay as they are.
    void improve(std::span<std::int8_t> state, std::span<const std::int8_t> other, Budget& budget);

private:
    enum class Mark : std::uint8_t { same, unseen, seen };

    double collect(std::span<const std::int8_t> state, std::size_t first);

    const SparseMatrix& matrix_;
    std::span<const float> fields_;
    bool symmetric_;
    std::vector<Mark> marks_;
    std::vector<std::uint32_t> component_;
};

}  // namespace qpsbgd
