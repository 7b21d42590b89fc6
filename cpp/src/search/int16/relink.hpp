// Path relinking between replicas (Glover, 1997): a walk from one good state to another, by the cheapest flip of those in
// which they differ, passes valleys that neither of them is in.
//
// A relinking takes local fields of two states (2 n^2 operations), two descents, and a walk of n/2 flips of n operations.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "search/int16/group.hpp"

namespace qpsbgd {

class PathRelinking {
public:
    explicit PathRelinking(Int16Group& group);

    // Walks from one read to the other. Where that finds a state below the minima under both, the first read goes on from it.
    void relink(Int16ReplicaGroup& in_step, std::size_t from, std::size_t to);

private:
    struct State {
        std::vector<std::int8_t> spins;
        std::vector<std::int32_t> local;
        std::int64_t twice_energy = 0;
    };

    void take(const Int16ReplicaGroup& in_step, std::size_t read, State& state);
    void flip(State& state, std::size_t spin) const;
    void descend(State& state) const;
    // The lowest state on the way, without both ends; false if there is none.
    bool walk(State& state, const State& target, State& lowest);

    Int16Group* group_;
    State from_;
    State to_;
    State lowest_;
    std::vector<std::size_t> differ_;
};

}  // namespace qpsbgd
