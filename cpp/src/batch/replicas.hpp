// A batch of sparse problems as groups of 64 replicas.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>

#include "batch/watch.hpp"
#include "qpsbgd/cancellation.hpp"
#include "qpsbgd/problem.hpp"
#include "qpsbgd/solve.hpp"
#include "search/int8/couplings.hpp"
#include "search/int8/replica_group.hpp"

namespace qpsbgd {

struct ReplicaReport {
    std::optional<BetaRange> beta_range;  // of the first problem
    std::uint64_t sweeps = 0;
};

// Do groups of replicas serve this batch better than one read after the other?
bool replicas_pay(const IsingBatch& batch, const SolveOptions& options);

// What a worker evaluates states with, where the progress is watched.
using EvaluateOf = std::function<const Evaluate&(std::size_t worker)>;

// Completes some answers whose spins are known.
using FinishReplicas = std::function<void(std::size_t worker, std::span<const ReplicaId>)>;

// Anneals the batch into the spins of `samples`; calls `finish` for those that are ready. Nothing, and
// nothing done, where a spin may rise further than the tables of acceptance reach: a hub at a high temperature.
std::optional<ReplicaReport> anneal_replicas(const Int8ReplicaCouplings& couplings, const IsingBatch& batch,
                                             const SolveOptions& options, std::size_t sweeps,
                                             std::span<std::int8_t> samples, const FinishReplicas& finish,
                                             const EvaluateOf& evaluate, StopToken& token);

}  // namespace qpsbgd
