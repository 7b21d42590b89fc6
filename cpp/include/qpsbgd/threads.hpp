// Work shared between threads by a counter. The pieces of work must not depend on each other or on their order.
#pragma once

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

#include "qpsbgd/cancellation.hpp"

namespace qpsbgd {

// Calls work(worker, index) for every index in [0, count), on at most `threads` threads. The calling thread is
// worker 0. The first exception of any worker stops the others and is thrown here.
template <class Work>
void parallel_for(std::size_t count, std::size_t threads, StopToken& token, const Work& work) {
    std::atomic<std::size_t> next{0};
    std::mutex mutex;
    std::condition_variable finished;
    std::atomic<std::size_t> running{0};
    std::exception_ptr failure;

    const auto drain = [&](std::size_t worker) {
        try {
            for (std::size_t index = next.fetch_add(1); index < count; index = next.fetch_add(1)) {
                token.throw_if_interrupted();
                work(worker, index);
            }
        } catch (...) {
            token.abandon();
            const std::scoped_lock lock(mutex);  // two workers may fail at once
            if (!failure) {
                failure = std::current_exception();
            }
        }
    };

    {
        std::vector<std::jthread> helpers;
        const std::size_t workers = std::max<std::size_t>(1, std::min(threads, count));
        helpers.reserve(workers - 1);
        running = workers - 1;
        for (std::size_t worker = 1; worker < workers; ++worker) {
            helpers.emplace_back([&, worker] {
                drain(worker);
                const std::scoped_lock lock(mutex);  // pairs with the wait below
                --running;
                finished.notify_one();
            });
        }
        drain(0);
        // Others that are nearly done take less time than falling asleep and being woken up.
        const auto patience = Clock::now() + std::chrono::microseconds(100);
        while (running != 0 && Clock::now() < patience) {
        }
        // The calling thread alone can notice an interrupt, so it keeps looking while the others finish.
        std::unique_lock lock(mutex);
        while (!finished.wait_for(lock, StopToken::kCheckInterval, [&] { return running == 0; })) {
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

}  // namespace qpsbgd
