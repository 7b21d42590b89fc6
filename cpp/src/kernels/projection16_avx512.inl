// A sigma of many rows on AVX-512: the tables of projection.inl, each of them held in one register.
//
// One entry of a table serves sixteen rows at once: the table of four signs and one column is a register, and a
// permutation by the rows' signs looks up all of them. One permutation and one addition for 64 products; the tables of
// sixteen columns and kHalvesOfChunk halves of words of signs stay in the first cache.

constexpr std::size_t kRowsOfLookup = 16;
constexpr std::size_t kColumnsOfLookup = 16;
constexpr std::size_t kSignsOfLookup = 4;
constexpr std::size_t kSignsOfHalf = 32;
constexpr std::size_t kLookupsOfHalf = kSignsOfHalf / kSignsOfLookup;
constexpr std::size_t kHalvesOfChunk = 3;

inline std::size_t lookup_blocks(std::size_t rows) { return (rows + kRowsOfLookup - 1) / kRowsOfLookup; }
inline std::size_t sign_halves(std::size_t d) { return (d + kSignsOfHalf - 1) / kSignsOfHalf; }

// q by tiles of columns, so that what the tables are made of is read in one stream.
inline std::size_t packed_bytes_avx512(std::size_t d) { return packed_width(d) * d * sizeof(std::uint32_t); }

inline void pack_avx512(const float* rows, std::size_t stride, std::size_t first, std::size_t count,
                        const float* inverse_units, std::size_t d, void* packed) {
    const __m512 rounding = _mm512_set1_ps(kRounding);
    const __m512i zero = _mm512_castps_si512(rounding);
    auto* tile = static_cast<std::uint32_t*>(packed) + first * kColumnsOfLookup;
    for (std::size_t column = 0; column < d; column += kColumnsOfLookup) {
        const std::size_t columns = d - column < kColumnsOfLookup ? d - column : kColumnsOfLookup;
        const auto real = static_cast<__mmask16>((1U << columns) - 1);
        const __m512 inverse = _mm512_maskz_loadu_ps(real, inverse_units + column);
        for (std::size_t i = 0; i < count; ++i) {
            const __m512 value =
                _mm512_mul_ps(_mm512_maskz_loadu_ps(real, rows + i * stride + column), inverse);
            const __m512i integer = _mm512_castps_si512(_mm512_add_ps(value, rounding));
            _mm512_store_si512(tile + i * kColumnsOfLookup, _mm512_sub_epi32(integer, zero));
        }
        tile += d * kColumnsOfLookup;
    }
}

// Sums of one tile of columns, then signs.
inline std::size_t workspace_bytes_avx512(std::size_t rows, std::size_t d) {
    return lookup_blocks(rows) * kRowsOfLookup * (kColumnsOfLookup + sign_halves(d)) * sizeof(std::int32_t);
}

// The sums +-a +-b +-c +-d of four rows of q, one register of sixteen patterns for each column.
inline void make_tables(const std::uint32_t* const* rows, Words* tables) {
    const auto a = load<Words>(rows[0]);
    const auto b = load<Words>(rows[1]);
    const auto c = load<Words>(rows[2]);
    const auto d = load<Words>(rows[3]);
    const Words first[4] = {a + b, b - a, a - b, -a - b};
    const Words second[4] = {c + d, d - c, c - d, -c - d};
    Floats entries[kTableEntries];
#pragma GCC unroll 16
    for (std::size_t entry = 0; entry < kTableEntries; ++entry) {
        entries[entry] = reinterpret_cast<Floats>(first[entry % 4] + second[entry / 4]);
    }
    transpose(entries);
#pragma GCC unroll 16
    for (std::size_t column = 0; column < kColumnsOfLookup; ++column) {
        tables[column] = reinterpret_cast<Words>(entries[column]);
    }
}

// Adds what `halves` times 32 rows of q give to the sums of sixteen rows of signs.
inline void look_up(const std::uint32_t* signs, std::size_t signs_stride, std::size_t halves,
                    const Words* tables, bool first, Words* sums) {
    __m512i local[kColumnsOfLookup];
#pragma GCC unroll 16
    for (std::size_t column = 0; column < kColumnsOfLookup; ++column) {
        local[column] = first ? __m512i{} : reinterpret_cast<__m512i>(sums[column]);
    }
    for (std::size_t half = 0; half < halves; ++half) {
        __m512i pattern = _mm512_load_si512(signs + half * signs_stride);
        for (std::size_t lookup = 0; lookup < kLookupsOfHalf; ++lookup) {
#pragma GCC unroll 16
            for (std::size_t column = 0; column < kColumnsOfLookup; ++column) {
                // The permutation takes the last four bits of each pattern.
                const __m512i entry =
                    _mm512_permutexvar_epi32(pattern, reinterpret_cast<__m512i>(tables[column]));
                local[column] = _mm512_add_epi32(local[column], entry);
            }
            tables += kColumnsOfLookup;
            pattern = _mm512_srli_epi32(pattern, kSignsOfLookup);
        }
    }
#pragma GCC unroll 16
    for (std::size_t column = 0; column < kColumnsOfLookup; ++column) {
        sums[column] = reinterpret_cast<Words>(local[column]);
    }
}

// Words of 64 signs as halves, one for each row side by side.
inline void split_signs(const SignProducts16& what, std::size_t rows, std::uint32_t* halves,
                        std::size_t stride) {
    for (std::size_t half = 0; half < sign_halves(what.d); ++half) {
        const std::uint64_t* words = what.signs + half / 2 * what.signs_stride;
        for (std::size_t row = 0; row < rows; ++row) {
            halves[half * stride + row] = static_cast<std::uint32_t>(words[row] >> (half % 2 * kSignsOfHalf));
        }
        for (std::size_t row = rows; row < stride; ++row) {
            halves[half * stride + row] = 0;
        }
    }
}

// The sums of one tile of columns, which become rows of the products.
inline void store_sums(const SignProducts16& what, std::size_t rows, std::size_t column, const Words* sums) {
    for (std::size_t first = 0; first < rows; first += kRowsOfLookup) {
        Floats square[kColumnsOfLookup];
#pragma GCC unroll 16
        for (std::size_t i = 0; i < kColumnsOfLookup; ++i) {
            square[i] = reinterpret_cast<Floats>(sums[first + i]);
        }
        transpose(square);
        const std::size_t count = rows - first < kRowsOfLookup ? rows - first : kRowsOfLookup;
        for (std::size_t i = 0; i < count; ++i) {
            _mm512_storeu_ps(what.products + (first + i) * what.stride + column, square[i]);
        }
    }
}

inline void sign_products_avx512(const SignProducts16& what, std::size_t rows) {
    alignas(64) static constexpr std::uint32_t kZeros[kColumnsOfLookup] = {};
    alignas(64) Words tables[kHalvesOfChunk * kLookupsOfHalf * kColumnsOfLookup];
    const std::size_t stride = lookup_blocks(rows) * kRowsOfLookup;
    auto* sums = static_cast<Words*>(what.workspace);
    auto* signs = reinterpret_cast<std::uint32_t*>(sums + stride);
    split_signs(what, rows, signs, stride);
    const auto* tile = static_cast<const std::uint32_t*>(what.packed);
    const std::size_t all = sign_halves(what.d);
    for (std::size_t column = 0; column < what.d; column += kColumnsOfLookup) {
        for (std::size_t first = 0; first < all; first += kHalvesOfChunk) {
            const std::size_t halves = all - first < kHalvesOfChunk ? all - first : kHalvesOfChunk;
            for (std::size_t lookup = 0; lookup < halves * kLookupsOfHalf; ++lookup) {
                const std::uint32_t* of_table[kSignsOfLookup];
                for (std::size_t k = 0; k < kSignsOfLookup; ++k) {
                    const std::size_t row = first * kSignsOfHalf + lookup * kSignsOfLookup + k;
                    of_table[k] = row < what.d ? tile + row * kColumnsOfLookup : kZeros;
                }
                make_tables(of_table, tables + lookup * kColumnsOfLookup);
            }
            for (std::size_t row = 0; row < stride; row += kRowsOfLookup) {
                look_up(signs + first * stride + row, stride, halves, tables, first == 0, sums + row);
            }
        }
        store_sums(what, rows, column, sums);
        tile += what.d * kColumnsOfLookup;
    }
}

constexpr Projection16Kernels kProjection16WithLookups = [] {
    Projection16Kernels kernels = kProjection16;
    kernels.packed_bytes = packed_bytes_avx512;
    kernels.pack = pack_avx512;
    kernels.workspace_bytes = workspace_bytes_avx512;
    kernels.sign_products = sign_products_avx512;
    return kernels;
}();
