// A population of up to 64 replicas that anneal in step and exchange the better of their parts, until the time is up.
//
// One round reheats all members, each from its best state, anneals them, and crosses every member with what it became
// (crossover.hpp): each region of the problem accepts or refuses its own change, however large the problem is. Every few
// rounds each member takes the better parts of another one. An elite of every problem collects the best parts of all.
// When the members have become alike, or nothing has improved for long, the next epoch begins: new random members, a long
// run, and rounds twice as long.
//
// Source: local acceptance as I. Zintchenko, M. B. Hastings and M. Troyer, From local to global ground states in Ising
// spin glasses (2015); clusters as Z. Zhu, A. J. Ochoa and H. G. Katzgraber, Efficient cluster algorithm for spin glasses
// in any space dimension (2015).
// Cost of a round: its sweeps, and the couplings of the spins that differ, some tenths of that.
// Promises: members and elites never get worse and are local minima; the time of the budget is kept as the sweeps keep it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/rng.hpp"
#include "qpsbgd/cancellation.hpp"
#include "qpsbgd/solve.hpp"
#include "search/int8/crossover.hpp"
#include "search/int8/replica_group.hpp"

namespace qpsbgd {

class Int8Population {
public:
    // Members are the replicas of the group, which stand in local minima. Replicas of one problem stand together.
    Int8Population(Int8ReplicaGroup& group, PartitionCrossover& crossover, Random random);

    void evolve(BetaRange range, Budget& budget);

    // The best states of each replica, as bits in the order of the sweep; the elite of a problem is among them.
    std::span<const std::uint64_t> best(std::size_t lane) const { return part(best_, lane); }
    std::int64_t best_gain(std::size_t lane) const { return best_gain_[lane]; }

private:
    using Words = std::vector<std::uint64_t>;

    // The replicas of one problem.
    struct Family {
        std::size_t problem;
        std::size_t begin;
        std::size_t end;
        Words elite;
        std::int64_t elite_gain;
    };

    std::span<const std::uint64_t> part(const Words& words, std::size_t lane) const {
        return std::span(words).subspan(lane * words_, words_);
    }
    std::span<std::uint64_t> part(Words& words, std::size_t lane) const {
        return std::span(words).subspan(lane * words_, words_);
    }
    void take_states();
    void keep_best();
    void begin(BetaRange range, std::size_t sweeps, Budget& budget);
    void run_epoch(BetaRange range, std::size_t sweeps, Budget& budget);
    void accept_parts(Budget& budget);
    void mate(Budget& budget);
    bool collect_elites(Clock::time_point start, Budget& budget);
    bool members_are_alike() const;
    std::int64_t cross(std::span<std::uint64_t> state, std::span<const std::uint64_t> other,
                       std::size_t problem, Budget& budget);

    Int8ReplicaGroup& group_;
    PartitionCrossover& crossover_;
    Random random_;
    std::size_t words_;
    std::vector<Family> families_;
    Words members_;
    std::vector<std::int64_t> gain_;
    Words others_;
    Words aligned_;
    Words best_;
    std::vector<std::int64_t> best_gain_;
};

}  // namespace qpsbgd
