// Batches solved by every method: against exhaustive search, with any threads, cut short.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <stdexcept>
#include <vector>

#include "base/rng.hpp"
#include "batch/rules.hpp"
#include "qpsbgd/cancellation.hpp"
#include "qpsbgd/solve.hpp"

namespace {

using namespace qpsbgd;

struct Example {
    std::size_t problems;
    std::size_t n;
    std::vector<double> fields;
    std::vector<double> offset;
    std::vector<double> couplings;

    Example(std::size_t b, std::size_t spins, std::size_t matrices, std::uint64_t seed)
        : problems(b), n(spins), fields(b * spins), offset(b, 0.0), couplings(matrices * spins * spins) {
        Random random(seed, 0, 0);
        const auto draw = [&random] { return static_cast<double>(random.below(2001)) / 1000.0 - 1.0; };
        for (auto& value : fields) {
            value = draw();
        }
        for (auto& value : couplings) {
            value = draw();
        }
    }

    IsingBatch batch() const {
        IsingBatch result;
        result.problems = problems;
        result.n = n;
        result.fields = fields;
        result.offset = offset;
        result.couplings = DenseView<double>{couplings, n, couplings.size() / (n * n)};
        return result;
    }

    double energy(std::size_t problem, const std::int8_t* spins) const {
        const std::size_t matrix = couplings.size() == n * n ? 0 : problem;
        double total = 0.0;
        for (std::size_t i = 0; i < n; ++i) {
            total += fields[problem * n + i] * spins[i];
            for (std::size_t j = 0; j < n; ++j) {
                total += couplings[(matrix * n + i) * n + j] * spins[i] * spins[j];
            }
        }
        return total;
    }

    double minimum(std::size_t problem) const {
        double best = std::numeric_limits<double>::infinity();
        std::vector<std::int8_t> spins(kExactLimit);
        for (std::uint64_t state = 0; state < (std::uint64_t{1} << n); ++state) {
            for (std::size_t i = 0; i < n; ++i) {
                spins[i] = ((state >> i) & 1) != 0 ? std::int8_t{1} : std::int8_t{-1};
            }
            best = std::min(best, energy(problem, spins.data()));
        }
        return best;
    }
};

struct Answer {
    std::vector<std::int8_t> samples;
    std::vector<double> energies;
    SolveReport report;
};

Answer solve_example(const Example& example, const SolveOptions& options) {
    Answer answer{std::vector<std::int8_t>(example.problems * options.reads * example.n),
                  std::vector<double>(example.problems * options.reads),
                  {}};
    answer.report = solve(example.batch(), options, answer.samples, answer.energies);
    return answer;
}

class EveryMethod : public testing::TestWithParam<Method> {};

TEST_P(EveryMethod, energies_are_those_of_the_samples_and_reads_are_sorted) {
    const Example example(3, 17, 3, 5);
    SolveOptions options;
    options.method = GetParam();
    options.reads = 4;
    const Answer answer = solve_example(example, options);
    for (std::size_t problem = 0; problem < example.problems; ++problem) {
        for (std::size_t read = 0; read < options.reads; ++read) {
            const std::size_t index = problem * options.reads + read;
            EXPECT_NEAR(answer.energies[index], example.energy(problem, &answer.samples[index * example.n]),
                        1e-9);
            if (read > 0) {
                EXPECT_LE(answer.energies[index - 1], answer.energies[index]);
            }
        }
    }
}

TEST_P(EveryMethod, no_single_flip_improves_the_answer) {
    const Example example(2, 40, 1, 6);
    SolveOptions options;
    options.method = GetParam() == Method::exact ? Method::automatic : GetParam();
    const Answer answer = solve_example(example, options);
    for (std::size_t problem = 0; problem < example.problems; ++problem) {
        std::vector<std::int8_t> spins(
            answer.samples.begin() + static_cast<std::ptrdiff_t>(problem * example.n),
            answer.samples.begin() + static_cast<std::ptrdiff_t>((problem + 1) * example.n));
        for (std::size_t i = 0; i < example.n; ++i) {
            spins[i] = static_cast<std::int8_t>(-spins[i]);
            EXPECT_GE(example.energy(problem, spins.data()), answer.energies[problem] - 1e-9);
            spins[i] = static_cast<std::int8_t>(-spins[i]);
        }
    }
}

TEST_P(EveryMethod, threads_do_not_change_the_answer) {
    const Example example(5, 19, 1, 7);
    SolveOptions options;
    options.method = GetParam();
    options.reads = 3;
    const Answer one = solve_example(example, options);
    for (const std::size_t threads : {std::size_t{2}, std::size_t{3}}) {
        options.threads = threads;
        const Answer many = solve_example(example, options);
        EXPECT_EQ(one.samples, many.samples);
        EXPECT_EQ(one.energies, many.energies);
    }
}

INSTANTIATE_TEST_SUITE_P(Methods, EveryMethod,
                         testing::Values(Method::automatic, Method::exact, Method::descent, Method::anneal,
                                         Method::tabu));

TEST(Exact, equals_brute_force) {
    for (std::size_t n = 1; n <= 14; ++n) {
        const Example example(2, n, 1, n);
        SolveOptions options;
        options.method = Method::exact;
        const Answer answer = solve_example(example, options);
        EXPECT_TRUE(answer.report.proven);
        EXPECT_NEAR(answer.energies[0], example.minimum(0), 1e-9);
        EXPECT_NEAR(answer.energies[1], example.minimum(1), 1e-9);
    }
}

TEST(Exact, refuses_more_spins_than_it_can_enumerate) {
    const Example example(1, 25, 1, 1);
    SolveOptions options;
    options.method = Method::exact;
    EXPECT_THROW(solve_example(example, options), std::invalid_argument);
}

TEST(Solve, an_interrupt_ends_every_worker) {
    const Example example(8, 200, 1, 3);
    for (const Method method : {Method::anneal, Method::tabu}) {
        SolveOptions options;
        options.method = method;
        options.sweeps = 100'000'000;
        options.threads = 3;
        options.interrupt_check = [] { return true; };
        EXPECT_THROW(solve_example(example, options), Interrupted);
    }
}

TEST(Solve, a_finish_keeps_what_was_found_and_leaves_out_what_had_not_begun) {
    for (const Method method : {Method::anneal, Method::tabu}) {
        const Example example(2, 100, 1, 3);
        SolveOptions options;
        options.method = method;
        options.reads = 300;
        options.sweeps = 1'000'000;
        options.threads = 2;
        options.finish_check = [] { return true; };
        const auto start = Clock::now();
        const Answer answer = solve_example(example, options);
        EXPECT_LT(Clock::now() - start, std::chrono::seconds(2));
        for (std::size_t problem = 0; problem < 2; ++problem) {
            const std::size_t first = problem * options.reads;
            EXPECT_NEAR(answer.energies[first], example.energy(problem, answer.samples.data() + first * 100),
                        1e-9);
            EXPECT_TRUE(std::isinf(answer.energies[first + options.reads - 1]));
        }
    }
}

TEST(Solve, a_time_limit_ends_a_run_that_would_not_end) {
    const Example example(2, 100, 1, 3);
    SolveOptions options;
    options.sweeps = 100'000'000;
    options.time_limit = 0.05;
    const auto start = Clock::now();
    const Answer answer = solve_example(example, options);
    EXPECT_LT(Clock::now() - start, std::chrono::seconds(2));
    EXPECT_NEAR(answer.energies[0], example.energy(0, answer.samples.data()), 1e-9);
}

}  // namespace
