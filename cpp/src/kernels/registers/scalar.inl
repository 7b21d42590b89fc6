// Registers of 16 bytes as every compiler offers them, for kernels that are written once for every instruction set.

constexpr std::size_t kRegisterBytes = 16;
constexpr std::size_t kTileRows = 4;
constexpr std::size_t kTileVectors = 2;

using Floats = float __attribute__((vector_size(kRegisterBytes)));
using Doubles = double __attribute__((vector_size(kRegisterBytes)));
using Words = std::uint32_t __attribute__((vector_size(kRegisterBytes)));
using Shorts = std::int16_t __attribute__((vector_size(kRegisterBytes)));

inline Floats broadcast(float value) { return Floats{value, value, value, value}; }
inline Doubles broadcast(double value) { return Doubles{value, value}; }

// a b + c and c - a b, rounded once. A call of the C library where the processor has no such instruction.
inline Floats multiply_add(Floats a, Floats b, Floats c) {
    for (std::size_t i = 0; i < 4; ++i) {
        c[i] = __builtin_fmaf(a[i], b[i], c[i]);
    }
    return c;
}
inline Doubles multiply_add(Doubles a, Doubles b, Doubles c) {
    for (std::size_t i = 0; i < 2; ++i) {
        c[i] = __builtin_fma(a[i], b[i], c[i]);
    }
    return c;
}
inline Floats multiply_subtract(Floats a, Floats b, Floats c) { return multiply_add(-a, b, c); }
inline Doubles multiply_subtract(Doubles a, Doubles b, Doubles c) { return multiply_add(-a, b, c); }

// Bit i is set where a_i > b_i.
template <class Vector>
inline std::uint32_t above(const Vector& a, const Vector& b) {
    std::uint32_t bits = 0;
    for (std::size_t i = 0; i < kRegisterBytes / sizeof(a[0]); ++i) {
        bits |= static_cast<std::uint32_t>(a[i] > b[i]) << i;
    }
    return bits;
}

// The larger of both in every lane.
template <class Vector>
inline Vector larger(Vector a, Vector b) {
    return a > b ? a : b;
}

// As many numbers of int8 as there are lanes.
inline Shorts widened(const std::int8_t* from) {
    Shorts result{};
    for (std::size_t i = 0; i < kRegisterBytes / sizeof(result[0]); ++i) {
        result[i] = static_cast<std::int16_t>(int{from[i]});
    }
    return result;
}

// a - b, or the nearest number that int16 has.
inline Shorts subtract_saturated(Shorts a, Shorts b) {
    for (std::size_t i = 0; i < kRegisterBytes / sizeof(a[0]); ++i) {
        const int difference = a[i] - b[i];
        const int most = difference < 32767 ? difference : 32767;
        a[i] = static_cast<std::int16_t>(most > -32768 ? most : -32768);
    }
    return a;
}

// The largest of all lanes.
inline std::int16_t largest_of(Shorts v) {
    std::int16_t most = v[0];
    for (std::size_t i = 1; i < kRegisterBytes / sizeof(most); ++i) {
        most = v[i] > most ? v[i] : most;
    }
    return most;
}

// v with the signs of those lanes turned whose bits are set.
template <class Vector>
inline Vector turn_signs(Vector v, std::uint32_t bits) {
    for (std::size_t i = 0; i < kRegisterBytes / sizeof(v[0]); ++i) {
        v[i] = (bits >> i & 1U) != 0 ? -v[i] : v[i];
    }
    return v;
}

// Columns of a square of registers become its rows.
template <class Vector>
inline void transpose(Vector* rows) {
    for (std::size_t i = 0; i < kRegisterBytes / sizeof(rows[0][0]); ++i) {
        for (std::size_t j = 0; j < i; ++j) {
            const auto value = rows[i][j];
            rows[i][j] = rows[j][i];
            rows[j][i] = value;
        }
    }
}

// Counts of set bits of up to kCountedWords words are added up before they are widened: as many as a byte holds.
using Counts = Words;
constexpr std::size_t kCountedWords = 31;

inline Counts byte_counts(Words words) {
    words -= words >> 1 & 0x55555555U;
    words = (words & 0x33333333U) + (words >> 2 & 0x33333333U);
    return (words + (words >> 4)) & 0x0f0f0f0fU;
}
inline Counts add_counts(Counts a, Counts b) { return a + b; }
inline Words widen_counts(Counts counts) {
    const Words pairs = (counts & 0x00ff00ffU) + (counts >> 8 & 0x00ff00ffU);
    return (pairs & 0xffffU) + (pairs >> 16);
}

// Words of 16 bits.
using UnsignedShorts = std::uint16_t __attribute__((vector_size(kRegisterBytes)));

inline UnsignedShorts multiply_high(UnsignedShorts a, UnsignedShorts b) {
    // Four products of 32 bits at a time: the upper halves of even and of odd lanes.
    const auto x = reinterpret_cast<Words>(a);
    const auto y = reinterpret_cast<Words>(b);
    const Words even = (x & 0xffffU) * (y & 0xffffU) >> 16;
    const Words odd = (x >> 16) * (y >> 16) & 0xffff0000U;
    return reinterpret_cast<UnsignedShorts>(even | odd);
}
inline UnsignedShorts smaller(UnsignedShorts a, UnsignedShorts b) { return a < b ? a : b; }

// a sign, for sign in -1, 0, 1.
inline Shorts times_sign(Shorts a, Shorts sign) { return a * sign; }

// Two lanes of 16 bits, again and again.
inline Shorts every_pair(std::int32_t pair) {
    return reinterpret_cast<Shorts>(Words{} + static_cast<std::uint32_t>(pair));
}

// Eight words.
template <class Word>
inline Shorts load_eighths(const Word* const* from, std::size_t offset) {
    Shorts words;
    __builtin_memcpy(&words, from[0] + offset, sizeof(words));
    return words;
}

// Lanes of a and b in turns, from the lower (0) or the upper (1) half: lanes of 16, 32 and 64 bits.
#if defined(__clang__)
#define QPSBGD_SHUFFLE(a, b, type, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define QPSBGD_SHUFFLE(a, b, type, ...) __builtin_shuffle(a, b, type{__VA_ARGS__})
#endif
template <int half>
inline Shorts interleave_words(Shorts a, Shorts b) {
    return half == 0 ? QPSBGD_SHUFFLE(a, b, Shorts, 0, 8, 1, 9, 2, 10, 3, 11)
                     : QPSBGD_SHUFFLE(a, b, Shorts, 4, 12, 5, 13, 6, 14, 7, 15);
}
template <int half>
inline Shorts interleave_pairs(Shorts a, Shorts b) {
    const auto x = reinterpret_cast<Words>(a);
    const auto y = reinterpret_cast<Words>(b);
    return reinterpret_cast<Shorts>(half == 0 ? QPSBGD_SHUFFLE(x, y, Words, 0, 4, 1, 5)
                                              : QPSBGD_SHUFFLE(x, y, Words, 2, 6, 3, 7));
}
template <int half>
inline Shorts interleave_quads(Shorts a, Shorts b) {
    const auto x = reinterpret_cast<Words>(a);
    const auto y = reinterpret_cast<Words>(b);
    return reinterpret_cast<Shorts>(half == 0 ? QPSBGD_SHUFFLE(x, y, Words, 0, 1, 4, 5)
                                              : QPSBGD_SHUFFLE(x, y, Words, 2, 3, 6, 7));
}
#undef QPSBGD_SHUFFLE

// Adds a_i + b_i to sums of 32 bits: of the lower four lanes to the first register, of the upper four to the second.
inline void add_pairs(Words* sums, Shorts a, Shorts b) {
    using Signed = std::int32_t __attribute__((vector_size(kRegisterBytes)));
    const auto widened = [](Shorts doubled) { return reinterpret_cast<Signed>(doubled) >> 16; };
    sums[0] +=
        reinterpret_cast<Words>(widened(interleave_words<0>(a, a)) + widened(interleave_words<0>(b, b)));
    sums[1] +=
        reinterpret_cast<Words>(widened(interleave_words<1>(a, a)) + widened(interleave_words<1>(b, b)));
}
