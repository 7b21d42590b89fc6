#include "search/float32/crossover.hpp"

#include <algorithm>

namespace qpsbgd {

SparseCrossover::SparseCrossover(const SparseMatrix& matrix, std::span<const float> fields)
    : matrix_(matrix),
      fields_(fields),
      symmetric_(std::ranges::all_of(fields, [](float field) { return field == 0.0F; })),
      marks_(matrix.n()) {}

// The component of `first`, now seen. Returns the gain of flipping it: the energy falls by twice that.
double SparseCrossover::collect(std::span<const std::int8_t> state, std::size_t first) {
    double gain = 0.0;
    component_.assign(1, static_cast<std::uint32_t>(first));
    marks_[first] = Mark::seen;
    for (std::size_t next = 0; next < component_.size(); ++next) {
        const std::size_t at = component_[next];
        auto outer = static_cast<double>(fields_[at]);
        for (std::size_t k = matrix_.row_start()[at]; k < matrix_.row_start()[at + 1]; ++k) {
            const auto neighbour = static_cast<std::size_t>(matrix_.column()[k]);
            if (marks_[neighbour] == Mark::same) {
                outer += 0.5 * static_cast<double>(matrix_.value()[k]) * state[neighbour];
            } else if (marks_[neighbour] == Mark::unseen) {
                marks_[neighbour] = Mark::seen;
                component_.push_back(static_cast<std::uint32_t>(neighbour));
            }
        }
        gain += outer * state[at];
    }
    return gain;
}

void SparseCrossover::improve(std::span<std::int8_t> state, std::span<const std::int8_t> other,
                              Budget& budget) {
    constexpr std::size_t kSpinsBetweenPolls = std::size_t{1} << 14;
    std::size_t differ = 0;
    for (std::size_t i = 0; i < state.size(); ++i) {
        differ += state[i] != other[i] ? 1 : 0;
    }
    const bool negative = symmetric_ && 2 * differ > state.size();
    for (std::size_t i = 0; i < state.size(); ++i) {
        marks_[i] = (state[i] != other[i]) != negative ? Mark::unseen : Mark::same;
    }
    std::size_t since_poll = 0;
    for (std::size_t first = 0; first < state.size(); ++first) {
        if (marks_[first] != Mark::unseen) {
            continue;
        }
        if (collect(state, first) >= 0.0) {  // at equal energy too: the more typical state leads on
            for (const std::uint32_t at : component_) {
                state[at] = static_cast<std::int8_t>(-state[at]);
            }
        }
        since_poll += component_.size();
        if (since_poll >= kSpinsBetweenPolls) {
            since_poll = 0;
            if (budget.exhausted()) {
                return;
            }
        }
    }
}

}  // namespace qpsbgd
