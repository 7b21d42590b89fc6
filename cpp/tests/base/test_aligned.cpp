// Memory that starts on a cache line: what is given back serves the next call, and nobody else meanwhile.
#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <thread>
#include <vector>

#include "base/aligned.hpp"

namespace {

using namespace qpsbgd;

constexpr std::size_t kMegabyte = std::size_t{1} << 20U;

TEST(Aligned, memory_of_all_sizes_starts_on_a_cache_line_and_is_all_there) {
    for (const std::size_t bytes : {std::size_t{0}, std::size_t{1}, std::size_t{64}, kMegabyte - 1, kMegabyte,
                                    3 * kMegabyte, 40 * kMegabyte}) {
        for (int again = 0; again < 3; ++again) {
            void* memory = allocate_aligned(bytes);
            EXPECT_EQ(reinterpret_cast<std::uintptr_t>(memory) % kCacheLine, 0U);
            std::memset(memory, again, bytes);
            free_aligned(memory);
        }
    }
    free_aligned(nullptr);
}

TEST(Aligned, a_large_block_that_was_given_back_is_taken_again) {
#if defined(__SANITIZE_ADDRESS__) || !defined(__linux__)
    GTEST_SKIP() << "no block is kept here";
#else
    void* memory = allocate_aligned(3 * kMegabyte);
    free_aligned(memory);
    void* again = allocate_aligned(3 * kMegabyte - 5);
    EXPECT_EQ(again, memory);
    void* other = allocate_aligned(3 * kMegabyte);  // while the first is in use
    EXPECT_NE(other, again);
    free_aligned(other);
    free_aligned(again);
#endif
}

TEST(Aligned, threads_never_get_the_same_block) {
    std::vector<std::thread> threads;
    threads.reserve(4);
    for (int thread = 0; thread < 4; ++thread) {
        threads.emplace_back([thread] {
            for (std::size_t round = 0; round < 200; ++round) {
                const std::size_t count = (1 + round % 3) * kMegabyte / sizeof(int);
                AlignedBuffer<int> buffer(count);
                buffer.data()[0] = thread;
                buffer.data()[count - 1] = thread;
                std::this_thread::yield();
                ASSERT_EQ(buffer.data()[0], thread);
                ASSERT_EQ(buffer.data()[count - 1], thread);
            }
        });
    }
    for (std::thread& thread : threads) {
        thread.join();
    }
}

}  // namespace
