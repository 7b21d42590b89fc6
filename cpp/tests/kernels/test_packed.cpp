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
    for (const std::size_t words :
         {1UL, 2UL, 3UL, 7UL, 8UL, 15UL, 16UL, 17UL, 33UL, 255UL, 256UL, 511UL, 1000UL}) {
        for (const std::size_t rows : {1UL, 2UL, 5UL}) {
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
    for (const std::size_t words : {1UL, 2UL, 3UL, 8UL, 17UL, 64UL}) {
        for (const std::size_t rows : {1UL, 3UL, 4UL, 5UL, 11UL}) {
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
