// Reads of the same couplings side by side, from and to the replicas of dense16.cpp.
//
// Cost of a sweep: the kernel's, which grows with n^2 and not with the flips.
// Promises: the numbers of Dense16Kernels::anneal.
#include "search/int16/replica_group.hpp"

#include <algorithm>

#include "search/int16/search.hpp"
#include "kernels/kernel_table.hpp"

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

LaneCouplings::LaneCouplings(std::span<const std::int16_t> couplings, std::size_t n, std::size_t stride)
    : n_(n),
      stride_(stride),
      packed_(kernels().lanes16.packed_bytes(n, stride)),
      pairs_(stride / kTileSpins * kTilePairs) {
    kernels().lanes16.pack(couplings.data(), n, stride, packed_.data());
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

std::size_t LaneCouplings::least_reads() { return kernels().lanes16.least_reads; }

bool LaneCouplings::serve(std::size_t n) { return n <= kernels().lanes16.most_spins; }

void LaneReads::load(const LaneCouplings& couplings, std::span<const Replica16> replicas) {
    const std::size_t stride = couplings.stride();
    fields_.assign(stride * kLanes16, 0);
    workspace_.assign(kernels().lanes16.workspace_bytes(couplings.n()), 0);
    negative_.resize(stride);
    best_negative_.resize(stride);
    lanes_ = Lanes16{};
    lanes_.stride = stride;
    lanes_.packed = couplings.packed();
    lanes_.pairs = couplings.pairs();
    lanes_.real_spins = couplings.n();
    lanes_.fields = fields_.data();
    lanes_.negative = negative_.data();
    lanes_.best_negative = best_negative_.data();
    lanes_.workspace = workspace_.data();
    std::vector<const std::uint32_t*> negative;
    std::vector<const std::uint32_t*> best;
    for (std::size_t read = 0; read < kLanes16; ++read) {
        // Lanes without a read do what the first does, for nobody.
        const Replica16& replica = replicas[read < replicas.size() ? read : 0];
        lanes_.temperature[read] = replica.temperature;
        lanes_.random[read] = replica.random;
        lanes_.gain[read] = replica.gain;
        lanes_.best_gain[read] = replica.best_gain;
        for (std::size_t i = 0; i < stride; ++i) {
            fields_[i * kLanes16 + read] = replica.fields[i];
        }
        negative.push_back(replica.negative);
        best.push_back(replica.best_negative);
    }
    for (std::size_t word = 0; word < stride / kBlock; ++word) {
        gather_bits(negative, word, &negative_[word * kBlock]);
        gather_bits(best, word, &best_negative_[word * kBlock]);
    }
}

void LaneReads::store(std::span<Replica16> replicas) const {
    for (std::size_t read = 0; read < replicas.size(); ++read) {
        Replica16& replica = replicas[read];
        replica.random = lanes_.random[read];
        replica.gain = lanes_.gain[read];
        replica.best_gain = lanes_.best_gain[read];
        for (std::size_t word = 0; word < lanes_.stride / kBlock; ++word) {
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

std::size_t LaneReads::anneal(std::size_t sweeps, Budget& budget) {
    const std::size_t call = std::max<std::size_t>(1, kAttemptsOfCall / (lanes_.stride * kLanes16));
    std::size_t done = 0;
    while (done < sweeps && !budget.exhausted()) {
        const std::size_t last = std::min(sweeps, done + call);
        kernels().lanes16.anneal(lanes_, exponentials16(), done, last);
        done = last;
    }
    return done;
}

}  // namespace qpsbgd
