#include "search/int8/population.hpp"

#include <algorithm>
#include <bit>
#include <cmath>

#include "base/schedule.hpp"

namespace qpsbgd {
namespace {

// Measured on tori, planar unions and random graphs of 800 to 10,000 spins: see docs/architecture-solver.md.
constexpr std::size_t kFirstSweeps = 125;  // of the first epoch's rounds
constexpr std::size_t kStart = 16;         // rounds that the first run of an epoch is worth
constexpr std::size_t kRoundsBetweenMates = 4;
constexpr double kColdestReheat = 0.35;  // on the way from hot (0) to cold (1)
constexpr std::size_t kPatience = 16;    // rounds without a better elite, and half of those done

}  // namespace

Int8Population::Int8Population(Int8ReplicaGroup& group, PartitionCrossover& crossover, Random random)
    : group_(group),
      crossover_(crossover),
      random_(random),
      words_(words_of(crossover.n())),
      aligned_(words_) {
    // The group stands in local minima.
    take_states();
    best_.assign(members_.begin(), members_.end());
    best_gain_.assign(gain_.begin(), gain_.end());
    const auto replicas = group_.replicas();
    for (std::size_t lane = 0; lane < replicas.size(); ++lane) {
        if (lane == 0 || replicas[lane].problem != replicas[lane - 1].problem) {
            const auto state = part(members_, lane);
            families_.push_back(
                {replicas[lane].problem, lane, lane, {state.begin(), state.end()}, gain_[lane]});
        }
        Family& family = families_.back();
        family.end = lane + 1;
        if (gain_[lane] > family.elite_gain) {
            family.elite_gain = gain_[lane];
            std::ranges::copy(part(members_, lane), family.elite.begin());
        }
    }
}

void Int8Population::evolve(BetaRange range, Budget& budget) {
    for (std::size_t sweeps = 2 * kFirstRoundSweeps; sweeps < kStart * kFirstSweeps && !budget.exhausted();
         sweeps *= 2) {
        begin(range, sweeps, budget);
    }
    for (std::size_t sweeps = kFirstSweeps; !budget.exhausted(); sweeps *= 2) {
        begin(range, kStart * sweeps, budget);
        run_epoch(range, sweeps, budget);
        keep_best();
    }
    for (const Family& family : families_) {
        const auto gains = std::span(best_gain_).subspan(family.begin, family.end - family.begin);
        const auto worst =
            family.begin + static_cast<std::size_t>(std::ranges::min_element(gains) - gains.begin());
        if (family.elite_gain > *std::ranges::max_element(gains)) {
            std::ranges::copy(family.elite, part(best_, worst).begin());
            best_gain_[worst] = family.elite_gain;
        }
    }
}

// New members: random states, annealed.
void Int8Population::begin(BetaRange range, std::size_t sweeps, Budget& budget) {
    const auto start = Clock::now();
    group_.start_randomly();
    group_.cool(range, sweeps, budget);
    group_.settle(budget.token());
    take_states();
    keep_best();
    collect_elites(start, budget);
}

void Int8Population::run_epoch(BetaRange range, std::size_t sweeps, Budget& budget) {
    std::size_t stale = 0;
    for (std::size_t round = 1; !budget.exhausted(); ++round) {
        const double place = kColdestReheat * static_cast<double>(random_.below(1U << 20)) / (1U << 20);
        const double beta = range.hot * std::pow(range.cold / range.hot, place);
        const auto start = Clock::now();
        group_.set_states(members_);
        if (!group_.cool({beta, range.cold}, sweeps, budget)) {
            return;  // too hot to be of use
        }
        group_.settle(budget.token());
        accept_parts(budget);
        if (round % kRoundsBetweenMates == 0) {
            mate(budget);
        }
        stale = collect_elites(start, budget) ? 0 : stale + 1;
        if (stale > kPatience + round / 2 || members_are_alike()) {
            return;
        }
    }
}

void Int8Population::take_states() {
    group_.states(members_);
    gain_.resize(group_.replicas().size());
    for (std::size_t lane = 0; lane < gain_.size(); ++lane) {
        gain_[lane] = group_.gain(lane);
    }
}

void Int8Population::keep_best() {
    for (std::size_t lane = 0; lane < gain_.size(); ++lane) {
        if (gain_[lane] > best_gain_[lane]) {
            best_gain_[lane] = gain_[lane];
            std::ranges::copy(part(members_, lane), part(best_, lane).begin());
        }
    }
}

// Every member takes the better parts of what the sweeps made of it.
void Int8Population::accept_parts(Budget& budget) {
    group_.states(others_);
    for (const Family& family : families_) {
        for (std::size_t lane = family.begin; lane < family.end; ++lane) {
            gain_[lane] += cross(part(members_, lane), part(others_, lane), family.problem, budget);
        }
    }
}

// Every member takes the better parts of another one of its problem.
void Int8Population::mate(Budget& budget) {
    others_ = members_;
    for (const Family& family : families_) {
        const std::size_t size = family.end - family.begin;
        if (size == 1) {
            continue;
        }
        const std::size_t shift = 1 + random_.below(static_cast<std::uint32_t>(size - 1));
        for (std::size_t k = 0; k < size; ++k) {
            const std::size_t lane = family.begin + k;
            const std::size_t other = family.begin + (k + shift) % size;
            gain_[lane] += cross(part(members_, lane), part(others_, other), family.problem, budget);
        }
    }
}

// Every elite takes the better parts of its members, the best one first, the others from a random one on. That takes at
// most a quarter as long as the work since `start`: crossing states that have little in common is slow. Did an elite get
// better?
bool Int8Population::collect_elites(Clock::time_point start, Budget& budget) {
    const auto now = Clock::now();
    const auto end = now + (now - start) / 4;
    bool better = false;
    for (Family& family : families_) {
        const std::size_t size = family.end - family.begin;
        const auto gains = std::span(gain_).subspan(family.begin, size);
        const auto best = static_cast<std::size_t>(std::ranges::max_element(gains) - gains.begin());
        const std::size_t shift = random_.below(static_cast<std::uint32_t>(size));
        for (std::size_t k = 0; k <= size && (k == 0 || Clock::now() < end); ++k) {
            const std::size_t lane = family.begin + (k == 0 ? best : (k + shift) % size);
            const std::int64_t gain = cross(family.elite, part(members_, lane), family.problem, budget);
            family.elite_gain += gain;
            better = better || gain > 0;
        }
    }
    return better;
}

bool Int8Population::members_are_alike() const {
    return std::ranges::all_of(families_, [&](const Family& family) {
        const auto gains = std::span(gain_).subspan(family.begin, family.end - family.begin);
        return gains.size() > 1 &&
               std::ranges::all_of(gains, [&](std::int64_t gain) { return gain == gains[0]; });
    });
}

// Without fields the negative of a state is as good: the closer of the two is taken.
std::int64_t Int8Population::cross(std::span<std::uint64_t> state, std::span<const std::uint64_t> other,
                                   std::size_t problem, Budget& budget) {
    if (budget.exhausted()) {
        return 0;
    }
    if (!crossover_.symmetric()) {
        return crossover_.improve(state, other, problem, budget);
    }
    std::size_t differ = 0;
    for (std::size_t word = 0; word < words_; ++word) {
        differ += static_cast<std::size_t>(std::popcount(state[word] ^ other[word]));
    }
    if (2 * differ <= crossover_.n()) {
        return crossover_.improve(state, other, problem, budget);
    }
    std::ranges::transform(other, aligned_.begin(), [](std::uint64_t word) { return ~word; });
    if (const std::size_t rest = crossover_.n() % kWordBits; rest != 0) {
        aligned_.back() &= (std::uint64_t{1} << rest) - 1;
    }
    return crossover_.improve(state, aligned_, problem, budget);
}

}  // namespace qpsbgd
