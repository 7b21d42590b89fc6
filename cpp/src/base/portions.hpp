// Pieces of work in portions.
#pragma once

#include <algorithm>
#include <cstddef>
#include <vector>

namespace qpsbgd {

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
