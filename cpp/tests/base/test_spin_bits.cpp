// Spins as bits and back.
#include <gtest/gtest.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/spin_bits.hpp"

namespace qpsbgd {
namespace {

TEST(SpinBits, of_every_byte_become_spins_and_bits_again) {
    for (std::uint32_t bits = 0; bits < 256; ++bits) {
        std::array<std::int8_t, 8> spins{};
        std::array<std::uint8_t, 8> flags{};
        unpack_spins(bits | 0xFF00U, spins.data());
        for (std::size_t k = 0; k < 8; ++k) {
            EXPECT_EQ(spins[k], (bits >> k & 1U) != 0 ? -1 : 1);
            flags[k] = static_cast<std::uint8_t>(bits >> k & 1U);
        }
        EXPECT_EQ(packed_flags(flags.data()), bits);
    }
}

template <class Word>
void check_words(std::size_t n) {
    constexpr std::size_t kBits = 8 * sizeof(Word);
    std::vector<std::int8_t> spins(n);
    std::vector<Word> expected((n + kBits - 1) / kBits, Word{0});
    for (std::size_t i = 0; i < n; ++i) {
        const bool negative = i * i % 7 < 3;
        spins[i] = negative ? -1 : 1;
        expected[i / kBits] = static_cast<Word>(expected[i / kBits] | Word{negative} << (i % kBits));
    }
    std::vector<Word> words(expected.size(), static_cast<Word>(~Word{0}));
    pack_spins<Word>(spins, words);
    EXPECT_EQ(words, expected);
}

TEST(SpinBits, fill_words_of_both_sizes_and_clear_the_rest) {
    for (std::size_t n = 1; n < 70; ++n) {
        check_words<std::uint16_t>(n);
        check_words<std::uint32_t>(n);
    }
}

}  // namespace
}  // namespace qpsbgd
