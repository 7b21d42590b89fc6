#include "search/int8/population.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdio>
#include <cstdlib>

namespace qpsbgd {
namespace {
double knob(const char* name, double fallback) {
    const char* v = std::getenv(name);
    return v ? std::atof(v) : fallback;
}
}

Int8Population::Int8Population(Int8ReplicaGroup& group, PartitionCrossover& crossover, std::size_t n)
    : group_(group), crossover_(crossover), n_(n), count_(words_of(n)), aligned_(count_) {}

std::int64_t Int8Population::cross(std::span<std::uint64_t> state, std::span<const std::uint64_t> other, std::size_t problem) {
    std::copy(other.begin(), other.end(), aligned_.begin());
    std::size_t differ = 0;
    for (std::size_t w = 0; w < count_; ++w) differ += static_cast<std::size_t>(std::popcount(state[w] ^ aligned_[w]));
    if (crossover_.symmetric() && 2 * differ > n_) {
        for (auto& w : aligned_) w = ~w;
        if (n_ % 64) aligned_.back() &= ~std::uint64_t{0} >> (64 - n_ % 64);
    }
    return crossover_.improve(state, aligned_, problem);
}

void Int8Population::evolve(BetaRange range, Budget& budget) {
    const std::size_t S = static_cast<std::size_t>(knob("QS", 500));
    const double F = knob("QF", 0.3);
    const double F2 = knob("QF2", F);
    const int M = static_cast<int>(knob("QM", 4));
    const double C = knob("QC", 1.0);
    const double verbose = knob("QV", 0);
    const std::size_t lanes = group_.replicas().size();
    std::vector<std::int64_t> last;
    range.cold *= C;
    group_.cool(range, static_cast<std::size_t>(knob("QS0", 200)), budget);
    group_.states(states_);
    gain_.resize(lanes);
    for (std::size_t l = 0; l < lanes; ++l) gain_[l] = crossover_.gain_of(state(l), group_.replicas()[l].problem);
    const auto t0 = Clock::now();
    std::vector<std::uint64_t> elite(states_.begin(), states_.begin() + static_cast<std::ptrdiff_t>(count_));
    std::int64_t elite_gain = gain_[0], shown = 0;
    double tc = 0, tx = 0, tm = 0;
    Random rng(1, 2, 3);
    for (int round = 1; !budget.exhausted(); ++round) {
        auto a = Clock::now();
        const double f = F + (F2 - F) * static_cast<double>(rng.below(1000)) / 1000.0;
        group_.set_states(states_);
        group_.cool({range.hot * std::pow(range.cold / range.hot, f), range.cold}, S, budget);
        group_.states(cooled_);
        auto b = Clock::now();
        for (std::size_t l = 0; l < lanes && !budget.exhausted(); ++l) {
            gain_[l] += cross(own(l), std::span(cooled_).subspan(l * count_, count_), group_.replicas()[l].problem);
        }
        auto c = Clock::now();
        if (M && round % M == 0) {
            const std::size_t shift = 1 + rng.below(static_cast<std::uint32_t>(lanes - 1));
            cooled_ = states_;
            for (std::size_t l = 0; l < lanes && !budget.exhausted(); ++l) {
                gain_[l] += cross(own(l), std::span(cooled_).subspan((l + shift) % lanes * count_, count_), 0);
            }
        }
        for (std::size_t l = 0; l < lanes && knob("QE",0)!=0; ++l) {
            elite_gain += cross(elite, state(l), 0);
        }
        auto d = Clock::now();
        tc += std::chrono::duration<double>(b - a).count(); tx += std::chrono::duration<double>(c - b).count(); tm += std::chrono::duration<double>(d - c).count();
        std::int64_t best = *std::ranges::max_element(gain_);
        best = std::max(best, elite_gain);
        if (verbose != 0 && best > shown) {
            double mean = 0; for (auto g : gain_) mean += static_cast<double>(g);
            std::fprintf(stderr, "round %d t %.2f (cool %.2f cross %.2f mate %.2f) best %lld elite %lld mean %.1f worst %lld\n", round, std::chrono::duration<double>(d - t0).count(), tc, tx, tm,
                         static_cast<long long>(best), static_cast<long long>(elite_gain), mean / static_cast<double>(lanes), static_cast<long long>(*std::ranges::min_element(gain_)));
            shown = best;
        }
    }
    std::size_t worst = static_cast<std::size_t>(std::ranges::max_element(gain_) - gain_.begin());
    if (elite_gain > gain_[worst]) { gain_[worst] = elite_gain; std::ranges::copy(elite, own(worst).begin()); }
    if (verbose != 0) std::fprintf(stderr, "end %.2f (cool %.2f cross %.2f mate %.2f)\n", std::chrono::duration<double>(Clock::now() - t0).count(), tc, tx, tm);
}
}  // namespace qpsbgd
