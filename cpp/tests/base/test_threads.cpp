// Work shared between threads: every piece once, portions that end together, failures that reach the caller.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <fstream>
#include <initializer_list>
#include <new>
#include <stdexcept>
#include <thread>
#include <vector>

#include "base/portions.hpp"
#include "base/threads.hpp"

#include <sys/resource.h>

namespace qpsbgd {
namespace {

StopToken endless() { return {std::nullopt, nullptr}; }

TEST(Threads, work_on_every_piece_once_whatever_their_number) {
    for (const std::size_t threads : std::initializer_list<std::size_t>{1, 2, 5}) {
        for (const std::size_t count : std::initializer_list<std::size_t>{0, 1, 3, 100}) {
            StopToken token = endless();
            std::vector<std::atomic<int>> visits(count);
            parallel_for(count, threads, token,
                         [&](std::size_t /*worker*/, std::size_t index) { ++visits[index]; });
            for (const auto& visit : visits) {
                EXPECT_EQ(visit, 1);
            }
        }
    }
}

TEST(Threads, begin_after_the_preparation_however_long_it_takes) {
    for (const int milliseconds : {0, 20}) {
        StopToken token = endless();
        bool prepared = false;
        std::atomic<int> done{0};
        prepare_and_share(
            100, 3, token,
            [&] {
                std::this_thread::sleep_for(std::chrono::milliseconds(milliseconds));
                prepared = true;
                return std::size_t{7};
            },
            [&](std::size_t /*worker*/, std::size_t /*index*/) { done += prepared ? 1 : 100; });
        EXPECT_EQ(done, 7);
    }
}

TEST(Threads, do_nothing_after_a_preparation_that_fails) {
    for (const std::size_t threads : std::initializer_list<std::size_t>{1, 3}) {
        StopToken token = endless();
        std::atomic<int> done{0};
        const auto prepare = []() -> std::size_t { throw std::invalid_argument("preparation"); };
        EXPECT_THROW(prepare_and_share(5, threads, token, prepare,
                                       [&](std::size_t /*worker*/, std::size_t /*index*/) { ++done; }),
                     std::invalid_argument);
        EXPECT_EQ(done, 0);
    }
}

TEST(Threads, pass_on_what_a_piece_throws) {
    StopToken token = endless();
    const auto work = [](std::size_t /*worker*/, std::size_t index) {
        if (index == 3) {
            throw std::out_of_range("piece");
        }
    };
    EXPECT_THROW(parallel_for(8, 2, token, work), std::out_of_range);
}

TEST(Portions, cover_all_pieces_in_units) {
    for (const std::size_t threads : std::initializer_list<std::size_t>{1, 2, 3, 16}) {
        for (const std::size_t pieces : std::initializer_list<std::size_t>{1, 8, 100, 128, 257}) {
            const auto ends = portions(pieces, threads, 4, 12, 32);
            EXPECT_EQ(ends.back(), pieces);
            std::size_t begin = 0;
            for (const std::size_t end : ends) {
                EXPECT_GT(end, begin);
                EXPECT_LE(end - begin, 32);
                EXPECT_TRUE((end - begin) % 4 == 0 || end - begin < 4 || end == pieces);
                begin = end;
            }
        }
    }
}

TEST(Portions, get_smaller_and_give_every_thread_as_much) {
    EXPECT_EQ(portions(128, 2, 4, 12, 32), (std::vector<std::size_t>{32, 64, 80, 96, 112, 128}));
    EXPECT_EQ(portions(2, 2, 4, 12, 32), (std::vector<std::size_t>{1, 2}));
}

TEST(Portions, of_one_thread_are_as_large_as_allowed) {
    EXPECT_EQ(portions(70, 1, 1, 70, 32), (std::vector<std::size_t>{32, 64, 70}));
    EXPECT_TRUE(portions(0, 1, 1, 0, 32).empty());
}

TEST(ParallelFor, passes_on_a_workers_exception) {
    StopToken token(std::nullopt, {});
    EXPECT_THROW(parallel_for(100, 3, token,
                              [](std::size_t, std::size_t index) {
                                  if (index == 50) {
                                      throw std::runtime_error("piece 50");
                                  }
                              }),
                 std::runtime_error);
}

// The failure of one worker stops the others, whose Interrupted must never stand for it.
TEST(ParallelFor, a_failed_allocation_reaches_the_caller_whoever_notices_first) {
    for (int repetition = 0; repetition < 300; ++repetition) {
        StopToken token = endless();
        std::atomic<bool> failing{false};
        const auto work = [&](std::size_t /*worker*/, std::size_t index) {
            if (index == 1) {
                failing = true;
                throw std::bad_alloc();
            }
            while (!failing) {
                std::this_thread::yield();
            }
            for (;;) {
                token.throw_if_interrupted();
            }
        };
        EXPECT_THROW(parallel_for(2, 2, token, work), std::bad_alloc);
    }
}

// Work of one piece may share parts of its own: the others then see the token abandoned before the piece has failed.
TEST(ParallelFor, a_failure_inside_of_shared_parts_reaches_the_caller) {
    StopToken token = endless();
    const auto work = [&](std::size_t /*worker*/, std::size_t index) {
        if (index == 0) {
            try {
                parallel_for(1, 1, token, [](std::size_t, std::size_t) { throw std::bad_alloc(); });
            } catch (...) {
                std::this_thread::sleep_for(std::chrono::milliseconds(20));
                throw;
            }
        }
        for (;;) {
            token.throw_if_interrupted();
        }
    };
    EXPECT_THROW(parallel_for(2, 2, token, work), std::bad_alloc);
}

TEST(ParallelFor, does_without_threads_that_cannot_be_started) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    GTEST_SKIP() << "sanitizers need an address space without limit";
#endif
    constexpr std::size_t kPieces = 500;
    StopToken token = endless();
    std::atomic<std::size_t> done{0};
    std::size_t pages = 0;
    std::ifstream("/proc/self/statm") >> pages;
    rlimit before{};
    ASSERT_EQ(getrlimit(RLIMIT_AS, &before), 0);
    constexpr std::size_t kPage = 4096;
    constexpr std::size_t kMore = std::size_t{64} << 20U;  // stacks of a few threads
    const rlimit small{pages * kPage + kMore, before.rlim_max};
    ASSERT_EQ(setrlimit(RLIMIT_AS, &small), 0);
    parallel_for(kPieces, kPieces, token, [&](std::size_t, std::size_t) {
        std::this_thread::sleep_for(std::chrono::milliseconds(1));  // so that every thread is needed
        ++done;
    });
    setrlimit(RLIMIT_AS, &before);
    EXPECT_EQ(done, kPieces);
}

}  // namespace
}  // namespace qpsbgd
