// One look at the rows of a dense matrix, and their int16 form.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

namespace qpsbgd {

// Over the entries of a row beside the diagonal. Sums are eight running sums, one for every column modulo 8, added in a
// fixed order, so every instruction set rounds alike.
struct RowStatistics {
    double sum;      // of |entry|
    double squares;  // of entry^2
    double largest;  // |entry|
};

template <class Real>
struct PrepareKernels {
    // Of row i of n entries, of any alignment. n / 8 times 5 operations on eight doubles.
    RowStatistics (*statistics)(const Real* row, std::size_t n, std::size_t i);

    // out_j = 2 nearest(factor * entry_j), which |factor * entry_j| <= 16383 keeps in int16; 0 on the diagonal, whose
    // entry may be anything. n / 8 times 6 operations on eight numbers. Rows of any alignment.
    void (*quantise)(const Real* row, std::size_t n, std::size_t i, double factor, std::int16_t* out);
};

}  // namespace qpsbgd
