// Registers of 16 bytes, for kernels that are written once for every instruction set.

constexpr std::size_t kRegisterBytes = 16;
constexpr std::size_t kTileRows =
    4;  // of a product: 4 x 6 registers of sums, 6 of the right side, 1 of the left
constexpr std::size_t kTileVectors = 6;

using Floats = float __attribute__((vector_size(kRegisterBytes)));
using Doubles = double __attribute__((vector_size(kRegisterBytes)));
using Words = std::uint32_t __attribute__((vector_size(kRegisterBytes)));
using Shorts = std::int16_t __attribute__((vector_size(kRegisterBytes)));

inline Floats broadcast(float value) { return vdupq_n_f32(value); }
inline Doubles broadcast(double value) { return vdupq_n_f64(value); }

// a b + c and c - a b, rounded once.
inline Floats multiply_add(Floats a, Floats b, Floats c) { return vfmaq_f32(c, a, b); }
inline Doubles multiply_add(Doubles a, Doubles b, Doubles c) { return vfmaq_f64(c, a, b); }
inline Floats multiply_subtract(Floats a, Floats b, Floats c) { return vfmsq_f32(c, a, b); }
inline Doubles multiply_subtract(Doubles a, Doubles b, Doubles c) { return vfmsq_f64(c, a, b); }

// Bit i is set where a_i > b_i.
inline std::uint32_t above(Floats a, Floats b) {
    const std::uint32_t weights[4] = {1, 2, 4, 8};
    return vaddvq_u32(vandq_u32(vcgtq_f32(a, b), vld1q_u32(weights)));
}
inline std::uint32_t above(Doubles a, Doubles b) {
    const std::uint64_t weights[2] = {1, 2};
    return static_cast<std::uint32_t>(vaddvq_u64(vandq_u64(vcgtq_f64(a, b), vld1q_u64(weights))));
}
inline std::uint32_t above(Shorts a, Shorts b) {
    const std::uint16_t weights[8] = {1, 2, 4, 8, 16, 32, 64, 128};
    return vaddvq_u16(vandq_u16(vcgtq_s16(a, b), vld1q_u16(weights)));
}

// The larger of both in every lane.
template <class Vector>
inline Vector larger(Vector a, Vector b) {
    return a > b ? a : b;
}
inline Shorts larger(Shorts a, Shorts b) { return vmaxq_s16(a, b); }

// As many numbers of int8 as there are lanes.
inline Shorts widened(const std::int8_t* from) { return vmovl_s8(vld1_s8(from)); }

// a - b, or the nearest number that int16 has.
inline Shorts subtract_saturated(Shorts a, Shorts b) { return vqsubq_s16(a, b); }

// The largest of all lanes.
inline std::int16_t largest_of(Shorts v) { return vmaxvq_s16(v); }

// v with the signs of those lanes turned whose bits are set.
inline Floats turn_signs(Floats v, std::uint32_t bits) {
    const std::uint32_t weights[4] = {1, 2, 4, 8};
    const uint32x4_t chosen = vtstq_u32(vdupq_n_u32(bits), vld1q_u32(weights));
    const uint32x4_t sign = vandq_u32(chosen, vdupq_n_u32(0x80000000U));
    return vreinterpretq_f32_u32(veorq_u32(vreinterpretq_u32_f32(v), sign));
}
inline Doubles turn_signs(Doubles v, std::uint32_t bits) {
    const std::uint64_t weights[2] = {1, 2};
    const uint64x2_t chosen = vtstq_u64(vdupq_n_u64(bits), vld1q_u64(weights));
    const uint64x2_t sign = vandq_u64(chosen, vdupq_n_u64(std::uint64_t{1} << 63U));
    return vreinterpretq_f64_u64(veorq_u64(vreinterpretq_u64_f64(v), sign));
}

// Columns of a square of registers become its rows.
inline void transpose(Floats* rows) {
    const float64x2_t a = vreinterpretq_f64_f32(vtrn1q_f32(rows[0], rows[1]));
    const float64x2_t b = vreinterpretq_f64_f32(vtrn2q_f32(rows[0], rows[1]));
    const float64x2_t c = vreinterpretq_f64_f32(vtrn1q_f32(rows[2], rows[3]));
    const float64x2_t d = vreinterpretq_f64_f32(vtrn2q_f32(rows[2], rows[3]));
    rows[0] = vreinterpretq_f32_f64(vtrn1q_f64(a, c));
    rows[1] = vreinterpretq_f32_f64(vtrn1q_f64(b, d));
    rows[2] = vreinterpretq_f32_f64(vtrn2q_f64(a, c));
    rows[3] = vreinterpretq_f32_f64(vtrn2q_f64(b, d));
}

inline void transpose(Doubles* rows) {
    const Doubles first = vtrn1q_f64(rows[0], rows[1]);
    rows[1] = vtrn2q_f64(rows[0], rows[1]);
    rows[0] = first;
}

// Counts of set bits of up to kCountedWords words are added up before they are widened: as many as a byte holds.
using Counts = uint8x16_t;
constexpr std::size_t kCountedWords = 31;

inline Counts byte_counts(Words words) { return vcntq_u8(vreinterpretq_u8_u32(words)); }
inline Counts add_counts(Counts a, Counts b) { return vaddq_u8(a, b); }
inline Words widen_counts(Counts counts) { return vpaddlq_u16(vpaddlq_u8(counts)); }

// Words of 16 bits.
using UnsignedShorts = std::uint16_t __attribute__((vector_size(kRegisterBytes)));

inline UnsignedShorts multiply_high(UnsignedShorts a, UnsignedShorts b) {
    const uint32x4_t low = vmull_u16(vget_low_u16(a), vget_low_u16(b));
    const uint32x4_t high = vmull_high_u16(a, b);
    return vuzp2q_u16(vreinterpretq_u16_u32(low), vreinterpretq_u16_u32(high));
}
inline UnsignedShorts smaller(UnsignedShorts a, UnsignedShorts b) { return vminq_u16(a, b); }

// a sign, for sign in -1, 0, 1.
inline Shorts times_sign(Shorts a, Shorts sign) { return a * sign; }

// Two lanes of 16 bits, again and again.
inline Shorts every_pair(std::int32_t pair) { return vreinterpretq_s16_s32(vdupq_n_s32(pair)); }

// Eight words.
template <class Word>
inline Shorts load_eighths(const Word* const* from, std::size_t offset) {
    return vreinterpretq_s16_u8(vld1q_u8(reinterpret_cast<const std::uint8_t*>(from[0] + offset)));
}

// Lanes of a and b in turns, from the lower (0) or the upper (1) half: lanes of 16, 32 and 64 bits.
template <int half>
inline Shorts interleave_words(Shorts a, Shorts b) {
    return half == 0 ? vzip1q_s16(a, b) : vzip2q_s16(a, b);
}
template <int half>
inline Shorts interleave_pairs(Shorts a, Shorts b) {
    const int32x4_t x = vreinterpretq_s32_s16(a);
    const int32x4_t y = vreinterpretq_s32_s16(b);
    return vreinterpretq_s16_s32(half == 0 ? vzip1q_s32(x, y) : vzip2q_s32(x, y));
}
template <int half>
inline Shorts interleave_quads(Shorts a, Shorts b) {
    const int64x2_t x = vreinterpretq_s64_s16(a);
    const int64x2_t y = vreinterpretq_s64_s16(b);
    return vreinterpretq_s16_s64(half == 0 ? vzip1q_s64(x, y) : vzip2q_s64(x, y));
}

// Adds a_i + b_i to sums of 32 bits: of the lower four lanes to the first register, of the upper four to the second.
inline void add_pairs(Words* sums, Shorts a, Shorts b) {
    const int32x4_t low = vaddl_s16(vget_low_s16(a), vget_low_s16(b));
    const int32x4_t high = vaddl_high_s16(a, b);
    sums[0] += vreinterpretq_u32_s32(low);
    sums[1] += vreinterpretq_u32_s32(high);
}
