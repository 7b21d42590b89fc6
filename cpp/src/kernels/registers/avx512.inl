// Registers of 64 bytes, for kernels that are written once for every instruction set.

constexpr std::size_t kRegisterBytes = 64;
constexpr std::size_t kTileRows =
    8;  // of a product: 8 x 3 registers of sums, 3 of the right side, 1 of the left
constexpr std::size_t kTileVectors = 3;

using Floats = float __attribute__((vector_size(kRegisterBytes)));
using Doubles = double __attribute__((vector_size(kRegisterBytes)));
using Words = std::uint32_t __attribute__((vector_size(kRegisterBytes)));
using Shorts = std::int16_t __attribute__((vector_size(kRegisterBytes)));

inline Floats broadcast(float value) { return _mm512_set1_ps(value); }
inline Doubles broadcast(double value) { return _mm512_set1_pd(value); }

// a b + c and c - a b, rounded once.
inline Floats multiply_add(Floats a, Floats b, Floats c) { return _mm512_fmadd_ps(a, b, c); }
inline Doubles multiply_add(Doubles a, Doubles b, Doubles c) { return _mm512_fmadd_pd(a, b, c); }
inline Floats multiply_subtract(Floats a, Floats b, Floats c) { return _mm512_fnmadd_ps(a, b, c); }
inline Doubles multiply_subtract(Doubles a, Doubles b, Doubles c) { return _mm512_fnmadd_pd(a, b, c); }

// Bit i is set where a_i > b_i.
inline std::uint32_t above(Floats a, Floats b) { return _mm512_cmp_ps_mask(a, b, _CMP_GT_OQ); }
inline std::uint32_t above(Doubles a, Doubles b) { return _mm512_cmp_pd_mask(a, b, _CMP_GT_OQ); }
inline std::uint32_t above(Shorts a, Shorts b) {
    return _mm512_cmpgt_epi16_mask(reinterpret_cast<__m512i>(a), reinterpret_cast<__m512i>(b));
}

// The larger of both in every lane.
template <class Vector>
inline Vector larger(Vector a, Vector b) {
    return a > b ? a : b;
}
inline Shorts larger(Shorts a, Shorts b) {
    return reinterpret_cast<Shorts>(
        _mm512_max_epi16(reinterpret_cast<__m512i>(a), reinterpret_cast<__m512i>(b)));
}

// As many numbers of int8 as there are lanes.
inline Shorts widened(const std::int8_t* from) {
    return reinterpret_cast<Shorts>(
        _mm512_cvtepi8_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from))));
}

// a - b, or the nearest number that int16 has.
inline Shorts subtract_saturated(Shorts a, Shorts b) {
    return reinterpret_cast<Shorts>(
        _mm512_subs_epi16(reinterpret_cast<__m512i>(a), reinterpret_cast<__m512i>(b)));
}

// The largest of all lanes.
inline std::int16_t largest_of(Shorts v) {
    const auto all = reinterpret_cast<__m512i>(v);
    const __m256i half = _mm256_max_epi16(_mm512_castsi512_si256(all), _mm512_extracti64x4_epi64(all, 1));
    const __m128i eight = _mm_max_epi16(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1));
    // There is an instruction for the smallest without a sign.
    const __m128i turned = _mm_minpos_epu16(_mm_xor_si128(eight, _mm_set1_epi16(32767)));
    return static_cast<std::int16_t>(_mm_extract_epi16(turned, 0) ^ 32767);
}

// v with the signs of those lanes turned whose bits are set.
inline Floats turn_signs(Floats v, std::uint32_t bits) {
    return _mm512_mask_xor_ps(v, static_cast<__mmask16>(bits), v, _mm512_set1_ps(-0.0F));
}
inline Doubles turn_signs(Doubles v, std::uint32_t bits) {
    return _mm512_mask_xor_pd(v, static_cast<__mmask8>(bits), v, _mm512_set1_pd(-0.0));
}

// Columns of a square of registers become its rows.
inline void transpose(Floats* rows) {
    __m512 t[16];
    for (std::size_t i = 0; i < 16; i += 4) {
        const __m512 a = _mm512_unpacklo_ps(rows[i], rows[i + 1]);
        const __m512 b = _mm512_unpackhi_ps(rows[i], rows[i + 1]);
        const __m512 c = _mm512_unpacklo_ps(rows[i + 2], rows[i + 3]);
        const __m512 d = _mm512_unpackhi_ps(rows[i + 2], rows[i + 3]);
        t[i] = _mm512_castpd_ps(_mm512_unpacklo_pd(_mm512_castps_pd(a), _mm512_castps_pd(c)));
        t[i + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(_mm512_castps_pd(a), _mm512_castps_pd(c)));
        t[i + 2] = _mm512_castpd_ps(_mm512_unpacklo_pd(_mm512_castps_pd(b), _mm512_castps_pd(d)));
        t[i + 3] = _mm512_castpd_ps(_mm512_unpackhi_pd(_mm512_castps_pd(b), _mm512_castps_pd(d)));
    }
    for (std::size_t i = 0; i < 4; ++i) {
        const __m512 a = _mm512_shuffle_f32x4(t[i], t[i + 4], 0x88);
        const __m512 b = _mm512_shuffle_f32x4(t[i], t[i + 4], 0xdd);
        const __m512 c = _mm512_shuffle_f32x4(t[i + 8], t[i + 12], 0x88);
        const __m512 d = _mm512_shuffle_f32x4(t[i + 8], t[i + 12], 0xdd);
        rows[i] = _mm512_shuffle_f32x4(a, c, 0x88);
        rows[i + 4] = _mm512_shuffle_f32x4(b, d, 0x88);
        rows[i + 8] = _mm512_shuffle_f32x4(a, c, 0xdd);
        rows[i + 12] = _mm512_shuffle_f32x4(b, d, 0xdd);
    }
}

inline void transpose(Doubles* rows) {
    __m512d t[8];
    for (std::size_t i = 0; i < 8; i += 2) {
        t[i] = _mm512_unpacklo_pd(rows[i], rows[i + 1]);
        t[i + 1] = _mm512_unpackhi_pd(rows[i], rows[i + 1]);
    }
    for (std::size_t i = 0; i < 2; ++i) {
        const __m512d a = _mm512_shuffle_f64x2(t[i], t[i + 2], 0x88);
        const __m512d b = _mm512_shuffle_f64x2(t[i], t[i + 2], 0xdd);
        const __m512d c = _mm512_shuffle_f64x2(t[i + 4], t[i + 6], 0x88);
        const __m512d d = _mm512_shuffle_f64x2(t[i + 4], t[i + 6], 0xdd);
        rows[i] = _mm512_shuffle_f64x2(a, c, 0x88);
        rows[i + 2] = _mm512_shuffle_f64x2(b, d, 0x88);
        rows[i + 4] = _mm512_shuffle_f64x2(a, c, 0xdd);
        rows[i + 6] = _mm512_shuffle_f64x2(b, d, 0xdd);
    }
}

// Counts of set bits of up to kCountedWords words are added up before they are widened: as many as a counter holds.
using Counts = Words;
constexpr std::size_t kCountedWords = 31;

inline Counts byte_counts(Words words) {
    const __m512i low = _mm512_set1_epi8(15);
    const __m512i table =
        _mm512_broadcast_i32x4(_mm_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4));
    const auto all = reinterpret_cast<__m512i>(words);
    const __m512i first = _mm512_shuffle_epi8(table, _mm512_and_si512(all, low));
    const __m512i second = _mm512_shuffle_epi8(table, _mm512_and_si512(_mm512_srli_epi16(all, 4), low));
    return reinterpret_cast<Counts>(_mm512_add_epi8(first, second));
}

inline Counts add_counts(Counts a, Counts b) {
    return reinterpret_cast<Counts>(
        _mm512_add_epi8(reinterpret_cast<__m512i>(a), reinterpret_cast<__m512i>(b)));
}

inline Words widen_counts(Counts counts) {
    const __m512i pairs = _mm512_maddubs_epi16(reinterpret_cast<__m512i>(counts), _mm512_set1_epi8(1));
    return reinterpret_cast<Words>(_mm512_madd_epi16(pairs, _mm512_set1_epi16(1)));
}
