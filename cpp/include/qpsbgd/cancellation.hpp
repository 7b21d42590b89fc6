// How a long solve ends early: a deadline, or what the calling thread notices: an interrupt, or the wish to finish.
//
// Workers ask every few hundred microseconds of work. Only the calling thread runs the checks (in Python: pending
// signals, the caller's own function), at most every few milliseconds; the others see the verdict in a flag.
// An interrupt discards the answer. A finish, like a deadline, keeps the best states found so far.
#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <optional>
#include <stdexcept>
#include <thread>
#include <utility>

namespace qpsbgd {

using Clock = std::chrono::steady_clock;

struct Interrupted : std::runtime_error {
    Interrupted() : std::runtime_error("the solve was interrupted") {}
};

class StopToken {
public:
    StopToken(std::optional<Clock::time_point> deadline, std::function<bool()> interrupt_check,
              std::function<bool()> finish_check = {})
        : deadline_(deadline),
          interrupt_check_(std::move(interrupt_check)),
          finish_check_(std::move(finish_check)),
          caller_(std::this_thread::get_id()) {}

    // Has the calling program asked to give up? Workers leave at once; the answer is discarded.
    bool interrupted() {
        if (!interrupted_.load(std::memory_order_relaxed) && (interrupt_check_ || finish_check_) &&
            std::this_thread::get_id() == caller_) {
            const auto now = Clock::now();
            if (now >= next_check_) {
                run_checks();
                next_check_ = Clock::now() + kCheckInterval;
            }
        }
        return interrupted_.load(std::memory_order_relaxed);
    }

    void throw_if_interrupted() {
        if (interrupted()) {
            throw Interrupted();
        }
    }

    // A worker failed: the others need not go on.
    void abandon() { interrupted_.store(true, std::memory_order_relaxed); }

    // What has been found is enough.
    void finish() {
        if (!finishing()) {
            finishing_since_.store(Clock::now());
            finishing_.store(true, std::memory_order_release);
        }
    }

    // Is the caller content with what has been found so far? Known after the checks that `interrupted` runs.
    bool finishing() const { return finishing_.load(std::memory_order_acquire); }

    std::optional<Clock::time_point> deadline() const { return deadline_; }

    // While no worker runs.
    void set_deadline(std::optional<Clock::time_point> deadline) { deadline_ = deadline; }

    // Is it time to return what has been found, or was it `grace` ago? Work that has begun may take a little longer to
    // complete, and what nobody needs is left out.
    bool out_of_time(Clock::duration grace = Clock::duration::zero()) const {
        if (!finishing() && !deadline_) {
            return false;
        }
        const auto now = Clock::now();
        return (finishing() && now >= finishing_since_.load() + grace) ||
               (deadline_ && now >= *deadline_ + grace);
    }

    // May the time run out at all?
    bool is_limited() const { return deadline_ || finish_check_; }

    static constexpr auto kCheckInterval = std::chrono::milliseconds(5);

private:
    void run_checks() {
        if (interrupt_check_ && interrupt_check_()) {
            interrupted_.store(true, std::memory_order_relaxed);
        } else if (finish_check_ && !finishing() && finish_check_()) {
            finish();
        }
    }

    std::optional<Clock::time_point> deadline_;
    std::function<bool()> interrupt_check_;
    std::function<bool()> finish_check_;
    std::thread::id caller_;
    Clock::time_point next_check_ = Clock::now() + kCheckInterval;
    std::atomic<bool> interrupted_{false};
    std::atomic<bool> finishing_{false};
    std::atomic<Clock::time_point> finishing_since_{Clock::time_point{}};
};

// One piece of work's view of the token: its own share of the time, and a note whether it ran out.
class Budget {
public:
    Budget(StopToken& token, std::optional<Clock::time_point> deadline)
        : token_(token), deadline_(deadline), searches_(true) {}

    // Of work that completes an answer and takes far less time than the search did: only an interrupt ends it.
    explicit Budget(StopToken& token) : token_(token) {}

    // True when this piece of work should return what it has. Throws Interrupted when nobody wants it any more.
    bool exhausted() {
        token_.throw_if_interrupted();
        if (look_) {
            look_();
        }
        return searches_ && (token_.finishing() || (deadline_ && Clock::now() >= *deadline_));
    }

    bool has_deadline() const { return deadline_.has_value(); }
    StopToken& token() { return token_; }

    // `look` is called at every poll, `minima` whenever a run of the search has ended in local minima and goes on.
    void watch(std::function<void()> look, std::function<void()> minima) {
        look_ = std::move(look);
        minima_ = std::move(minima);
    }
    void at_minima() {
        if (minima_) {
            minima_();
        }
    }

private:
    StopToken& token_;
    std::function<void()> look_;
    std::function<void()> minima_;
    std::optional<Clock::time_point> deadline_;
    bool searches_ = false;
};

}  // namespace qpsbgd
