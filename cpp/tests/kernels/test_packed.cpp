// Products with signs of one bit against their reference, to the last bit.
#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <vector>

#include "kernels/kernel_table.hpp"
#include "kernels/packed/reference.inl"
#include "support.hpp"

namespace {

using namespace qpsbgd;
using namespace qpsbgd::kernel_tests;

std::vector<std::uint32_t> words_of(Draws& draws, std::size_t count) {
    std::vector<std::uint32_t> words(count);
    for (auto& word : words) {
        word = static_cast<std::uint32_t>(draws.word());
    }
    return words;
}

class Packed : public OnEveryInstructionSet {};

TEST_P(Packed, differences_are_counted) {
    Draws draws(1);
    for (const std::size_t words : {1, 2, 3, 7, 8, 15, 16, 17, 33, 255, 256, 511, 1000}) {
        for (const std::size_t rows : {1, 2, 5}) {
            auto bits = words_of(draws, rows * words);
            const auto x = words_of(draws, words);
            for (std::size_t w = 0; w < words; ++w) {
                bits[w] = ~x[w];  // every bit differs: counts of bytes are at their largest
            }
            std::vector<std::int32_t> out(rows + 1, -7);
            std::vector<std::int32_t> expected(rows + 1, -7);
            table().packed.differences({bits.data(), rows, words}, x.data(), out.data());
            reference::packed::differences({bits.data(), rows, words}, x.data(), expected.data());
            ASSERT_EQ(out, expected) << words << " words";
            ASSERT_EQ(out[0], static_cast<std::int32_t>(32 * words));
        }
    }
}

TEST_P(Packed, signed_sums_are_equal_to_the_last_bit) {
    Draws draws(2);
    for (const std::size_t words : {1, 2, 3, 8, 17, 64}) {
        for (const std::size_t rows : {1, 3, 4, 5, 11}) {
            const auto bits = words_of(draws, rows * words);
            for (const Values values : all_values()) {
                const auto x = draws.reals<float>(32 * words, values);
                std::vector<float> out(rows + 1, 7.0F);
                std::vector<float> expected(rows + 1, 7.0F);
                table().packed.signed_sums({bits.data(), rows, words}, x.data(), out.data());
                reference::packed::signed_sums({bits.data(), rows, words}, x.data(), expected.data());
                ASSERT_TRUE(same(out, expected)) << words << " words, " << rows << " rows";
            }
        }
    }
}

QPSBGD_ON_EVERY_INSTRUCTION_SET(Packed);

}  // namespace
