#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "qpsbgd/cancellation.hpp"
#include "search/int8/crossover.hpp"
#include "search/int8/replica_group.hpp"

namespace qpsbgd {

class Int8Population {
public:
    Int8Population(Int8ReplicaGroup& group, PartitionCrossover& crossover, std::size_t n);
    void evolve(BetaRange range, Budget& budget);
    std::span<const std::uint64_t> state(std::size_t lane) const { return std::span(states_).subspan(lane * count_, count_); }
    std::int64_t gain(std::size_t lane) const { return gain_[lane]; }

private:
    std::span<std::uint64_t> own(std::size_t lane) { return std::span(states_).subspan(lane * count_, count_); }
    std::int64_t cross(std::span<std::uint64_t> state, std::span<const std::uint64_t> other, std::size_t problem);
    Int8ReplicaGroup& group_;
    PartitionCrossover& crossover_;
    std::size_t n_;
    std::size_t count_;
    std::vector<std::uint64_t> states_;
    std::vector<std::uint64_t> cooled_;
    std::vector<std::int64_t> gain_;
    std::vector<std::uint64_t> aligned_;
};

}  // namespace qpsbgd
