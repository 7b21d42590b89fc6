// 64 replicas of small-integer couplings against their reference, which does one replica after another.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <vector>

#include "base/aligned.hpp"
#include "kernels/kernel_table.hpp"
#include "kernels/sparse_int8/reference.inl"
#include "support.hpp"

namespace {

using namespace qpsbgd;
using namespace qpsbgd::kernel_tests;
namespace expected = qpsbgd::reference::sparse_int8;

// A graph whose spins have couplings and fields that add up to at most 127, and at most 254 for hubs.
struct Graph {
    Graph(std::size_t size, int most_coupling, bool has_hubs, Draws& draws)
        : n(size), coupling(size * size, 0), field(size, 0), room(size, kInt8Reach) {
        if (has_hubs) {
            halved.assign(n, -1);
            for (const std::size_t hub : {std::size_t{0}, n / 2}) {
                room[hub] = kInt8HubReach;
                halved[hub] = 0;
            }
        }
        const auto couple = [&](std::size_t i, std::size_t j, int value) {
            const int most = std::min(room[i], room[j]);
            value = std::clamp(value, -most, most);
            if (i != j && coupling[i * n + j] == 0) {
                coupling[i * n + j] = coupling[j * n + i] = value;
                room[i] -= std::abs(value);
                room[j] -= std::abs(value);
            }
        };
        for (std::size_t i = 0; i < n; ++i) {
            for (int edge = 0; edge < 3; ++edge) {
                couple(i, draws.index(n), draws.integer(-most_coupling, most_coupling));
            }
            if (has_hubs) {
                couple(i, 0, draws.integer(-3, 3));
                couple(i, n / 2, draws.integer(-3, 3));
            }
        }
        for (std::size_t i = 0; i < n; ++i) {
            field[i] = draws.integer(0, 3) == 0 ? draws.integer(-room[i], room[i]) : 0;
        }
        if (n > 1) {
            field[n - 1] = room[n - 1];  // a field that reaches the end of its range
        }
        for (std::size_t i = 0; i < n; ++i) {
            int sum = field[i];
            for (std::size_t j = 0; j < n; ++j) {
                sum -= coupling[i * n + j];
            }
            all_down.push_back(sum);
            if (is_hub(i)) {
                halved[i] = static_cast<std::int8_t>(sum & 1);
            }
        }
        row_start.push_back(0);
        for (std::size_t i = 0; i < n; ++i) {
            for (std::size_t j = 0; j < n; ++j) {
                if (coupling[i * n + j] != 0) {
                    const int weight = (is_hub(j) ? 1 : 2) * coupling[i * n + j];
                    edges.push_back(
                        {static_cast<std::uint32_t>(j * kInt8Replicas),
                         static_cast<std::uint8_t>(weight) * static_cast<std::uint32_t>(kInt8Replicas)});
                }
            }
            row_start.push_back(static_cast<std::uint32_t>(edges.size()));
        }
        edges.push_back({});  // one more than needed: `data` of a graph without couplings
        for (int weight = 0; weight < 256; ++weight) {
            weights.insert(weights.end(), kInt8Replicas, static_cast<std::int8_t>(weight));
        }
    }

    bool is_hub(std::size_t i) const { return !halved.empty() && halved[i] >= 0; }

    std::size_t n;
    std::vector<int> coupling;
    std::vector<int> field;
    std::vector<int> room;
    std::vector<std::int8_t> halved;
    std::vector<int> all_down;  // local fields with all spins -1
    std::vector<std::uint32_t> row_start;
    std::vector<Int8Edge> edges;
    AlignedVector<std::int8_t> weights;
};

// Copies have memory of their own.
struct State {
    State(const Graph& of, Draws& draws) : graph(of) {
        for (std::size_t i = 0; i < of.n; ++i) {
            const int stored = of.is_hub(i) ? (of.all_down[i] - of.halved[i]) / 2 : of.all_down[i];
            local.insert(local.end(), kInt8Replicas, static_cast<std::int8_t>(stored));
        }
        up.assign(of.n, 0);
        gain.assign(kInt8Replicas, 0);
        random.resize(2 * kInt8Replicas);
        std::ranges::generate(random, [&] { return draws.word(); });
    }

    Int8Replicas replicas() {
        return {graph.row_start.data(),
                graph.edges.data(),
                graph.weights.data(),
                graph.halved.empty() ? nullptr : graph.halved.data(),
                local.data(),
                up.data(),
                gain.data(),
                random.data(),
                kInt8Reach};
    }

    const Graph& graph;
    AlignedVector<std::int8_t> local;
    AlignedVector<std::uint64_t> up;
    AlignedVector<std::int32_t> gain;
    AlignedVector<std::uint64_t> random;
};

void expect_same_states(const State& a, const State& b) {
    EXPECT_TRUE(same(a.up, b.up));
    EXPECT_TRUE(same(a.local, b.local));
    EXPECT_TRUE(same(a.gain, b.gain));
    EXPECT_TRUE(same(a.random, b.random));
}

// Levels that rise from 0 to 255, another for every dither.
AlignedVector<std::uint8_t> levels_of(std::size_t parts, Draws& draws) {
    const std::size_t entries = parts * kTableWidth;
    AlignedVector<std::uint8_t> table(kDithers * entries);
    for (std::size_t dither = 0; dither < kDithers; ++dither) {
        std::uint8_t* row = table.data() + dither * entries;
        std::generate_n(row, entries, [&] { return static_cast<std::uint8_t>(draws.integer(0, 255)); });
        std::sort(row, row + entries);
        row[0] = 0;
        row[entries - 1] = 255;
    }
    return table;
}

class SparseInt8 : public OnEveryInstructionSet {
protected:
    // Calls check(state, draws) for graphs of every size and kind, in random states.
    template <class Check>
    static void for_all(const Check& check) {
        Draws draws(1);
        for (const std::size_t n : {1U, 2U, 7U, 8U, 9U, 64U, 65U, 200U}) {
            for (const int most_coupling : {0, 1, 5, 127}) {
                for (const bool has_hubs : {false, true}) {
                    SCOPED_TRACE(testing::Message() << "n " << n << ", couplings up to " << most_coupling
                                                    << (has_hubs ? ", hubs" : ""));
                    const Graph graph(n, most_coupling, has_hubs, draws);
                    State state(graph, draws);
                    std::vector<std::uint64_t> target(n);
                    std::ranges::generate(target, [&] { return draws.word(); });
                    State raised = state;
                    expected::raise(raised.replicas(), target.data(), n);
                    table().sparse_int8.raise(state.replicas(), target.data(), n);
                    expect_same_states(state, raised);
                    check(state, draws);
                }
            }
        }
    }
};

TEST_P(SparseInt8, raise_and_greedy_passes_to_the_end) {
    for_all([](const State& given, Draws&) {
        State a = given;
        State b = given;
        const std::size_t n = given.graph.n;
        EXPECT_EQ(table().sparse_int8.greedy(a.replicas(), n, n), 0U);  // no spins
        std::uint64_t flipped = 1;
        for (int pass = 0; pass < 30 && flipped != 0; ++pass) {
            flipped = table().sparse_int8.greedy(a.replicas(), 0, n);
            ASSERT_EQ(flipped, expected::greedy(b.replicas(), 0, n));
        }
        EXPECT_EQ(flipped, 0U);
        expect_same_states(a, b);
    });
}

TEST_P(SparseInt8, metropolis_with_tables_of_every_width) {
    for_all([](const State& given, Draws& draws) {
        const std::size_t n = given.graph.n;
        for (std::size_t parts = 1; parts <= kMostTableParts; ++parts) {
            SCOPED_TRACE(testing::Message() << parts << " parts");
            const auto levels = levels_of(parts, draws);
            State a = given;
            State b = given;
            const std::size_t half = n / 2 / kVisitsPerWord * kVisitsPerWord;
            for (std::size_t sweep = 0; sweep < 3; ++sweep) {
                const Int8Acceptance acceptance{levels.data(), parts, 27 * sweep};
                // All at once or in two halves, of which the first may be empty.
                table().sparse_int8.metropolis(a.replicas(), 0, half, acceptance);
                table().sparse_int8.metropolis(a.replicas(), half, n, acceptance);
                expected::metropolis(b.replicas(), 0, n, acceptance);
            }
            expect_same_states(a, b);
        }
    });
}

QPSBGD_ON_EVERY_INSTRUCTION_SET(SparseInt8);

}  // namespace
