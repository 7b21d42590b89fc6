#include "timing.hpp"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <limits>

namespace qpsbgd::limits {
namespace {

constexpr double kShortestRun = 0.003;  // seconds of one repetition
constexpr int kRepetitions = 40;        // many short ones: some find the processor undisturbed

}  // namespace

double seconds_of(const std::function<void()>& run) {
    using Clock = std::chrono::steady_clock;
    const auto time_of = [&](std::size_t calls) {
        const auto start = Clock::now();
        for (std::size_t call = 0; call < calls; ++call) {
            run();
        }
        return std::chrono::duration<double>(Clock::now() - start).count();
    };
    std::size_t calls = 1;
    while (time_of(calls) < kShortestRun) {
        calls *= 2;
    }
    double best = std::numeric_limits<double>::infinity();
    for (int repetition = 0; repetition < kRepetitions; ++repetition) {
        best = std::min(best, time_of(calls) / static_cast<double>(calls));
    }
    return best;
}

}  // namespace qpsbgd::limits
