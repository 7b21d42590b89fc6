// Numbers by unordered pairs of small integers: a hash table with linear probing that only grows.
//
// Cost: O(1) expected for each question; 16 bytes for each of at most three slots a pair.
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace qpsbgd {

class PairTable {
public:
    static constexpr std::uint64_t kAbsent = ~std::uint64_t{0};

    // The number of pair {i, j}, i != j, or kAbsent.
    std::uint64_t find(std::uint32_t i, std::uint32_t j) const {
        return slots_.empty() ? kAbsent : slots_[place_of(key_of(i, j))].number;
    }

    // Pair {i, j} must be absent.
    void insert(std::uint32_t i, std::uint32_t j, std::uint64_t number) {
        if (2 * (count_ + 1) > slots_.size()) {
            grow();
        }
        const std::uint64_t key = key_of(i, j);
        slots_[place_of(key)] = {key, number};
        ++count_;
    }

private:
    struct Slot {
        std::uint64_t key = 0;  // no pair's: its two integers differ
        std::uint64_t number = kAbsent;
    };

    static std::uint64_t key_of(std::uint32_t i, std::uint32_t j) {
        const auto [low, high] = std::minmax(i, j);
        return std::uint64_t{high} << 32U | low;
    }

    std::size_t place_of(std::uint64_t key) const {
        // Fibonacci hashing: the golden ratio spreads neighbouring keys.
        std::size_t place = (key * 0x9E3779B97F4A7C15U) >> shift_;
        while (slots_[place].key != key && slots_[place].key != 0) {
            place = (place + 1) & (slots_.size() - 1);
        }
        return place;
    }

    void grow() {
        std::vector<Slot> before(std::max<std::size_t>(16, 2 * slots_.size()));
        before.swap(slots_);
        shift_ = 64U - static_cast<unsigned>(std::countr_zero(slots_.size()));
        for (const Slot& slot : before) {
            if (slot.key != 0) {
                slots_[place_of(slot.key)] = slot;
            }
        }
    }

    std::vector<Slot> slots_;
    std::size_t count_ = 0;
    unsigned shift_ = 0;
};

}  // namespace qpsbgd
