// A set of small integers that knows its next member: a tree of bits, 64 children to a node.
//
// Cost: O(log64 n) for every question and change, so three words for a million. About n / 7 bytes.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace qpsbgd {

class IndexSet {
public:
    // Members: those of [0, size) that `is_member` names.
    template <class Member>
    void assign(std::size_t size, const Member& is_member) {
        size_ = size;
        levels_ = 0;
        for (std::size_t count = size; levels_ == 0 || count > 1; ++levels_) {
            count = (count + kBits - 1) / kBits;
            level_[levels_].assign(count, 0);
        }
        for (std::size_t i = 0; i < size; ++i) {
            level_[0][i / kBits] |= std::uint64_t{is_member(i)} << (i % kBits);
        }
        for (std::size_t level = 1; level < levels_; ++level) {
            for (std::size_t i = 0; i < level_[level - 1].size(); ++i) {
                level_[level][i / kBits] |= std::uint64_t{level_[level - 1][i] != 0} << (i % kBits);
            }
        }
    }

    void set(std::size_t i, bool is_member) {
        for (std::size_t level = 0; level < levels_; ++level, i /= kBits) {
            std::uint64_t& word = level_[level][i / kBits];
            const std::uint64_t before = word;
            const std::uint64_t bit = std::uint64_t{1} << (i % kBits);
            word = is_member ? before | bit : before & ~bit;
            if ((word != 0) == (before != 0)) {
                return;  // the levels above know already
            }
        }
    }

    // The least member of at least i; the size where there is none.
    std::size_t next(std::size_t i) const {
        for (std::size_t level = 0; level < levels_; ++level, i = i / kBits + 1) {
            if (i / kBits >= level_[level].size()) {
                return size_;
            }
            const std::uint64_t rest = level_[level][i / kBits] >> (i % kBits);
            if (rest == 0) {
                continue;
            }
            i += static_cast<std::size_t>(std::countr_zero(rest));
            for (; level != 0; --level) {
                i = i * kBits + static_cast<std::size_t>(std::countr_zero(level_[level - 1][i]));
            }
            return i;
        }
        return size_;
    }

private:
    static constexpr std::size_t kBits = 64;
    static constexpr std::size_t kMostLevels = 11;  // of 64-bit indices

    std::size_t size_ = 0;
    std::size_t levels_ = 0;
    std::array<std::vector<std::uint64_t>, kMostLevels> level_;
};

}  // namespace qpsbgd
