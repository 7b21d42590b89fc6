// Annealing of sparse problems with small-integer couplings, 64 replicas at a time (see kernels/sparse8.hpp).
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "base/aligned.hpp"
#include "qpsbgd/cancellation.hpp"
#include "kernels/kernel_table.hpp"
#include "search/float32/matrices.hpp"
#include "qpsbgd/problem.hpp"
#include "base/rng.hpp"
#include "base/schedule.hpp"
#include "qpsbgd/solve.hpp"

namespace qpsbgd {

inline constexpr std::size_t kWordBits = 64;

// Words of one bit a spin.
inline std::size_t words_of(std::size_t n) { return (n + kWordBits - 1) / kWordBits; }

// Couplings and fields of a batch as small integers, in the order of the sweep.
class ReplicaCouplings {
public:
    // Nothing when no common unit makes integers of all couplings and fields with every local field within +-254.
    // `by_bits`: where possible local fields are counted from bits, which is faster and gives the same results.
    static std::optional<ReplicaCouplings> make(const SparseMatrix& matrix, const IsingBatch& batch,
                                                StopToken& token, bool by_bits = true);

    std::size_t n() const { return order_.size(); }
    double unit() const { return unit_; }         // of energy
    int reach() const { return reach_; }          // largest local field of spins that are no hubs
    int hub_reach() const { return hub_reach_; }  // of all

    // Spin at each position of the sweep.
    std::span<const std::uint32_t> order() const { return order_; }
    // For int8 local fields.
    std::span<const std::uint32_t> row_start() const { return row_start_; }
    std::span<const Edge8> edges() const { return edges_; }
    const std::int8_t* weights() const { return weights_.data(); }
    const std::int8_t* halved() const { return halved_.empty() ? nullptr : halved_.data(); }

    // For local fields counted from bits; the degree is 0 where that is not possible.
    std::size_t degree() const { return degree_; }
    std::span<const std::uint32_t> word_edges() const { return word_edges_; }
    std::span<const std::uint32_t> bonds() const { return bonds_; }
    std::int32_t negative_bonds() const { return negative_bonds_; }

    // Vector operations of one sweep, roughly.
    std::size_t work() const { return 4 * n() + std::max(edges_.size(), word_edges_.size()); }

    // Local fields of a problem beside spins all -1, at each position, as they are stored.
    std::span<const std::int8_t> base(std::size_t problem) const {
        return std::span(base_).subspan(problem * n(), n());
    }

private:
    ReplicaCouplings() = default;
    void sort_spins(const SparseMatrix& matrix);
    bool countable(const SparseMatrix& matrix, const IsingBatch& batch);
    void add_bytes(const SparseMatrix& matrix, std::span<const std::uint32_t> position);
    void add_bits(const SparseMatrix& matrix, std::span<const std::uint32_t> position);
    int coupling(float value, const SparseMatrix& matrix) const;

    double unit_ = 1.0;
    int reach_ = 1;
    int hub_reach_ = 1;
    std::vector<std::uint32_t> order_;
    std::vector<std::uint32_t> row_start_;
    std::vector<Edge8> edges_;
    AlignedVector<std::int8_t> weights_;
    std::vector<std::int8_t> base_;  // problems x n
    std::vector<std::int8_t> halved_;
    std::size_t degree_ = 0;
    std::vector<std::uint32_t> word_edges_;
    std::vector<std::uint32_t> bonds_;
    std::int32_t negative_bonds_ = 0;
};

// Tables of c for one temperature.
class AcceptanceTable {
public:
    // A rise of s L by one unit is accepted with probability `ratio`, one by r units with its r-th power.
    void fill(double ratio, int reach);

    Acceptance8 of_sweep(std::size_t sweep) const { return {entries_, parts_, 27 * sweep}; }

private:
    alignas(64) std::uint8_t entries_[kDithers * kMostTableParts * kTableWidth] = {};
    std::size_t parts_ = 1;
};

// One read of one problem.
struct ReplicaId {
    std::size_t problem;
    std::size_t read;
};

// Up to 64 replicas that one worker anneals together. About 80 n bytes, or 24 n where bits serve.
class ReplicaGroup {
public:
    explicit ReplicaGroup(const ReplicaCouplings& couplings, const KernelTable& table = kernels());

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

    std::span<const ReplicaId> replicas() const { return replicas_; }
    std::uint64_t sweeps_done() const { return sweeps_done_; }  // over all replicas
    double mean_field(std::size_t lane) const;                  // mean |L| in units of energy
    std::int32_t best_gain(std::size_t lane) const { return best_gain_[lane]; }

    // Best spins of all replicas as bits, replica after replica, (n + 63) / 64 words each.
    void best_bits(std::vector<std::uint64_t>& words) const;

private:
    void raise(const std::uint64_t* target);
    void set_targets(std::span<const std::uint64_t> words);
    void keep_best();
    void count_gain();
    std::uint64_t active_lanes() const;
    template <class Chunk>
    bool in_chunks(Budget& budget, const Chunk& chunk) const;

    const ReplicaCouplings& couplings_;
    const Sparse8Kernels& kernels_;
    std::vector<ReplicaId> replicas_;
    std::vector<Random> streams_;
    AlignedVector<std::int8_t> local_;
    AlignedVector<std::uint64_t> up_;
    AlignedVector<std::uint64_t> best_;
    AlignedVector<std::uint64_t> random_;
    AlignedVector<std::int32_t> gain_;
    AlignedVector<std::int32_t> best_gain_;
    std::uint64_t sweeps_done_ = 0;
    Replicas8 bytes_{};
    Replicas1 bits_{};
};

struct ReplicaReport {
    std::optional<BetaRange> beta_range;  // of the first problem
    std::uint64_t sweeps = 0;
};

// Do groups of replicas serve this batch better than one read after the other?
bool replicas_pay(const IsingBatch& batch, const SolveOptions& options);

// Anneals the batch into the spins of `samples`; calls finish(worker, problem, read) for each as it is ready.
ReplicaReport anneal_replicas(const ReplicaCouplings& couplings, const IsingBatch& batch,
                              const SolveOptions& options, std::size_t sweeps, std::span<std::int8_t> samples,
                              const std::function<void(std::size_t, std::size_t, std::size_t)>& finish,
                              StopToken& token);

}  // namespace qpsbgd
