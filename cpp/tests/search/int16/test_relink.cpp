// Relinking keeps the books: energies that follow from gains are those of the spins, and no read's best gets worse.
#include <gtest/gtest.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "base/rng.hpp"
#include "qpsbgd/cancellation.hpp"
#include "qpsbgd/problem.hpp"
#include "search/int16/group.hpp"
#include "search/int16/matrix.hpp"
#include "search/int16/relink.hpp"
#include "search/int16/temperature.hpp"
#include "search/symmetric_rows.hpp"

namespace {

using namespace qpsbgd;

constexpr std::size_t kSpins = 70;
constexpr std::size_t kReads = 32;

// Small whole numbers, which int16 holds exactly.
std::vector<double> whole_numbers(std::size_t count, int reach, std::uint64_t seed) {
    Random random(seed, 0, 0);
    std::vector<double> numbers(count);
    for (double& number : numbers) {
        number = static_cast<double>(random.below(static_cast<std::uint32_t>(2 * reach + 1))) - reach;
    }
    return numbers;
}

double energy_of(std::span<const double> couplings, std::span<const double> h,
                 std::span<const std::int8_t> spins) {
    double energy = 0.0;
    for (std::size_t i = 0; i < spins.size(); ++i) {
        energy += h[i] * spins[i];
        for (std::size_t j = 0; j < spins.size(); ++j) {
            energy += i == j ? 0.0 : couplings[i * spins.size() + j] * spins[i] * spins[j];
        }
    }
    return energy;
}

TEST(Relink, energies_are_those_of_the_spins_and_the_best_gets_no_worse) {
    const std::vector<double> couplings = whole_numbers(kSpins * kSpins, 9, 1);
    const std::vector<double> h = whole_numbers(kSpins, 20, 2);
    StopToken token(std::nullopt, {});
    Budget budget(token);
    const SymmetricRows rows(DenseView<double>{couplings, kSpins, 1}, 0, budget);
    std::optional<Int16Matrix> matrix = Int16Matrix::make(rows, 1.0, Saturation::avoided, budget);
    ASSERT_TRUE(matrix);
    matrix->prepare_in_step();
    std::vector<std::int8_t> answers(kReads * kSpins);
    std::vector<Int16Read> reads(kReads);
    for (std::size_t read = 0; read < kReads; ++read) {
        reads[read].matrix = &*matrix;
        reads[read].fields = h;
        reads[read].best = std::span(answers).subspan(read * kSpins, kSpins);
        reads[read].random = Random(7, 0, read);
    }
    Int16Group group;
    group.load(reads, Int16Group::Start::random);
    const std::array<std::uint32_t, 4> temperatures = [&] {
        std::array<std::uint32_t, 4> all{};
        all.fill(temperature_of(0.02 * matrix->unit()));
        return all;
    }();
    for (std::size_t read = 0; read < kReads; ++read) {
        group.replica(read).temperature = temperatures.data();
    }
    ASSERT_TRUE(group.fits_in_step());
    Int16ReplicaGroup& in_step = group.enter_step();
    PathRelinking relinking(group);
    std::size_t moved = 0;
    for (std::size_t round = 0; round < 40; ++round) {
        in_step.anneal(4, budget);
        const std::size_t from = round % kReads;
        const std::int64_t before = in_step.gain(from);
        const std::int64_t best = in_step.best_gain(from);
        relinking.relink(in_step, from, (from + 5) % kReads);
        moved += in_step.gain(from) != before ? 1U : 0U;
        ASSERT_GE(in_step.best_gain(from), best);
        ASSERT_GE(in_step.best_gain(from), in_step.gain(from));
        std::vector<std::int8_t> spins(kSpins);
        in_step.spins(from, spins);
        const auto twice = static_cast<double>(group.replica(from).start - 4 * in_step.gain(from));
        ASSERT_DOUBLE_EQ(0.5 * twice * matrix->unit(), energy_of(couplings, h, spins));
    }
    EXPECT_GT(moved, 5U);
    group.leave_step();
    for (std::size_t read = 0; read < kReads; ++read) {
        std::vector<std::int8_t> spins(kSpins);
        group.best_spins(read, spins);
        EXPECT_DOUBLE_EQ(group.best_energy(read) * matrix->unit(), energy_of(couplings, h, spins));
    }
}

}  // namespace
