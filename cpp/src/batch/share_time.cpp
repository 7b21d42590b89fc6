#include "batch/share_time.hpp"

#include <algorithm>
#include <chrono>

namespace qpsbgd {

std::optional<Clock::time_point> TimeShare::share(std::size_t pieces, Clock::duration to_complete) const {
    if (!token_.deadline()) {
        return std::nullopt;
    }
    const auto now = Clock::now();
    const auto left = std::max(*token_.deadline() - now, Clock::duration::zero());
    const auto waiting = static_cast<double>(pieces_ - begun_.load());
    const double share = static_cast<double>(threads_ * pieces) / std::max(waiting, 1.0);
    const auto own = std::chrono::duration_cast<Clock::duration>(left * std::min(share, 1.0));
    return now + own - std::min(to_complete, own / 2);
}

}  // namespace qpsbgd
