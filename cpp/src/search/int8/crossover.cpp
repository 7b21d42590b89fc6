#include "search/int8/crossover.hpp"

#include <bit>

namespace qpsbgd {
namespace {

constexpr std::size_t kSpinsBetweenPolls = std::size_t{1} << 14;

bool is_set(std::span<const std::uint64_t> bits, std::size_t at) {
    return (bits[at / kWordBits] >> (at % kWordBits) & 1U) != 0;
}

int spin_of(std::span<const std::uint64_t> bits, std::size_t at) { return is_set(bits, at) ? 1 : -1; }

void toggle(std::span<std::uint64_t> bits, std::size_t at) {
    bits[at / kWordBits] ^= std::uint64_t{1} << (at % kWordBits);
}

}  // namespace

PartitionCrossover::PartitionCrossover(const Int8ReplicaCouplings& couplings)
    : differ_(words_of(couplings.n())), unseen_(words_of(couplings.n())) {
    const std::size_t spins = couplings.n();
    row_start_.push_back(0);
    for (std::size_t at = 0; at < spins; ++at) {
        couplings.for_each_coupling(at, [&](std::size_t neighbour, int strength) {
            couplings_.push_back({static_cast<std::uint32_t>(neighbour), strength});
        });
        row_start_.push_back(couplings_.size());
    }
    const std::size_t problems = couplings.problems();
    fields_.resize(problems * spins);
    for (std::size_t problem = 0; problem < problems; ++problem) {
        for (std::size_t at = 0; at < spins; ++at) {
            int field = couplings.down_field(problem, at);
            for (const Coupling& coupling : couplings_of(at)) {
                field += coupling.strength;
            }
            fields_[problem * spins + at] = static_cast<std::int16_t>(field);
            symmetric_ = symmetric_ && field == 0;
        }
    }
}

int PartitionCrossover::local_field(std::span<const std::uint64_t> state, std::size_t at,
                                    std::size_t problem) const {
    int field = fields_[problem * n() + at];
    for (const Coupling& coupling : couplings_of(at)) {
        field += coupling.strength * spin_of(state, coupling.neighbour);
    }
    return field;
}

// The component of `first` moves from the unseen spins to component_. Returns the gain of flipping it.
std::int64_t PartitionCrossover::collect(std::span<const std::uint64_t> state, std::size_t first,
                                         std::size_t problem) {
    std::int64_t gain = 0;
    component_.assign(1, static_cast<std::uint32_t>(first));
    toggle(unseen_, first);
    for (std::size_t next = 0; next < component_.size(); ++next) {
        const std::size_t at = component_[next];
        int outer = fields_[problem * n() + at];
        for (const Coupling& coupling : couplings_of(at)) {
            const std::size_t neighbour = coupling.neighbour;
            if (!is_set(differ_, neighbour)) {
                outer += coupling.strength * spin_of(state, neighbour);
            } else if (is_set(unseen_, neighbour)) {
                toggle(unseen_, neighbour);
                component_.push_back(coupling.neighbour);
            }
        }
        gain += is_set(state, at) ? outer : -outer;
    }
    return gain;
}

// A spin between two components may have neighbours from both parents, which neither knew beside each other.
std::int64_t PartitionCrossover::settle(std::span<std::uint64_t> state, std::size_t problem) {
    std::int64_t gain = 0;
    while (!rim_.empty()) {
        const std::size_t at = rim_.back();
        rim_.pop_back();
        const int fall = spin_of(state, at) * local_field(state, at, problem);
        if (fall > 0) {
            gain += fall;
            toggle(state, at);
            for (const Coupling& coupling : couplings_of(at)) {
                rim_.push_back(coupling.neighbour);
            }
        }
    }
    return gain;
}

std::int64_t PartitionCrossover::improve(std::span<std::uint64_t> state, std::span<const std::uint64_t> other,
                                         std::size_t problem, Budget& budget) {
    for (std::size_t word = 0; word < state.size(); ++word) {
        differ_[word] = unseen_[word] = state[word] ^ other[word];
    }
    std::int64_t gain = 0;
    std::size_t since_poll = 0;
    for (std::size_t word = 0; word < state.size(); ++word) {
        while (unseen_[word] != 0) {
            const auto bit = static_cast<std::size_t>(std::countr_zero(unseen_[word]));
            const std::int64_t part = collect(state, word * kWordBits + bit, problem);
            since_poll += component_.size();
            if (part >= 0) {  // at equal energy too: the more typical state leads on
                gain += part;
                flip_component(state);
            }
            if (since_poll >= kSpinsBetweenPolls) {
                if (budget.exhausted()) {
                    return gain + settle(state, problem);
                }
                since_poll = 0;
            }
        }
    }
    return gain + settle(state, problem);
}

void PartitionCrossover::flip_component(std::span<std::uint64_t> state) {
    for (const std::uint32_t at : component_) {
        toggle(state, at);
        for (const Coupling& coupling : couplings_of(at)) {
            if (!is_set(differ_, coupling.neighbour)) {
                rim_.push_back(coupling.neighbour);
            }
        }
    }
}

// (E(all -1) - E(state)) / 2: the couplings of spins that differ, less the fields of those that are up.
std::int64_t PartitionCrossover::gain_of(std::span<const std::uint64_t> state, std::size_t problem) const {
    std::int64_t twice = 0;  // every coupling is seen from both ends
    for (std::size_t at = 0; at < n(); ++at) {
        const bool up = is_set(state, at);
        twice -= up ? 2 * fields_[problem * n() + at] : 0;
        for (const Coupling& coupling : couplings_of(at)) {
            twice += up != is_set(state, coupling.neighbour) ? coupling.strength : 0;
        }
    }
    return twice / 2;
}

}  // namespace qpsbgd
