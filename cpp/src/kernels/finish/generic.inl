// Products of a symmetric matrix with the spins of several reads, over registers of doubles as wide as the instruction set
// has them: the same sums in the same lanes.
//
// Four rows M_j at a time are added as (+-a +- b) + (+-c +- d). Many reads share the sixteen such sums of a tile of
// columns, which stay in the first cache; for few reads they are not worth tabulating.

#if defined(__AVX512F__)
constexpr std::size_t kDoubleLanes = 8;
#elif defined(__AVX__)
constexpr std::size_t kDoubleLanes = 4;
#else
constexpr std::size_t kDoubleLanes = 2;
#endif
using DoubleLanes = double __attribute__((vector_size(kDoubleLanes * sizeof(double))));
using FloatLanes = float __attribute__((vector_size(kDoubleLanes * sizeof(float))));

// As many entries as a register has doubles, from any alignment.
inline DoubleLanes load_lanes(const double* from) {
    DoubleLanes values;
    __builtin_memcpy(&values, from, sizeof(values));
    return values;
}
inline DoubleLanes load_lanes(const float* from) {
    FloatLanes values;
    __builtin_memcpy(&values, from, sizeof(values));
#if defined(__AVX512F__)
    return _mm512_cvtps_pd(values);  // GCC 12 takes three instructions for the generic form
#else
    return __builtin_convertvector(values, DoubleLanes);
#endif
}
inline void save_lanes(double* to, const DoubleLanes& values) {
    __builtin_memcpy(to, &values, sizeof(values));
}

// sum + sign * entry, rounded once: the sign is 1 or -1, so that a product is exact.
inline DoubleLanes add_signed(const DoubleLanes& sum, const DoubleLanes& entry, double sign) {
#if defined(__AVX512F__)
    return _mm512_fmadd_pd(entry, _mm512_set1_pd(sign), sum);
#elif defined(__FMA__)
    return _mm256_fmadd_pd(entry, _mm256_set1_pd(sign), sum);
#else
    return sum + entry * sign;
#endif
}

constexpr std::size_t kSumRows = 4;  // rows of M in a sum
// Their signs: bit k is set where row k counts negatively. With the last row negative, a sum is the negative of the one with
// all other signs.
constexpr std::size_t kSumEntries = 1U << (kSumRows - 1);
constexpr std::size_t kSumVectors = kDoubleLanes == 8 ? 4 : 8;  // registers of columns, a tile
constexpr std::size_t kSumColumns = kSumVectors * kDoubleLanes;
constexpr std::size_t kWordTables = kSignsOfProduct / kSumRows;  // for a word of spins
constexpr std::size_t kSumWords =
    2;  // whose tables are held together: 16 KiB at most, half of the smallest first cache

using SumTable = DoubleLanes[kSumEntries][kSumVectors];

// kSumRows rows of a tile of columns; zeros outside of the matrix.
template <class Real>
struct SumRowsOfTile {
    Real beyond[kSumRows][kSumColumns];
    const Real* row[kSumRows];

    SumRowsOfTile(const Real* matrix, std::size_t n, std::size_t first, std::size_t column) {
        for (std::size_t k = 0; k < kSumRows; ++k) {
            row[k] = matrix + (first + k) * n + column;
            if (first + k >= n || column + kSumColumns > n) {
                const std::size_t count = first + k >= n || column >= n ? 0 : n - column;
                for (std::size_t j = 0; j < kSumColumns; ++j) {
                    beyond[k][j] = j < count ? row[k][j] : Real{0};
                }
                row[k] = beyond[k];
            }
        }
    }

    DoubleLanes lanes(std::size_t k, std::size_t vector) const {
        return load_lanes(row[k] + vector * kDoubleLanes);
    }
};

template <class Real>
inline void tabulate_sums(const Real* matrix, std::size_t n, std::size_t row, std::size_t column,
                          SumTable& table) {
    const SumRowsOfTile<Real> rows(matrix, n, row, column);
#pragma GCC unroll 8
    for (std::size_t v = 0; v < kSumVectors; ++v) {
        const DoubleLanes a = rows.lanes(0, v);
        const DoubleLanes b = rows.lanes(1, v);
        const DoubleLanes c = rows.lanes(2, v);
        const DoubleLanes d = rows.lanes(3, v);
        const DoubleLanes sum = a + b;
        const DoubleLanes difference = a - b;
        const DoubleLanes other_sum = c + d;
        const DoubleLanes other_difference = d - c;
        table[0][v] = other_sum + sum;
        table[1][v] = other_sum - difference;
        table[2][v] = other_sum + difference;
        table[3][v] = other_sum - sum;
        table[4][v] = other_difference + sum;
        table[5][v] = other_difference - difference;
        table[6][v] = other_difference + difference;
        table[7][v] = other_difference - sum;
    }
}

// What the tables of kWords words add to one tile of one read.
template <std::size_t kWords>
inline void add_tabulated(const SumTable* tables, const std::uint16_t* signs, bool first, double* to) {
    static constexpr double kSigns[2] = {1.0, -1.0};
    DoubleLanes sums[kSumVectors] = {};
    if (!first) {
#pragma GCC unroll 8
        for (std::size_t v = 0; v < kSumVectors; ++v) {
            sums[v] = load_lanes(to + v * kDoubleLanes);
        }
    }
#pragma GCC unroll 2
    for (std::size_t word = 0; word < kWords; ++word) {
        const std::size_t pattern = signs[word];
        const std::size_t turned = pattern >> 3U & 0x1111U;
        const std::size_t entries = pattern ^ (7U * turned);
#pragma GCC unroll 4
        for (std::size_t t = 0; t < kWordTables; ++t) {
            const auto& entry = tables[word * kWordTables + t][entries >> (t * kSumRows) & (kSumEntries - 1)];
            const double sign = kSigns[turned >> (t * kSumRows) & 1U];
#pragma GCC unroll 8
            for (std::size_t v = 0; v < kSumVectors; ++v) {
                sums[v] = add_signed(sums[v], entry[v], sign);
            }
        }
    }
#pragma GCC unroll 8
    for (std::size_t v = 0; v < kSumVectors; ++v) {
        save_lanes(to + v * kDoubleLanes, sums[v]);
    }
}

// Rows [first, last) of a tile on their way to the first cache.
template <class Real>
inline void fetch_rows(const Real* matrix, std::size_t n, std::size_t first, std::size_t last,
                       std::size_t column) {
    for (std::size_t row = first; row < last && row < n; ++row) {
        const auto* from = reinterpret_cast<const char*>(matrix + row * n + column);
        for (std::size_t byte = 0; byte < kSumColumns * sizeof(Real); byte += 64) {
            __builtin_prefetch(from + byte);
        }
    }
}

// One tile of columns for many reads.
template <class Real>
inline void tabulated_products(const Real* matrix, std::size_t n, std::size_t column,
                               const std::uint16_t* signs, std::size_t reads, double* out,
                               std::size_t stride) {
    alignas(64) SumTable tables[kSumWords * kWordTables];
    const std::size_t words = words_of_signs(n);
    for (std::size_t word = 0; word < words; word += kSumWords) {
        const std::size_t count = words - word < kSumWords ? words - word : kSumWords;
        for (std::size_t t = 0; t < count * kWordTables; ++t) {
            tabulate_sums(matrix, n, word * kSignsOfProduct + t * kSumRows, column, tables[t]);
        }
        const std::size_t next = (word + kSumWords) * kSignsOfProduct;
        fetch_rows(matrix, n, next, next + kSumWords * kSignsOfProduct, column);
        for (std::size_t r = 0; r < reads; ++r) {
            const std::uint16_t* of_read = signs + r * words + word;
            double* to = out + r * stride + column;
            if (count == kSumWords) {
                add_tabulated<kSumWords>(tables, of_read, word == 0, to);
            } else {
                add_tabulated<1>(tables, of_read, word == 0, to);
            }
        }
    }
}

// One tile of columns for kReads reads, with the same sums.
template <class Real, std::size_t kReads>
inline void direct_products(const Real* matrix, std::size_t n, std::size_t column, const std::uint16_t* signs,
                            double* out, std::size_t stride) {
    const std::size_t words = words_of_signs(n);
    DoubleLanes sums[kReads][kSumVectors] = {};
    for (std::size_t row = 0; row < words * kSignsOfProduct; row += kSumRows) {
        const SumRowsOfTile<Real> rows(matrix, n, row, column);
        double sign[kReads][kSumRows];
#pragma GCC unroll 2
        for (std::size_t r = 0; r < kReads; ++r) {
            const std::size_t pattern = signs[r * words + row / kSignsOfProduct] >> (row % kSignsOfProduct);
            for (std::size_t k = 0; k < kSumRows; ++k) {
                sign[r][k] = (pattern >> k & 1U) != 0 ? -1.0 : 1.0;
            }
        }
#pragma GCC unroll 8
        for (std::size_t v = 0; v < kSumVectors; ++v) {
            const DoubleLanes of_row[kSumRows] = {rows.lanes(0, v), rows.lanes(1, v), rows.lanes(2, v),
                                                  rows.lanes(3, v)};
#pragma GCC unroll 2
            for (std::size_t r = 0; r < kReads; ++r) {
                const DoubleLanes first = add_signed(of_row[0] * sign[r][0], of_row[1], sign[r][1]);
                const DoubleLanes second = add_signed(of_row[2] * sign[r][2], of_row[3], sign[r][3]);
                sums[r][v] += first + second;
            }
        }
    }
    for (std::size_t r = 0; r < kReads; ++r) {
        for (std::size_t v = 0; v < kSumVectors; ++v) {
            save_lanes(out + r * stride + column + v * kDoubleLanes, sums[r][v]);
        }
    }
}

template <class Real>
void products(const Real* matrix, std::size_t n, std::size_t begin, std::size_t end,
              const std::uint16_t* signs, std::size_t reads, std::size_t stride, double* out) {
    constexpr std::size_t kWorthTables = 10;  // reads
    const std::size_t words = words_of_signs(n);
    for (std::size_t column = begin; column < end; column += kSumColumns) {
        if (reads >= kWorthTables) {
            tabulated_products(matrix, n, column, signs, reads, out, stride);
            continue;
        }
        std::size_t r = 0;
        for (; r + 2 <= reads; r += 2) {
            direct_products<Real, 2>(matrix, n, column, signs + r * words, out + r * stride, stride);
        }
        if (r < reads) {
            direct_products<Real, 1>(matrix, n, column, signs + r * words, out + r * stride, stride);
        }
    }
}

static_assert(kProductColumns % kSumColumns == 0);

constexpr FinishKernels kFinish{products<float>, products<double>};
