// Products of W and rows of signs on tiles of int8: entries of W as two digits d0 + 256 d1, each in -128 ... 127. Two
// multiplications of tiles for 64 x 16 entries of W and 16 rows; sums modulo 2^16 are exact.

constexpr std::size_t kTileSide = 16;  // rows of the layer, and coordinates
constexpr std::size_t kDigits = 2;
static_assert(kTileBytes == kTileSide * kTileDepth && kTileDepth == kSignsOfWord);

inline std::size_t blocks_of(std::size_t count, std::size_t size) { return (count + size - 1) / size; }

// Signs of all rows, then the digits of sixteen columns.
inline std::size_t workspace_bytes_amx(std::size_t rows, std::size_t d) {
    return (blocks_of(rows, kTileSide) + kDigits) * blocks_of(d, kTileDepth) * kTileBytes;
}

// Digits of 64 rows of W for sixteen columns: tiles that hold four rows, one byte each, in every word.
inline void pack_tiles_int16(const std::int16_t* couplings, std::size_t stride, std::size_t count,
                             std::int8_t* tiles) {
    const __m512i half = _mm512_set1_epi32(128);
    const __m512i low = _mm512_set1_epi32(255);
    for (std::size_t k = 0; k < kTileSide; ++k) {
        __m512i words[kDigits] = {_mm512_setzero_si512(), _mm512_setzero_si512()};
        for (std::size_t i = 4; i-- > 0;) {
            const std::size_t row = 4 * k + i;
            const __m256i shorts =
                row < count ? _mm256_load_si256(reinterpret_cast<const __m256i*>(couplings + row * stride))
                            : _mm256_setzero_si256();
            // W + 128 has d1 + d0's sign above its last eight bits.
            const __m512i values = _mm512_cvtepi16_epi32(shorts);
            const __m512i digits[kDigits] = {values, _mm512_srai_epi32(_mm512_add_epi32(values, half), 8)};
            for (std::size_t digit = 0; digit < kDigits; ++digit) {
                words[digit] =
                    _mm512_or_si512(_mm512_slli_epi32(words[digit], 8), _mm512_and_si512(digits[digit], low));
            }
        }
        for (std::size_t digit = 0; digit < kDigits; ++digit) {
            _mm512_store_si512(tiles + digit * kTileBytes + k * kTileDepth, words[digit]);
        }
    }
}

// Signs as bytes, tile after tile.
inline void expand_signs(const Int16SignProducts& what, std::size_t rows) {
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

// Sums of digits become products: 16 coordinates of up to 16 rows.
inline void save_products(const std::int32_t (*sums)[kTileSide * kTileSide], std::size_t rows,
                          std::int16_t* products) {
    for (std::size_t i = 0; i < rows; ++i) {
        const __m512i high = _mm512_slli_epi32(_mm512_load_si512(sums[1] + i * kTileSide), 8);
        const __m512i total = _mm512_add_epi32(high, _mm512_load_si512(sums[0] + i * kTileSide));
        _mm256_store_si256(reinterpret_cast<__m256i*>(products + i * kProductsTile),
                           _mm512_cvtepi32_epi16(total));
    }
}

inline void sign_products_amx(const Int16SignProducts& what, std::size_t rows) {
    const TileShapes shapes;
    expand_signs(what, rows);
    const std::size_t depth = blocks_of(what.d, kTileDepth);
    const auto* signs_of_all = static_cast<const std::int8_t*>(what.workspace);
    auto* digits_of_column =
        static_cast<std::int8_t*>(what.workspace) + blocks_of(rows, kTileSide) * depth * kTileBytes;
    _tile_loadconfig(&shapes);
    alignas(64) std::int32_t sums[kDigits][kTileSide * kTileSide];
    for (std::size_t column = 0; column < what.d; column += kTileSide) {
        for (std::size_t k = 0; k < depth; ++k) {
            const std::size_t first = k * kTileDepth;
            const std::size_t count = what.d - first < kTileDepth ? what.d - first : kTileDepth;
            pack_tiles_int16(what.couplings + first * what.couplings_stride + column, what.couplings_stride,
                             count, digits_of_column + k * kDigits * kTileBytes);
        }
        std::int16_t* products =
            what.products + column / kProductsTile * what.tile_stride + column % kProductsTile;
        for (std::size_t first = 0; first < rows; first += kTileSide) {
            const std::int8_t* signs = signs_of_all + first / kTileSide * depth * kTileBytes;
            const std::int8_t* digits = digits_of_column;
            _tile_zero(0);
            _tile_zero(1);
            for (std::size_t k = 0; k < depth; ++k) {
                _tile_loadd(2, signs, kTileDepth);
                _tile_loadd(3, digits, kTileDepth);
                _tile_loadd(4, digits + kTileBytes, kTileDepth);
                _tile_dpbssd(0, 2, 3);
                _tile_dpbssd(1, 2, 4);
                signs += kTileBytes;
                digits += kDigits * kTileBytes;
            }
            _tile_stored(0, sums[0], kTileDepth);
            _tile_stored(1, sums[1], kTileDepth);
            save_products(sums, rows - first < kTileSide ? rows - first : kTileSide,
                          products + first * kProductsTile);
        }
    }
    _tile_release();
}
