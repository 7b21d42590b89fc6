// Work shared between threads by a counter. The pieces of work must not depend on each other or on their order.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <exception>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#if defined(__GLIBCXX__)
#include <cxxabi.h>
#endif

#include "qpsbgd/cancellation.hpp"

namespace qpsbgd {

// Takes the memory that the first exception of this thread needs. False where there is none: such a thread must not throw.
bool prepare_for_exceptions();

// Keeps the first exception of any worker, and tells the others to stop.
class FirstFailure {
public:
    explicit FirstFailure(StopToken& token) : token_(token) {}

    template <class Part>
    void guard(const Part& part) {
        try {
            part();
        } catch (const Interrupted&) {
            // Says what the token says already. It is not kept, or it could hide the failure that it follows from.
            token_.abandon();
#if defined(__GLIBCXX__)
        } catch (const abi::__forced_unwind&) {
            throw;  // the thread itself ends: glibc aborts where that is not passed on
#endif
        } catch (...) {
            keep(std::current_exception());
        }
    }

    // Call it when no other thread is left.
    void rethrow() const {
        if (failure_) {
            std::rethrow_exception(failure_);
        }
    }

private:
    // First kept, then announced: whoever sees the announcement finds the failure.
    void keep(std::exception_ptr failure) {
        {
            const std::scoped_lock lock(mutex_);  // two workers may fail at once
            if (!failure_) {
                failure_ = std::move(failure);
            }
        }
        token_.abandon();
    }

    StopToken& token_;
    std::mutex mutex_;
    std::exception_ptr failure_;
};

// Where the calling thread and its helpers meet: before the work, at the counter, and after it. A sleeping thread wakes
// late, so threads look for a while before they sleep, and let others run meanwhile.
class Meeting {
public:
    // Pieces [0, count) may be worked on. The calling thread says so once.
    void open(std::size_t count) {
        {
            const std::scoped_lock lock(mutex_);
            count_ = count;
            open_ = true;
        }
        changed_.notify_all();
    }

    void wait_until_open() {
        look_for([&] { return open_.load(); });
        std::unique_lock lock(mutex_);  // pairs with the one of `open`
        changed_.wait(lock, [&] { return open_.load(); });
    }

    std::optional<std::size_t> next_piece() {
        const std::size_t index = next_.fetch_add(1);
        return index < count_ ? std::optional(index) : std::nullopt;
    }

    // Of a helper: before it starts, and when it has nothing left to do.
    void enter() { ++helpers_; }
    void leave() {
        const std::scoped_lock lock(mutex_);  // pairs with the one of `wait_for_helpers`
        --helpers_;
        changed_.notify_all();
    }

    // Until all helpers have left. The calling thread alone can notice an interrupt, so it calls `check` meanwhile.
    template <class Check>
    void wait_for_helpers(const Check& check) {
        const auto gone = [&] { return helpers_.load() == 0; };
        look_for(gone);
        std::unique_lock lock(mutex_);
        while (!changed_.wait_for(lock, StopToken::kCheckInterval, gone)) {
            lock.unlock();  // the check may run Python code, which must not wait for a worker
            check();
            lock.lock();
        }
    }

private:
    template <class Event>
    static void look_for(const Event& event) {
        const auto end = Clock::now() + std::chrono::microseconds(50);
        while (!event() && Clock::now() < end) {
            std::this_thread::yield();
        }
    }

    std::mutex mutex_;
    std::condition_variable changed_;
    std::atomic<bool> open_{false};
    std::atomic<std::size_t> count_{0};
    std::atomic<std::size_t> next_{0};
    std::atomic<std::size_t> helpers_{0};
};

// Threads that run help(1), help(2), ... Fewer than `count` where the system gives no more: the others do their work.
template <class Help>
std::vector<std::jthread> start_helpers(std::size_t count, Meeting& meeting, const Help& help) {
    std::vector<std::jthread> helpers;
    for (std::size_t worker = 1; worker <= count; ++worker) {
        meeting.enter();
        try {
            helpers.emplace_back([&help, worker] { help(worker); });
        } catch (const std::exception&) {
            meeting.leave();
            break;
        }
    }
    return helpers;
}

// `prepare()` on the calling thread, which says how many pieces of work there are (`most` at most), then
// work(worker, index) for every index below that, on at most `threads` threads. The calling thread is worker 0. The others
// start during the preparation: that takes some 50 microseconds. The first exception of any worker stops the others and
// is thrown here.
template <class Prepare, class Work>
void prepare_and_share(std::size_t most, std::size_t threads, StopToken& token, const Prepare& prepare,
                       const Work& work) {
    static_cast<void>(std::uncaught_exceptions());  // as prepare_for_exceptions: this thread has no choice
    Meeting meeting;
    FirstFailure failure(token);
    const auto drain = [&](std::size_t worker) {
        failure.guard([&] {
            while (const auto index = meeting.next_piece()) {
                token.throw_if_interrupted();
                work(worker, *index);
            }
        });
    };
    const auto help = [&](std::size_t worker) {
        if (prepare_for_exceptions()) {
            meeting.wait_until_open();
            drain(worker);
        }
        meeting.leave();
    };
    {
        const std::size_t workers = std::max<std::size_t>(1, std::min(threads, most));
        const auto helpers = start_helpers(workers - 1, meeting, help);
        std::size_t count = 0;
        failure.guard([&] { count = prepare(); });
        meeting.open(count);
        drain(0);
        meeting.wait_for_helpers([&] { token.interrupted(); });
    }
    failure.rethrow();
    token.throw_if_interrupted();
}

// The same without a preparation.
template <class Work>
void parallel_for(std::size_t count, std::size_t threads, StopToken& token, const Work& work) {
    prepare_and_share(count, threads, token, [count] { return count; }, work);
}

// At most `threads`, one for every `work_of_thread` operations: less work does not pay for starting one.
inline std::size_t useful_threads(std::size_t threads, double work, double work_of_thread) {
    return std::min(threads, 1 + static_cast<std::size_t>(work / work_of_thread));
}

}  // namespace qpsbgd
