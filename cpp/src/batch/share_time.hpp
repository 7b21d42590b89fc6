// A time limit, shared between the pieces of work that have to be done in it.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <optional>

#include "qpsbgd/cancellation.hpp"

namespace qpsbgd {

// So long after the end of the time reads are still completed; others are left out.
inline constexpr Clock::duration kGrace = std::chrono::milliseconds(5);

class TimeShare {
public:
    // Of the token's deadline, for `pieces` of work on `threads` threads.
    TimeShare(const StopToken& token, std::size_t pieces, std::size_t threads)
        : token_(token), pieces_(pieces), threads_(threads) {}

    // When those `pieces` have to end that one thread works on at once and that begin now. The time left is shared
    // evenly between the pieces that have not begun. Nothing without a deadline. `to_complete` of it, half at most, is kept
    // for what comes after the search.
    std::optional<Clock::time_point> share(std::size_t pieces,
                                           Clock::duration to_complete = Clock::duration::zero()) const;

    void begin(std::size_t pieces) { begun_.fetch_add(pieces); }

    // Until when `entries` couplings are prepared, of work that has to end at `deadline`: then there is time left to do
    // without, in some passes of so many nanoseconds an entry.
    static std::optional<Clock::time_point> preparation_end(std::optional<Clock::time_point> deadline,
                                                            std::size_t entries, double nanoseconds) {
        if (!deadline) {
            return deadline;
        }
        const std::chrono::duration<double, std::nano> without(nanoseconds * static_cast<double>(entries));
        return *deadline - std::chrono::duration_cast<Clock::duration>(without);
    }

private:
    const StopToken& token_;
    std::size_t pieces_;
    std::size_t threads_;
    std::atomic<std::size_t> begun_{0};
};

}  // namespace qpsbgd
