#include "batch/replicas_watch.hpp"

namespace qpsbgd {

ReplicasWatch::ReplicasWatch(const Int8ReplicaGroup& group, const Int8ReplicaCouplings& couplings,
                             const IsingBatch& batch, const SolveOptions& options, const Evaluate& evaluate,
                             Budget& budget)
    : group_(group), unit_(couplings.unit()), n_(batch.n) {
    if (options.progress == nullptr) {
        return;
    }
    for (const ReplicaId& replica : group.replicas()) {
        const bool again =
            !all_down_.empty() && replica.problem == group.replicas()[all_down_.size() - 1].problem;
        all_down_.push_back(again ? all_down_.back() : energy_of_all_down(batch, replica.problem));
    }
    watch_.emplace(*options.progress, budget.token(), evaluate, n_, all_down_.size());
    budget.watch([this] { look(); }, [this] { minima(); });
}

void ReplicasWatch::look() {
    bool read_bits = false;
    for (std::size_t lane = 0; watch_ && lane < all_down_.size(); ++lane) {
        const double energy = all_down_[lane] - 2.0 * unit_ * group_.best_gain(lane);
        watch_->look(lane, group_.replicas()[lane].problem, energy, [&](std::span<std::int8_t> spins) {
            if (!read_bits) {
                group_.best_bits(words_);
                read_bits = true;
            }
            copy(lane, spins);
        });
    }
}

void ReplicasWatch::minima() {
    bool read_bits = false;
    for (std::size_t lane = 0; watch_ && lane < all_down_.size(); ++lane) {
        watch_->minimum(group_.replicas()[lane].problem, [&](std::span<std::int8_t> spins) {
            if (!read_bits) {
                group_.bits(words_);
                read_bits = true;
            }
            copy(lane, spins);
        });
    }
}

void ReplicasWatch::copy(std::size_t lane, std::span<std::int8_t> spins) const {
    const std::uint64_t* words = words_.data() + lane * words_of(n_);
    for (std::size_t i = 0; i < n_; ++i) {
        const bool up = (words[i / kWordBits] >> (i % kWordBits) & 1U) != 0;
        spins[i] = up ? std::int8_t{1} : std::int8_t{-1};
    }
}

}  // namespace qpsbgd
