// Annealing of 32 reads in step against its reference, which does one read after another.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <vector>

#include "base/aligned.hpp"
#include "kernels/kernel_table.hpp"
#include "kernels/replicas_int16/reference.inl"
#include "support.hpp"

namespace {

using namespace qpsbgd;
using namespace qpsbgd::kernel_tests;
using reference::replicas_int16::Read;

// S, n x n: as large as fields of at most `reach` allow, in a few levels where `levels` is small.
std::vector<int> couplings_of(std::size_t n, int reach, int levels, Draws& draws) {
    std::vector<int> couplings(n * n, 0);
    const int most = n > 1 ? std::min(reach / static_cast<int>(n - 1), 16383) : 0;  // W = 2 S is int16
    for (std::size_t i = 0; i < n; ++i) {
        for (std::size_t j = 0; j < i; ++j) {
            couplings[i * n + j] = couplings[j * n + i] =
                levels == 0 ? most : most * draws.integer(-levels, levels) / levels;
        }
    }
    return couplings;
}

// The kernel's view of the same reads.
struct Group {
    Group(const ReplicasInt16Kernels& kernels, const std::vector<int>& couplings,
          const std::vector<Read>& reads)
        : n(reads.front().spins.size()),
          stride((n + kBlock - 1) / kBlock * kBlock),
          packed(kernels.packed_bytes(n, stride)),
          workspace(kernels.workspace_bytes(n), std::byte{0}),
          fields(stride * kInt16Replicas, 0),
          negative(stride, 0),
          best_negative(stride, 0) {
        AlignedVector<std::int16_t> twice((n + 1) * stride, 0);
        for (std::size_t i = 0; i < n; ++i) {
            for (std::size_t j = 0; j < n; ++j) {
                twice[i * stride + j] = static_cast<std::int16_t>(2 * couplings[i * n + j]);
            }
        }
        kernels.pack(twice.data(), n, stride, packed.data());
        for (std::size_t i = 0; i < stride; ++i) {
            for (std::size_t j = i + 1; j % kTileSpins != 0; ++j) {
                const std::int16_t coupling = j < n ? twice[i * stride + j] : std::int16_t{0};
                pairs.push_back(static_cast<std::int32_t>(static_cast<std::uint16_t>(coupling) * 0x10001U));
            }
        }
        state.stride = stride;
        state.packed = packed.data();
        state.pairs = pairs.data();
        state.real_spins = n;
        state.fields = fields.data();
        state.negative = negative.data();
        state.best_negative = best_negative.data();
        state.workspace = workspace.data();
        for (std::size_t r = 0; r < kInt16Replicas; ++r) {
            for (std::size_t i = 0; i < n; ++i) {
                fields[i * kInt16Replicas + r] = static_cast<std::int16_t>(reads[r].fields[i]);
                negative[i] |= std::uint32_t{reads[r].spins[i] < 0} << r;
                best_negative[i] |= std::uint32_t{reads[r].best_spins[i] < 0} << r;
            }
            state.temperature[r] = reads[r].temperature.data();
            state.random[r] = reads[r].random;
            state.gain[r] = reads[r].gain;
            state.best_gain[r] = reads[r].best_gain;
        }
    }

    std::size_t n;
    std::size_t stride;
    AlignedVector<std::byte> packed;
    AlignedVector<std::byte> workspace;
    AlignedVector<std::int16_t> fields;
    std::vector<std::int32_t> pairs;
    AlignedVector<std::uint32_t> negative;
    AlignedVector<std::uint32_t> best_negative;
    Int16Replicas state;
};

std::vector<Read> draw_reads(std::size_t n, int most_field, std::uint32_t most_temperature,
                             std::size_t sweeps, Draws& draws) {
    std::vector<Read> reads(kInt16Replicas);
    for (Read& read : reads) {
        for (std::size_t i = 0; i < n; ++i) {
            read.spins.push_back(draws.integer(0, 1) * 2 - 1);
            read.fields.push_back(draws.integer(-most_field, most_field));
        }
        read.best_spins = read.spins;
        for (std::size_t sweep = 0; sweep < sweeps; ++sweep) {
            read.temperature.push_back(
                static_cast<std::uint32_t>(draws.word() % (std::uint64_t{most_temperature} + 1)));
        }
        read.random = draws.state();
        read.gain = draws.integer(-5, 5);
        read.best_gain = read.gain + draws.integer(0, 100);
    }
    return reads;
}

void expect_same_reads(const Group& group, const std::vector<Read>& reads) {
    for (std::size_t r = 0; r < kInt16Replicas; ++r) {
        SCOPED_TRACE(testing::Message() << "read " << r);
        for (std::size_t i = 0; i < group.n; ++i) {
            ASSERT_EQ((group.negative[i] >> r & 1U) != 0, reads[r].spins[i] < 0) << "spin " << i;
            ASSERT_EQ((group.best_negative[i] >> r & 1U) != 0, reads[r].best_spins[i] < 0) << "spin " << i;
        }
        EXPECT_TRUE(same(group.state.random[r].word, reads[r].random.word));
        EXPECT_EQ(group.state.gain[r], reads[r].gain);
        EXPECT_EQ(group.state.best_gain[r], reads[r].best_gain);
    }
}

class ReplicasInt16 : public OnEveryInstructionSet {};

TEST_P(ReplicasInt16, annealing) {
    const ReplicasInt16Kernels& kernels = table().replicas_int16;
    struct Case {
        int reach;  // of the couplings' part of a field
        int levels;
        int most_field;
        std::uint32_t most_temperature;
    };
    // The last two fill int16 but for one unit, which must not saturate.
    constexpr Case kCases[] = {{3000, 100, 200, 3000},     {2000, 1, 0, 9},      {0, 1, 0, 0},
                               {0, 1, 32767, 0xFFFFFFFFU}, {32766, 0, 0, 70000}, {30000, 50, 2767, 1000000}};
    Draws draws(1);
    AlignedVector<std::uint16_t> exponentials(kExponentials + kBlock);
    std::ranges::generate(exponentials, [&] { return static_cast<std::uint16_t>(draws.word()); });
    for (const std::size_t n : {1U, 2U, 5U, 15U, 16U, 17U, 31U, 32U, 33U, 63U, 64U, 65U, 100U, 161U, 200U}) {
        for (const Case& kind : kCases) {
            SCOPED_TRACE(testing::Message() << "n " << n << ", case " << &kind - kCases);
            const std::size_t sweeps = n > 100 ? 2 : 5;
            const std::vector<int> couplings = couplings_of(n, kind.reach, kind.levels, draws);
            std::vector<Read> reads = draw_reads(n, kind.most_field, kind.most_temperature, sweeps, draws);
            Group group(kernels, couplings, reads);
            for (std::size_t sweep = 0; sweep < sweeps; sweep += 2) {
                const std::size_t last = std::min(sweep + 2, sweeps);
                kernels.anneal(group.state, exponentials.data(), sweep, last);
                for (Read& read : reads) {
                    reference::replicas_int16::anneal(read, couplings, exponentials.data(), sweep, last);
                }
            }
            expect_same_reads(group, reads);
        }
    }
}

QPSBGD_ON_EVERY_INSTRUCTION_SET(ReplicasInt16);

}  // namespace
