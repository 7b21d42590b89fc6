// A set that knows its next member, against a plain vector of flags.
#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/index_set.hpp"
#include "base/rng.hpp"

namespace qpsbgd {
namespace {

std::size_t next_flag(const std::vector<bool>& flags, std::size_t i) {
    while (i < flags.size() && !flags[i]) {
        ++i;
    }
    return i;
}

class OfSize : public testing::TestWithParam<std::size_t> {};

TEST_P(OfSize, next_member_is_that_of_flags_after_every_change) {
    const std::size_t size = GetParam();
    Random random(size, 0, 0);
    const auto draw = [&] { return random.below(static_cast<std::uint32_t>(size)); };
    std::vector<bool> flags(size);
    for (std::size_t k = 0; k < size / 500; ++k) {
        flags[draw()] = true;
    }
    IndexSet set;
    set.assign(size, [&](std::size_t i) { return flags[i]; });
    for (int change = 0; change < 2000; ++change) {
        const std::size_t from = draw();
        ASSERT_EQ(set.next(from), next_flag(flags, from));
        ASSERT_EQ(set.next(0), next_flag(flags, 0));
        const std::size_t i = change % 2 == 0 ? draw() : set.next(from);
        if (i < size) {
            flags[i] = change % 2 == 0;
            set.set(i, flags[i]);
        }
    }
    EXPECT_EQ(set.next(size), size);
}

INSTANTIATE_TEST_SUITE_P(IndexSet, OfSize, testing::Values(1, 2, 63, 64, 65, 4096, 4097, 300'000));

}  // namespace
}  // namespace qpsbgd
