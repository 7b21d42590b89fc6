// The largest of many numbers that change a few at a time: a tree of matches, each won by the larger of two.
//
// Cost: a change replays its way up only as far as winners or their numbers change, log2 n matches at most and two or three
// as a rule. 4 bytes a match and 4 a number.
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

namespace qpsbgd {

class Tournament {
public:
    static constexpr float kAbsent = -std::numeric_limits<float>::infinity();  // never wins against a number

    void assign(std::span<const float> numbers) {
        size_ = numbers.size();
        leaves_ = std::bit_ceil(numbers.size());
        numbers_.assign(leaves_, kAbsent);
        std::ranges::copy(numbers, numbers_.begin());
        winner_.resize(2 * leaves_);
        for (std::size_t i = 0; i < leaves_; ++i) {
            winner_[leaves_ + i] = static_cast<std::uint32_t>(i);
        }
        for (std::size_t match = leaves_ - 1; match != 0; --match) {
            winner_[match] = better(winner_[2 * match], winner_[2 * match + 1]);
        }
    }

    void set(std::size_t i, float number) {
        numbers_[i] = number;
        for (std::size_t match = (leaves_ + i) / 2; match != 0; match /= 2) {
            const std::uint32_t winner = better(winner_[2 * match], winner_[2 * match + 1]);
            if (winner == winner_[match] && winner != i) {
                return;  // it won before, by the same number
            }
            winner_[match] = winner;
        }
    }

    float operator[](std::size_t i) const { return numbers_[i]; }

    // The first of the largest numbers.
    std::size_t winner() const { return winner_[1]; }

private:
    // The left one of equals, which comes first.
    std::uint32_t better(std::uint32_t left, std::uint32_t right) const {
        return numbers_[right] > numbers_[left] ? right : left;
    }

    std::size_t size_ = 0;
    std::size_t leaves_ = 1;
    std::vector<float> numbers_;
    std::vector<std::uint32_t>
        winner_;  // of match k, between the winners of 2 k and 2 k + 1; leaves are their own
};

}  // namespace qpsbgd
