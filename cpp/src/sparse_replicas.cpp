// Simulated annealing of 64 replicas side by side, for sparse problems whose couplings and fields are small integers in
// some unit: +-1 spin glasses, unweighted max-cut, independent sets.
//
// Each vector operation works on one spin of all replicas, so the spins of one replica are visited one after the other
// as in anneal.cpp, and a replica's result depends on its own random stream alone. The order of the visits keeps
// neighbours apart: blocks of 64 consecutive spins, in each of which spins of one colour have no coupling between them,
// so that the processor need not wait for one visit's result before it begins the next.
//
// Cost of a sweep over 64 replicas: about as much as one to two sweeps over a single read in float32.
// Promises: integer arithmetic is exact; the best state seen at the end of every sixteenth sweep and of the last
// one is polished to a local minimum and kept.
#include "qpsbgd/sparse_replicas.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <mutex>
#include <numeric>
#include <tuple>
#include <utility>

#include "qpsbgd/threads.hpp"

namespace qpsbgd {
namespace {

constexpr std::size_t kMostSpins = std::size_t{1}
                                   << 24;  // energies in int32, offsets of local fields in uint32
constexpr std::size_t kLeastReplicas = 4;
constexpr std::size_t kFirstRoundSweeps = 100;  // of a time-limited run without `sweeps`; doubled every round
constexpr std::size_t kSweepsBetweenLooks = 16;  // for a new best state, the last sweep included
constexpr std::size_t kWordBits = 64;

std::size_t words_of(std::size_t n) { return (n + kWordBits - 1) / kWordBits; }

int nearest(double value) { return static_cast<int>(std::nearbyint(value)); }

// Is it an integer of at most kReach8, up to float32 rounding?
bool is_small_integer(double value) {
    constexpr double kTolerance = 1e-4;
    return std::fabs(value) < kReach8 + 0.5 && std::fabs(value - std::nearbyint(value)) <= kTolerance;
}

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

}  // namespace

void AcceptanceTable::fill(double ratio, int reach) {
    constexpr double kOne = 255.0 * 256.0;
    constexpr std::size_t kEntries = kMostTableParts * kTableWidth;
    constexpr int kStep = 256 / static_cast<int>(kDithers);
    std::array<std::uint16_t, kEntries> probability{};
    double value = kOne;
    std::size_t possible = 0;  // rises below this one may be accepted
    while (std::cmp_less_equal(possible, reach) && possible + 1 < kEntries && value >= kStep / 2.0) {
        probability[possible++] = static_cast<std::uint16_t>(value);
        value *= ratio;
    }
    parts_ = possible / kTableWidth + 1;  // the last entry of the last part stays 0
    const std::size_t width = parts_ * kTableWidth;
    for (std::size_t dither = 0; dither < kDithers; ++dither) {
        const auto offset = static_cast<int>(dither) * kStep + kStep / 2;
        std::uint8_t* row = entries_ + dither * width;
        for (std::size_t rise = 0; rise < width; ++rise) {
            row[rise] = static_cast<std::uint8_t>(255 - ((probability[rise] + offset) >> 8));
        }
    }
}

// The order of the sweep.
void ReplicaCouplings::sort_spins(const SparseMatrix& matrix) {
    constexpr std::size_t kSize = 64;
    const std::size_t n = matrix.n();
    order_.resize(n);
    std::array<std::uint32_t, kSize> colour{};
    std::array<std::uint32_t, kSize> place{};
    for (std::size_t begin = 0; begin < n; begin += kSize) {
        const std::size_t size = std::min(kSize, n - begin);
        for (std::size_t i = 0; i < size; ++i) {
            std::uint64_t taken = 0;  // colours of neighbours that come before in the block
            for (std::size_t k = matrix.row_start()[begin + i]; k < matrix.row_start()[begin + i + 1]; ++k) {
                const auto j = static_cast<std::size_t>(matrix.column()[k]);
                if (j >= begin && j < begin + i) {
                    taken |= std::uint64_t{1} << colour[j - begin];
                }
            }
            colour[i] = static_cast<std::uint32_t>(std::countr_one(taken));
            place[i] = static_cast<std::uint32_t>(begin + i);
        }
        const std::span members(place.data(), size);
        std::ranges::sort(members, {},
                          [&](std::uint32_t spin) { return std::pair(colour[spin - begin], spin); });
        std::copy_n(place.begin(), size, order_.begin() + static_cast<std::ptrdiff_t>(begin));
    }
}

std::optional<ReplicaCouplings> ReplicaCouplings::make(const SparseMatrix& matrix, const IsingBatch& batch,
                                                       StopToken& token, bool by_bits) {
    const std::size_t n = matrix.n();
    if (n > kMostSpins || matrix.value().size() > std::numeric_limits<std::uint32_t>::max() / sizeof(Edge8)) {
        return std::nullopt;
    }
    // Everything in units of the matrix: S = W / 2 and f.
    const double per_energy = 1.0 / matrix.unit();
    double least = std::numeric_limits<double>::infinity();
    double most = 0.0;
    const auto see = [&](double size) {
        least = size > 0.0 && size < least ? size : least;
        most = std::max(most, size);
    };
    for (const float value : matrix.value()) {
        see(0.5 * std::fabs(static_cast<double>(value)));
    }
    for (const double field : batch.fields) {
        see(std::fabs(field * per_energy));
    }
    token.throw_if_interrupted();
    // The unit is the least number or a fraction of it.
    double unit = 0.0;
    for (int divisor = 1; unit == 0.0 && most > 0.0 && most * divisor <= (kReach8 + 0.5) * least; ++divisor) {
        const double units = static_cast<double>(divisor) / least;
        const auto couples = [&](float value) {
            return is_small_integer(0.5 * static_cast<double>(value) * units);
        };
        const auto acts = [&](double field) { return is_small_integer(field * per_energy * units); };
        if (std::ranges::all_of(matrix.value(), couples) && std::ranges::all_of(batch.fields, acts)) {
            unit = 1.0 / units;
        }
    }
    if (unit == 0.0) {
        return std::nullopt;
    }
    token.throw_if_interrupted();

    ReplicaCouplings result;
    result.unit_ = unit * matrix.unit();
    result.sort_spins(matrix);
    std::vector<int> sum(n);    // of S, by position
    std::vector<int> reach(n);  // of |S|
    for (std::size_t at = 0; at < n; ++at) {
        const std::size_t i = result.order_[at];
        for (std::size_t k = matrix.row_start()[i]; k < matrix.row_start()[i + 1]; ++k) {
            const int coupling = result.coupling(matrix.value()[k], matrix);
            sum[at] += coupling;
            reach[at] += std::abs(coupling);
        }
    }
    std::vector<int> most_field(n);  // |f| of any problem
    const auto field_at = [&](std::size_t problem, std::size_t at) {
        return nearest(batch.field(problem)[result.order_[at]] * per_energy / unit);
    };
    for (std::size_t problem = 0; problem < batch.problems; ++problem) {
        for (std::size_t at = 0; at < n; ++at) {
            most_field[at] = std::max(most_field[at], std::abs(field_at(problem, at)));
        }
    }
    for (std::size_t at = 0; at < n; ++at) {
        const int most_local = reach[at] + most_field[at];
        result.hub_reach_ = std::max(result.hub_reach_, most_local);
        if (most_local <= kReach8) {
            result.reach_ = std::max(result.reach_, most_local);
            continue;
        }
        result.halved_.resize(n, std::int8_t{-1});
        result.halved_[at] = static_cast<std::int8_t>((field_at(0, at) - sum[at]) & 1);
    }
    if (result.hub_reach_ > kHubReach8) {
        return std::nullopt;
    }
    result.base_.resize(batch.problems * n);
    for (std::size_t problem = 0; problem < batch.problems; ++problem) {
        for (std::size_t at = 0; at < n; ++at) {
            int base = field_at(problem, at) - sum[at];
            if (!result.halved_.empty() && result.halved_[at] >= 0) {
                if ((base & 1) != result.halved_[at]) {
                    return std::nullopt;  // a hub's fields in this batch are even and odd
                }
                base = (base - result.halved_[at]) / 2;
            }
            result.base_[problem * n + at] = static_cast<std::int8_t>(base);
        }
    }

    std::vector<std::uint32_t> position(n);
    for (std::size_t at = 0; at < n; ++at) {
        position[result.order_[at]] = static_cast<std::uint32_t>(at);
    }
    if (by_bits && result.countable(matrix, batch)) {
        result.add_bits(matrix, position);
    } else {
        result.add_bytes(matrix, position);
    }
    return result;
}

int ReplicaCouplings::coupling(float value, const SparseMatrix& matrix) const {
    return nearest(0.5 * static_cast<double>(value) * (matrix.unit() / unit_));
}

void ReplicaCouplings::add_bytes(const SparseMatrix& matrix, std::span<const std::uint32_t> position) {
    weights_.resize(256 * kReplicaLanes);
    for (std::size_t weight = 0; weight < 256; ++weight) {
        std::fill_n(weights_.begin() + static_cast<std::ptrdiff_t>(weight * kReplicaLanes), kReplicaLanes,
                    static_cast<std::int8_t>(weight));
    }
    row_start_.reserve(n() + 1);
    row_start_.push_back(0);
    edges_.reserve(matrix.value().size());
    for (const std::uint32_t i : order_) {
        for (std::size_t k = matrix.row_start()[i]; k < matrix.row_start()[i + 1]; ++k) {
            const auto neighbour = position[static_cast<std::size_t>(matrix.column()[k])];
            const bool halves = !halved_.empty() && halved_[neighbour] >= 0;
            const auto weight =
                static_cast<std::uint8_t>((halves ? 1 : 2) * coupling(matrix.value()[k], matrix));
            edges_.push_back({static_cast<std::uint32_t>(neighbour * kReplicaLanes),
                              static_cast<std::uint32_t>(weight * kReplicaLanes)});
        }
        row_start_.push_back(static_cast<std::uint32_t>(edges_.size()));
    }
}

// Can local fields be counted from bits? Sets the degree if so.
bool ReplicaCouplings::countable(const SparseMatrix& matrix, const IsingBatch& batch) {
    std::size_t degree = 0;
    std::size_t odd = 0;
    for (std::size_t i = 0; i < n(); ++i) {
        const std::size_t own = matrix.row_start()[i + 1] - matrix.row_start()[i];
        degree = std::max(degree, own);
        odd += own % 2;
    }
    const bool uniform = std::ranges::all_of(
        matrix.value(), [&](float value) { return std::abs(coupling(value, matrix)) == 1; });
    const bool free = std::ranges::all_of(batch.fields, [](double field) { return field == 0.0; });
    if (!uniform || !free || degree > kMostDegree1 || (odd != 0 && odd != n())) {
        return false;
    }
    degree_ = std::max(degree, odd != 0 ? kLeastDegree1 : kLeastDegree1 + 1);
    return true;
}

void ReplicaCouplings::add_bits(const SparseMatrix& matrix, std::span<const std::uint32_t> position) {
    constexpr std::size_t kBytes = sizeof(std::uint64_t);
    const std::size_t spins = n();
    word_edges_.reserve(spins * degree_);
    for (std::size_t at = 0; at < spins; ++at) {
        const std::size_t i = order_[at];
        const std::size_t begin = matrix.row_start()[i];
        const std::size_t end = matrix.row_start()[i + 1];
        for (std::size_t k = begin; k < end; ++k) {
            const std::size_t neighbour = position[static_cast<std::size_t>(matrix.column()[k])];
            const bool negative = matrix.value()[k] < 0.0F;  // satisfied by equal spins
            const auto word = static_cast<std::uint32_t>((2 * neighbour + (negative ? 1 : 0)) * kBytes);
            word_edges_.push_back(word);
            if (neighbour > at) {
                bonds_.push_back(static_cast<std::uint32_t>(2 * at * kBytes));
                bonds_.push_back(word);
                negative_bonds_ += negative ? 1 : 0;
            }
        }
        for (std::size_t k = end - begin; k < degree_; k += 2) {
            word_edges_.push_back(static_cast<std::uint32_t>(2 * spins * kBytes));
            word_edges_.push_back(static_cast<std::uint32_t>((2 * spins + 1) * kBytes));
        }
    }
}

ReplicaGroup::ReplicaGroup(const ReplicaCouplings& couplings, const KernelTable& table)
    : couplings_(couplings),
      kernels_(table.sparse8),
      local_(couplings.degree() != 0 ? 0 : couplings.n() * kReplicaLanes),
      up_(couplings.degree() != 0 ? 2 * couplings.n() + 2 : couplings.n()),
      best_(couplings.n()),
      random_(2 * kReplicaLanes),
      gain_(kReplicaLanes),
      best_gain_(kReplicaLanes) {
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

void ReplicaGroup::assign(std::span<const ReplicaId> replicas, std::uint64_t seed,
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
        random_[kReplicaLanes + column] = seeder.next() | 1U;  // a state of zeros would stay zero
    }
}

void ReplicaGroup::start(const IsingBatch& batch) {
    if (batch.initial_states.empty()) {
        start_randomly();
        return;
    }
    const std::size_t n = couplings_.n();
    std::vector<std::uint64_t> words(kReplicaLanes * words_of(n));
    for (std::size_t lane = 0; lane < replicas_.size(); ++lane) {
        const auto [problem, read] = replicas_[lane];
        const auto spins =
            batch.initial_states.subspan((problem * batch.initial_reads + read % batch.initial_reads) * n, n);
        for (std::size_t i = 0; i < n; ++i) {
            words[lane * words_of(n) + i / kWordBits] |= std::uint64_t{spins[i] > 0} << (i % kWordBits);
        }
    }
    set_targets(words);
}

void ReplicaGroup::start_randomly() {
    const std::size_t count = words_of(couplings_.n());
    std::vector<std::uint64_t> words(kReplicaLanes * count);
    for (std::size_t lane = 0; lane < replicas_.size(); ++lane) {
        std::generate_n(words.begin() + static_cast<std::ptrdiff_t>(lane * count), count,
                        [&] { return streams_[lane].next(); });
    }
    set_targets(words);
}

// `words`: spins as bits in the caller's order, replica after replica.
void ReplicaGroup::set_targets(std::span<const std::uint64_t> words) {
    const std::size_t n = couplings_.n();
    const std::size_t count = words_of(n);
    std::vector<std::uint64_t> by_spin(count * kWordBits);
    std::array<std::uint64_t, kWordBits> block{};
    for (std::size_t word = 0; word < count; ++word) {
        for (std::size_t lane = 0; lane < kReplicaLanes; ++lane) {
            block[lane] = words[lane * count + word];
        }
        transpose(block);
        std::ranges::copy(block, by_spin.begin() + static_cast<std::ptrdiff_t>(word * kWordBits));
    }
    std::vector<std::uint64_t> target(n);
    for (std::size_t at = 0; at < n; ++at) {
        target[at] = by_spin[couplings_.order()[at]];
    }
    raise(target.data());
    keep_best();
}

void ReplicaGroup::best_bits(std::vector<std::uint64_t>& words) const {
    const std::size_t n = couplings_.n();
    const std::size_t count = words_of(n);
    std::vector<std::uint64_t> by_spin(count * kWordBits);
    for (std::size_t at = 0; at < n; ++at) {
        by_spin[couplings_.order()[at]] = best_[at];
    }
    words.resize(kReplicaLanes * count);
    std::array<std::uint64_t, kWordBits> block{};
    for (std::size_t word = 0; word < count; ++word) {
        std::copy_n(by_spin.begin() + static_cast<std::ptrdiff_t>(word * kWordBits), kWordBits,
                    block.begin());
        transpose(block);
        for (std::size_t lane = 0; lane < kReplicaLanes; ++lane) {
            words[lane * count + word] = block[lane];
        }
    }
}

// Local fields and gain of the state that has the spins of `target` up. Idle lanes have no fields and never change.
void ReplicaGroup::raise(const std::uint64_t* target) {
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
        replicas_.size() == kReplicaLanes && std::ranges::all_of(replicas_, [&](const ReplicaId& replica) {
            return replica.problem == replicas_.front().problem;
        });
    std::array<const std::int8_t*, kReplicaLanes> base{};
    for (std::size_t lane = 0; lane < replicas_.size(); ++lane) {
        base[lane] = couplings_.base(replicas_[lane].problem).data();
    }
    for (std::size_t at = 0; at < n; ++at) {
        std::int8_t* local = local_.data() + at * kReplicaLanes;
        if (uniform) {
            std::fill_n(local, kReplicaLanes, base[0][at]);
            continue;
        }
        std::fill_n(local, kReplicaLanes, std::int8_t{0});
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
bool ReplicaGroup::in_chunks(Budget& budget, const Chunk& chunk) const {
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

std::uint64_t ReplicaGroup::active_lanes() const {
    return ~std::uint64_t{0} >> (kReplicaLanes - replicas_.size());
}

// The gain from the state with all spins -1, where the sweeps do not keep it.
void ReplicaGroup::count_gain() {
    if (couplings_.degree() != 0) {
        kernels_.satisfied1(bits_, gain_.data());
        for (std::int32_t& gain : gain_) {
            gain -= couplings_.negative_bonds();
        }
    }
}

void ReplicaGroup::keep_best() {
    count_gain();
    std::uint64_t better = 0;
    for (std::size_t lane = 0; lane < replicas_.size(); ++lane) {
        if (gain_[lane] > best_gain_[lane]) {
            best_gain_[lane] = gain_[lane];
            better |= std::uint64_t{1} << lane;
        }
    }
    if (better != 0) {
        kernels_.keep(up_.data(), couplings_.degree() != 0 ? 2 : 1, best_.data(), couplings_.n(), better);
    }
}

void ReplicaGroup::descend(Budget& budget) {
    std::uint64_t flipped = 1;
    bool finished = true;
    while (flipped != 0 && finished) {
        flipped = 0;
        finished = in_chunks(budget, [&](std::size_t begin, std::size_t end) {
            flipped |= couplings_.degree() != 0 ? kernels_.greedy1(bits_, begin, end) & active_lanes()
                                                : kernels_.greedy(bytes_, begin, end);
        });
        sweeps_done_ += replicas_.size();
    }
    keep_best();
}

void ReplicaGroup::anneal(BetaRange range, std::size_t sweeps, Budget& budget) {
    AcceptanceTable table;
    for (std::size_t sweep = 0; sweep < sweeps; ++sweep) {
        // The energy rises by twice the rise of s L.
        table.fill(std::exp(-2.0 * geometric_beta(range, sweep, sweeps) * couplings_.unit()),
                   couplings_.hub_reach());
        const Acceptance8 acceptance = table.of_sweep(sweep);
        const bool finished = in_chunks(budget, [&](std::size_t begin, std::size_t end) {
            if (couplings_.degree() != 0) {
                kernels_.metropolis1(bits_, begin, end, acceptance);
            } else {
                kernels_.metropolis(bytes_, begin, end, acceptance);
            }
        });
        sweeps_done_ += replicas_.size();
        if (!finished) {
            break;
        }
        if ((sweeps - 1 - sweep) % kSweepsBetweenLooks == 0) {
            keep_best();
        }
    }
    // The answers are local minima even when the time is up: this takes far less than the sweeps.
    Budget polish(budget.token());
    descend(polish);
    bool was_better = false;
    for (std::size_t lane = 0; lane < replicas_.size(); ++lane) {
        was_better = was_better || best_gain_[lane] > gain_[lane];
    }
    if (was_better) {
        raise(best_.data());
        descend(polish);
    }
}

double ReplicaGroup::mean_field(std::size_t lane) const {
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
        int field{local_[at * kReplicaLanes + lane]};
        if (couplings_.halved() != nullptr && couplings_.halved()[at] >= 0) {
            field = 2 * field + couplings_.halved()[at];
        }
        sum += static_cast<std::uint64_t>(std::abs(field));
    }
    return static_cast<double>(sum) / static_cast<double>(couplings_.n()) * couplings_.unit();
}

// Time of a sweep over the whole group, in sweeps over one read in float32 (n = 2000, mean of a whole run):
//                          degree 4, by bits    degree 48, by bytes
//     AVX-512                   1.6                  2.5 to 5, the more reads the more flips
//     AVX2                      2.9                  3.5 to 7
//     128-bit vectors          10                   10 to 20
// The same rule for every machine, since a replica's random numbers are not those of a single read.
bool replicas_pay(const IsingBatch& batch, const SolveOptions& options) {
    // With time to fill, idle lanes are filled with further replicas.
    return batch.problems * options.reads >= kLeastReplicas || (options.time_limit && !options.sweeps);
}

namespace {

class ReplicaBatch {
public:
    ReplicaBatch(const ReplicaCouplings& couplings, const IsingBatch& batch, const SolveOptions& options,
                 std::size_t sweeps, std::span<std::int8_t> samples,
                 const std::function<void(std::size_t, std::size_t, std::size_t)>& finish, StopToken& token)
        : couplings_(couplings),
          batch_(batch),
          options_(options),
          sweeps_(sweeps),
          timed_(options.time_limit && !options.sweeps),
          samples_(samples),
          finish_(finish),
          token_(token),
          workers_(std::max<std::size_t>(1, options.threads)),
          ranges_(batch.problems),
          found_(batch.problems) {}

    ReplicaReport run() {
        choose_ranges();
        form_groups();
        parallel_for(groups_.size(), options_.threads, token_, [&](std::size_t worker, std::size_t group) {
            solve_group(workers_[worker], worker, groups_[group]);
        });
        if (lanes_per_problem_ > options_.reads) {
            parallel_for(batch_.problems, options_.threads, token_,
                         [&](std::size_t worker, std::size_t problem) { write_best(worker, problem); });
        }
        ReplicaReport report;
        report.beta_range = ranges_.front();
        for (const Worker& worker : workers_) {
            report.sweeps += worker.sweeps;
        }
        return report;
    }

private:
    struct Worker {
        std::unique_ptr<ReplicaGroup> group;
        std::vector<std::uint64_t> words;
        std::uint64_t sweeps = 0;
    };

    // A replica's best state, of which more are found than wanted.
    struct Found {
        std::int32_t gain;
        std::size_t read;
        std::vector<std::uint64_t> words;
    };

    ReplicaGroup& group_of(Worker& worker) {
        if (!worker.group) {
            worker.group = std::make_unique<ReplicaGroup>(couplings_);
        }
        return *worker.group;
    }

    // The default range of a problem comes from the local minimum below its first read's initial state. The field is
    // rounded to three binary digits, so that problems alike get the same range and can share a group.
    void choose_ranges() {
        if (options_.beta_range) {
            std::ranges::fill(ranges_, *options_.beta_range);
            return;
        }
        const std::size_t groups = (batch_.problems + kReplicaLanes - 1) / kReplicaLanes;
        parallel_for(groups, options_.threads, token_, [&](std::size_t worker, std::size_t index) {
            const std::size_t first = index * kReplicaLanes;
            const std::size_t count = std::min(kReplicaLanes, batch_.problems - first);
            std::vector<ReplicaId> ids(count);
            for (std::size_t lane = 0; lane < count; ++lane) {
                ids[lane] = {first + lane, 0};
            }
            Budget budget(token_, token_.deadline());
            ReplicaGroup& group = group_of(workers_[worker]);
            group.assign(ids, options_.seed, options_.first_problem);
            group.start(batch_);
            group.descend(budget);
            for (std::size_t lane = 0; lane < count; ++lane) {
                int exponent = 0;
                const double fraction = std::frexp(group.mean_field(lane), &exponent);
                ranges_[first + lane] =
                    default_beta_range(std::ldexp(std::nearbyint(fraction * 8.0), exponent - 3));
            }
            workers_[worker].sweeps += group.sweeps_done();
        });
    }

    // Replicas with the same range, 64 to a group.
    void form_groups() {
        lanes_per_problem_ = options_.reads;
        if (timed_) {
            lanes_per_problem_ =
                std::max(lanes_per_problem_,
                         kReplicaLanes * std::max<std::size_t>(1, options_.threads) / batch_.problems);
        }
        std::vector<std::size_t> problems(batch_.problems);
        std::iota(problems.begin(), problems.end(), std::size_t{0});
        std::ranges::sort(problems, {},
                          [&](std::size_t problem) { return std::pair(ranges_[problem].hot, problem); });
        double hot = -1.0;
        for (const std::size_t problem : problems) {
            for (std::size_t read = 0; read < lanes_per_problem_; ++read) {
                if (groups_.empty() || groups_.back().size() == kReplicaLanes ||
                    ranges_[problem].hot != hot) {
                    groups_.emplace_back();
                    hot = ranges_[problem].hot;
                }
                groups_.back().push_back({problem, read});
            }
        }
    }

    void solve_group(Worker& worker, std::size_t number, const std::vector<ReplicaId>& ids) {
        const bool left_out = !timed_ && token_.finishing() &&
                              std::ranges::none_of(ids, [](ReplicaId id) { return id.read == 0; });
        if (left_out) {
            return;  // the caller wants to finish
        }
        Budget budget(token_, share_of_time());
        ReplicaGroup& group = group_of(worker);
        const BetaRange range = ranges_[ids.front().problem];
        group.assign(ids, options_.seed, options_.first_problem);
        group.start(batch_);
        if (!options_.beta_range) {
            group.descend(budget);  // as a single read does to choose its range: worth it when sweeps are few
        }
        if (timed_) {
            // Until the time is up: ever longer runs from new states.
            group.anneal(range, kFirstRoundSweeps, budget);
            for (std::size_t sweeps = 2 * kFirstRoundSweeps; !budget.exhausted(); sweeps *= 2) {
                group.start_randomly();
                group.anneal(range, sweeps, budget);
            }
        } else {
            group.anneal(range, sweeps_, budget);
        }
        worker.sweeps += group.sweeps_done();
        group.best_bits(worker.words);
        const std::size_t count = words_of(batch_.n);
        for (std::size_t lane = 0; lane < ids.size(); ++lane) {
            const auto words = std::span(worker.words).subspan(lane * count, count);
            if (lanes_per_problem_ > options_.reads) {
                offer(ids[lane], group.best_gain(lane), words);
            } else {
                write(number, ids[lane].problem, ids[lane].read, words);
            }
        }
    }

    // Keeps the state if it is among the best of its problem.
    void offer(ReplicaId id, std::int32_t gain, std::span<const std::uint64_t> words) {
        const std::scoped_lock lock(mutex_);  // groups of several threads may hold replicas of one problem
        auto& found = found_[id.problem];
        const auto better = [](const Found& a, const Found& b) {
            return std::pair(-std::int64_t{a.gain}, a.read) < std::pair(-std::int64_t{b.gain}, b.read);
        };
        Found candidate{gain, id.read, {}};
        const auto place = std::ranges::lower_bound(found, candidate, better);
        if (place == found.end() && found.size() == options_.reads) {
            return;
        }
        candidate.words.assign(words.begin(), words.end());
        found.insert(place, std::move(candidate));
        if (found.size() > options_.reads) {
            found.pop_back();
        }
    }

    void write_best(std::size_t worker, std::size_t problem) {
        for (std::size_t read = 0; read < options_.reads; ++read) {
            write(worker, problem, read, found_[problem][read].words);
        }
    }

    void write(std::size_t worker, std::size_t problem, std::size_t read,
               std::span<const std::uint64_t> words) {
        const auto spins = samples_.subspan((problem * options_.reads + read) * batch_.n, batch_.n);
        // Eight spins at a time: a byte's bits to the lowest bits of eight bytes, and 0 and 1 there to -1 and 1.
        std::size_t i = 0;
        for (; i + 8 <= spins.size(); i += 8) {
            const std::uint64_t bits = (words[i / kWordBits] >> (i % kWordBits)) & 0xFFU;
            const std::uint64_t copies = bits * 0x0101010101010101U & 0x8040201008040201U;
            const std::uint64_t ones = (copies + 0x7F7F7F7F7F7F7F7FU) >> 7 & 0x0101010101010101U;
            const std::uint64_t signs = ~std::uint64_t{0} ^ (ones * 0xFEU);
            std::memcpy(&spins[i], &signs, 8);
        }
        for (; i < spins.size(); ++i) {
            spins[i] =
                ((words[i / kWordBits] >> (i % kWordBits)) & 1) != 0 ? std::int8_t{1} : std::int8_t{-1};
        }
        finish_(worker, problem, read);
    }

    // The time left, shared evenly between the groups that have not begun.
    std::optional<Clock::time_point> share_of_time() {
        const std::size_t waiting = groups_.size() - started_.fetch_add(1);
        if (!token_.deadline()) {
            return std::nullopt;
        }
        const auto now = Clock::now();
        const auto left = std::max(*token_.deadline() - now, Clock::duration::zero());
        const double share = static_cast<double>(options_.threads) / static_cast<double>(waiting);
        return now + std::chrono::duration_cast<Clock::duration>(left * std::min(share, 1.0));
    }

    const ReplicaCouplings& couplings_;
    const IsingBatch& batch_;
    const SolveOptions& options_;
    std::size_t sweeps_;
    bool timed_;
    std::span<std::int8_t> samples_;
    const std::function<void(std::size_t, std::size_t, std::size_t)>& finish_;
    StopToken& token_;
    std::vector<Worker> workers_;
    std::vector<BetaRange> ranges_;
    std::vector<std::vector<ReplicaId>> groups_;
    std::size_t lanes_per_problem_ = 1;
    std::vector<std::vector<Found>> found_;
    std::mutex mutex_;
    std::atomic<std::size_t> started_{0};
};

}  // namespace

ReplicaReport anneal_replicas(const ReplicaCouplings& couplings, const IsingBatch& batch,
                              const SolveOptions& options, std::size_t sweeps, std::span<std::int8_t> samples,
                              const std::function<void(std::size_t, std::size_t, std::size_t)>& finish,
                              StopToken& token) {
    return ReplicaBatch(couplings, batch, options, sweeps, samples, finish, token).run();
}

}  // namespace qpsbgd
