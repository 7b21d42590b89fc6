#include "search/int16/relink.hpp"

#include <algorithm>
#include <limits>

namespace qpsbgd {

PathRelinking::PathRelinking(Int16Group& group) : group_(&group) {}

void PathRelinking::take(const Int16ReplicaGroup& in_step, std::size_t read, State& state) {
    const Int16Matrix& matrix = group_->matrix(0);
    const Int16Replica& replica = group_->replica(read);
    const std::size_t n = matrix.n();
    state.spins.resize(n);
    in_step.spins(read, state.spins);
    state.local.assign(replica.fields, replica.fields + n);
    for (std::size_t i = 0; i < n; ++i) {
        const std::int16_t* row = matrix.couplings() + i * matrix.stride();  // twice the couplings
        const auto spin = static_cast<std::int32_t>(int{state.spins[i]});
        for (std::size_t j = 0; j < n; ++j) {
            state.local[j] += spin * (row[j] / 2);
        }
    }
    state.twice_energy = replica.start - 4 * in_step.gain(read);
}

void PathRelinking::flip(State& state, std::size_t spin) const {
    const Int16Matrix& matrix = group_->matrix(0);
    const std::int16_t* row = matrix.couplings() + spin * matrix.stride();
    const auto value = static_cast<std::int32_t>(int{state.spins[spin]});
    state.twice_energy -= std::int64_t{4} * value * state.local[spin];
    for (std::size_t j = 0; j < state.local.size(); ++j) {
        state.local[j] -= value * row[j];
    }
    state.spins[spin] = static_cast<std::int8_t>(-value);
}

void PathRelinking::descend(State& state) const {
    for (bool changed = true; changed;) {
        changed = false;
        for (std::size_t i = 0; i < state.spins.size(); ++i) {
            if (state.spins[i] * state.local[i] > 0) {
                flip(state, i);
                changed = true;
            }
        }
    }
}

bool PathRelinking::walk(State& state, const State& target, State& lowest) {
    differ_.clear();
    for (std::size_t i = 0; i < state.spins.size(); ++i) {
        if (state.spins[i] != target.spins[i]) {
            differ_.push_back(i);
        }
    }
    std::int64_t least = std::numeric_limits<std::int64_t>::max();
    while (differ_.size() > 1) {
        const auto cheapest = std::ranges::max_element(
            differ_, {}, [&](std::size_t i) { return state.spins[i] * state.local[i]; });
        flip(state, *cheapest);
        *cheapest = differ_.back();
        differ_.pop_back();
        if (state.twice_energy < least) {
            least = state.twice_energy;
            lowest = state;
        }
    }
    return least != std::numeric_limits<std::int64_t>::max();
}

void PathRelinking::relink(Int16ReplicaGroup& in_step, std::size_t from, std::size_t to) {
    take(in_step, from, from_);
    take(in_step, to, to_);
    descend(from_);
    descend(to_);
    const std::int64_t both = std::min(from_.twice_energy, to_.twice_energy);
    if (!walk(from_, to_, lowest_)) {
        return;
    }
    descend(lowest_);
    if (lowest_.twice_energy < both) {
        in_step.move(from, lowest_.spins, (group_->replica(from).start - lowest_.twice_energy) / 4);
    }
}

}  // namespace qpsbgd
