// The winner of a tournament is the first of the largest numbers, however these change.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <vector>

#include "base/rng.hpp"
#include "base/tournament.hpp"

namespace qpsbgd {
namespace {

TEST(Tournament, winner_is_the_first_of_the_largest_after_every_change) {
    for (const std::size_t size : {1U, 2U, 3U, 7U, 8U, 9U, 100U}) {
        Random random(size, 0, 0);
        const auto draw = [&] { return static_cast<float>(random.below(9)) - 4.0F; };  // many are equal
        std::vector<float> numbers(size);
        std::ranges::generate(numbers, draw);
        Tournament tournament;
        tournament.assign(numbers);
        for (int change = 0; change < 3000; ++change) {
            ASSERT_EQ(tournament.winner(),
                      static_cast<std::size_t>(std::ranges::max_element(numbers) - numbers.begin()));
            const std::size_t i = random.below(static_cast<std::uint32_t>(size));
            numbers[i] = random.below(4) == 0 ? Tournament::kAbsent : draw();
            tournament.set(i, numbers[i]);
            ASSERT_EQ(tournament[i], numbers[i]);
        }
    }
}

TEST(Tournament, of_absent_numbers_is_won_by_an_absent_one) {
    Tournament tournament;
    tournament.assign(std::vector<float>(5, 1.0F));
    for (std::size_t i = 0; i < 5; ++i) {
        tournament.set(i, Tournament::kAbsent);
    }
    EXPECT_EQ(tournament[tournament.winner()], Tournament::kAbsent);
}

}  // namespace
}  // namespace qpsbgd
