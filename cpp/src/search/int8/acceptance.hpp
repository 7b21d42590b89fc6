// Which random bytes accept a rise of the energy.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>

#include "kernels/sparse_int8/table.hpp"

namespace qpsbgd {

// Tables of c for one temperature.
class Int8AcceptanceTable {
public:
    // Of the probabilities of rises of s L that differ by one unit: the energy rises by twice that.
    static double ratio(double beta, double unit) { return std::exp(-2.0 * beta * unit); }

    // A rise of s L by one unit is accepted with probability `ratio`, one by r units with its r-th power.
    void fill(double ratio, int reach);

    // Does the table of this ratio hold every rise up to `reach` that has a chance? The rise 127 and those above are never
    // accepted.
    static bool serves(double ratio, int reach);

    Int8Acceptance of_sweep(std::size_t sweep) const { return {entries_, parts_, 27 * sweep}; }

private:
    alignas(64) std::uint8_t entries_[kDithers * kMostTableParts * kTableWidth] = {};
    std::size_t parts_ = 1;
};

}  // namespace qpsbgd
