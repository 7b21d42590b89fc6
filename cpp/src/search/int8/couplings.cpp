// Cost: a few passes over the couplings, and a colouring of each block of 64 spins.
#include "search/int8/couplings.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <limits>
#include <numeric>
#include <tuple>
#include <utility>

namespace qpsbgd {
namespace {

constexpr std::size_t kMostSpins = std::size_t{1}
                                   << 24;  // energies in int32, offsets of local fields in uint32

int nearest(double value) { return static_cast<int>(std::nearbyint(value)); }

// Is it an integer of at most kInt8Reach, up to float32 rounding?
bool is_small_integer(double value) {
    constexpr double kTolerance = 1e-4;
    return std::fabs(value) < kInt8Reach + 0.5 && std::fabs(value - std::nearbyint(value)) <= kTolerance;
}

// A unit that makes small integers of all couplings S = W / 2 and fields, in units of the matrix; 0 where there is none. It
// is the least number, or a fraction of it.
double common_unit(const SparseMatrix& matrix, const IsingBatch& batch) {
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
    if (most == 0.0) {
        return 0.0;
    }
    // The products may overflow, the divisor may not: most >= least.
    for (int divisor = 1; divisor <= kInt8Reach && most * divisor <= (kInt8Reach + 0.5) * least; ++divisor) {
        const double units = static_cast<double>(divisor) / least;
        const auto couples = [&](float value) {
            return is_small_integer(0.5 * static_cast<double>(value) * units);
        };
        const auto acts = [&](double field) { return is_small_integer(field * per_energy * units); };
        if (std::ranges::all_of(matrix.value(), couples) && std::ranges::all_of(batch.fields, acts)) {
            return 1.0 / units;
        }
    }
    return 0.0;
}

}  // namespace

// The order of the sweep.
void Int8ReplicaCouplings::sort_spins(const SparseMatrix& matrix) {
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

std::optional<Int8ReplicaCouplings> Int8ReplicaCouplings::make(const SparseMatrix& matrix,
                                                               const IsingBatch& batch, StopToken& token,
                                                               bool by_bits, bool pin) {
    if (matrix.n() > kMostSpins ||
        matrix.value().size() > std::numeric_limits<std::uint32_t>::max() / sizeof(Int8Edge)) {
        return std::nullopt;
    }
    token.throw_if_interrupted();
    const double unit = token.out_of_time() ? 0.0 : common_unit(matrix, batch);
    token.throw_if_interrupted();
    if (unit == 0.0 || token.out_of_time()) {
        return std::nullopt;
    }
    Int8ReplicaCouplings result;
    result.unit_ = unit * matrix.unit();
    result.sort_spins(matrix);
    if (pin) {
        result.pin_largest(matrix, batch);
    }
    if (!result.add_fields(matrix, batch)) {
        return std::nullopt;
    }
    std::vector<std::uint32_t> position(result.n());
    for (std::size_t at = 0; at < result.n(); ++at) {
        position[result.order_[at]] = static_cast<std::uint32_t>(at);
    }
    if (by_bits && result.countable(matrix, batch)) {
        result.add_bits(matrix, position);
    } else {
        result.add_bytes(matrix, position);
    }
    return result;
}

// Pins the first spin whose field may leave +-254, if there are no fields.
void Int8ReplicaCouplings::pin_largest(const SparseMatrix& matrix, const IsingBatch& batch) {
    if (std::ranges::any_of(batch.fields, [](double field) { return field != 0.0; })) {
        return;
    }
    for (std::size_t i = 0; i < n() && !pinned_; ++i) {
        int sum = 0;
        for (std::size_t k = matrix.row_start()[i]; k < matrix.row_start()[i + 1]; ++k) {
            sum += std::abs(coupling(matrix.value()[k], matrix));
        }
        if (sum > kInt8HubReach) {
            pinned_ = i;
        }
    }
}

// Local fields beside spins all -1, of every problem, halved for hubs. False where they leave +-254, or where those of a
// hub are even and odd.
bool Int8ReplicaCouplings::add_fields(const SparseMatrix& matrix, const IsingBatch& batch) {
    std::vector<int> sum(n());         // of S, by position
    std::vector<int> most_local(n());  // |f| of any problem, and all |S|
    const auto field_at = [&](std::size_t problem, std::size_t at) {
        return nearest(batch.field(problem)[order_[at]] / unit_);
    };
    for (std::size_t problem = 0; problem < batch.problems; ++problem) {
        for (std::size_t at = 0; at < n(); ++at) {
            most_local[at] = std::max(most_local[at], std::abs(field_at(problem, at)));
        }
    }
    for (std::size_t at = 0; at < n(); ++at) {
        const std::size_t i = order_[at];
        if (i == pinned_) {
            sum[at] = kInt8Reach;  // as a field of -127 beside no couplings: a rise that no table accepts
            most_local[at] = kInt8Reach;
        }
        for (std::size_t k = matrix.row_start()[i]; k < matrix.row_start()[i + 1] && i != pinned_; ++k) {
            const int value = coupling(matrix.value()[k], matrix);
            const bool acts_as_field = static_cast<std::size_t>(matrix.column()[k]) == pinned_;
            sum[at] += acts_as_field ? -value : value;
            most_local[at] += std::abs(value);
        }
        hub_reach_ = std::max(hub_reach_, most_local[at]);
        if (most_local[at] <= kInt8Reach) {
            reach_ = std::max(reach_, most_local[at]);
            continue;
        }
        halved_.resize(n(), std::int8_t{-1});
        halved_[at] = static_cast<std::int8_t>((field_at(0, at) - sum[at]) & 1);
    }
    if (hub_reach_ > kInt8HubReach) {
        return false;
    }
    base_.resize(batch.problems * n());
    for (std::size_t problem = 0; problem < batch.problems; ++problem) {
        for (std::size_t at = 0; at < n(); ++at) {
            int base = field_at(problem, at) - sum[at];
            if (!halved_.empty() && halved_[at] >= 0) {
                if ((base & 1) != halved_[at]) {
                    return false;
                }
                base = (base - halved_[at]) / 2;
            }
            base_[problem * n() + at] = static_cast<std::int8_t>(base);
        }
    }
    return true;
}

int Int8ReplicaCouplings::coupling(float value, const SparseMatrix& matrix) const {
    return nearest(0.5 * static_cast<double>(value) * (matrix.unit() / unit_));
}

void Int8ReplicaCouplings::add_bytes(const SparseMatrix& matrix, std::span<const std::uint32_t> position) {
    weights_.resize(256 * kInt8Replicas);
    for (std::size_t weight = 0; weight < 256; ++weight) {
        std::fill_n(weights_.begin() + static_cast<std::ptrdiff_t>(weight * kInt8Replicas), kInt8Replicas,
                    static_cast<std::int8_t>(weight));
    }
    row_start_.reserve(n() + 1);
    row_start_.push_back(0);
    edges_.reserve(matrix.value().size());
    strengths_.reserve(matrix.value().size());
    for (const std::uint32_t i : order_) {
        for (std::size_t k = matrix.row_start()[i]; k < matrix.row_start()[i + 1]; ++k) {
            const auto j = static_cast<std::size_t>(matrix.column()[k]);
            if (i == pinned_ || j == pinned_) {
                continue;
            }
            const auto neighbour = position[j];
            const bool halves = !halved_.empty() && halved_[neighbour] >= 0;
            const int strength = coupling(matrix.value()[k], matrix);
            const auto weight = static_cast<std::uint8_t>((halves ? 1 : 2) * strength);
            strengths_.push_back(static_cast<std::int16_t>(strength));
            edges_.push_back({static_cast<std::uint32_t>(neighbour * kInt8Replicas),
                              static_cast<std::uint32_t>(weight * kInt8Replicas)});
        }
        row_start_.push_back(static_cast<std::uint32_t>(edges_.size()));
    }
}

// Can local fields be counted from bits? Sets the degree if so.
bool Int8ReplicaCouplings::countable(const SparseMatrix& matrix, const IsingBatch& batch) {
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
    if (!uniform || !free || degree > kMostBitDegree || (odd != 0 && odd != n())) {
        return false;
    }
    degree_ = std::max(degree, odd != 0 ? kLeastBitDegree : kLeastBitDegree + 1);
    return true;
}

void Int8ReplicaCouplings::add_bits(const SparseMatrix& matrix, std::span<const std::uint32_t> position) {
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

}  // namespace qpsbgd
