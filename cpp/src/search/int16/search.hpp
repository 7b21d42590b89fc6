// Searches of dense problems in int16. What a read's answer is does not depend on the group of reads that it is worked
// on with.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "base/aligned.hpp"
#include "base/rng.hpp"
#include "base/schedule.hpp"
#include "kernels/dense_int16/table.hpp"
#include "qpsbgd/cancellation.hpp"
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

// Searches up to kInt16Replicas reads; its memory is reused from group to group. Only reads that share couplings that go in step
// should come in more than kReplicaGroup: what they were made for goes on in step, all else four at a time.
class Int16Search {
public:
    // Without `sweeps`: a default, or with a deadline replica exchange between the reads of one problem where these are
    // in step, else ever longer runs from new states, until the time is up.
    void anneal(std::span<Int16Read> reads, std::optional<BetaRange> range, std::optional<std::size_t> sweeps,
                Budget& budget);
    void tabu(std::span<Int16Read> reads, std::optional<std::size_t> sweeps, Budget& budget);

private:
    // The memory of one replica.
    struct Space {
        AlignedVector<std::int16_t> fields;
        AlignedVector<std::int16_t> local;
        AlignedVector<std::int16_t> scratch;
        std::vector<std::uint32_t> negative;
        std::vector<std::uint32_t> best;
        std::vector<std::uint32_t> temperatures;
        double typical_field = 0.0;  // mean |L| of a local minimum, in units
    };

    // Where a read without spins of its own starts: anywhere, or where its fields point.
    enum class Start { random, leaning };

    void begin(std::span<Int16Read> reads, Start start);
    void end(std::span<Int16Read> reads);
    void run_schedule(std::span<Int16Read> reads, std::size_t sweeps, Budget& budget);
    void add_local_fields();
    bool run_sweeps(std::size_t last, Budget& budget);
    bool run_in_step(std::size_t sweeps, Budget& budget);
    void leave_step();
    bool fits_in_step() const;
    void exchange(std::span<Int16Read> reads, Budget& budget);
    bool can_exchange(std::span<const Int16Read> reads) const;
    void descend(Budget& budget);
    void move_to(std::size_t index, std::span<const std::uint32_t> target);
    void perturb_best(std::size_t index, Random& random);
    void set_tenure(std::size_t index, std::uint32_t factor);
    double mean_field(std::size_t index) const;

    std::size_t n_ = 0;
    std::size_t stride_ = 0;
    std::size_t count_ = 0;
    std::vector<Space> space_;
    std::vector<Int16Replica> replicas_;
    std::vector<const Int16Matrix*> matrices_;
    Int16ReplicaGroup in_step_;
    std::vector<std::uint32_t> target_;
};

}  // namespace qpsbgd
