// The reads of dense problems that one worker searches together, as int16 replicas, and the moves that every search uses.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/aligned.hpp"
#include "base/rng.hpp"
#include "kernels/dense_int16/table.hpp"
#include "qpsbgd/cancellation.hpp"
#include "qpsbgd/solve.hpp"
#include "search/int16/matrix.hpp"
#include "search/int16/replica_group.hpp"

namespace qpsbgd {

// One read of a group.
struct Int16Read {
    const Int16Matrix* matrix = nullptr;
    std::span<const double> fields;
    std::span<const std::int8_t> start;  // spins, or empty for random ones
    std::span<std::int8_t> best;         // the answer
    Random random{0, 0, 0};
    BetaRange beta_range;  // of an annealing run, as used
    std::uint64_t sweeps_done = 0;
};

// Up to kInt16Replicas reads; the memory is reused from group to group. Only reads that share couplings that go in step
// should come in more than kReplicaGroup: what they were made for goes on in step, all else four at a time.
class Int16Group {
public:
    // Where a read without spins of its own starts: anywhere, or where its fields point.
    enum class Start { random, leaning };

    // Takes over the reads, at their starts; gives back their best states.
    void load(std::span<Int16Read> reads, Start start);
    void store(std::span<Int16Read> reads) const;

    std::size_t n() const { return n_; }
    std::size_t size() const { return replicas_.size(); }
    Int16Replica& replica(std::size_t index) { return replicas_[index]; }
    const Int16Matrix& matrix(std::size_t index) const { return *matrices_[index]; }
    std::span<const std::uint32_t> best(std::size_t index) const { return space_[index].best; }
    // Of the best state so far, also while the replicas go in step: its energy in units, its spins.
    double best_energy(std::size_t index) const;
    void best_spins(std::size_t index, std::span<std::int8_t> spins) const;
    // Of the present state, when they do not go in step.
    void spins(std::size_t index, std::span<std::int8_t> spins) const;
    std::span<std::int16_t> scratch(std::size_t index) { return space_[index].scratch; }
    // Memory for temperatures of sweeps to come.
    std::vector<std::uint32_t>& temperatures(std::size_t index) { return space_[index].temperatures; }

    // Mean |L|, in units.
    double mean_field(std::size_t index) const;

    // Steps or flips of one kernel call: some hundred microseconds, so that deadlines and interrupts are noticed.
    std::size_t steps_of_a_call() const;

    // Sweeps by these temperatures, of which the first is next. They have to stay.
    void begin_sweeps(std::size_t index, const std::uint32_t* temperatures);
    // All replicas up to sweep `last` of their temperatures. False when the budget ran out.
    bool run_sweeps(std::size_t last, Budget& budget);
    // Greedy sweeps until none flips.
    void descend(Budget& budget);
    // The same when the time is up already: nothing where it could take more than some milliseconds.
    void complete(StopToken& token);
    // `flips` iterations of tabu search of all replicas, by their tenures.
    void run_tabu(std::size_t flips);
    // Flips every spin in which the state differs from the target.
    void move_to(std::size_t index, std::span<const std::uint32_t> target);

    // Do the reads share couplings that can go in step, and can none of their fields leave the range of int16?
    bool fits_in_step() const;
    // The same replicas side by side, from where they stand; they come back when the step is left.
    Int16ReplicaGroup& enter_step();
    void leave_step();

private:
    // The memory of one replica.
    struct Space {
        AlignedVector<std::int16_t> fields;
        AlignedVector<std::int16_t> local;
        AlignedVector<std::int16_t> scratch;
        std::vector<std::uint32_t> negative;
        std::vector<std::uint32_t> best;
        std::vector<std::uint32_t> temperatures;
    };

    void place(Int16Read& read, Start start, Space& space) const;
    void add_local_fields();
    std::int64_t twice_the_energy(const Space& space) const;

    std::size_t n_ = 0;
    std::size_t stride_ = 0;
    std::vector<Space> space_;  // of the largest group so far
    std::vector<Int16Replica> replicas_;
    std::vector<const Int16Matrix*> matrices_;
    Int16ReplicaGroup in_step_;
    bool goes_in_step_ = false;
};

}  // namespace qpsbgd
