// What one core of this machine can do at best, measured.
#pragma once

#include <cstddef>
#include <cstdint>

namespace qpsbgd::limits {

extern const std::size_t kVectorBytes;  // of the widest vectors of the processor

enum class Unit : std::uint8_t { float32, float64, int16 };

struct Machine {
    double float32;  // operations a second
    double float64;
    double int16;
    double l1;  // bytes a second
    double l2;
    double memory;

    static Machine measured();

    double rate(Unit unit) const;
};

// Bytes a second at which a footprint of memory can be read again and again, from whatever holds it. Measured once each.
double rate_of(double footprint);

}  // namespace qpsbgd::limits
