// Which random bytes accept a rise of the energy.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/sparse_int8/table.hpp"

namespace qpsbgd {

// Tables of c for one temperature.
class Int8AcceptanceTable {
public:
    // A rise of s L by one unit is accepted with probability `ratio`, one by r units with its r-th power.
    void fill(double ratio, int reach);

    Int8Acceptance of_sweep(std::size_t sweep) const { return {entries_, parts_, 27 * sweep}; }

private:
    alignas(64) std::uint8_t entries_[kDithers * kMostTableParts * kTableWidth] = {};
    std::size_t parts_ = 1;
};

}  // namespace qpsbgd
