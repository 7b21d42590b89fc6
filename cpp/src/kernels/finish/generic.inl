// Products of a symmetric matrix with the spins of several reads. Vector types of eight doubles: one register, two or four,
// as the instruction set has it, with the same sums in the same lanes.
//
// Four rows M_j at a time are added as (+-a +- b) + (+-c +- d). Many reads share the sixteen such sums of a tile of
// columns, which stay in the first cache; for few reads they are not worth tabulating.

using Doubles8 = double __attribute__((vector_size(64)));

using Floats8 = float __attribute__((vector_size(32)));

template <class Entries8>
inline void widen(const Entries8& entries, Doubles8& values) {
#if defined(__AVX512F__)
    if constexpr (sizeof(Entries8) < sizeof(Doubles8)) {
        values = _mm512_cvtps_pd(entries);  // GCC 12 takes three instructions for the generic form
        return;
    }
#endif
    values = __builtin_convertvector(entries, Doubles8);
}

constexpr std::size_t kSumRows = 4;  // rows of M in a sum
constexpr std::size_t kSumEntries = 1U
                                    << kSumRows;  // their signs: bit k is set where row k counts negatively
constexpr std::size_t kSumVectors = 4;            // of eight columns, a tile
constexpr std::size_t kSumColumns = 8 * kSumVectors;
constexpr std::size_t kSumTables = 4;  // held together
constexpr std::size_t kTabulatedRows = kSumTables * kSumRows;

// kSumRows rows of a tile of columns as doubles; zeros outside of the matrix.
template <class Real, class Entries8>
inline void load_rows(const Real* matrix, std::size_t n, std::size_t row, std::size_t column,
                      Doubles8 (*rows)[kSumVectors]) {
    for (std::size_t k = 0; k < kSumRows; ++k) {
        Real entries[kSumColumns] = {};
        const Real* from = matrix + (row + k) * n + column;
        if (row + k >= n || column + kSumColumns > n) {
            const std::size_t count = row + k >= n ? 0 : n - column;
            for (std::size_t j = 0; j < count; ++j) {
                entries[j] = from[j];
            }
            from = entries;
        }
#pragma GCC unroll 4
        for (std::size_t v = 0; v < kSumVectors; ++v) {
            Entries8 eight;
            __builtin_memcpy(&eight, from + v * 8, sizeof(eight));
            widen(eight, rows[k][v]);
        }
    }
}

template <class Real, class Entries8>
inline void tabulate_sums(const Real* matrix, std::size_t n, std::size_t row, std::size_t column,
                          Doubles8 (*table)[kSumVectors]) {
    Doubles8 rows[kSumRows][kSumVectors];
    load_rows<Real, Entries8>(matrix, n, row, column, rows);
#pragma GCC unroll 4
    for (std::size_t v = 0; v < kSumVectors; ++v) {
        const Doubles8 sum = rows[0][v] + rows[1][v];
        const Doubles8 difference = rows[0][v] - rows[1][v];
        const Doubles8 first[4] = {sum, -difference, difference, -sum};
        const Doubles8 other_sum = rows[2][v] + rows[3][v];
        const Doubles8 other_difference = rows[2][v] - rows[3][v];
        const Doubles8 second[4] = {other_sum, -other_difference, other_difference, -other_sum};
#pragma GCC unroll 16
        for (std::size_t entry = 0; entry < kSumEntries; ++entry) {
            table[entry][v] = first[entry % 4] + second[entry / 4];
        }
    }
}

// One tile of columns for many reads.
template <class Real, class Entries8>
inline void tabulated_products(const Real* matrix, std::size_t n, std::size_t column,
                               const std::uint16_t* signs, std::size_t reads, double* out,
                               std::size_t stride) {
    Doubles8 tables[kSumTables][kSumEntries][kSumVectors];
    const std::size_t words = (n + kTabulatedRows - 1) / kTabulatedRows;
    for (std::size_t word = 0; word < words; ++word) {
        for (std::size_t t = 0; t < kSumTables; ++t) {
            tabulate_sums<Real, Entries8>(matrix, n, word * kTabulatedRows + t * kSumRows, column, tables[t]);
        }
        for (std::size_t r = 0; r < reads; ++r) {
            double* to = out + r * stride + column;
            const std::size_t pattern = signs[r * words + word];
            Doubles8 sums[kSumVectors] = {};
            if (word != 0) {
                __builtin_memcpy(sums, to, sizeof(sums));
            }
#pragma GCC unroll 4
            for (std::size_t t = 0; t < kSumTables; ++t) {
                const auto& entry = tables[t][pattern >> (t * kSumRows) & (kSumEntries - 1)];
#pragma GCC unroll 4
                for (std::size_t v = 0; v < kSumVectors; ++v) {
                    sums[v] += entry[v];
                }
            }
            __builtin_memcpy(to, sums, sizeof(sums));
        }
    }
}

// One tile of columns for kReads reads, with the same sums.
template <class Real, class Entries8, std::size_t kReads>
inline void direct_products(const Real* matrix, std::size_t n, std::size_t column, const std::uint16_t* signs,
                            double* out, std::size_t stride) {
    const std::size_t words = (n + kTabulatedRows - 1) / kTabulatedRows;
    Doubles8 sums[kReads][kSumVectors] = {};
    for (std::size_t row = 0; row < words * kTabulatedRows; row += kSumRows) {
        Doubles8 rows[kSumRows][kSumVectors];
        load_rows<Real, Entries8>(matrix, n, row, column, rows);
#pragma GCC unroll 2
        for (std::size_t r = 0; r < kReads; ++r) {
            const std::size_t pattern = signs[r * words + row / kTabulatedRows] >> (row % kTabulatedRows);
            double sign[kSumRows];
            for (std::size_t k = 0; k < kSumRows; ++k) {
                sign[k] = (pattern >> k & 1U) != 0 ? -1.0 : 1.0;
            }
#pragma GCC unroll 4
            for (std::size_t v = 0; v < kSumVectors; ++v) {
                sums[r][v] += (rows[0][v] * sign[0] + rows[1][v] * sign[1]) +
                              (rows[2][v] * sign[2] + rows[3][v] * sign[3]);
            }
        }
    }
    for (std::size_t r = 0; r < kReads; ++r) {
        __builtin_memcpy(out + r * stride + column, sums[r], sizeof(sums[r]));
    }
}

template <class Real, class Entries8>
void products(const Real* matrix, std::size_t n, std::size_t begin, std::size_t end,
              const std::uint16_t* signs, std::size_t reads, std::size_t stride, double* out) {
    constexpr std::size_t kWorthTables = 10;  // reads
    const std::size_t words = (n + kTabulatedRows - 1) / kTabulatedRows;
    for (std::size_t column = begin; column < end; column += kSumColumns) {
        if (reads >= kWorthTables) {
            tabulated_products<Real, Entries8>(matrix, n, column, signs, reads, out, stride);
            continue;
        }
        std::size_t r = 0;
        for (; r + 2 <= reads; r += 2) {
            direct_products<Real, Entries8, 2>(matrix, n, column, signs + r * words, out + r * stride,
                                               stride);
        }
        if (r < reads) {
            direct_products<Real, Entries8, 1>(matrix, n, column, signs + r * words, out + r * stride,
                                               stride);
        }
    }
}

static_assert(kSumColumns == kProductColumns && kTabulatedRows == kSignsOfProduct);

constexpr FinishKernels kFinish{products<float, Floats8>, products<double, Doubles8>};
