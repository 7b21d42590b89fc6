// Reads of the same couplings side by side, from and to the replicas of an Int16Group.
//
// Cost of a sweep: the kernel's, which grows with n^2 and not with the flips.
// Promises: the numbers of DenseInt16Kernels::anneal.
#include "search/int16/replica_group.hpp"

#include <algorithm>

#include "kernels/kernel_table.hpp"
#include "search/int16/exponentials.hpp"

namespace qpsbgd {
namespace {

constexpr std::size_t kAttemptsOfCall = std::size_t{1} << 20U;

// to[spin] gets one bit of each read: that of the spin in the given word of its spins.
void gather_bits(std::span<const std::uint32_t* const> from, std::size_t word, std::uint32_t* to) {
    for (std::size_t spin = 0; spin < kBlock; ++spin) {
        std::uint32_t bits = 0;
        for (std::size_t read = 0; read < from.size(); ++read) {
            bits |= (from[read][word] >> spin & 1U) << read;
        }
        to[spin] = bits;
    }
}

}  // namespace

Int16ReplicaCouplings::Int16ReplicaCouplings(std::span<const std::int16_t> couplings, std::size_t n,
                                             std::size_t stride)
    : n_(n),
      stride_(stride),
      packed_(kernels().replicas_int16.packed_bytes(n, stride)),
      pairs_(stride / kTileSpins * kTilePairs) {
    kernels().replicas_int16.pack(couplings.data(), n, stride, packed_.data());
    std::int32_t* pair = pairs_.data();
    for (std::size_t first = 0; first < stride; first += kTileSpins) {
        for (std::size_t i = first; i < first + kTileSpins; ++i) {
            for (std::size_t j = i + 1; j < first + kTileSpins; ++j) {
                const std::int16_t coupling = j < n ? couplings[i * stride + j] : std::int16_t{0};
                const std::uint32_t bits = static_cast<std::uint16_t>(coupling);
                *pair++ = static_cast<std::int32_t>(bits | bits << 16U);
            }
        }
    }
}

std::size_t Int16ReplicaCouplings::least_reads() { return kernels().replicas_int16.least_reads; }

bool Int16ReplicaCouplings::serve(std::size_t n) { return n <= kernels().replicas_int16.most_spins; }

void Int16ReplicaGroup::load(const Int16ReplicaCouplings& couplings, std::span<const Int16Replica> replicas) {
    const std::size_t stride = couplings.stride();
    fields_.assign(stride * kInt16Replicas, 0);
    workspace_.assign(kernels().replicas_int16.workspace_bytes(couplings.n()), 0);
    negative_.resize(stride);
    best_negative_.resize(stride);
    replicas_ = Int16Replicas{};
    replicas_.stride = stride;
    replicas_.packed = couplings.packed();
    replicas_.pairs = couplings.pairs();
    replicas_.real_spins = couplings.n();
    replicas_.fields = fields_.data();
    replicas_.negative = negative_.data();
    replicas_.best_negative = best_negative_.data();
    replicas_.workspace = workspace_.data();
    std::vector<const std::uint32_t*> negative;
    std::vector<const std::uint32_t*> best;
    for (std::size_t read = 0; read < kInt16Replicas; ++read) {
        // Places without a read do what the first does, for nobody.
        const Int16Replica& replica = replicas[read < replicas.size() ? read : 0];
        replicas_.temperature[read] = replica.temperature;
        replicas_.random[read] = replica.random;
        replicas_.gain[read] = replica.gain;
        replicas_.best_gain[read] = replica.best_gain;
        for (std::size_t i = 0; i < stride; ++i) {
            fields_[i * kInt16Replicas + read] = replica.fields[i];
        }
        negative.push_back(replica.negative);
        best.push_back(replica.best_negative);
    }
    for (std::size_t word = 0; word < stride / kBlock; ++word) {
        gather_bits(negative, word, &negative_[word * kBlock]);
        gather_bits(best, word, &best_negative_[word * kBlock]);
    }
}

void Int16ReplicaGroup::store(std::span<Int16Replica> replicas) const {
    for (std::size_t read = 0; read < replicas.size(); ++read) {
        Int16Replica& replica = replicas[read];
        replica.random = replicas_.random[read];
        replica.gain = replicas_.gain[read];
        replica.best_gain = replicas_.best_gain[read];
        for (std::size_t word = 0; word < replicas_.stride / kBlock; ++word) {
            std::uint32_t bits = 0;
            std::uint32_t best = 0;
            for (std::size_t spin = 0; spin < kBlock; ++spin) {
                bits |= (negative_[word * kBlock + spin] >> read & 1U) << spin;
                best |= (best_negative_[word * kBlock + spin] >> read & 1U) << spin;
            }
            replica.negative[word] = bits;
            replica.best_negative[word] = best;
        }
    }
}

void Int16ReplicaGroup::best_bits(std::size_t read, std::span<std::uint32_t> negative) const {
    for (std::size_t word = 0; word < negative.size(); ++word) {
        negative[word] = 0;
        for (std::size_t spin = 0; spin < kBlock; ++spin) {
            negative[word] |= (best_negative_[word * kBlock + spin] >> read & 1U) << spin;
        }
    }
}

void Int16ReplicaGroup::spins(std::size_t read, std::span<std::int8_t> spins) const {
    for (std::size_t i = 0; i < spins.size(); ++i) {
        spins[i] = (negative_[i] >> read & 1U) != 0 ? std::int8_t{-1} : std::int8_t{1};
    }
}

void Int16ReplicaGroup::move(std::size_t read, std::span<const std::int8_t> spins, std::int64_t gain) {
    const std::uint32_t bit = std::uint32_t{1} << read;
    const auto place = [&](std::vector<std::uint32_t>& negative) {
        for (std::size_t i = 0; i < spins.size(); ++i) {
            negative[i] = spins[i] < 0 ? negative[i] | bit : negative[i] & ~bit;
        }
    };
    place(negative_);
    replicas_.gain[read] = gain;
    if (gain > replicas_.best_gain[read]) {
        replicas_.best_gain[read] = gain;
        place(best_negative_);
    }
}

std::size_t Int16ReplicaGroup::anneal(std::size_t sweeps, Budget& budget) {
    const std::size_t call = std::max<std::size_t>(1, kAttemptsOfCall / (replicas_.stride * kInt16Replicas));
    std::size_t done = 0;
    while (done < sweeps && !budget.exhausted()) {
        const std::size_t last = std::min(sweeps, done + call);
        kernels().replicas_int16.anneal(replicas_, exponentials_int16(), done, last);
        done = last;
    }
    return done;
}

}  // namespace qpsbgd
