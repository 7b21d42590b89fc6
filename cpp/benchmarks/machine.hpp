// What one core of this machine can do at best, measured.
#pragma once

#include <cstddef>
#include <cstdint>

namespace qpsbgd::limits {

enum class Unit : std::uint8_t { float32, float64, int16 };

struct Machine {
    std::size_t vector_bytes;  // of the registers that the rates are measured with
    double clock;              // a second
    double float32;            // operations a second
    double float64;
    double int16;
    double int16_maxima;  // what comparisons and saturating sums share: fewer units than additions
    double l1;            // bytes a second
    double l2;
    double memory;

    // With registers of so many bytes, or the widest that the processor has below that.
    static Machine measured(std::size_t vector_bytes);

    double rate(Unit unit) const;
};

// Bytes a second at which a footprint of memory can be read again and again, from whatever holds it. Measured once each.
double rate_of(double footprint);

}  // namespace qpsbgd::limits
