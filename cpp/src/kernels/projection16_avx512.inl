// Products of W and rows of signs on AVX-512: tables as in projection.inl, each of them held in one register.
//
// The table of five rows of W and one column is the 32 sums of their entries, one for each pattern of signs; one
// permutation by the signs of 32 rows of the layer looks up all of them. One permutation and one addition for 160
// products; the tables of sixteen columns and kWordsOfChunk words of patterns stay in the first cache.

constexpr std::size_t kRowsOfLookup = 32;
constexpr std::size_t kColumnsOfLookup = 16;
constexpr std::size_t kSignsOfLookup = 5;
constexpr std::size_t kLookupsOfWord = 3;  // patterns that a word of 16 bits holds
constexpr std::size_t kSignsOfPatterns = kLookupsOfWord * kSignsOfLookup;
constexpr std::size_t kWordsOfChunk = 8;
constexpr std::size_t kTablesOfChunk = kWordsOfChunk * kLookupsOfWord;

inline std::size_t lookup_blocks(std::size_t rows) { return (rows + kRowsOfLookup - 1) / kRowsOfLookup; }
inline std::size_t pattern_words(std::size_t d) { return (d + kSignsOfPatterns - 1) / kSignsOfPatterns; }

// Sums of one tile of columns, then patterns.
inline std::size_t workspace_bytes_avx512(std::size_t rows, std::size_t d) {
    return lookup_blocks(rows) * kRowsOfLookup * (kColumnsOfLookup + pattern_words(d)) * sizeof(std::int16_t);
}

// Words 0-7 of eight registers change places with the registers, in every 16 bytes.
inline void transpose_words(__m512i* rows) {
    __m512i a[8];
#pragma GCC unroll 4
    for (std::size_t i = 0; i < 4; ++i) {
        a[2 * i] = _mm512_unpacklo_epi16(rows[2 * i], rows[2 * i + 1]);
        a[2 * i + 1] = _mm512_unpackhi_epi16(rows[2 * i], rows[2 * i + 1]);
    }
    __m512i b[8];
#pragma GCC unroll 2
    for (std::size_t i = 0; i < 8; i += 4) {
        b[i] = _mm512_unpacklo_epi32(a[i], a[i + 2]);
        b[i + 1] = _mm512_unpackhi_epi32(a[i], a[i + 2]);
        b[i + 2] = _mm512_unpacklo_epi32(a[i + 1], a[i + 3]);
        b[i + 3] = _mm512_unpackhi_epi32(a[i + 1], a[i + 3]);
    }
#pragma GCC unroll 4
    for (std::size_t i = 0; i < 4; ++i) {
        rows[2 * i] = _mm512_unpacklo_epi64(b[i], b[i + 4]);
        rows[2 * i + 1] = _mm512_unpackhi_epi64(b[i], b[i + 4]);
    }
}

// The sums of +-a +-b +-c +-d +-e of five rows of W, one register for each of sixteen columns.
inline void make_tables(const std::int16_t* const* rows, std::int16_t* tables) {
    __m512i w[kSignsOfLookup];
#pragma GCC unroll 5
    for (std::size_t k = 0; k < kSignsOfLookup; ++k) {
        w[k] =
            _mm512_broadcast_i64x4(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(rows[k])));
    }
    // The fourth sign tells the halves of a register; the others tell registers.
    const __m512i zero = _mm512_setzero_si512();
    const __m512i halves = _mm512_mask_sub_epi16(w[3], 0xFFFF0000U, zero, w[3]);
    const __m512i sum = _mm512_add_epi16(w[0], w[1]);
    const __m512i difference = _mm512_sub_epi16(w[0], w[1]);
    const __m512i first[4] = {sum, _mm512_sub_epi16(zero, difference), difference, _mm512_sub_epi16(zero, sum)};
    __m512i second[4];
#pragma GCC unroll 2
    for (std::size_t k = 0; k < 2; ++k) {
        const __m512i of_last = k == 0 ? _mm512_add_epi16(halves, w[4]) : _mm512_sub_epi16(halves, w[4]);
        second[2 * k] = _mm512_add_epi16(of_last, w[2]);
        second[2 * k + 1] = _mm512_sub_epi16(of_last, w[2]);
    }
    __m512i entries[2][8];
#pragma GCC unroll 16
    for (std::size_t entry = 0; entry < 16; ++entry) {
        entries[entry / 8][entry % 8] = _mm512_add_epi16(first[entry % 4], second[entry / 4]);
    }
    transpose_words(entries[0]);
    transpose_words(entries[1]);
#pragma GCC unroll 8
    for (std::size_t column = 0; column < 8; ++column) {
        // Every other 16 bytes belong to column + 8.
        _mm512_store_si512(tables + column * kRowsOfLookup,
                           _mm512_shuffle_i64x2(entries[0][column], entries[1][column], 0x88));
        _mm512_store_si512(tables + (column + 8) * kRowsOfLookup,
                           _mm512_shuffle_i64x2(entries[0][column], entries[1][column], 0xDD));
    }
}

// Adds what `words` words of patterns give to the sums of 32 rows.
inline void look_up(const std::uint16_t* patterns, std::size_t stride, std::size_t words,
                    const std::int16_t* tables, bool first, std::int16_t* sums) {
    __m512i local[kColumnsOfLookup];
#pragma GCC unroll 16
    for (std::size_t column = 0; column < kColumnsOfLookup; ++column) {
        local[column] =
            first ? _mm512_setzero_si512() : _mm512_load_si512(sums + column * kRowsOfLookup);
    }
    for (std::size_t word = 0; word < words; ++word) {
        __m512i pattern = _mm512_load_si512(patterns + word * stride);
        for (std::size_t lookup = 0; lookup < kLookupsOfWord; ++lookup) {
#pragma GCC unroll 16
            for (std::size_t column = 0; column < kColumnsOfLookup; ++column) {
                // The permutation takes the last five bits of each word.
                const __m512i entry =
                    _mm512_permutexvar_epi16(pattern, _mm512_load_si512(tables + column * kRowsOfLookup));
                local[column] = _mm512_add_epi16(local[column], entry);
            }
            tables += kColumnsOfLookup * kRowsOfLookup;
            pattern = _mm512_srli_epi16(pattern, kSignsOfLookup);
        }
    }
#pragma GCC unroll 16
    for (std::size_t column = 0; column < kColumnsOfLookup; ++column) {
        _mm512_store_si512(sums + column * kRowsOfLookup, local[column]);
    }
}

// Words of 64 signs as words of three patterns, one for each row side by side.
inline void split_signs(const SignProducts16& what, std::size_t rows, std::uint16_t* patterns,
                        std::size_t stride) {
    constexpr std::uint64_t kMask = (1U << kSignsOfPatterns) - 1U;
    for (std::size_t word = 0; word < pattern_words(what.d); ++word) {
        const std::size_t bit = word * kSignsOfPatterns;
        const std::uint64_t* low = what.signs + bit / kSignsOfWord * what.signs_stride;
        const std::size_t shift = bit % kSignsOfWord;
        const bool crosses =
            shift + kSignsOfPatterns > kSignsOfWord && (bit / kSignsOfWord + 1) * kSignsOfWord < what.d;
        const std::uint64_t* high = crosses ? low + what.signs_stride : low;
        const std::size_t back = crosses ? kSignsOfWord - shift : 0;
        const std::uint64_t of_high = crosses ? kMask : 0;
        std::uint16_t* of_word = patterns + word * stride;
        for (std::size_t row = 0; row < rows; ++row) {
            of_word[row] =
                static_cast<std::uint16_t>(((low[row] >> shift) | (high[row] << back & of_high)) & kMask);
        }
        for (std::size_t row = rows; row < stride; ++row) {
            of_word[row] = 0;
        }
    }
}

// The sums of one tile of columns, which become rows of the products.
inline void store_sums(const SignProducts16& what, std::size_t rows, std::size_t column,
                       const std::int16_t* sums) {
    for (std::size_t first = 0; first < rows; first += kRowsOfLookup) {
        const std::size_t count = rows - first < kRowsOfLookup ? rows - first : kRowsOfLookup;
        for (std::size_t half = 0; half < kColumnsOfLookup; half += 8) {
            __m512i square[8];
#pragma GCC unroll 8
            for (std::size_t i = 0; i < 8; ++i) {
                square[i] = _mm512_load_si512(sums + first * kColumnsOfLookup + (half + i) * kRowsOfLookup);
            }
            transpose_words(square);
            alignas(64) std::int16_t lines[8][kRowsOfLookup];
#pragma GCC unroll 8
            for (std::size_t i = 0; i < 8; ++i) {
                _mm512_store_si512(lines[i], square[i]);
            }
            for (std::size_t i = 0; i < count; ++i) {
                const auto* line = reinterpret_cast<const __m128i*>(lines[i % 8] + i / 8 * 8);
                auto* out = what.products + (first + i) * what.stride + column + half;
                _mm_store_si128(reinterpret_cast<__m128i*>(out), _mm_load_si128(line));
            }
        }
    }
}

inline void sign_products_avx512(const SignProducts16& what, std::size_t rows) {
    alignas(64) static constexpr std::int16_t kZeros[kColumnsOfLookup] = {};
    alignas(64) std::int16_t tables[kTablesOfChunk * kColumnsOfLookup * kRowsOfLookup];
    const std::size_t stride = lookup_blocks(rows) * kRowsOfLookup;
    auto* sums = static_cast<std::int16_t*>(what.workspace);
    auto* patterns = reinterpret_cast<std::uint16_t*>(sums + stride * kColumnsOfLookup);
    split_signs(what, rows, patterns, stride);
    const std::size_t all = pattern_words(what.d);
    for (std::size_t column = 0; column < what.d; column += kColumnsOfLookup) {
        for (std::size_t first = 0; first < all; first += kWordsOfChunk) {
            const std::size_t words = all - first < kWordsOfChunk ? all - first : kWordsOfChunk;
            for (std::size_t table = 0; table < words * kLookupsOfWord; ++table) {
                const std::int16_t* of_table[kSignsOfLookup];
                for (std::size_t k = 0; k < kSignsOfLookup; ++k) {
                    const std::size_t row = (first * kLookupsOfWord + table) * kSignsOfLookup + k;
                    of_table[k] = row < what.d ? what.couplings + row * what.couplings_stride + column : kZeros;
                }
                make_tables(of_table, tables + table * kColumnsOfLookup * kRowsOfLookup);
            }
            for (std::size_t row = 0; row < stride; row += kRowsOfLookup) {
                look_up(patterns + first * stride + row, stride, words, tables, first == 0,
                        sums + row * kColumnsOfLookup);
            }
        }
        store_sums(what, rows, column, sums);
    }
}

constexpr Projection16Kernels kProjection16WithLookups = [] {
    Projection16Kernels kernels = kProjection16;
    kernels.workspace_bytes = workspace_bytes_avx512;
    kernels.sign_products = sign_products_avx512;
    return kernels;
}();
