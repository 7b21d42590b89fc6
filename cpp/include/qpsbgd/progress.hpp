// What a solve has found so far: the lowest energies, when they came, and the best different states.
//
// Workers record states with their exact energies; any thread may read the lowest energies meanwhile. A state that is
// no news costs one comparison.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <map>
#include <mutex>
#include <set>
#include <span>
#include <utility>
#include <vector>

#include "qpsbgd/cancellation.hpp"

namespace qpsbgd {

// An energy below all before it.
struct NewBest {
    double seconds;  // since the solve began
    double energy;
};

class Progress {
public:
    // `targets`: the energy that is low enough, of each problem, or none. `wanted`: different states to keep of each
    // problem beside its best.
    Progress(std::size_t problems, std::vector<double> targets, std::size_t wanted);

    // Starts the clock.
    void begin() { begin_ = Clock::now(); }

    // From now on problem 0 is this one of the batch. While no worker runs.
    void set_first(std::size_t problem) { first_ = problem; }

    // `listener` gets every state that is the best so far, one after the other, from any thread.
    void tell(std::function<void(std::span<const std::int8_t>)> listener) { listener_ = std::move(listener); }

    // A state and its exact energy.
    void record(std::size_t problem, double energy, std::span<const std::int8_t> spins);

    double best_energy(std::size_t problem) const {
        return best_[first_ + problem].load(std::memory_order_relaxed);
    }

    // Has every problem reached its target? False where there are none.
    bool reached() const { return !targets_.empty() && missing_.load(std::memory_order_relaxed) == 0; }
    // Is this problem's target still to be reached, and this energy as low?
    bool would_reach(std::size_t problem, double energy) const {
        return !targets_.empty() && energy <= targets_[first_ + problem] &&
               best_energy(problem) > targets_[first_ + problem];
    }
    bool has_targets() const { return !targets_.empty(); }
    std::size_t wanted() const { return wanted_; }

    // Once all workers are done: the best state, its predecessors, and the states kept, best first.
    std::span<const std::int8_t> best_spins(std::size_t problem) const {
        return found_[first_ + problem].best;
    }
    std::span<const NewBest> trace(std::size_t problem) const { return found_[first_ + problem].trace; }
    std::size_t kept(std::size_t problem) const { return found_[first_ + problem].order.size(); }
    // The first states of those kept: spins into `spins`, energies into `energies`, as many as it has room for.
    void copy_kept(std::size_t problem, std::span<std::int8_t> spins, std::span<double> energies) const;

private:
    using Bits = std::vector<std::uint64_t>;

    struct Found {
        std::vector<NewBest> trace;
        std::vector<std::int8_t> best;
        std::map<Bits, double> states;  // one entry a state, whatever rounding makes of its energy
        std::set<std::pair<double, const Bits*>> order;
        std::mutex mutex;
    };

    void keep(Found& found, double energy, std::span<const std::int8_t> spins) const;

    std::vector<double> targets_;
    std::size_t wanted_;
    std::size_t first_ = 0;
    std::vector<Found> found_;
    std::vector<std::atomic<double>> best_;
    std::vector<std::atomic<double>> worst_kept_;  // states of at least this energy are not kept
    std::atomic<std::size_t> missing_;
    Clock::time_point begin_ = Clock::now();
    std::function<void(std::span<const std::int8_t>)> listener_;
};

}  // namespace qpsbgd
