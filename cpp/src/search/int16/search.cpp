// Annealing and tabu search over dense int16 couplings, four reads at a time.
//
// Annealing: Kirkpatrick, Gelatt and Vecchi (1983), sequential Metropolis on a geometric ladder. Tabu: Glover (1989),
// one-flip with random tenure and aspiration, restarted from a perturbed best state when it finds nothing new.
// Cost of a sweep: n / 32 decisions of five vector operations, and one row of couplings for each flip; of a tabu
// iteration: one row of couplings and one pass over the local fields, fused.
// The caller gives matrices that hold the fields (Int16Matrix::holds). Promises: the best state seen is the answer,
// and nothing depends on the group's other reads.
#include "search/int16/search.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>

#include "base/rounding.hpp"
#include "base/spin_bits.hpp"
#include "kernels/kernel_table.hpp"
#include "search/int16/exponentials.hpp"
#include "search/int16/temperature.hpp"

namespace qpsbgd {
namespace {

// Steps or flips of one kernel call: some hundred microseconds, so that deadlines and interrupts are noticed.
std::size_t steps_of_a_call(std::size_t stride) {
    return std::clamp<std::size_t>((std::size_t{1} << 20) / stride, 64, 16384);
}

// Bits of n random spins, padding clear.
void random_bits(Random& random, std::size_t n, std::span<std::uint32_t> bits) {
    for (std::uint32_t& word : bits) {
        word = static_cast<std::uint32_t>(random.next() >> 32);
    }
    if (n % kBlock != 0) {
        bits.back() &= (std::uint32_t{1} << (n % kBlock)) - 1;
    }
}

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

}  // namespace

void Int16Search::begin(std::span<Int16Read> reads, Start start) {
    count_ = reads.size();
    n_ = reads[0].matrix->n();
    stride_ = reads[0].matrix->stride();
    const std::size_t words = stride_ / kBlock;
    target_.resize(words);
    if (space_.size() < count_) {
        space_.resize(count_);
    }
    replicas_.resize(count_);
    matrices_.resize(count_);
    for (std::size_t index = 0; index < count_; ++index) {
        Int16Read& read = reads[index];
        Space& space = space_[index];
        matrices_[index] = read.matrix;
        space.fields.assign(stride_, 0);
        space.local.assign(stride_ + kBlock, 0);  // the first element behind the end is read, never used
        space.scratch.assign(stride_, 0);
        space.negative.assign(words, 0);
        const double per_unit = 1.0 / read.matrix->unit();
        for (std::size_t i = 0; i < n_; ++i) {
            space.fields[i] = static_cast<std::int16_t>(nearest_integer(read.fields[i] * per_unit));
        }
        std::ranges::copy(space.fields, space.local.begin());
        if (read.start.empty() && start == Start::random) {
            random_bits(read.random, n_, space.negative);
        } else if (read.start.empty()) {
            leaning_bits(read.random, space.fields, read.matrix->root_mean_square(), n_, space.negative);
        } else {
            pack_spins<std::uint32_t>(read.start, space.negative);
        }
        space.best = space.negative;
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
    for (std::size_t index = 0; index < count_; ++index) {
        const Space& space = space_[index];
        for (std::size_t first = 0; first < stride_; first += kBlock) {
            const auto spins = spins_of(space.negative[first / kBlock]);
            std::int32_t sum = 0;  // padding adds zeros
            for (std::size_t k = 0; k < kBlock; ++k) {
                sum += spins[k] * (space.fields[first + k] + space.local[first + k]);
            }
            replicas_[index].start += sum;
        }
    }
}

void Int16Search::end(std::span<Int16Read> reads) {
    for (std::size_t index = 0; index < count_; ++index) {
        for (std::size_t first = 0; first < n_; first += kBlock) {
            const auto spins = spins_of(space_[index].best[first / kBlock]);
            std::copy_n(spins.begin(), std::min(kBlock, n_ - first), &reads[index].best[first]);
        }
    }
}

// L of all replicas, from local fields that hold f.
void Int16Search::add_local_fields() {
    for (std::size_t first = 0; first < count_; first += kReplicaGroup) {
        kernels().dense_int16.local_fields(&replicas_[first], std::min(kReplicaGroup, count_ - first), n_,
                                           stride_);
    }
}

// All replicas up to sweep `last` of their temperatures. False when the budget ran out.
bool Int16Search::run_sweeps(std::size_t last, Budget& budget) {
    const std::size_t steps = steps_of_a_call(stride_);
    for (std::size_t first = 0; first < count_; first += kReplicaGroup) {
        const std::size_t count = std::min(kReplicaGroup, count_ - first);
        while (!kernels().dense_int16.anneal(&replicas_[first], count, n_, stride_, exponentials_int16(),
                                             last, steps)) {
            if (budget.exhausted()) {
                return false;
            }
        }
    }
    return !budget.exhausted();
}

// The same, all replicas at once, from their first sweep.
bool Int16Search::run_in_step(std::size_t sweeps, Budget& budget) {
    in_step_.load(*matrices_[0]->in_step(), replicas_);
    const std::size_t done = in_step_.anneal(sweeps, budget);
    leave_step();
    for (Int16Replica& replica : replicas_) {
        replica.sweep = done;
    }
    return done == sweeps && !budget.exhausted();
}

void Int16Search::leave_step() {
    in_step_.store(replicas_);
    for (std::size_t index = 0; index < count_; ++index) {
        std::ranges::copy(space_[index].fields, space_[index].local.begin());
    }
    add_local_fields();
}

// Do the reads share couplings that can go in step, and can none of their fields leave the range of int16?
bool Int16Search::fits_in_step() const {
    if (count_ < Int16ReplicaCouplings::least_reads() || matrices_[0]->in_step() == nullptr) {
        return false;
    }
    const double most = kInt16Range - matrices_[0]->largest_sum();
    for (std::size_t index = 0; index < count_; ++index) {
        if (matrices_[index] != matrices_[0] ||
            !std::ranges::all_of(space_[index].fields,
                                 [&](std::int16_t field) { return std::abs(field) <= most; })) {
            return false;
        }
    }
    return true;
}

// Greedy sweeps until none flips. A replica at its minimum takes no part in the others' further sweeps.
void Int16Search::descend(Budget& budget) {
    static constexpr std::uint32_t kZero = 0;
    std::vector<std::int64_t> before(count_, -1);
    // Saturated fields could let the energies go round in circles; real descents end within some ten sweeps.
    constexpr int kMostSweeps = 1000;
    bool changed = true;
    for (int sweep = 0; changed && sweep < kMostSweeps; ++sweep) {
        changed = false;
        for (std::size_t index = 0; index < count_; ++index) {
            Int16Replica& replica = replicas_[index];
            const bool at_minimum = replica.gain == before[index];
            before[index] = replica.gain;
            changed = changed || !at_minimum;
            replica.temperature = &kZero;
            replica.sweep = at_minimum ? 1 : 0;
            replica.block = 0;
            replica.drawn = false;
        }
        if (changed && !run_sweeps(1, budget)) {
            return;
        }
    }
}

double Int16Search::mean_field(std::size_t index) const {
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

// Flips every spin in which the state differs from the target.
void Int16Search::move_to(std::size_t index, std::span<const std::uint32_t> target) {
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

void Int16Search::run_schedule(std::span<Int16Read> reads, std::size_t sweeps, Budget& budget) {
    constexpr std::size_t kWindow = 1024;  // sweeps whose temperatures are held at once
    const bool in_step = fits_in_step();
    bool time_left = true;
    for (std::size_t first = 0; first < sweeps && time_left; first += kWindow) {
        const std::size_t count = std::min(kWindow, sweeps - first);
        for (std::size_t index = 0; index < count_; ++index) {
            auto& temperatures = space_[index].temperatures;
            temperatures.resize(count);
            double beta = geometric_beta(reads[index].beta_range, first, sweeps);
            const double ratio = geometric_ratio(reads[index].beta_range, sweeps);
            for (std::uint32_t& temperature : temperatures) {
                temperature = temperature_of(beta * reads[index].matrix->unit());
                beta *= ratio;
            }
            Int16Replica& replica = replicas_[index];
            replica.temperature = temperatures.data();
            replica.sweep = 0;
            replica.block = 0;
            replica.drawn = false;
        }
        time_left = in_step ? run_in_step(count, budget) : run_sweeps(count, budget);
        for (std::size_t index = 0; index < count_; ++index) {
            reads[index].sweeps_done += replicas_[index].sweep;
        }
    }
    // The answer is a local minimum even when the time is up: this takes far less than a sweep.
    Budget polish(budget.token());
    descend(polish);
}

void Int16Search::anneal(std::span<Int16Read> reads, std::optional<BetaRange> range,
                         std::optional<std::size_t> sweeps, Budget& budget) {
    begin(reads, Start::random);
    if (!range) {
        descend(budget);
    }
    for (std::size_t index = 0; index < count_; ++index) {
        const double unit = reads[index].matrix->unit();
        reads[index].beta_range = range ? *range : default_beta_range(mean_field(index) * unit);
    }
    if (sweeps || !budget.has_deadline()) {
        run_schedule(reads, sweeps.value_or(kDefaultAnnealSweeps), budget);
    } else if (can_exchange(reads)) {
        exchange(reads, budget);
    } else {
        for (std::size_t length = kFirstRoundSweeps; !budget.exhausted(); length *= 2) {
            run_schedule(reads, length, budget);
            for (std::size_t index = 0; index < count_; ++index) {
                Random random(0, 0, 0);
                random.set_state(replicas_[index].random);
                random_bits(random, n_, target_);
                replicas_[index].random = random.state();
                move_to(index, target_);
            }
        }
    }
    end(reads);
}

// Flipped spins rest for some iterations. Measured on layer problems and public instances: short rests win, by factors in
// flips, where the local fields of a minimum are small beside the couplings, as those of Gram matrices of low rank are;
// else rests grow with n. A multiple now and then helps where couplings differ by orders of magnitude.
void Int16Search::set_tenure(std::size_t index, std::uint32_t factor) {
    constexpr double kSmallFields = 0.8;  // of a row's root-mean-square
    const auto size = static_cast<std::uint32_t>(n_);
    Int16Replica& replica = replicas_[index];
    if (space_[index].typical_field < kSmallFields * matrices_[index]->root_mean_square()) {
        replica.least_tenure = std::min(2 * factor, size / 4);
        replica.tenure_spread = 4;
    } else {
        replica.least_tenure = std::min(factor * std::min(4 + size / 100, 20U), size / 4);
        replica.tenure_spread = std::min(6 + size / 200, 10U);
    }
}

void Int16Search::perturb_best(std::size_t index, Random& random) {
    const auto size = static_cast<std::uint32_t>(n_);
    std::ranges::copy(space_[index].best, target_.begin());
    const std::uint32_t flips = std::max<std::uint32_t>(3, size / 20);
    for (std::uint32_t k = 0; k < flips; ++k) {
        const std::uint32_t spin = random.below(size);
        target_[spin / kBlock] ^= std::uint32_t{1} << (spin % kBlock);
    }
    move_to(index, target_);
    std::ranges::fill(space_[index].scratch, std::int16_t{0});
}

void Int16Search::tabu(std::span<Int16Read> reads, std::optional<std::size_t> sweeps, Budget& budget) {
    begin(reads, Start::leaning);
    constexpr auto kForEver = std::numeric_limits<std::size_t>::max();
    const std::size_t asked = sweeps.value_or(budget.has_deadline() ? kForEver : kDefaultTabuSweeps);
    const std::size_t flips = asked > kForEver / n_ ? kForEver : asked * n_;
    const std::size_t patience = 5 * n_;  // flips without a new best before the search moves elsewhere
    descend(budget);
    for (std::size_t index = 0; index < count_; ++index) {
        space_[index].typical_field = mean_field(index);
        set_tenure(index, 1);
        std::ranges::fill(space_[index].scratch, std::int16_t{0});
        replicas_[index].since_best = 0;
    }
    std::size_t done = 0;
    while (done < flips && !budget.exhausted()) {
        std::size_t call = std::min(flips - done, steps_of_a_call(stride_));
        for (std::size_t index = 0; index < count_; ++index) {
            call = std::min(call, patience - replicas_[index].since_best);
        }
        for (std::size_t first = 0; first < count_; first += kReplicaGroup) {
            kernels().dense_int16.tabu(&replicas_[first], std::min(kReplicaGroup, count_ - first), n_,
                                       stride_, call);
        }
        done += call;
        for (std::size_t index = 0; index < count_; ++index) {
            Int16Replica& replica = replicas_[index];
            if (replica.since_best >= patience) {
                Random random(0, 0, 0);
                random.set_state(replica.random);
                set_tenure(index, random.below(3) == 0 ? 4 : 1);
                perturb_best(index, random);
                replica.random = random.state();
                replica.since_best = 0;
            }
        }
    }
    for (auto& read : reads) {
        read.sweeps_done += done / n_;
    }
    end(reads);
}

}  // namespace qpsbgd
