// Simulated annealing of 64 replicas side by side, for sparse problems whose couplings and fields are small integers in
// some unit: +-1 spin glasses, unweighted max-cut, independent sets.
//
// Each vector operation works on one spin of all replicas, so the spins of one replica are visited one after the other
// as in float32/anneal.cpp, and a replica's result depends on its own random stream alone. The order of the visits keeps
// neighbours apart: blocks of 64 consecutive spins, in each of which spins of one colour have no coupling between them,
// so that the processor need not wait for one visit's result before it begins the next.
//
// Cost of a sweep over 64 replicas: about as much as one to two sweeps over a single read in float32.
// Promises: integer arithmetic is exact; the best state seen at the end of every sixteenth sweep and of the last
// one is polished to a local minimum and kept.
#include "search/int8/replica_group.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <utility>

#include "search/int8/acceptance.hpp"

namespace qpsbgd {
namespace {

constexpr std::size_t kSweepsBetweenLooks = 16;  // for a new best state, the last sweep included

// Transposes 64 words of 64 bits: bit j of word i becomes bit i of word j (Warren, Hacker's Delight, section 7-3).
void transpose(std::array<std::uint64_t, kWordBits>& words) {
    std::uint64_t mask = 0x00000000FFFFFFFFU;
    for (std::size_t distance = 32; distance != 0; distance >>= 1, mask ^= mask << distance) {
        for (std::size_t i = 0; i < kWordBits; i = (i + distance + 1) & ~distance) {
            const std::uint64_t swapped = ((words[i] >> distance) ^ words[i + distance]) & mask;
            words[i + distance] ^= swapped;
            words[i] ^= swapped << distance;
        }
    }
}

// From states replica after replica to one word a spin, which holds all replicas; `words_of` words a replica.
std::vector<std::uint64_t> lanes_together(std::span<const std::uint64_t> words) {
    const std::size_t count = words.size() / kInt8Replicas;
    std::vector<std::uint64_t> by_spin(count * kWordBits);
    std::array<std::uint64_t, kWordBits> block{};
    for (std::size_t word = 0; word < count; ++word) {
        for (std::size_t lane = 0; lane < kInt8Replicas; ++lane) {
            block[lane] = words[lane * count + word];
        }
        transpose(block);
        std::ranges::copy(block, by_spin.begin() + static_cast<std::ptrdiff_t>(word * kWordBits));
    }
    return by_spin;
}

// And back.
void lanes_apart(std::span<const std::uint64_t> by_spin, std::vector<std::uint64_t>& words) {
    const std::size_t count = by_spin.size() / kWordBits;
    words.resize(kInt8Replicas * count);
    std::array<std::uint64_t, kWordBits> block{};
    for (std::size_t word = 0; word < count; ++word) {
        std::copy_n(by_spin.begin() + static_cast<std::ptrdiff_t>(word * kWordBits), kWordBits,
                    block.begin());
        transpose(block);
        for (std::size_t lane = 0; lane < kInt8Replicas; ++lane) {
            words[lane * count + word] = block[lane];
        }
    }
}

}  // namespace

Int8ReplicaGroup::Int8ReplicaGroup(const Int8ReplicaCouplings& couplings, const KernelTable& table)
    : couplings_(couplings),
      kernels_(table.sparse_int8),
      bit_kernels_(table.sparse_bits),
      local_(couplings.degree() != 0 ? 0 : couplings.n() * kInt8Replicas),
      up_(couplings.degree() != 0 ? 2 * couplings.n() + 2 : couplings.n()),
      best_(couplings.n()),
      random_(2 * kInt8Replicas),
      gain_(kInt8Replicas),
      best_gain_(kInt8Replicas) {
    bytes_ = {couplings.row_start().data(),
              couplings.edges().data(),
              couplings.weights(),
              couplings.halved(),
              local_.data(),
              up_.data(),
              gain_.data(),
              random_.data(),
              couplings.reach()};
    bits_ = {couplings.word_edges().data(),
             couplings.bonds().data(),
             couplings.degree(),
             couplings.bonds().size() / 2,
             up_.data(),
             random_.data()};
}

void Int8ReplicaGroup::assign(std::span<const ReplicaId> replicas, std::uint64_t seed,
                              std::uint64_t first_problem) {
    replicas_.assign(replicas.begin(), replicas.end());
    streams_.clear();
    std::ranges::fill(best_gain_, std::numeric_limits<std::int32_t>::min());
    std::ranges::fill(random_, std::uint64_t{0});  // idle lanes draw zeros, for which no spin flips
    sweeps_done_ = 0;
    for (std::size_t lane = 0; lane < replicas_.size(); ++lane) {
        streams_.emplace_back(seed, first_problem + replicas_[lane].problem, replicas_[lane].read);
        // The sweeps have a generator of their own; the stream itself is for initial states.
        const std::size_t column = 8 * (lane % 8) + lane / 8;
        SplitMix64 seeder(streams_.back().next());
        random_[column] = seeder.next();
        random_[kInt8Replicas + column] = seeder.next() | 1U;  // a state of zeros would stay zero
    }
}

void Int8ReplicaGroup::start(const IsingBatch& batch) {
    if (batch.initial_states.empty()) {
        start_randomly();
        return;
    }
    const std::size_t n = couplings_.n();
    std::vector<std::uint64_t> words(kInt8Replicas * words_of(n));
    for (std::size_t lane = 0; lane < replicas_.size(); ++lane) {
        const auto [problem, read] = replicas_[lane];
        const auto spins =
            batch.initial_states.subspan((problem * batch.initial_reads + read % batch.initial_reads) * n, n);
        const bool negative = couplings_.pinned() && spins[*couplings_.pinned()] < 0;
        for (std::size_t i = 0; i < n; ++i) {
            const bool up = (spins[i] > 0) != negative;
            words[lane * words_of(n) + i / kWordBits] |= std::uint64_t{up} << (i % kWordBits);
        }
    }
    set_targets(words);
}

void Int8ReplicaGroup::start_randomly() {
    const std::size_t count = words_of(couplings_.n());
    std::vector<std::uint64_t> words(kInt8Replicas * count);
    for (std::size_t lane = 0; lane < replicas_.size(); ++lane) {
        std::generate_n(words.begin() + static_cast<std::ptrdiff_t>(lane * count), count,
                        [&] { return streams_[lane].next(); });
    }
    set_targets(words);
}

// `words`: spins as bits in the caller's order, replica after replica.
void Int8ReplicaGroup::set_targets(std::span<const std::uint64_t> words) {
    const std::vector<std::uint64_t> by_spin = lanes_together(words);
    std::vector<std::uint64_t> target(couplings_.n());
    for (std::size_t at = 0; at < target.size(); ++at) {
        target[at] = by_spin[couplings_.order()[at]];
    }
    raise(target.data());
    keep_best();
}

void Int8ReplicaGroup::best_bits(std::vector<std::uint64_t>& words) const {
    lane_bits(best_.data(), 1, words);
}

void Int8ReplicaGroup::bits(std::vector<std::uint64_t>& words) const {
    lane_bits(up_.data(), couplings_.degree() != 0 ? 2 : 1, words);
}

// From words of lanes for every position, `stride` apart, to words of spins for every lane.
void Int8ReplicaGroup::lane_bits(const std::uint64_t* up, std::size_t stride,
                                 std::vector<std::uint64_t>& words) const {
    std::vector<std::uint64_t> by_spin(words_of(couplings_.n()) * kWordBits);
    for (std::size_t at = 0; at < couplings_.n(); ++at) {
        by_spin[couplings_.order()[at]] = up[stride * at];
    }
    lanes_apart(by_spin, words);
}

void Int8ReplicaGroup::set_states(std::span<const std::uint64_t> words) {
    raise(lanes_together(words).data());
}

void Int8ReplicaGroup::states(std::vector<std::uint64_t>& words) const {
    const std::size_t stride = couplings_.degree() != 0 ? 2 : 1;
    std::vector<std::uint64_t> by_spin(words_of(couplings_.n()) * kWordBits);
    for (std::size_t at = 0; at < couplings_.n(); ++at) {
        by_spin[at] = up_[stride * at];
    }
    lanes_apart(by_spin, words);
}

// Local fields and gain of the state that has the spins of `target` up. Idle lanes have no fields and never change.
void Int8ReplicaGroup::raise(const std::uint64_t* target) {
    const std::size_t n = couplings_.n();
    if (couplings_.degree() != 0) {
        for (std::size_t at = 0; at < n; ++at) {
            up_[2 * at] = target[at];
            up_[2 * at + 1] = ~target[at];
        }
        up_[2 * n] = 0;
        up_[2 * n + 1] = ~std::uint64_t{0};
        return;
    }
    const bool uniform =
        replicas_.size() == kInt8Replicas && std::ranges::all_of(replicas_, [&](const ReplicaId& replica) {
            return replica.problem == replicas_.front().problem;
        });
    std::array<const std::int8_t*, kInt8Replicas> base{};
    for (std::size_t lane = 0; lane < replicas_.size(); ++lane) {
        base[lane] = couplings_.base(replicas_[lane].problem).data();
    }
    for (std::size_t at = 0; at < n; ++at) {
        std::int8_t* local = local_.data() + at * kInt8Replicas;
        if (uniform) {
            std::fill_n(local, kInt8Replicas, base[0][at]);
            continue;
        }
        std::fill_n(local, kInt8Replicas, std::int8_t{0});
        for (std::size_t lane = 0; lane < replicas_.size(); ++lane) {
            local[lane] = base[lane][at];
        }
    }
    std::ranges::fill(up_, std::uint64_t{0});
    std::ranges::fill(gain_, 0);
    kernels_.raise(bytes_, target, n);
}

// Calls chunk(begin, end) over all positions. False when the budget ran out before the end.
template <class Chunk>
bool Int8ReplicaGroup::in_chunks(Budget& budget, const Chunk& chunk) const {
    const std::size_t n = couplings_.n();
    constexpr std::size_t kWorkBetweenPolls = std::size_t{1} << 16;
    const std::size_t per_spin = couplings_.work() / n;
    const std::size_t size =
        std::max<std::size_t>(1, kWorkBetweenPolls / per_spin / kVisitsPerWord) * kVisitsPerWord;
    for (std::size_t begin = 0; begin < n; begin += size) {
        chunk(begin, std::min(begin + size, n));
        if (budget.exhausted()) {
            return false;
        }
    }
    return true;
}

std::uint64_t Int8ReplicaGroup::active_lanes() const {
    return ~std::uint64_t{0} >> (kInt8Replicas - replicas_.size());
}

// The gain from the state with all spins -1, where the sweeps do not keep it.
void Int8ReplicaGroup::count_gain() {
    if (couplings_.degree() != 0) {
        bit_kernels_.satisfied(bits_, gain_.data());
        for (std::int32_t& gain : gain_) {
            gain -= couplings_.negative_bonds();
        }
    }
}

void Int8ReplicaGroup::keep_best() {
    count_gain();
    std::uint64_t better = 0;
    for (std::size_t lane = 0; lane < replicas_.size(); ++lane) {
        if (gain_[lane] > best_gain_[lane]) {
            best_gain_[lane] = gain_[lane];
            better |= std::uint64_t{1} << lane;
        }
    }
    if (better != 0) {
        bit_kernels_.keep(up_.data(), couplings_.degree() != 0 ? 2 : 1, best_.data(), couplings_.n(), better);
    }
}

void Int8ReplicaGroup::descend(Budget& budget) {
    pass_greedily(budget);
    keep_best();
}

void Int8ReplicaGroup::settle(StopToken& token) {
    Budget unlimited(token);
    pass_greedily(unlimited);
    count_gain();
}

void Int8ReplicaGroup::pass_greedily(Budget& budget) {
    std::uint64_t flipped = 1;
    bool finished = true;
    while (flipped != 0 && finished) {
        flipped = 0;
        finished = in_chunks(budget, [&](std::size_t begin, std::size_t end) {
            flipped |= couplings_.degree() != 0 ? bit_kernels_.greedy(bits_, begin, end) & active_lanes()
                                                : kernels_.greedy(bytes_, begin, end);
        });
        sweeps_done_ += replicas_.size();
    }
}

// Metropolis sweeps from hot to cold; look(sweep) after each. False when the budget ran out.
template <class Look>
bool Int8ReplicaGroup::sweep(BetaRange range, std::size_t sweeps, Budget& budget, const Look& look) {
    Int8AcceptanceTable table;
    for (std::size_t sweep = 0; sweep < sweeps; ++sweep) {
        table.fill(Int8AcceptanceTable::ratio(geometric_beta(range, sweep, sweeps), couplings_.unit()),
                   couplings_.hub_reach());
        const Int8Acceptance acceptance = table.of_sweep(sweep);
        const bool finished = in_chunks(budget, [&](std::size_t begin, std::size_t end) {
            if (couplings_.degree() != 0) {
                bit_kernels_.metropolis(bits_, begin, end, acceptance);
            } else {
                kernels_.metropolis(bytes_, begin, end, acceptance);
            }
        });
        sweeps_done_ += replicas_.size();
        if (!finished) {
            return false;
        }
        look(sweep);
    }
    return true;
}

bool Int8ReplicaGroup::cool(BetaRange range, std::size_t sweeps, Budget& budget) {
    return sweep(range, sweeps, budget, [](std::size_t) {});
}

void Int8ReplicaGroup::anneal(BetaRange range, std::size_t sweeps, Budget& budget) {
    sweep(range, sweeps, budget, [&](std::size_t done) {
        if ((sweeps - 1 - done) % kSweepsBetweenLooks == 0) {
            keep_best();
        }
    });
    // The answers are local minima even when the time is up: this takes far less than the sweeps.
    Budget polish(budget.token());
    descend(polish);
    budget.at_minima();
    bool was_better = false;
    for (std::size_t lane = 0; lane < replicas_.size(); ++lane) {
        was_better = was_better || best_gain_[lane] > gain_[lane];
    }
    if (was_better) {
        raise(best_.data());
        descend(polish);
    }
}

double Int8ReplicaGroup::mean_field(std::size_t lane) const {
    std::uint64_t sum = 0;
    for (std::size_t at = 0; at < couplings_.n(); ++at) {
        if (couplings_.degree() != 0) {
            int field = 0;
            for (std::size_t k = at * couplings_.degree(); k < (at + 1) * couplings_.degree(); ++k) {
                const std::uint64_t word = up_[couplings_.word_edges()[k] / sizeof(std::uint64_t)];
                field += ((word ^ up_[2 * at]) >> lane & 1) != 0 ? 1 : -1;
            }
            sum += static_cast<std::uint64_t>(std::abs(field));
            continue;
        }
        int field{local_[at * kInt8Replicas + lane]};
        if (couplings_.halved() != nullptr && couplings_.halved()[at] >= 0) {
            field = 2 * field + couplings_.halved()[at];
        }
        sum += static_cast<std::uint64_t>(std::abs(field));
    }
    return static_cast<double>(sum) / static_cast<double>(couplings_.n()) * couplings_.unit();
}

}  // namespace qpsbgd
