// Registers of 32 bytes, for kernels that are written once for every instruction set.

constexpr std::size_t kRegisterBytes = 32;
constexpr std::size_t kTileRows =
    4;  // of a product: 4 x 3 registers of sums, 3 of the right side, 1 of the left
constexpr std::size_t kTileVectors = 3;

using Floats = float __attribute__((vector_size(kRegisterBytes)));
using Doubles = double __attribute__((vector_size(kRegisterBytes)));
using Words = std::uint32_t __attribute__((vector_size(kRegisterBytes)));
using Shorts = std::int16_t __attribute__((vector_size(kRegisterBytes)));

inline Floats broadcast(float value) { return _mm256_set1_ps(value); }
inline Doubles broadcast(double value) { return _mm256_set1_pd(value); }

// a b + c and c - a b, rounded once.
inline Floats multiply_add(Floats a, Floats b, Floats c) { return _mm256_fmadd_ps(a, b, c); }
inline Doubles multiply_add(Doubles a, Doubles b, Doubles c) { return _mm256_fmadd_pd(a, b, c); }
inline Floats multiply_subtract(Floats a, Floats b, Floats c) { return _mm256_fnmadd_ps(a, b, c); }
inline Doubles multiply_subtract(Doubles a, Doubles b, Doubles c) { return _mm256_fnmadd_pd(a, b, c); }

// Bit i is set where a_i > b_i.
inline std::uint32_t above(Floats a, Floats b) {
    return static_cast<std::uint32_t>(_mm256_movemask_ps(_mm256_cmp_ps(a, b, _CMP_GT_OQ)));
}
inline std::uint32_t above(Doubles a, Doubles b) {
    return static_cast<std::uint32_t>(_mm256_movemask_pd(_mm256_cmp_pd(a, b, _CMP_GT_OQ)));
}
inline std::uint32_t above(Shorts a, Shorts b) {
    const __m256i is = _mm256_cmpgt_epi16(reinterpret_cast<__m256i>(a), reinterpret_cast<__m256i>(b));
    const auto bytes =
        static_cast<std::uint32_t>(_mm256_movemask_epi8(_mm256_packs_epi16(is, _mm256_setzero_si256())));
    return (bytes & 0xffU) | (bytes >> 8 & 0xff00U);
}

// The larger of both in every lane.
template <class Vector>
inline Vector larger(Vector a, Vector b) {
    return a > b ? a : b;
}
inline Shorts larger(Shorts a, Shorts b) {
    return reinterpret_cast<Shorts>(
        _mm256_max_epi16(reinterpret_cast<__m256i>(a), reinterpret_cast<__m256i>(b)));
}

// As many numbers of int8 as there are lanes.
inline Shorts widened(const std::int8_t* from) {
    return reinterpret_cast<Shorts>(
        _mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from))));
}

// a - b, or the nearest number that int16 has.
inline Shorts subtract_saturated(Shorts a, Shorts b) {
    return reinterpret_cast<Shorts>(
        _mm256_subs_epi16(reinterpret_cast<__m256i>(a), reinterpret_cast<__m256i>(b)));
}

// The largest of all lanes.
inline std::int16_t largest_of(Shorts v) {
    const auto all = reinterpret_cast<__m256i>(v);
    const __m128i eight = _mm_max_epi16(_mm256_castsi256_si128(all), _mm256_extracti128_si256(all, 1));
    // There is an instruction for the smallest without a sign.
    const __m128i turned = _mm_minpos_epu16(_mm_xor_si128(eight, _mm_set1_epi16(32767)));
    return static_cast<std::int16_t>(_mm_extract_epi16(turned, 0) ^ 32767);
}

// v with the signs of those lanes turned whose bits are set.
inline Floats turn_signs(Floats v, std::uint32_t bits) {
    const __m256i weights = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
    const __m256i all = _mm256_set1_epi32(static_cast<int>(bits));
    const __m256i chosen = _mm256_cmpeq_epi32(_mm256_and_si256(all, weights), weights);
    return _mm256_xor_ps(v, _mm256_and_ps(_mm256_castsi256_ps(chosen), _mm256_set1_ps(-0.0F)));
}
inline Doubles turn_signs(Doubles v, std::uint32_t bits) {
    const __m256i weights = _mm256_setr_epi64x(1, 2, 4, 8);
    const __m256i all = _mm256_set1_epi64x(bits);
    const __m256i chosen = _mm256_cmpeq_epi64(_mm256_and_si256(all, weights), weights);
    return _mm256_xor_pd(v, _mm256_and_pd(_mm256_castsi256_pd(chosen), _mm256_set1_pd(-0.0)));
}

// Columns of a square of registers become its rows.
inline void transpose(Floats* rows) {
    __m256 t[8];
    for (std::size_t i = 0; i < 8; i += 4) {
        const __m256 a = _mm256_unpacklo_ps(rows[i], rows[i + 1]);
        const __m256 b = _mm256_unpackhi_ps(rows[i], rows[i + 1]);
        const __m256 c = _mm256_unpacklo_ps(rows[i + 2], rows[i + 3]);
        const __m256 d = _mm256_unpackhi_ps(rows[i + 2], rows[i + 3]);
        t[i] = _mm256_shuffle_ps(a, c, 0x44);
        t[i + 1] = _mm256_shuffle_ps(a, c, 0xee);
        t[i + 2] = _mm256_shuffle_ps(b, d, 0x44);
        t[i + 3] = _mm256_shuffle_ps(b, d, 0xee);
    }
    for (std::size_t i = 0; i < 4; ++i) {
        rows[i] = _mm256_permute2f128_ps(t[i], t[i + 4], 0x20);
        rows[i + 4] = _mm256_permute2f128_ps(t[i], t[i + 4], 0x31);
    }
}

inline void transpose(Doubles* rows) {
    const __m256d a = _mm256_unpacklo_pd(rows[0], rows[1]);
    const __m256d b = _mm256_unpackhi_pd(rows[0], rows[1]);
    const __m256d c = _mm256_unpacklo_pd(rows[2], rows[3]);
    const __m256d d = _mm256_unpackhi_pd(rows[2], rows[3]);
    rows[0] = _mm256_permute2f128_pd(a, c, 0x20);
    rows[1] = _mm256_permute2f128_pd(b, d, 0x20);
    rows[2] = _mm256_permute2f128_pd(a, c, 0x31);
    rows[3] = _mm256_permute2f128_pd(b, d, 0x31);
}

// Counts of set bits of up to kCountedWords words are added up before they are widened: as many as a byte holds.
using Counts = Words;
constexpr std::size_t kCountedWords = 31;

inline Counts byte_counts(Words words) {
    const __m256i low = _mm256_set1_epi8(15);
    const __m256i table =
        _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4));
    const auto all = reinterpret_cast<__m256i>(words);
    const __m256i first = _mm256_shuffle_epi8(table, _mm256_and_si256(all, low));
    const __m256i second = _mm256_shuffle_epi8(table, _mm256_and_si256(_mm256_srli_epi16(all, 4), low));
    return reinterpret_cast<Counts>(_mm256_add_epi8(first, second));
}

inline Counts add_counts(Counts a, Counts b) {
    return reinterpret_cast<Counts>(
        _mm256_add_epi8(reinterpret_cast<__m256i>(a), reinterpret_cast<__m256i>(b)));
}

inline Words widen_counts(Counts counts) {
    const __m256i pairs = _mm256_maddubs_epi16(reinterpret_cast<__m256i>(counts), _mm256_set1_epi8(1));
    return reinterpret_cast<Words>(_mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}

// Words of 16 bits.
using UnsignedShorts = std::uint16_t __attribute__((vector_size(kRegisterBytes)));

inline UnsignedShorts multiply_high(UnsignedShorts a, UnsignedShorts b) {
    return reinterpret_cast<UnsignedShorts>(
        _mm256_mulhi_epu16(reinterpret_cast<__m256i>(a), reinterpret_cast<__m256i>(b)));
}
inline UnsignedShorts smaller(UnsignedShorts a, UnsignedShorts b) {
    return reinterpret_cast<UnsignedShorts>(
        _mm256_min_epu16(reinterpret_cast<__m256i>(a), reinterpret_cast<__m256i>(b)));
}

// a sign, for sign in -1, 0, 1.
inline Shorts times_sign(Shorts a, Shorts sign) {
    return reinterpret_cast<Shorts>(
        _mm256_sign_epi16(reinterpret_cast<__m256i>(a), reinterpret_cast<__m256i>(sign)));
}

// Two lanes of 16 bits, again and again.
inline Shorts every_pair(std::int32_t pair) { return reinterpret_cast<Shorts>(_mm256_set1_epi32(pair)); }

// Eight words of one place and eight of the place eight further on.
template <class Word>
inline Shorts load_eighths(const Word* const* from, std::size_t offset) {
    const __m128i low = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from[0] + offset));
    const __m128i high = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from[8] + offset));
    return reinterpret_cast<Shorts>(_mm256_inserti128_si256(_mm256_castsi128_si256(low), high, 1));
}

// Lanes of a and b in turns, from the lower (0) or the upper (1) half of every 16 bytes: lanes of 16, 32 and 64 bits.
template <int half>
inline Shorts interleave_words(Shorts a, Shorts b) {
    const auto x = reinterpret_cast<__m256i>(a);
    const auto y = reinterpret_cast<__m256i>(b);
    return reinterpret_cast<Shorts>(half == 0 ? _mm256_unpacklo_epi16(x, y) : _mm256_unpackhi_epi16(x, y));
}
template <int half>
inline Shorts interleave_pairs(Shorts a, Shorts b) {
    const auto x = reinterpret_cast<__m256i>(a);
    const auto y = reinterpret_cast<__m256i>(b);
    return reinterpret_cast<Shorts>(half == 0 ? _mm256_unpacklo_epi32(x, y) : _mm256_unpackhi_epi32(x, y));
}
template <int half>
inline Shorts interleave_quads(Shorts a, Shorts b) {
    const auto x = reinterpret_cast<__m256i>(a);
    const auto y = reinterpret_cast<__m256i>(b);
    return reinterpret_cast<Shorts>(half == 0 ? _mm256_unpacklo_epi64(x, y) : _mm256_unpackhi_epi64(x, y));
}

// Adds a_i + b_i to sums of 32 bits: of the lower four lanes of every 16 bytes to the first register, of the upper four to
// the second.
inline void add_pairs(Words* sums, Shorts a, Shorts b) {
    const __m256i one = _mm256_set1_epi16(1);
    sums[0] +=
        reinterpret_cast<Words>(_mm256_madd_epi16(reinterpret_cast<__m256i>(interleave_words<0>(a, b)), one));
    sums[1] +=
        reinterpret_cast<Words>(_mm256_madd_epi16(reinterpret_cast<__m256i>(interleave_words<1>(a, b)), one));
}
