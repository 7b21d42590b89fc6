// Shows a solve's progress what a group of 64 replicas has found.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "batch/watch.hpp"
#include "qpsbgd/cancellation.hpp"
#include "qpsbgd/problem.hpp"
#include "qpsbgd/solve.hpp"
#include "search/int8/couplings.hpp"
#include "search/int8/replica_group.hpp"

namespace qpsbgd {

// Of a group whose replicas have been assigned, while it lives: at every poll of the budget. Nothing without a progress.
class ReplicasWatch {
public:
    ReplicasWatch(const Int8ReplicaGroup& group, const Int8ReplicaCouplings& couplings,
                  const IsingBatch& batch, const SolveOptions& options, const Evaluate& evaluate,
                  Budget& budget);

    // The best states so far.
    void look();

private:
    void minima();
    void copy(std::size_t lane, std::span<std::int8_t> spins) const;

    const Int8ReplicaGroup& group_;
    double unit_;
    std::size_t n_;
    std::vector<double> all_down_;  // energy of each lane's problem where its gain is 0
    std::vector<std::uint64_t> words_;
    std::optional<Watch> watch_;
};

}  // namespace qpsbgd
