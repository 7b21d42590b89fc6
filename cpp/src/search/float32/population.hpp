// States of one sparse problem that are annealed in turn and exchange the better of their parts, until the time is up: what
// search/int8/population.hpp does with 64 replicas, for couplings of any size and one state at a time.
//
// One round reheats every member, each from its own state, anneals it, and crosses it with what it became: each region of
// the problem accepts or refuses its own change. Every few rounds each member takes the better parts of another one. An
// elite collects the best parts of all. When nothing has improved for long, or the members have become alike, the next
// epoch begins, with twice as many new members and rounds twice as long.
// Cost of a round: its sweeps, and a few passes over the couplings for each member.
// Promises: a member never gets worse by more than rounding; the time of the budget is kept as the sweeps keep it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/rng.hpp"
#include "qpsbgd/cancellation.hpp"
#include "qpsbgd/solve.hpp"
#include "search/float32/crossover.hpp"
#include "search/float32/matrices.hpp"
#include "search/float32/read_state.hpp"

namespace qpsbgd {

struct KnownState {
    std::vector<std::int8_t> spins;
    double energy = 0.0;
};

class SparsePopulation {
public:
    // Works on `state`, which has its fields and stands where the first run begins. Keeps the `wanted` best states.
    SparsePopulation(const SparseMatrix& matrix, ReadState& state, Random& random, std::size_t wanted);

    void evolve(BetaRange range, Budget& budget);

    // The best states at the ends of runs and of epochs, best first: `wanted`, or fewer where there was no time for them.
    std::span<const KnownState> best() const { return best_; }

private:
    void run_epoch(BetaRange range, std::size_t sweeps, Budget& budget);
    void begin_epoch(BetaRange range, std::size_t sweeps, Budget& budget);
    void reheat(KnownState& member, BetaRange range, std::size_t sweeps, Budget& budget);
    void mate(Budget& budget);
    void cross(KnownState& member, std::span<const std::int8_t> other, Budget& budget);
    bool members_are_alike() const;
    KnownState found() const;
    void keep(const KnownState& state);

    const SparseMatrix& matrix_;
    ReadState& state_;
    Random& random_;
    SparseCrossover crossover_;
    std::size_t wanted_;
    std::size_t size_ = 1;  // of this epoch's population
    std::vector<KnownState> members_;
    KnownState elite_;
    std::vector<KnownState> best_;
};

}  // namespace qpsbgd
