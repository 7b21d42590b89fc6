// Products of A and rows of signs on tiles of int8: entries of A as three digits d0 + 256 d1 + 65536 d2, each in
// -128 ... 127. Three multiplications of tiles for 64 x 16 entries of A and 16 rows; sums modulo 2^32 are exact.

constexpr std::size_t kTileSide = 16;  // rows of the layer, and coordinates
constexpr std::size_t kDigits = 3;
constexpr std::size_t kDepthInCache = 8;  // tiles of depth whose digits stay in the first cache
static_assert(kTileBytes == kTileSide * kTileDepth && kTileDepth == kPackedRows &&
              kTileDepth == kSignsOfWord);

// Digits of 64 rows for 16 coordinates: tiles that hold four rows, one byte each, in every word.
inline void pack_tiles16(const float* rows, std::size_t stride, std::size_t count, __mmask16 columns,
                         __m512 inverse_units, std::int8_t* tiles) {
    // A number q becomes q + 128 (1 + 256 + 65536), whose bytes are its digits + 128.
    const __m512i lift = _mm512_set1_epi32(0x808080 - __builtin_bit_cast(std::int32_t, kRounding));
    const __m512i low = _mm512_set1_epi32(255);
    const __m512i digits = _mm512_set1_epi8(-128);
    for (std::size_t k = 0; k < kTileSide; ++k) {
        __m512i bytes[4];
        for (std::size_t i = 0; i < 4; ++i) {
            const std::size_t row = 4 * k + i;
            const __m512 values =
                row < count ? _mm512_maskz_loadu_ps(columns, rows + row * stride) : __m512{};
            const __m512 rounded =
                _mm512_add_ps(_mm512_mul_ps(values, inverse_units), _mm512_set1_ps(kRounding));
            bytes[i] = _mm512_add_epi32(_mm512_castps_si512(rounded), lift);
        }
        for (std::size_t digit = 0; digit < kDigits; ++digit) {
            const auto shift = static_cast<unsigned>(8 * digit);
            __m512i word = _mm512_setzero_si512();
            for (std::size_t i = 4; i-- > 0;) {
                const __m512i byte = _mm512_and_si512(_mm512_srli_epi32(bytes[i], shift), low);
                word = _mm512_or_si512(_mm512_slli_epi32(word, 8), byte);
            }
            _mm512_store_si512(tiles + digit * kTileBytes + k * kTileDepth, _mm512_xor_si512(word, digits));
        }
    }
}

inline std::size_t blocks_of(std::size_t count, std::size_t size) { return (count + size - 1) / size; }

inline std::size_t packed_bytes_amx(std::size_t d) {
    return blocks_of(d, kTileSide) * blocks_of(d, kTileDepth) * kDigits * kTileBytes;
}

inline void pack_amx(const float* rows, std::size_t stride, std::size_t first, std::size_t count,
                     const float* inverse_units, std::size_t d, void* packed) {
    auto* tiles = static_cast<std::int8_t*>(packed);
    const std::size_t depth = blocks_of(d, kTileDepth);
    for (std::size_t column = 0; column < d; column += kTileSide) {
        const std::size_t width = d - column < kTileSide ? d - column : kTileSide;
        const auto columns = static_cast<__mmask16>((1U << width) - 1U);
        pack_tiles16(rows + column, stride, count, columns,
                     _mm512_maskz_loadu_ps(columns, inverse_units + column),
                     tiles + (column / kTileSide * depth + first / kTileDepth) * kDigits * kTileBytes);
    }
}

inline std::size_t workspace_bytes_amx(std::size_t rows, std::size_t d) {
    return blocks_of(rows, kTileSide) * blocks_of(d, kTileDepth) * kTileBytes;
}

// Signs as bytes, tile after tile.
inline void expand_signs(const SignProducts16& what, std::size_t rows) {
    const __m512i plus = _mm512_set1_epi8(1);
    const __m512i minus = _mm512_set1_epi8(-1);
    auto* tile = static_cast<std::int8_t*>(what.workspace);
    for (std::size_t first = 0; first < rows; first += kTileSide) {
        for (std::size_t word = 0; word < blocks_of(what.d, kTileDepth); ++word) {
            for (std::size_t i = 0; i < kTileSide; ++i) {
                const bool is_row = first + i < rows;
                const std::uint64_t negative = is_row ? what.signs[word * what.signs_stride + first + i] : 0;
                _mm512_store_si512(tile + i * kTileDepth, _mm512_mask_blend_epi8(negative, plus, minus));
            }
            tile += kTileBytes;
        }
    }
}

// Sums of digits become products, or are added to them: 16 coordinates of 16 rows.
inline void save_products(const std::int32_t (*sums)[kTileSide * kTileSide], std::size_t rows,
                          __mmask16 columns, bool add, std::size_t stride, std::int32_t* products) {
    for (std::size_t i = 0; i < rows; ++i) {
        __m512i total = _mm512_load_si512(sums[kDigits - 1] + i * kTileSide);
        for (std::size_t digit = kDigits - 1; digit-- > 0;) {
            total =
                _mm512_add_epi32(_mm512_slli_epi32(total, 8), _mm512_load_si512(sums[digit] + i * kTileSide));
        }
        if (add) {
            total = _mm512_add_epi32(total, _mm512_maskz_loadu_epi32(columns, products + i * stride));
        }
        _mm512_mask_storeu_epi32(products + i * stride, columns, total);
    }
}

inline void sign_products_amx(const SignProducts16& what, std::size_t rows) {
    const TileShapes shapes;
    expand_signs(what, rows);
    _tile_loadconfig(&shapes);
    alignas(64) std::int32_t sums[kDigits][kTileSide * kTileSide];
    const std::size_t depth = blocks_of(what.d, kTileDepth);
    for (std::size_t begin = 0; begin < depth; begin += kDepthInCache) {
        const std::size_t end = depth - begin < kDepthInCache ? depth : begin + kDepthInCache;
        for (std::size_t column = 0; column < what.d; column += kTileSide) {
            const std::size_t width = what.d - column < kTileSide ? what.d - column : kTileSide;
            const auto columns = static_cast<__mmask16>((1U << width) - 1U);
            for (std::size_t first = 0; first < rows; first += kTileSide) {
                const auto* signs = static_cast<const std::int8_t*>(what.workspace) +
                                    (first / kTileSide * depth + begin) * kTileBytes;
                const auto* digits = static_cast<const std::int8_t*>(what.packed) +
                                     (column / kTileSide * depth + begin) * kDigits * kTileBytes;
                _tile_zero(0);
                _tile_zero(1);
                _tile_zero(2);
                for (std::size_t k = begin; k < end; ++k) {
                    _tile_loadd(3, signs, kTileDepth);
                    _tile_loadd(4, digits, kTileDepth);
                    _tile_loadd(5, digits + kTileBytes, kTileDepth);
                    _tile_loadd(6, digits + 2 * kTileBytes, kTileDepth);
                    _tile_dpbssd(0, 3, 4);
                    _tile_dpbssd(1, 3, 5);
                    _tile_dpbssd(2, 3, 6);
                    signs += kTileBytes;
                    digits += kDigits * kTileBytes;
                }
                _tile_stored(0, sums[0], kTileDepth);
                _tile_stored(1, sums[1], kTileDepth);
                _tile_stored(2, sums[2], kTileDepth);
                save_products(sums, rows - first < kTileSide ? rows - first : kTileSide, columns, begin > 0,
                              what.stride, what.products + first * what.stride + column);
            }
        }
    }
    _tile_release();
}
