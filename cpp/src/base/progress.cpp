#include "qpsbgd/progress.hpp"

#include <algorithm>
#include <chrono>

namespace qpsbgd {
namespace {

constexpr std::size_t kBitsOfWord = 64;

std::vector<std::uint64_t> bits_of(std::span<const std::int8_t> spins) {
    std::vector<std::uint64_t> bits((spins.size() + kBitsOfWord - 1) / kBitsOfWord);
    for (std::size_t i = 0; i < spins.size(); ++i) {
        bits[i / kBitsOfWord] |= std::uint64_t{spins[i] > 0} << (i % kBitsOfWord);
    }
    return bits;
}

}  // namespace

Progress::Progress(std::size_t problems, std::vector<double> targets, std::size_t wanted)
    : targets_(std::move(targets)),
      wanted_(wanted),
      found_(problems),
      best_(problems),
      worst_kept_(problems),
      missing_(targets_.size()) {
    for (std::size_t problem = 0; problem < problems; ++problem) {
        best_[problem] = std::numeric_limits<double>::infinity();
        worst_kept_[problem] = std::numeric_limits<double>::infinity();
    }
}

void Progress::record(std::size_t problem, double energy, std::span<const std::int8_t> spins) {
    const std::size_t at = first_ + problem;
    const bool news = energy < best_energy(problem);
    const bool keeps = wanted_ != 0 && energy < worst_kept_[at].load(std::memory_order_relaxed);
    if (!news && !keeps) {
        return;
    }
    Found& found = found_[at];
    const std::scoped_lock lock(found.mutex);
    const double best = best_energy(problem);  // another worker may have been faster
    if (energy < best) {
        const std::chrono::duration<double> elapsed = Clock::now() - begin_;
        found.trace.push_back({elapsed.count(), energy});
        found.best.assign(spins.begin(), spins.end());
        best_[at].store(energy, std::memory_order_relaxed);
        if (!targets_.empty() && best > targets_[at] && energy <= targets_[at]) {
            --missing_;
        }
        if (listener_) {
            listener_(spins);
        }
    }
    if (keeps) {
        keep(found, energy, spins);
        if (found.order.size() == wanted_) {
            worst_kept_[at].store(found.order.rbegin()->first, std::memory_order_relaxed);
        }
    }
}

void Progress::keep(Found& found, double energy, std::span<const std::int8_t> spins) const {
    const auto [place, is_new] = found.states.emplace(bits_of(spins), energy);
    if (!is_new) {
        return;
    }
    found.order.emplace(energy, &place->first);
    if (found.order.size() > wanted_) {
        const auto worst = std::prev(found.order.end());
        const Bits* bits = worst->second;
        found.order.erase(worst);
        found.states.erase(found.states.find(*bits));
    }
}

void Progress::copy_kept(std::size_t problem, std::span<std::int8_t> spins,
                         std::span<double> energies) const {
    const std::size_t n = energies.empty() ? 0 : spins.size() / energies.size();
    // Equal energies in the order of the states, not of their addresses.
    std::vector<std::pair<double, const Bits*>> order(found_[first_ + problem].order.begin(),
                                                      found_[first_ + problem].order.end());
    std::ranges::sort(order, [](const auto& a, const auto& b) {
        return a.first != b.first ? a.first < b.first : *a.second < *b.second;
    });
    for (std::size_t rank = 0; rank < energies.size(); ++rank) {
        energies[rank] = order[rank].first;
        const Bits& bits = *order[rank].second;
        for (std::size_t i = 0; i < n; ++i) {
            const bool up = (bits[i / kBitsOfWord] >> (i % kBitsOfWord) & 1U) != 0;
            spins[rank * n + i] = up ? std::int8_t{1} : std::int8_t{-1};
        }
    }
}

}  // namespace qpsbgd
