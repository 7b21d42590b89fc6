// Shows a solve's progress what reads under way have found, at the polls of their search.
//
// Searches know energies in their own units and to their own precision. So a state that seems to be news is copied,
// improved to a local minimum and evaluated by the last step of every read (batch/finish.hpp), on the caller's numbers.
// That costs a pass over the couplings, and is done after at least twenty times as long without it, unless the state
// seems to reach its target or different states are wanted.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <span>
#include <utility>
#include <vector>

#include "qpsbgd/cancellation.hpp"
#include "qpsbgd/problem.hpp"
#include "qpsbgd/progress.hpp"

namespace qpsbgd {

// Improves a problem's spins to a local minimum; the energy.
using Evaluate = std::function<double(std::size_t problem, std::span<std::int8_t> spins)>;

class Watch {
public:
    // Of `reads` reads of problems of n spins that one worker searches together.
    Watch(Progress& progress, StopToken& token, const Evaluate& evaluate, std::size_t n, std::size_t reads)
        : progress_(progress),
          token_(token),
          evaluate_(evaluate),
          spins_(n),
          shown_(reads, std::numeric_limits<double>::infinity()) {}

    // The best state of read `index` has about this energy; copy(spins) gives it.
    template <class Copy>
    void look(std::size_t index, std::size_t problem, double energy, const Copy& copy) {
        if (energy < shown_[index] && matters(problem, energy)) {
            shown_[index] = energy;
            copy(std::span(spins_));
            show(problem);
        }
    }

    // A read stands at a local minimum: news only where different states are wanted.
    template <class Copy>
    void minimum(std::size_t problem, const Copy& copy) {
        if (progress_.wanted() != 0) {
            copy(std::span(spins_));
            show(problem);
        }
    }

private:
    bool matters(std::size_t problem, double energy) const;
    void show(std::size_t problem);

    Progress& progress_;
    StopToken& token_;
    const Evaluate& evaluate_;
    std::vector<std::int8_t> spins_;
    std::vector<double> shown_;  // energy of each read's state that was shown last
    Clock::time_point next_ = Clock::now();
};

// What a search's energies, which know neither diagonal nor offset, lack.
double constant_of(const IsingBatch& batch, std::size_t problem);

// Energy of a state by the definition. One pass over the couplings.
double energy_of_state(const IsingBatch& batch, std::size_t problem, std::span<const std::int8_t> spins);

// Energy of the state with all spins -1.
double energy_of_all_down(const IsingBatch& batch, std::size_t problem);

}  // namespace qpsbgd
