// Searches of dense problems in int16. What a read's answer is does not depend on the group of reads that it is worked
// on with. The caller gives matrices that hold the fields (Int16Matrix::holds). The best state seen is the answer.
#pragma once

#include <cstddef>
#include <optional>
#include <span>

#include "qpsbgd/cancellation.hpp"
#include "qpsbgd/solve.hpp"
#include "search/int16/group.hpp"

namespace qpsbgd {

// Without `sweeps`: a default, or with a deadline replica exchange between the reads of one problem where these are in
// step, else ever longer runs from new states, until the time is up. `group` is scratch memory.
void anneal(Int16Group& group, std::span<Int16Read> reads, std::optional<BetaRange> range,
            std::optional<std::size_t> sweeps, Budget& budget);

// The part of it that lets loaded reads of one problem exchange temperatures until the time is up.
bool can_exchange(const Int16Group& group, std::span<const Int16Read> reads);
void exchange(Int16Group& group, std::span<Int16Read> reads, Budget& budget);

// Without `sweeps`: a default, or until the time is up.
void tabu(Int16Group& group, std::span<Int16Read> reads, std::optional<std::size_t> sweeps, Budget& budget);

}  // namespace qpsbgd
