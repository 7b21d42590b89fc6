// Annealing of sparse problems with small-integer couplings, 64 replicas at a time (see kernels/sparse_int8/table.hpp).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/aligned.hpp"
#include "base/rng.hpp"
#include "base/schedule.hpp"
#include "kernels/kernel_table.hpp"
#include "qpsbgd/cancellation.hpp"
#include "qpsbgd/problem.hpp"
#include "search/int8/couplings.hpp"

namespace qpsbgd {

// One read of one problem.
struct ReplicaId {
    std::size_t problem;
    std::size_t read;
};

// Up to 64 replicas that one worker anneals together. About 80 n bytes, or 24 n where bits serve.
class Int8ReplicaGroup {
public:
    explicit Int8ReplicaGroup(const Int8ReplicaCouplings& couplings, const KernelTable& table = kernels());

    // New replicas, each with its random stream.
    void assign(std::span<const ReplicaId> replicas, std::uint64_t seed, std::uint64_t first_problem);

    // Puts every replica into its initial state or, where the batch gives none, into a random one. What was the best
    // state before remains so.
    void start(const IsingBatch& batch);
    void start_randomly();

    // Greedy passes until no flip helps in any replica.
    void descend(Budget& budget);

    // One annealing run from the present states; ends in local minima. At most `sweeps` sweeps.
    void anneal(BetaRange range, std::size_t sweeps, Budget& budget);

    // The sweeps of such a run alone: no state is kept, and they end where they are. False when the budget ran out.
    bool cool(BetaRange range, std::size_t sweeps, Budget& budget);

    // Greedy passes until no flip helps, whatever the time: far less work than the sweeps.
    void settle(StopToken& token);
    // The gain of the present state over the one with all spins -1, after `settle`.
    std::int32_t gain(std::size_t lane) const { return gain_[lane]; }

    // All states as bits in the order of the sweep, replica after replica.
    void set_states(std::span<const std::uint64_t> words);
    void states(std::vector<std::uint64_t>& words) const;

    std::span<const ReplicaId> replicas() const { return replicas_; }
    std::uint64_t sweeps_done() const { return sweeps_done_; }  // over all replicas
    double mean_field(std::size_t lane) const;                  // mean |L| in units of energy
    std::int32_t best_gain(std::size_t lane) const { return best_gain_[lane]; }

    // Best spins of all replicas as bits, replica after replica, (n + 63) / 64 words each.
    void best_bits(std::vector<std::uint64_t>& words) const;
    // Present spins, likewise.
    void bits(std::vector<std::uint64_t>& words) const;

private:
    void pass_greedily(Budget& budget);
    void raise(const std::uint64_t* target);
    void set_targets(std::span<const std::uint64_t> words);
    template <class Look>
    bool sweep(BetaRange range, std::size_t sweeps, Budget& budget, const Look& look);
    void keep_best();
    void count_gain();
    std::uint64_t active_lanes() const;
    void lane_bits(const std::uint64_t* up, std::size_t stride, std::vector<std::uint64_t>& words) const;
    template <class Chunk>
    bool in_chunks(Budget& budget, const Chunk& chunk) const;

    const Int8ReplicaCouplings& couplings_;
    const SparseInt8Kernels& kernels_;
    const SparseBitsKernels& bit_kernels_;
    std::vector<ReplicaId> replicas_;
    std::vector<Random> streams_;
    AlignedVector<std::int8_t> local_;
    AlignedVector<std::uint64_t> up_;
    AlignedVector<std::uint64_t> best_;
    AlignedVector<std::uint64_t> random_;
    AlignedVector<std::int32_t> gain_;
    AlignedVector<std::int32_t> best_gain_;
    std::uint64_t sweeps_done_ = 0;
    Int8Replicas bytes_{};
    BitReplicas bits_{};
};

}  // namespace qpsbgd
