// Annealing and tabu search over dense int16 couplings, four reads at a time.
//
// Annealing: Kirkpatrick, Gelatt and Vecchi (1983), sequential Metropolis on a geometric ladder. Tabu: Glover (1989),
// one-flip with random tenure and aspiration, restarted from a perturbed best state when it finds nothing new.
// Cost of a sweep: n / 32 decisions of five vector operations, and one row of couplings for each flip; of a tabu
// iteration: one row of couplings and one pass over the local fields, fused.
// The caller gives matrices that hold the fields (Dense16Matrix::holds). Promises: the best state seen is the answer,
// and nothing depends on the group's other reads.
#include "search/int16/search.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <type_traits>

#include "batch/finish.hpp"
#include "kernels/kernel_table.hpp"
#include "search/float32/matrices.hpp"
#include "base/rounding.hpp"
#include "base/spin_bits.hpp"
#include "search/int16/temperature.hpp"

namespace qpsbgd {
namespace {

constexpr double kInt16Range = 32767.0;
constexpr double kLargestField = 28000.0;   // units
constexpr double kCouplingRange = 16000.0;  // units that the couplings' part of a local field may take up
constexpr double kDeviations = 4.0;         // root-mean-squares of a row that fit into kCouplingRange
constexpr double kUnevenRows = 32.0;
constexpr double kSumRange =
    24000.0;                      // units that a whole row may add up to, so that no field ever saturates
constexpr double kCoarser = 5.0;  // by how much that may enlarge the unit
constexpr std::size_t kDefaultAnnealSweeps = 1000;
constexpr std::size_t kDefaultTabuSweeps = 200;
constexpr std::size_t kFirstRoundSweeps =
    100;  // of a time-limited annealing without `sweeps`; doubled every round

template <class Real>
const PrepareKernels<Real>& prepare_kernels() {
    if constexpr (std::is_same_v<Real, float>) {
        return kernels().prepare_float;
    } else {
        return kernels().prepare_double;
    }
}

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

const std::uint16_t* exponentials16() {
    static const auto table = [] {
        std::array<std::uint16_t, kExponentials + kBlock> values{};
        const auto quantiles = exponential_quantiles();
        for (std::size_t k = 0; k < kExponentials; ++k) {
            values[k] =
                static_cast<std::uint16_t>(static_cast<double>(quantiles[k]) * 65535.0 / kLargestExponential);
        }
        Random random(0, 0, 0);
        for (std::size_t k = kExponentials - 1; k > 0; --k) {
            std::swap(values[k], values[random.below(static_cast<std::uint32_t>(k + 1))]);
        }
        std::copy_n(values.begin(), kBlock, values.begin() + kExponentials);
        return values;
    }();
    return table.data();
}

Dense16Matrix::Dense16Matrix(std::size_t n, double unit)
    : n_(n),
      stride_((n + kBlock - 1) / kBlock * kBlock),
      unit_(unit),
      values_((n + 1) * stride_, std::int16_t{0}) {}

std::optional<Dense16Matrix> Dense16Matrix::make(const SymmetricRows& rows, double scale,
                                                 Saturation saturation, StopToken& token) {
    const std::size_t n = rows.n();
    if (n > 65000) {
        return std::nullopt;  // the kernels count spins in 16 bits
    }
    // S_ij / scale = 2 M_ij
    double largest = 0.0;
    double largest_sum = 0.0;
    double least_square = std::numeric_limits<double>::infinity();
    double most_square = 0.0;
    double squares = 0.0;
    rows.for_each_row(token, [&]<class Real>(std::size_t i, const Real* row) {
        const RowStatistics of_row = prepare_kernels<Real>().statistics(row, n, i);
        largest = std::max(largest, 2.0 * of_row.largest);
        largest_sum = std::max(largest_sum, 2.0 * of_row.sum);
        least_square = std::min(least_square, 4.0 * of_row.squares);
        most_square = std::max(most_square, 4.0 * of_row.squares);
        squares += 4.0 * of_row.squares;
        return true;
    });
    if (!(largest > 0.0) || !std::isfinite(largest) || largest > 1e150 || largest < 1e-150) {
        return std::nullopt;
    }
    double unit = power_of_two_unit(largest_sum / kCouplingRange);
    bool exact = true;
    rows.for_each_row(token, [&](std::size_t i, const auto* row) {
        for (std::size_t j = 0; j < i && exact; ++j) {
            const double units = 2.0 * static_cast<double>(row[j]) / unit;
            exact = units == nearest_integer(units);
        }
        return exact;
    });
    if (!exact) {
        if (least_square * kUnevenRows * kUnevenRows < most_square) {
            return std::nullopt;
        }
        unit = std::min(largest_sum, kDeviations * std::sqrt(most_square)) / kCouplingRange;
        unit = std::max(unit, largest / kCouplingRange);
        const double without_saturation = largest_sum / kSumRange;
        if (saturation == Saturation::avoided && without_saturation <= kCoarser * unit) {
            unit = std::max(unit, without_saturation);
        }
    }
    Dense16Matrix result(n, unit * scale);
    result.largest_sum_ = largest_sum / unit + 0.5 * static_cast<double>(n);
    result.root_mean_square_ = std::sqrt(squares / static_cast<double>(n)) / unit;
    rows.for_each_row(token, [&]<class Real>(std::size_t i, const Real* row) {
        prepare_kernels<Real>().quantise(row, n, i, 2.0 / unit, &result.values_[i * result.stride_]);
        return true;
    });
    return result;
}

void Dense16Matrix::prepare_lanes() {
    if (LaneCouplings::serve(n_) && largest_sum_ < kInt16Range) {
        lanes_.emplace(values_, n_, stride_);
    }
}

bool Dense16Matrix::holds(std::span<const double> fields) const {
    return std::ranges::all_of(fields,
                               [&](double field) { return std::fabs(field) <= kLargestField * unit_; });
}

void Group16::begin(std::span<Read16> reads, Start start) {
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
        Read16& read = reads[index];
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
        replicas_[index] = Replica16{.couplings = read.matrix->couplings(),
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

void Group16::end(std::span<Read16> reads) {
    for (std::size_t index = 0; index < count_; ++index) {
        for (std::size_t first = 0; first < n_; first += kBlock) {
            const auto spins = spins_of(space_[index].best[first / kBlock]);
            std::copy_n(spins.begin(), std::min(kBlock, n_ - first), &reads[index].best[first]);
        }
    }
}

// L of all replicas, from local fields that hold f.
void Group16::add_local_fields() {
    for (std::size_t first = 0; first < count_; first += kReplicaGroup) {
        kernels().dense16.local_fields(&replicas_[first], std::min(kReplicaGroup, count_ - first), n_,
                                       stride_);
    }
}

// All replicas up to sweep `last` of their temperatures. False when the budget ran out.
bool Group16::run_sweeps(std::size_t last, Budget& budget) {
    const std::size_t steps = steps_of_a_call(stride_);
    for (std::size_t first = 0; first < count_; first += kReplicaGroup) {
        const std::size_t count = std::min(kReplicaGroup, count_ - first);
        while (
            !kernels().dense16.anneal(&replicas_[first], count, n_, stride_, exponentials16(), last, steps)) {
            if (budget.exhausted()) {
                return false;
            }
        }
    }
    return !budget.exhausted();
}

// The same, all replicas at once, from their first sweep.
bool Group16::run_lanes(std::size_t sweeps, Budget& budget) {
    lanes_.load(*matrices_[0]->lanes(), replicas_);
    const std::size_t done = lanes_.anneal(sweeps, budget);
    leave_lanes();
    for (Replica16& replica : replicas_) {
        replica.sweep = done;
    }
    return done == sweeps && !budget.exhausted();
}

void Group16::leave_lanes() {
    lanes_.store(replicas_);
    for (std::size_t index = 0; index < count_; ++index) {
        std::ranges::copy(space_[index].fields, space_[index].local.begin());
    }
    add_local_fields();
}

// Do the reads share couplings that have lanes, and can none of their fields leave the range of int16?
bool Group16::fits_lanes() const {
    if (count_ < LaneCouplings::least_reads() || matrices_[0]->lanes() == nullptr) {
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
void Group16::descend(Budget& budget) {
    static constexpr std::uint32_t kZero = 0;
    std::vector<std::int64_t> before(count_, -1);
    // Saturated fields could let the energies go round in circles; real descents end within some ten sweeps.
    constexpr int kMostSweeps = 1000;
    bool changed = true;
    for (int sweep = 0; changed && sweep < kMostSweeps; ++sweep) {
        changed = false;
        for (std::size_t index = 0; index < count_; ++index) {
            Replica16& replica = replicas_[index];
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

double Group16::mean_field(std::size_t index) const {
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
void Group16::move_to(std::size_t index, std::span<const std::uint32_t> target) {
    Replica16& replica = replicas_[index];
    for (std::size_t word = 0; word < target.size(); ++word) {
        for (std::uint32_t rest = replica.negative[word] ^ target[word]; rest != 0; rest &= rest - 1) {
            const std::size_t spin = word * kBlock + static_cast<std::size_t>(std::countr_zero(rest));
            const bool negative = (replica.negative[word] >> (spin % kBlock) & 1U) != 0;
            replica.gain += negative ? -replica.local[spin] : replica.local[spin];
            kernels().dense16.flip(replica, spin, stride_);
        }
    }
}

void Group16::run_schedule(std::span<Read16> reads, std::size_t sweeps, Budget& budget) {
    constexpr std::size_t kWindow = 1024;  // sweeps whose temperatures are held at once
    const bool in_lanes = fits_lanes();
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
            Replica16& replica = replicas_[index];
            replica.temperature = temperatures.data();
            replica.sweep = 0;
            replica.block = 0;
            replica.drawn = false;
        }
        time_left = in_lanes ? run_lanes(count, budget) : run_sweeps(count, budget);
        for (std::size_t index = 0; index < count_; ++index) {
            reads[index].sweeps_done += replicas_[index].sweep;
        }
    }
    // The answer is a local minimum even when the time is up: this takes far less than a sweep.
    Budget polish(budget.token());
    descend(polish);
}

void Group16::anneal(std::span<Read16> reads, std::optional<BetaRange> range,
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
    } else if (can_temper(reads)) {
        temper(reads, budget);
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
void Group16::set_tenure(std::size_t index, std::uint32_t factor) {
    constexpr double kSmallFields = 0.8;  // of a row's root-mean-square
    const auto size = static_cast<std::uint32_t>(n_);
    Replica16& replica = replicas_[index];
    if (space_[index].typical_field < kSmallFields * matrices_[index]->root_mean_square()) {
        replica.least_tenure = std::min(2 * factor, size / 4);
        replica.tenure_spread = 4;
    } else {
        replica.least_tenure = std::min(factor * std::min(4 + size / 100, 20U), size / 4);
        replica.tenure_spread = std::min(6 + size / 200, 10U);
    }
}

void Group16::perturb_best(std::size_t index, Random& random) {
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

void Group16::tabu(std::span<Read16> reads, std::optional<std::size_t> sweeps, Budget& budget) {
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
            kernels().dense16.tabu(&replicas_[first], std::min(kReplicaGroup, count_ - first), n_, stride_,
                                   call);
        }
        done += call;
        for (std::size_t index = 0; index < count_; ++index) {
            Replica16& replica = replicas_[index];
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
