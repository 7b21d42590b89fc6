#include "search/float32/population.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/schedule.hpp"

namespace qpsbgd {
namespace {

// Measured on tori, lattices in three dimensions, planar and random graphs with Gaussian couplings: see
// docs/architecture-solver.md.
constexpr std::size_t kFirstSweeps = 60;  // of the first epoch's rounds
constexpr std::size_t kStart = 8;         // rounds that the first run of a member is worth
constexpr std::size_t kMostMembers = 16;
constexpr std::size_t kRoundsBetweenMates = 4;
constexpr double kColdestReheat = 0.35;  // on the way from hot (0) to cold (1)
constexpr std::size_t kPatience = 16;    // rounds without a better elite, and half of those done
constexpr double kRounding = 1e-6;       // of an energy in float32, relative to itself

bool is_lower(double energy, double than) { return energy < than - kRounding * std::fabs(than); }

}  // namespace

SparsePopulation::SparsePopulation(const SparseMatrix& matrix, ReadState& state, Random& random,
                                   std::size_t wanted)
    : matrix_(matrix), state_(state), random_(random), crossover_(matrix, state.fields), wanted_(wanted) {}

void SparsePopulation::evolve(BetaRange range, Budget& budget) {
    if (state_.best_energy < std::numeric_limits<double>::infinity()) {
        keep(found());
    }
    for (std::size_t sweeps = kFirstRoundSweeps; sweeps < kStart * kFirstSweeps && !budget.exhausted();
         sweeps *= 2) {
        state_.forget_best();
        anneal(matrix_, state_, range, sweeps, random_, budget);
        keep(found());
        state_.randomise(random_);
        state_.refresh(matrix_);
    }
    for (std::size_t sweeps = kFirstSweeps; !budget.exhausted(); sweeps *= 2) {
        size_ = std::min(2 * size_, kMostMembers);
        run_epoch(range, sweeps, budget);
        for (const KnownState& member : members_) {
            keep(member);
        }
        keep(elite_);
    }
}

void SparsePopulation::begin_epoch(BetaRange range, std::size_t sweeps, Budget& budget) {
    members_.clear();
    while (members_.size() < size_ && (members_.empty() || !budget.exhausted())) {
        state_.randomise(random_);
        state_.refresh(matrix_);
        state_.forget_best();
        anneal(matrix_, state_, range, kStart * sweeps, random_, budget);
        members_.push_back(found());
        keep(members_.back());
        if (members_.size() == 1) {
            elite_ = members_.back();
        } else {
            cross(elite_, members_.back().spins, budget);
        }
    }
}

void SparsePopulation::run_epoch(BetaRange range, std::size_t sweeps, Budget& budget) {
    begin_epoch(range, sweeps, budget);
    std::size_t stale = 0;
    for (std::size_t round = 1; !budget.exhausted(); ++round) {
        const double before = elite_.energy;
        for (KnownState& member : members_) {
            reheat(member, range, sweeps, budget);
        }
        if (round % kRoundsBetweenMates == 0) {
            mate(budget);
        }
        for (const KnownState& member : members_) {
            cross(elite_, member.spins, budget);
        }
        stale = is_lower(elite_.energy, before) ? 0 : stale + 1;
        if (stale > kPatience + round / 2 || members_are_alike()) {
            return;
        }
    }
}

// Anneals from a random temperature on, and takes the better parts of what comes out.
void SparsePopulation::reheat(KnownState& member, BetaRange range, std::size_t sweeps, Budget& budget) {
    if (budget.exhausted()) {
        return;
    }
    const double place = kColdestReheat * static_cast<double>(random_.below(1U << 20)) / (1U << 20);
    const double beta = range.hot * std::pow(range.cold / range.hot, place);
    std::ranges::copy(member.spins, state_.spins.begin());
    state_.refresh(matrix_);
    state_.forget_best();
    anneal(matrix_, state_, {beta, range.cold}, sweeps, random_, budget);
    cross(member, found().spins, budget);
}

void SparsePopulation::mate(Budget& budget) {
    if (members_.size() < 2) {
        return;
    }
    const std::vector<KnownState> before = members_;
    const std::size_t shift = 1 + random_.below(static_cast<std::uint32_t>(members_.size() - 1));
    for (std::size_t k = 0; k < members_.size(); ++k) {
        cross(members_[k], before[(k + shift) % before.size()].spins, budget);
    }
}

// A spin between two components may have neighbours from both parents, which neither knew beside each other: the child
// descends.
void SparsePopulation::cross(KnownState& member, std::span<const std::int8_t> other, Budget& budget) {
    if (budget.exhausted()) {
        return;
    }
    crossover_.improve(member.spins, other, budget);
    std::ranges::copy(member.spins, state_.spins.begin());
    state_.refresh(matrix_);
    state_.forget_best();
    Budget polish(budget.token());
    descend(matrix_, state_, std::numeric_limits<std::size_t>::max(), polish);
    member = found();
}

bool SparsePopulation::members_are_alike() const {
    return members_.size() > 1 && std::ranges::all_of(members_, [&](const KnownState& member) {
               return !is_lower(member.energy, members_[0].energy) &&
                      !is_lower(members_[0].energy, member.energy);
           });
}

KnownState SparsePopulation::found() const {
    KnownState result;
    result.spins.resize(state_.best_spins.size());
    std::ranges::transform(state_.best_spins, result.spins.begin(),
                           [](float spin) { return static_cast<std::int8_t>(spin); });
    result.energy = state_.best_energy;
    return result;
}

void SparsePopulation::keep(const KnownState& state) {
    if (best_.size() == wanted_ && !(state.energy < best_.back().energy)) {
        return;
    }
    const auto place = std::ranges::upper_bound(best_, state.energy, {}, &KnownState::energy);
    best_.insert(place, state);
    if (best_.size() > wanted_) {
        best_.pop_back();
    }
}

}  // namespace qpsbgd
