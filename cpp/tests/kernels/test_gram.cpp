// Products of panels against their reference, to the last bit.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <vector>

#include "base/aligned.hpp"
#include "kernels/gram/reference.inl"
#include "kernels/kernel_table.hpp"
#include "support.hpp"

namespace {

using namespace qpsbgd;
using namespace qpsbgd::kernel_tests;
namespace expected = qpsbgd::reference::gram;

template <class Real>
const GramKernels<Real>& gram_of(const KernelTable& table) {
    if constexpr (std::is_same_v<Real, float>) {
        return table.gram_float32;
    } else {
        return table.gram_float64;
    }
}

template <class Real>
void check_pack(const GramKernels<Real>& gram) {
    Draws draws(1);
    for (std::size_t columns = 1; columns <= gram.width; ++columns) {
        for (const std::size_t samples : {0U, 1U, 7U}) {
            const std::size_t stride = columns + 3;
            const auto values = draws.reals<Real>(samples * stride + 1, Values::spread);
            AlignedVector<Real> panel(samples * gram.width + 1, Real{7});
            gram.pack(values.data() + 1, stride, samples, columns, panel.data());
            for (std::size_t k = 0; k < samples; ++k) {
                for (std::size_t j = 0; j < gram.width; ++j) {
                    const Real entry = j < columns ? values[1 + k * stride + j] : Real{0};
                    ASSERT_TRUE(same_bits(panel[k * gram.width + j], entry)) << "sample " << k << ", " << j;
                }
            }
            ASSERT_EQ(panel.back(), Real{7}) << "beyond the panel";
        }
    }
}

template <class Real>
void check_pack_signs(const GramKernels<Real>& gram) {
    Draws draws(2);
    for (const std::size_t columns :
         {std::size_t{1}, gram.width - 1, gram.width, gram.width + 1, 2 * gram.width, 3 * gram.width - 1}) {
        const std::size_t panels = (columns + gram.width - 1) / gram.width;
        for (const std::size_t samples : {1U, 2U, 31U, 32U}) {
            const std::size_t panel_stride = 2 * gram.bit_width;
            std::vector<Real> values(samples * columns);
            std::ranges::generate(values, [&] { return static_cast<Real>(2 * draws.integer(0, 1) - 1); });
            AlignedVector<std::uint32_t> words(panels * panel_stride, 0);
            ASSERT_TRUE(
                gram.pack_signs(values.data(), columns, samples, columns, words.data(), panel_stride));
            for (std::size_t j = 0; j < panels * gram.width; ++j) {
                std::uint32_t word = 0;
                for (std::size_t k = 0; k < samples && j < columns; ++k) {
                    word |= std::uint32_t{values[k * columns + j] < Real{0}} << k;
                }
                ASSERT_EQ(words[j / gram.width * panel_stride + j % gram.width], word) << "column " << j;
            }
            // One entry that is no sign, at any place, is seen.
            for (const Real other : {Real{0}, Real{2}, static_cast<Real>(-1.0000001), Real{0.5}}) {
                std::vector<Real> spoilt = values;
                spoilt[draws.index(spoilt.size())] = other;
                ASSERT_FALSE(
                    gram.pack_signs(spoilt.data(), columns, samples, columns, words.data(), panel_stride));
            }
        }
    }
}

template <class Real>
void check_multiply(const GramKernels<Real>& gram) {
    Draws draws(3);
    const std::size_t width = gram.width;
    AlignedVector<Real> place(2 * width * width, Real{0});
    const Destination<Real> to{place.data(), place.data() + width * width, width};
    for (const std::size_t samples : {1U, 2U, 31U, 127U, 128U, 129U, 300U}) {
        for (const std::size_t rows : {std::size_t{1}, width / 2 + 1, width}) {
            for (const std::size_t columns : {std::size_t{1}, width / 3 + 1, width - 1, width}) {
                const Values values = all_values()[draws.index(all_values().size())];
                AlignedVector<Real> left(samples * width);
                AlignedVector<Real> right(samples * width);
                draws.fill(std::span(left), values);
                draws.fill(std::span(right), values);
                for (const bool lower : {false, true}) {
                    const AlignedVector<Real>& second = lower ? left : right;
                    AlignedVector<Real> block(width * width, Real{7});
                    gram.multiply(left.data(), second.data(), samples, rows, columns, lower, to,
                                  block.data());
                    for (std::size_t i = 0; i < rows; ++i) {
                        for (std::size_t j = 0; j < (lower ? std::min(i + 1, columns) : columns); ++j) {
                            const Real product =
                                expected::product(left.data(), second.data(), samples, width, i, j);
                            ASSERT_TRUE(same_bits(block[i * width + j], product))
                                << samples << " samples, values " << static_cast<int>(values) << ": (" << i
                                << ", " << j << ") is " << block[i * width + j] << ", expected " << product;
                        }
                    }
                }
            }
        }
    }
}

template <class Real>
void check_multiply_signs(const GramKernels<Real>& gram) {
    Draws draws(4);
    const std::size_t width = gram.bit_width;
    AlignedVector<Real> place(2 * gram.width * gram.width, Real{0});
    const Destination<Real> to{place.data(), place.data() + gram.width * gram.width, gram.width};
    // Beyond 31 words of 32 samples counters of bytes would overflow.
    for (const std::size_t samples : {0U, 1U, 31U, 32U, 33U, 992U, 993U, 1024U, 2100U}) {
        const std::size_t words = (samples + 31) / 32;
        for (const std::uint32_t always : {0U, ~0U}) {  // random bits, or all samples different
            AlignedVector<std::uint32_t> left(words * width + 1);
            AlignedVector<std::uint32_t> right(words * width + 1);
            for (std::size_t w = 0; w < words * width; ++w) {
                // Bits beyond the samples are zero in both.
                const std::size_t left_over = samples - w / width * 32;
                const std::uint32_t real = left_over >= 32 ? ~0U : (std::uint32_t{1} << left_over) - 1;
                left[w] = (static_cast<std::uint32_t>(draws.word()) | always) & real;
                right[w] = (static_cast<std::uint32_t>(draws.word()) & ~always) & real;
            }
            for (const std::size_t rows : {std::size_t{1}, gram.width / 2 + 1, gram.width}) {
                AlignedVector<Real> block(gram.width * gram.width, Real{7});
                gram.multiply_signs(left.data(), right.data(), samples, rows, to, block.data());
                for (std::size_t i = 0; i < rows; ++i) {
                    for (std::size_t j = 0; j < gram.width; ++j) {
                        const std::int64_t product =
                            expected::product_of_signs(left.data(), right.data(), samples, width, i, j);
                        ASSERT_EQ(block[i * gram.width + j], static_cast<Real>(product))
                            << samples << " samples: (" << i << ", " << j << ")";
                    }
                }
            }
        }
    }
}

template <class Real>
void check_store(const GramKernels<Real>& gram) {
    Draws draws(5);
    const std::size_t width = gram.width;
    AlignedVector<Real> block(width * width);
    for (const Values values : all_values()) {
        draws.fill(std::span(block), values);
        const Real scale = draws.real<Real>(Values::spread);
        for (const std::size_t rows : {std::size_t{1}, width / 2 + 1, width}) {
            for (const std::size_t columns : {std::size_t{1}, width / 2 + 1, width - 1, width}) {
                const std::size_t stride = width + 1;
                std::vector<Real> out(width * stride + 1, Real{7});
                std::vector<Real> transposed = out;
                std::vector<Real> expected_out = out;
                std::vector<Real> expected_transposed = out;
                for (std::size_t i = 0; i < rows; ++i) {
                    for (std::size_t j = 0; j < columns; ++j) {
                        expected_out[1 + i * stride + j] = scale * block[i * width + j];
                        expected_transposed[1 + j * stride + i] = scale * block[i * width + j];
                    }
                }
                gram.store(block.data(), rows, columns, scale, out.data() + 1, stride);
                gram.store_transposed(block.data(), rows, columns, scale, transposed.data() + 1, stride);
                ASSERT_TRUE(same(out, expected_out)) << rows << " x " << columns;
                ASSERT_TRUE(same(transposed, expected_transposed)) << rows << " x " << columns;
            }
        }
    }
}

template <class Real>
void check_average(const GramKernels<Real>& gram) {
    Draws draws(6);
    for (const std::size_t count :
         {std::size_t{1}, std::size_t{3}, gram.width - 1, gram.width, gram.width + 5}) {
        for (const Values values : all_values()) {
            const auto value = draws.reals<Real>(count + 1, values);  // any alignment will do
            const auto before = draws.reals<Real>(count + 1, values);
            const Real correction = Real(0.3);
            for (const Real weight : {Real{0}, Real(0.1), Real(0.5), Real(0.9), Real{1}}) {
                for (const bool first : {false, true}) {
                    const Real* past = first ? nullptr : before.data() + 1;
                    std::vector<Real> state(count + 2, Real{7});
                    std::vector<Real> mean = state;
                    std::vector<Real> expected_state = state;
                    std::vector<Real> expected_mean = state;
                    expected::average(value.data() + 1, past, weight, correction, count,
                                      expected_state.data() + 1, expected_mean.data() + 1);
                    gram.average(value.data() + 1, past, weight, correction, count, state.data() + 1,
                                 mean.data() + 1);
                    ASSERT_TRUE(same(state, expected_state)) << count << " entries, weight " << weight;
                    ASSERT_TRUE(same(mean, expected_mean)) << count << " entries, weight " << weight;

                    std::vector<Real> alone(count + 2, Real{7});
                    gram.average(value.data() + 1, past, weight, correction, count, alone.data() + 1,
                                 nullptr);
                    ASSERT_TRUE(same(alone, expected_state)) << "without the mean";
                }
            }
        }
    }
}

class GramPanels : public OnEveryInstructionSet {};

TEST_P(GramPanels, pack) {
    check_pack(gram_of<float>(table()));
    check_pack(gram_of<double>(table()));
}

TEST_P(GramPanels, pack_signs) {
    check_pack_signs(gram_of<float>(table()));
    check_pack_signs(gram_of<double>(table()));
}

TEST_P(GramPanels, multiply) {
    check_multiply(gram_of<float>(table()));
    check_multiply(gram_of<double>(table()));
}

TEST_P(GramPanels, multiply_signs) {
    check_multiply_signs(gram_of<float>(table()));
    check_multiply_signs(gram_of<double>(table()));
}

TEST_P(GramPanels, store_and_its_transpose) {
    check_store(gram_of<float>(table()));
    check_store(gram_of<double>(table()));
}

TEST_P(GramPanels, average) {
    check_average(gram_of<float>(table()));
    check_average(gram_of<double>(table()));
}

QPSBGD_ON_EVERY_INSTRUCTION_SET(GramPanels);

}  // namespace
