// Cost of a sweep: n / 32 decisions of five vector operations, and one row of couplings for each flip. Nothing depends on
// the group's other reads.
#include "search/int16/group.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cstdlib>
#include <cstring>

#include "base/rounding.hpp"
#include "base/spin_bits.hpp"
#include "kernels/kernel_table.hpp"
#include "search/int16/exponentials.hpp"
#include "search/int16/random_bits.hpp"

namespace qpsbgd {
namespace {

// Spins that follow their fields, where these exceed half of what the couplings of a row add up to; random where they
// are much smaller.
void leaning_bits(Random& random, std::span<const std::int16_t> fields, double root_mean_square,
                  std::size_t n, std::span<std::uint32_t> bits) {
    const auto amplitude = static_cast<std::int32_t>(root_mean_square);
    for (std::size_t first = 0; first < n; first += kBlock) {
        const std::size_t count = std::min(kBlock, n - first);
        std::array<std::int16_t, kBlock> noise{};
        for (std::size_t k = 0; k < count; k += 4) {
            const std::uint64_t four = random.next();
            std::memcpy(&noise[k], &four, sizeof(four));
        }
        std::array<std::uint8_t, kBlock> negative{};
        for (std::size_t k = 0; k < kBlock; ++k) {
            const std::int32_t sum = fields[first + k] + noise[k] * amplitude / 65536;
            // Without fields and couplings the noise alone decides.
            negative[k] = static_cast<std::uint8_t>(sum != 0 ? sum > 0 : (noise[k] & 1) != 0);
        }
        const auto word = packed_word<std::uint32_t>(negative.data());
        bits[first / kBlock] = count == kBlock ? word : word & ((std::uint32_t{1} << count) - 1);
    }
}

// The spins of a block.
std::array<std::int8_t, kBlock> spins_of(std::uint32_t negative) {
    std::array<std::int8_t, kBlock> spins{};
    for (std::size_t k = 0; k < kBlock; k += 8) {
        unpack_spins(negative >> k, &spins[k]);
    }
    return spins;
}

void unpack_words(std::span<const std::uint32_t> negative, std::span<std::int8_t> spins) {
    for (std::size_t first = 0; first < spins.size(); first += kBlock) {
        const auto block = spins_of(negative[first / kBlock]);
        std::copy_n(block.begin(), std::min(kBlock, spins.size() - first), &spins[first]);
    }
}

}  // namespace

// Fields, spins and best spins of a read that starts.
void Int16Group::place(Int16Read& read, Start start, Space& space) const {
    space.fields.assign(stride_, 0);
    space.local.assign(stride_ + kBlock, 0);  // the first element behind the end is read, never used
    space.scratch.assign(stride_, 0);
    space.negative.assign(stride_ / kBlock, 0);
    const double per_unit = 1.0 / read.matrix->unit();
    for (std::size_t i = 0; i < n_; ++i) {
        space.fields[i] = static_cast<std::int16_t>(nearest_integer(read.fields[i] * per_unit));
    }
    std::ranges::copy(space.fields, space.local.begin());
    if (!read.start.empty()) {
        pack_spins<std::uint32_t>(read.start, space.negative);
    } else if (start == Start::random) {
        random_bits(read.random, n_, space.negative);
    } else {
        leaning_bits(read.random, space.fields, read.matrix->root_mean_square(), n_, space.negative);
    }
    space.best = space.negative;
}

void Int16Group::load(std::span<Int16Read> reads, Start start) {
    n_ = reads[0].matrix->n();
    stride_ = reads[0].matrix->stride();
    if (space_.size() < reads.size()) {
        space_.resize(reads.size());
    }
    replicas_.resize(reads.size());
    matrices_.resize(reads.size());
    goes_in_step_ = false;
    for (std::size_t index = 0; index < reads.size(); ++index) {
        Int16Read& read = reads[index];
        Space& space = space_[index];
        matrices_[index] = read.matrix;
        place(read, start, space);
        replicas_[index] = Int16Replica{.couplings = read.matrix->couplings(),
                                        .fields = space.fields.data(),
                                        .local = space.local.data(),
                                        .scratch = space.scratch.data(),
                                        .negative = space.negative.data(),
                                        .best_negative = space.best.data(),
                                        .temperature = nullptr,
                                        .random = read.random.state(),
                                        .start = 0,
                                        .gain = 0,
                                        .best_gain = 0,
                                        .sweep = 0,
                                        .block = 0,
                                        .pending = 0,
                                        .drawn = false,
                                        .least_tenure = 0,
                                        .tenure_spread = 1,
                                        .since_best = 0};
    }
    add_local_fields();
    for (std::size_t index = 0; index < reads.size(); ++index) {
        replicas_[index].start = twice_the_energy(space_[index]);
    }
}

void Int16Group::store(std::span<Int16Read> reads) const {
    for (std::size_t index = 0; index < reads.size(); ++index) {
        unpack_words(space_[index].best, reads[index].best);
    }
}

double Int16Group::best_energy(std::size_t index) const {
    const Int16Replica& replica = replicas_[index];
    const std::int64_t gain = goes_in_step_ ? in_step_.best_gain(index) : replica.best_gain;
    return 0.5 * static_cast<double>(replica.start) - 2.0 * static_cast<double>(gain);
}

void Int16Group::best_spins(std::size_t index, std::span<std::int8_t> spins) const {
    if (!goes_in_step_) {
        unpack_words(space_[index].best, spins);
        return;
    }
    std::vector<std::uint32_t> words(space_[index].best.size());
    in_step_.best_bits(index, words);
    unpack_words(words, spins);
}

void Int16Group::spins(std::size_t index, std::span<std::int8_t> spins) const {
    unpack_words(space_[index].negative, spins);
}

// The sum of s_i (f_i + L_i).
std::int64_t Int16Group::twice_the_energy(const Space& space) const {
    std::int64_t total = 0;
    for (std::size_t first = 0; first < stride_; first += kBlock) {
        const auto spins = spins_of(space.negative[first / kBlock]);
        std::int32_t sum = 0;  // padding adds zeros
        for (std::size_t k = 0; k < kBlock; ++k) {
            sum += spins[k] * (space.fields[first + k] + space.local[first + k]);
        }
        total += sum;
    }
    return total;
}

// L of all replicas, from local fields that hold f.
void Int16Group::add_local_fields() {
    for (std::size_t first = 0; first < size(); first += kReplicaGroup) {
        kernels().dense_int16.local_fields(&replicas_[first], std::min(kReplicaGroup, size() - first), n_,
                                           stride_);
    }
}

double Int16Group::mean_field(std::size_t index) const {
    std::int64_t sum = 0;
    for (std::size_t first = 0; first < stride_; first += kBlock) {
        std::int32_t of_block = 0;  // padding adds zeros
        for (std::size_t k = 0; k < kBlock; ++k) {
            of_block += std::abs(std::int32_t{space_[index].local[first + k]});
        }
        sum += of_block;
    }
    return static_cast<double>(sum) / static_cast<double>(n_);
}

std::size_t Int16Group::steps_of_a_call() const {
    return std::clamp<std::size_t>((std::size_t{1} << 20) / stride_, 64, 16384);
}

void Int16Group::begin_sweeps(std::size_t index, const std::uint32_t* temperatures) {
    Int16Replica& replica = replicas_[index];
    replica.temperature = temperatures;
    replica.sweep = 0;
    replica.block = 0;
    replica.drawn = false;
}

bool Int16Group::run_sweeps(std::size_t last, Budget& budget) {
    const std::size_t steps = steps_of_a_call();
    for (std::size_t first = 0; first < size(); first += kReplicaGroup) {
        const std::size_t count = std::min(kReplicaGroup, size() - first);
        while (!kernels().dense_int16.anneal(&replicas_[first], count, n_, stride_, exponentials_int16(),
                                             last, steps)) {
            if (budget.exhausted()) {
                return false;
            }
        }
    }
    return !budget.exhausted();
}

// A replica at its minimum takes no part in the others' further sweeps.
void Int16Group::descend(Budget& budget) {
    static constexpr std::uint32_t kZero = 0;
    std::vector<std::int64_t> before(size(), -1);
    // Saturated fields could let the energies go round in circles; real descents end within some ten sweeps.
    constexpr int kMostSweeps = 1000;
    bool changed = true;
    for (int sweep = 0; changed && sweep < kMostSweeps; ++sweep) {
        changed = false;
        for (std::size_t index = 0; index < size(); ++index) {
            Int16Replica& replica = replicas_[index];
            const bool at_minimum = replica.gain == before[index];
            before[index] = replica.gain;
            changed = changed || !at_minimum;
            begin_sweeps(index, &kZero);
            replica.sweep = at_minimum ? 1 : 0;
        }
        if (changed && !run_sweeps(1, budget)) {
            return;
        }
    }
}

void Int16Group::complete(StopToken& token) {
    constexpr std::size_t kCouplings = std::size_t{1} << 27;  // that may change fields
    if (size() * n_ * n_ <= kCouplings) {
        Budget polish(token);
        descend(polish);
    }
}

void Int16Group::run_tabu(std::size_t flips) {
    for (std::size_t first = 0; first < size(); first += kReplicaGroup) {
        kernels().dense_int16.tabu(&replicas_[first], std::min(kReplicaGroup, size() - first), n_, stride_,
                                   flips);
    }
}

void Int16Group::move_to(std::size_t index, std::span<const std::uint32_t> target) {
    Int16Replica& replica = replicas_[index];
    for (std::size_t word = 0; word < target.size(); ++word) {
        for (std::uint32_t rest = replica.negative[word] ^ target[word]; rest != 0; rest &= rest - 1) {
            const std::size_t spin = word * kBlock + static_cast<std::size_t>(std::countr_zero(rest));
            const bool negative = (replica.negative[word] >> (spin % kBlock) & 1U) != 0;
            replica.gain += negative ? -replica.local[spin] : replica.local[spin];
            kernels().dense_int16.flip(replica, spin, stride_);
        }
    }
}

bool Int16Group::fits_in_step() const {
    if (size() < Int16ReplicaCouplings::least_reads() || matrices_[0]->in_step() == nullptr) {
        return false;
    }
    const double most = kInt16Range - matrices_[0]->largest_sum();
    for (std::size_t index = 0; index < size(); ++index) {
        if (matrices_[index] != matrices_[0] ||
            !std::ranges::all_of(space_[index].fields,
                                 [&](std::int16_t field) { return std::abs(field) <= most; })) {
            return false;
        }
    }
    return true;
}

Int16ReplicaGroup& Int16Group::enter_step() {
    in_step_.load(*matrices_[0]->in_step(), replicas_);
    goes_in_step_ = true;
    return in_step_;
}

void Int16Group::leave_step() {
    in_step_.store(replicas_);
    goes_in_step_ = false;
    for (std::size_t index = 0; index < size(); ++index) {
        std::ranges::copy(space_[index].fields, space_[index].local.begin());
    }
    add_local_fields();
}

}  // namespace qpsbgd
