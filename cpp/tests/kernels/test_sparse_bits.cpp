// 64 replicas of couplings of +1 and -1 against their reference, which does one replica after another.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/aligned.hpp"
#include "kernels/kernel_table.hpp"
#include "kernels/sparse_bits/reference.inl"
#include "support.hpp"

namespace {

using namespace qpsbgd;
using namespace qpsbgd::kernel_tests;
namespace expected = qpsbgd::reference::sparse_bits;

constexpr std::uint32_t kWord = sizeof(std::uint64_t);

// Edges to random spins, or pairs to the two last words. The kernels do not ask for a symmetric graph.
struct State {
    State(std::size_t size, std::size_t its_degree, std::size_t bond_count, Draws& draws)
        : n(size), degree(its_degree), words(2 * size + 2), random(2 * kInt8Replicas) {
        for (std::size_t i = 0; i < n; ++i) {
            words[2 * i] = draws.word();
            words[2 * i + 1] = ~words[2 * i];
        }
        words[2 * n + 1] = ~std::uint64_t{0};
        std::ranges::generate(random, [&] { return draws.word(); });
        const auto any_word = [&] { return static_cast<std::uint32_t>(draws.index(2 * n)) * kWord; };
        for (std::size_t i = 0; i < n; ++i) {
            // Every other spin has a lower degree, by 2.
            const std::size_t real = i % 2 == 0 ? degree : degree - 2;
            for (std::size_t e = 0; e < real; ++e) {
                // Another spin: none is coupled to itself.
                std::uint32_t word = any_word();
                while (n > 1 && word / kWord / 2 == i) {
                    word = any_word();
                }
                edges.push_back(word);
            }
            for (std::size_t e = real; e < degree; e += 2) {
                edges.push_back(static_cast<std::uint32_t>(2 * n) * kWord);
                edges.push_back(static_cast<std::uint32_t>(2 * n + 1) * kWord);
            }
        }
        for (std::size_t bond = 0; bond < bond_count; ++bond) {
            bonds.push_back(any_word());
            bonds.push_back(any_word());
        }
        bonds.push_back(0);  // so that there is memory where there are no bonds
    }

    BitReplicas replicas() {
        return {edges.data(), bonds.data(), degree, bonds.size() / 2, words.data(), random.data()};
    }

    std::size_t n;
    std::size_t degree;
    std::vector<std::uint32_t> edges;
    std::vector<std::uint32_t> bonds;
    AlignedVector<std::uint64_t> words;
    AlignedVector<std::uint64_t> random;
};

class SparseBits : public OnEveryInstructionSet {
protected:
    template <class Check>
    static void for_all(const Check& check) {
        Draws draws(1);
        for (const std::size_t n : {1U, 2U, 3U, 7U, 8U, 9U, 16U, 63U, 64U, 65U, 200U}) {
            for (std::size_t degree = kLeastBitDegree; degree <= kMostBitDegree; ++degree) {
                SCOPED_TRACE(testing::Message() << "n " << n << ", degree " << degree);
                check(State(n, degree, 0, draws), draws);
            }
        }
    }
};

TEST_P(SparseBits, greedy_passes) {
    for_all([](const State& given, Draws&) {
        State a = given;
        State b = given;
        EXPECT_EQ(table().sparse_bits.greedy(a.replicas(), a.n, a.n), 0U);  // no spins
        for (int pass = 0; pass < 4; ++pass) {
            const std::uint64_t flipped = table().sparse_bits.greedy(a.replicas(), 0, a.n);
            EXPECT_EQ(flipped, expected::greedy(b.replicas(), 0, b.n));
        }
        EXPECT_TRUE(same(a.words, b.words));
    });
}

TEST_P(SparseBits, metropolis) {
    for_all([](const State& given, Draws& draws) {
        AlignedVector<std::uint8_t> levels(kDithers * kTableWidth);
        for (std::size_t dither = 0; dither < kDithers; ++dither) {
            std::uint8_t* row = levels.data() + dither * kTableWidth;
            std::generate_n(row, kTableWidth,
                            [&] { return static_cast<std::uint8_t>(draws.integer(0, 255)); });
            std::sort(row, row + kTableWidth);
            row[0] = 0;
        }
        State a = given;
        State b = given;
        for (std::size_t sweep = 0; sweep < 4; ++sweep) {
            const Int8Acceptance acceptance{levels.data(), 1, 27 * sweep};
            table().sparse_bits.metropolis(a.replicas(), 0, a.n, acceptance);
            expected::metropolis(b.replicas(), 0, b.n, acceptance);
        }
        EXPECT_TRUE(same(a.words, b.words));
        EXPECT_TRUE(same(a.random, b.random));
    });
}

// Counters of twelve bits are emptied in time: all bonds of a lane may be satisfied.
TEST_P(SparseBits, satisfied_couplings) {
    Draws draws(2);
    for (const std::size_t bonds : {0U, 1U, 7U, 8U, 9U, 100U, 4087U, 4088U, 4096U, 9001U}) {
        for (const bool is_random : {true, false}) {
            State state(40, 3, bonds, draws);
            if (!is_random) {
                for (std::size_t bond = 0; bond < bonds; ++bond) {
                    state.bonds[2 * bond] = 0;
                    state.bonds[2 * bond + 1] = kWord;  // the inverse of the same spin
                }
            }
            std::vector<std::int32_t> count(kInt8Replicas, -1);
            std::vector<std::int32_t> expected_count(kInt8Replicas, -2);
            table().sparse_bits.satisfied(state.replicas(), count.data());
            expected::satisfied(state.replicas(), expected_count.data());
            EXPECT_TRUE(same(count, expected_count)) << bonds << " couplings";
        }
    }
}

TEST_P(SparseBits, keeps_the_lanes_of_a_mask) {
    Draws draws(3);
    for (const std::size_t n : sizes()) {
        for (const std::size_t stride : {1U, 2U}) {
            for (const std::uint64_t mask : {std::uint64_t{0}, ~std::uint64_t{0}, draws.word()}) {
                std::vector<std::uint64_t> up(n * stride);
                std::vector<std::uint64_t> kept(n + 1);
                std::ranges::generate(up, [&] { return draws.word(); });
                std::ranges::generate(kept, [&] { return draws.word(); });
                std::vector<std::uint64_t> expected_kept = kept;
                for (std::size_t i = 0; i < n; ++i) {
                    for (std::size_t lane = 0; lane < kInt8Replicas; ++lane) {
                        const std::uint64_t bit = std::uint64_t{1} << lane;
                        if ((mask & bit) != 0) {
                            expected_kept[i] &= ~bit;
                            expected_kept[i] |= up[i * stride] & bit;
                        }
                    }
                }
                table().sparse_bits.keep(up.data(), stride, kept.data(), n, mask);
                EXPECT_TRUE(same(kept, expected_kept));
            }
        }
    }
}

QPSBGD_ON_EVERY_INSTRUCTION_SET(SparseBits);

}  // namespace
