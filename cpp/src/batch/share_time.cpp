#include "batch/share_time.hpp"

#include <algorithm>
#include <chrono>

namespace qpsbgd {

std::optional<Clock::time_point> TimeShare::share(std::size_t pieces, Clock::duration to_complete) const {
    if (!token_.deadline()) {
        return std::nullopt;
    }
    const auto now = Clock::now();
    auto left = std::max(*token_.deadline() - now, Clock::duration::zero());
    left -= std::min(to_complete, left / 2);
    const auto waiting = static_cast<double>(pieces_ - begun_.load());
    const double share = static_cast<double>(threads_ * pieces) / std::max(waiting, 1.0);
    return now + std::chrono::duration_cast<Clock::duration>(left * std::min(share, 1.0));
}

}  // namespace qpsbgd
