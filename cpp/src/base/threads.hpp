// Work shared between threads by a counter. The pieces of work must not depend on each other or on their order.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

#include "qpsbgd/cancellation.hpp"

namespace qpsbgd {

// `prepare()` on the calling thread, which says how many pieces of work there are (`most` at most), then
// work(worker, index) for every index below that, on at most `threads` threads. The calling thread is worker 0. The others
// start during the preparation: that takes some 50 microseconds. The first exception of any worker stops the others and
// is thrown here.
template <class Prepare, class Work>
void prepare_and_share(std::size_t most, std::size_t threads, StopToken& token, const Prepare& prepare,
                       const Work& work) {
    // A sleeping thread wakes late, so threads look for a while before they sleep, and let others run meanwhile.
    constexpr auto kLook = std::chrono::microseconds(50);
    std::atomic<bool> prepared{false};
    std::atomic<std::size_t> count{0};
    std::atomic<std::size_t> next{0};
    std::atomic<std::size_t> running{0};
    std::mutex mutex;
    std::condition_variable changed;
    std::exception_ptr failure;

    const auto guarded = [&](const auto& part) {
        try {
            part();
        } catch (...) {
            token.abandon();
            const std::scoped_lock lock(mutex);  // two workers may fail at once
            if (!failure) {
                failure = std::current_exception();
            }
        }
    };
    const auto look_for = [&](const auto& event) {
        const auto end = Clock::now() + kLook;
        while (!event() && Clock::now() < end) {
            std::this_thread::yield();
        }
    };
    const auto drain = [&](std::size_t worker) {
        guarded([&] {
            for (std::size_t index = next.fetch_add(1); index < count; index = next.fetch_add(1)) {
                token.throw_if_interrupted();
                work(worker, index);
            }
        });
    };
    const auto help = [&](std::size_t worker) {
        look_for([&] { return prepared.load(); });
        {
            std::unique_lock lock(mutex);  // pairs with the caller's, once it has prepared
            changed.wait(lock, [&] { return prepared.load(); });
        }
        drain(worker);
        const std::scoped_lock lock(mutex);  // pairs with the wait at the end
        --running;
        changed.notify_all();
    };

    {
        std::vector<std::jthread> helpers;
        const std::size_t workers = std::max<std::size_t>(1, std::min(threads, most));
        helpers.reserve(workers - 1);
        for (std::size_t worker = 1; worker < workers; ++worker) {
            ++running;
            try {
                helpers.emplace_back([&, worker] { help(worker); });
            } catch (const std::exception&) {  // no thread to be had: the others do its work
                --running;
                break;
            }
        }
        guarded([&] { count = prepare(); });
        {
            const std::scoped_lock lock(mutex);
            prepared = true;
        }
        changed.notify_all();
        drain(0);
        const auto finished = [&] { return running.load() == 0; };
        look_for(finished);
        // The calling thread alone can notice an interrupt, so it keeps looking while the others finish.
        std::unique_lock lock(mutex);
        while (!changed.wait_for(lock, StopToken::kCheckInterval, finished)) {
            lock.unlock();  // the check may run Python code, which must not wait for a worker
            token.interrupted();
            lock.lock();
        }
    }
    if (failure) {
        std::rethrow_exception(failure);
    }
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

// Where pieces of work are cut into portions that threads take one after the other: the portions' ends, ascending. In
// rounds of equal portions, one a thread, each round half of what is left (factoring: Hummel, Schonberg and Flynn, 1992),
// until two of `smallest` or less are left for each: threads that start together end together, and others have something
// to even out. Portions are multiples of `unit`, where there is one for every thread, and at most `largest`.
inline std::vector<std::size_t> portions(std::size_t pieces, std::size_t threads, std::size_t unit,
                                         std::size_t smallest, std::size_t largest) {
    std::vector<std::size_t> ends;
    for (std::size_t done = 0; done < pieces;) {
        const std::size_t left = pieces - done;
        const bool last_round = left <= 2 * threads * smallest;
        const std::size_t share = last_round ? (left + threads - 1) / threads : left / (2 * threads);
        const std::size_t whole = share < unit ? share : (share + unit - 1) / unit * unit;
        const std::size_t portion = std::min(whole, largest);
        for (std::size_t thread = 0; thread < threads && done < pieces; ++thread) {
            done = std::min(done + portion, pieces);
            ends.push_back(done);
        }
    }
    return ends;
}

}  // namespace qpsbgd
