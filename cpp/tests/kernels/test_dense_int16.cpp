// Dense int16 kernels against their reference, which visits one spin after another.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/aligned.hpp"
#include "kernels/dense_int16/reference.inl"
#include "kernels/kernel_table.hpp"
#include "support.hpp"

namespace {

using namespace qpsbgd;
using namespace qpsbgd::kernel_tests;
namespace expected = qpsbgd::reference::dense_int16;

constexpr int kLargest = 32766;  // coupling: even, and its half is the largest that prepare makes

// Couplings of one problem: as large as `most`, in a few levels where `levels` is small.
struct Couplings {
    Couplings(std::size_t size, int most, int levels, Draws& draws)
        : n(size), stride((size + kBlock - 1) / kBlock * kBlock), values((size + 1) * stride, 0) {
        for (std::size_t i = 0; i < n; ++i) {
            for (std::size_t j = 0; j < i; ++j) {
                const auto coupling =
                    static_cast<std::int16_t>(most / levels * draws.integer(-levels, levels) / 2 * 2);
                values[i * stride + j] = values[j * stride + i] = coupling;
            }
        }
    }

    std::size_t n;
    std::size_t stride;
    AlignedVector<std::int16_t> values;
};

// Several reads; copies have memory of their own.
struct Reads {
    Reads(const Couplings& of, std::size_t count, int most_field, std::uint32_t most_temperature,
          Draws& draws)
        : couplings(of), each(count), temperature(8) {
        for (std::uint32_t& value : temperature) {
            value = static_cast<std::uint32_t>(draws.word() % (std::uint64_t{most_temperature} + 1));
        }
        for (Read& read : each) {
            read.fields.assign(of.stride, 0);
            read.scratch.assign(of.stride, 0);
            read.negative.assign(of.stride / kBlock, 0);
            for (std::size_t i = 0; i < of.n; ++i) {
                read.fields[i] = static_cast<std::int16_t>(draws.integer(-most_field, most_field));
                read.negative[i / kBlock] |= static_cast<std::uint32_t>(draws.integer(0, 1)) << (i % kBlock);
            }
            read.local = read.fields;
            read.best_negative = read.negative;
            read.state.random = draws.state();
            read.state.least_tenure = static_cast<std::uint32_t>(draws.integer(0, 12));
            read.state.tenure_spread = static_cast<std::uint32_t>(draws.integer(1, 9));
        }
    }

    // What kernels work on.
    std::vector<Int16Replica> states() {
        std::vector<Int16Replica> result;
        for (Read& read : each) {
            read.state.couplings = couplings.values.data();
            read.state.fields = read.fields.data();
            read.state.local = read.local.data();
            read.state.scratch = read.scratch.data();
            read.state.negative = read.negative.data();
            read.state.best_negative = read.best_negative.data();
            read.state.temperature = temperature.data();
            result.push_back(read.state);
        }
        return result;
    }

    void sum_fields() {
        for (Int16Replica& state : states()) {
            expected::local_fields(state, couplings.n, couplings.stride);
        }
        for (Read& read : each) {
            std::int64_t energy = 0;
            for (std::size_t i = 0; i < couplings.n; ++i) {
                const int both = read.fields[i] + read.local[i];
                energy += expected::is_down(read.negative.data(), i) ? -both : both;
            }
            read.state.start = energy;
        }
    }

    struct Read {
        AlignedVector<std::int16_t> fields;
        AlignedVector<std::int16_t> local;
        AlignedVector<std::int16_t> scratch;
        AlignedVector<std::uint32_t> negative;
        AlignedVector<std::uint32_t> best_negative;
        Int16Replica state{};
    };

    const Couplings& couplings;
    std::vector<Read> each;
    std::vector<std::uint32_t> temperature;
};

void expect_same_states(const Reads& a, const std::vector<Int16Replica>& of_a, const Reads& b,
                        const std::vector<Int16Replica>& of_b) {
    for (std::size_t r = 0; r < of_a.size(); ++r) {
        SCOPED_TRACE(testing::Message() << "read " << r);
        EXPECT_TRUE(same(a.each[r].local, b.each[r].local));
        EXPECT_TRUE(same(a.each[r].negative, b.each[r].negative));
        EXPECT_TRUE(same(a.each[r].best_negative, b.each[r].best_negative));
        EXPECT_TRUE(same(of_a[r].random.word, of_b[r].random.word));
        EXPECT_EQ(of_a[r].gain, of_b[r].gain);
        EXPECT_EQ(of_a[r].best_gain, of_b[r].best_gain);
        EXPECT_EQ(of_a[r].since_best, of_b[r].since_best);
        EXPECT_EQ(of_a[r].sweep, of_b[r].sweep);
    }
}

struct Case {
    int most_coupling;
    int levels;
    int most_field;
    std::uint32_t most_temperature;
};

// Without saturation; with it; with ties everywhere; without couplings; with nothing but zeros.
constexpr Case kCases[] = {
    {60, 30, 500, 3000},         {kLargest, 1000, 32767, 0xFFFFFFFFU},
    {kLargest, 1, 32767, 70000}, {2, 1, 1, 9},
    {0, 1, 32767, 1000000},      {0, 1, 0, 0},
    {600, 300, 2000, 0},
};

AlignedVector<std::uint16_t> exponentials(Draws& draws) {
    AlignedVector<std::uint16_t> table(kExponentials + kBlock);
    for (std::size_t i = 0; i < table.size(); ++i) {
        const bool is_extreme = draws.integer(0, 9) == 0;
        const int drawn = draws.integer(0, 65535);
        table[i] = i < kExponentials ? static_cast<std::uint16_t>(is_extreme ? drawn % 2 * 65535 : drawn)
                                     : table[i - kExponentials];
    }
    return table;
}

class DenseInt16 : public OnEveryInstructionSet {
protected:
    // Calls check(couplings, reads) for problems of every size and kind, and one to four reads.
    template <class Check>
    static void for_all(const Check& check) {
        Draws draws(1);
        for (const std::size_t n : {1U, 2U, 31U, 32U, 33U, 64U, 65U, 97U, 129U, 160U, 193U, 230U}) {
            for (const Case& kind : kCases) {
                const Couplings couplings(n, kind.most_coupling, kind.levels, draws);
                for (std::size_t count = 1; count <= kReplicaGroup; ++count) {
                    SCOPED_TRACE(testing::Message()
                                 << "n " << n << ", case " << &kind - kCases << ", " << count << " reads");
                    check(couplings, Reads(couplings, count, kind.most_field, kind.most_temperature, draws));
                }
            }
        }
    }
};

TEST_P(DenseInt16, local_fields_saturate_pair_by_pair) {
    for_all([](const Couplings& couplings, const Reads& given) {
        Reads a = given;
        Reads b = given;
        const std::vector<Int16Replica> of_a = a.states();
        table().dense_int16.local_fields(of_a.data(), of_a.size(), couplings.n, couplings.stride);
        for (const Int16Replica& read : b.states()) {
            expected::local_fields(read, couplings.n, couplings.stride);
        }
        expect_same_states(a, of_a, b, b.states());
    });
}

TEST_P(DenseInt16, flips_saturate) {
    for_all([](const Couplings& couplings, const Reads& given) {
        Reads a = given;
        Reads b = given;
        std::vector<Int16Replica> of_a = a.states();
        std::vector<Int16Replica> of_b = b.states();
        for (std::size_t i = 0; i < couplings.n; ++i) {
            table().dense_int16.flip(of_a[0], i, couplings.stride);
            expected::flip(of_b[0], i, couplings.stride);
        }
        expect_same_states(a, of_a, b, of_b);
    });
}

TEST_P(DenseInt16, annealing_in_pieces_of_any_length) {
    Draws draws(2);
    const auto table_of_exponentials = exponentials(draws);
    for_all([&](const Couplings& couplings, Reads given) {
        given.sum_fields();
        const std::size_t sweeps = couplings.n > 100 ? 2 : 6;
        Reads b = given;
        std::vector<Int16Replica> of_b = b.states();
        for (Int16Replica& read : of_b) {
            expected::anneal(read, couplings.n, couplings.stride, table_of_exponentials.data(), sweeps);
        }
        for (const std::size_t steps : {std::size_t{1} << 30U, std::size_t{7}}) {
            Reads a = given;
            std::vector<Int16Replica> of_a = a.states();
            while (!table().dense_int16.anneal(of_a.data(), of_a.size(), couplings.n, couplings.stride,
                                               table_of_exponentials.data(), sweeps, steps)) {
            }
            expect_same_states(a, of_a, b, of_b);
        }
    });
}

TEST_P(DenseInt16, annealing_without_sweeps_changes_nothing) {
    Draws draws(3);
    const auto table_of_exponentials = exponentials(draws);
    for_all([&](const Couplings& couplings, const Reads& given) {
        Reads a = given;
        Reads b = given;
        std::vector<Int16Replica> of_a = a.states();
        EXPECT_TRUE(table().dense_int16.anneal(of_a.data(), of_a.size(), couplings.n, couplings.stride,
                                               table_of_exponentials.data(), 0, 100));
        expect_same_states(a, of_a, b, b.states());
    });
}

TEST_P(DenseInt16, tabu_search) {
    for_all([](const Couplings& couplings, Reads given) {
        given.sum_fields();
        for (const std::size_t flips : {std::size_t{0}, std::size_t{1}, std::size_t{50}}) {
            Reads a = given;
            Reads b = given;
            std::vector<Int16Replica> of_a = a.states();
            std::vector<Int16Replica> of_b = b.states();
            for (int call = 0; call < 2; ++call) {  // the second begins with spins at rest
                table().dense_int16.tabu(of_a.data(), of_a.size(), couplings.n, couplings.stride, flips);
                for (Int16Replica& read : of_b) {
                    expected::tabu(read, couplings.n, couplings.stride, flips);
                }
            }
            expect_same_states(a, of_a, b, of_b);
            for (std::size_t r = 0; r < of_a.size(); ++r) {
                EXPECT_TRUE(std::equal(a.each[r].scratch.begin(),
                                       a.each[r].scratch.begin() + static_cast<std::ptrdiff_t>(couplings.n),
                                       b.each[r].scratch.begin()));
            }
        }
    });
}

// Rows around the length up to which a kernel keeps copies of what belongs to a spin.
TEST_P(DenseInt16, tabu_search_over_long_rows) {
    Draws draws(4);
    for (const std::size_t n : {767U, 1000U, 1024U, 1025U, 1100U}) {
        for (const Case& kind : {kCases[0], kCases[1], kCases[2]}) {
            const Couplings couplings(n, kind.most_coupling, kind.levels, draws);
            Reads a(couplings, 3, kind.most_field, kind.most_temperature, draws);
            Reads b = a;
            std::vector<Int16Replica> of_a = a.states();
            std::vector<Int16Replica> of_b = b.states();
            table().dense_int16.tabu(of_a.data(), of_a.size(), n, couplings.stride, 60);
            for (Int16Replica& read : of_b) {
                expected::tabu(read, n, couplings.stride, 60);
            }
            SCOPED_TRACE(testing::Message() << "n " << n << ", case " << kind.most_coupling);
            expect_same_states(a, of_a, b, of_b);
        }
    }
}

QPSBGD_ON_EVERY_INSTRUCTION_SET(DenseInt16);

}  // namespace
