// 64 replicas of small-integer couplings: a spin's local fields are two vectors, its bits are spread to bytes +1 and -1.
//
// An attempt takes about 75 operations, half of them for random numbers, an edge of a flipped spin 8, for 64 replicas. All
// loads are aligned. What is done to both halves is unrolled: GCC keeps arrays in registers only then.

// Random bytes of 8 visits, 64 lanes each, in two halves.
struct DrawnBytes {
    __m256i visit[kVisitsPerWord][2];
};

inline __m256i rotated_int8(__m256i value, int by) {
    return _mm256_or_si256(_mm256_slli_epi64(value, by), _mm256_srli_epi64(value, 64 - by));
}

// The next words of four generators. 15 operations.
inline __m256i next_words_int8(std::uint64_t* state) {
    auto* first = reinterpret_cast<__m256i*>(state);
    auto* second = reinterpret_cast<__m256i*>(state + kInt8Replicas);
    const __m256i s0 = _mm256_load_si256(first);
    __m256i s1 = _mm256_load_si256(second);
    const __m256i words = _mm256_add_epi64(rotated_int8(_mm256_add_epi64(s0, s1), 17), s0);
    s1 = _mm256_xor_si256(s1, s0);
    const __m256i mixed = _mm256_xor_si256(rotated_int8(s0, 49), s1);
    _mm256_store_si256(first, _mm256_xor_si256(mixed, _mm256_slli_epi64(s1, 21)));
    _mm256_store_si256(second, rotated_int8(s1, 28));
    return words;
}

// Words of the generators into bytes of the visits: 8 x 8 bytes transposed in every column of 64 bits, by interleaving
// bytes, then pairs, then fours of every second column, and joining the columns. 8 operations a visit.
inline void transpose_half(const __m256i (&words)[kVisitsPerWord], std::size_t half, DrawnBytes& drawn) {
    __m256i fours[2][4];  // bytes 2 k and 2 k + 1 of all words, of even and odd columns
#pragma GCC unroll 2
    for (std::size_t odd = 0; odd < 2; ++odd) {
        __m256i bytes[4];
#pragma GCC unroll 4
        for (std::size_t k = 0; k < 4; ++k) {
            bytes[k] = odd == 0 ? _mm256_unpacklo_epi8(words[2 * k], words[2 * k + 1])
                                : _mm256_unpackhi_epi8(words[2 * k], words[2 * k + 1]);
        }
        const __m256i low[2] = {_mm256_unpacklo_epi16(bytes[0], bytes[1]),
                                _mm256_unpacklo_epi16(bytes[2], bytes[3])};
        const __m256i high[2] = {_mm256_unpackhi_epi16(bytes[0], bytes[1]),
                                 _mm256_unpackhi_epi16(bytes[2], bytes[3])};
        fours[odd][0] = _mm256_unpacklo_epi32(low[0], low[1]);
        fours[odd][1] = _mm256_unpackhi_epi32(low[0], low[1]);
        fours[odd][2] = _mm256_unpacklo_epi32(high[0], high[1]);
        fours[odd][3] = _mm256_unpackhi_epi32(high[0], high[1]);
    }
#pragma GCC unroll 4
    for (std::size_t k = 0; k < 4; ++k) {
        drawn.visit[2 * k][half] = _mm256_unpacklo_epi64(fours[0][k], fours[1][k]);
        drawn.visit[2 * k + 1][half] = _mm256_unpackhi_epi64(fours[0][k], fours[1][k]);
    }
}

inline void draw_int8(std::uint64_t* state, DrawnBytes& drawn) {
#pragma GCC unroll 1  // both halves at once do not fit the registers
    for (std::size_t half = 0; half < 2; ++half) {
        __m256i words[kVisitsPerWord];
#pragma GCC unroll 8
        for (std::size_t v = 0; v < kVisitsPerWord; ++v) {
            words[v] = next_words_int8(state + 8 * v + 4 * half);
        }
        transpose_half(words, half, drawn);
    }
}

// The lanes whose byte is above c. Comparisons have signs: 128 is taken off both sides.
inline std::uint64_t drawn_above(const DrawnBytes& drawn, std::size_t visit, std::uint8_t c) {
    const __m256i turn = _mm256_set1_epi8(-128);
    const __m256i level = _mm256_set1_epi8(static_cast<char>(c ^ 128U));
    const __m256i low = _mm256_cmpgt_epi8(_mm256_xor_si256(drawn.visit[visit][0], turn), level);
    const __m256i high = _mm256_cmpgt_epi8(_mm256_xor_si256(drawn.visit[visit][1], turn), level);
    return static_cast<std::uint32_t>(_mm256_movemask_epi8(low)) |
           std::uint64_t{static_cast<std::uint32_t>(_mm256_movemask_epi8(high))} << 32;
}

struct Lanes8 {
    __m256i half[2];
};

// Minus the signs: -1 where the bit is set, +1 elsewhere.
inline Lanes8 turns_int8(std::uint64_t up) {
    const __m256i all = _mm256_set1_epi64x(static_cast<std::int64_t>(up));
    const __m256i bit = _mm256_set1_epi64x(static_cast<std::int64_t>(0x8040201008040201U));
    const __m256i byte[2] = {_mm256_setr_epi8(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2,
                                              2, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3),
                             _mm256_setr_epi8(4, 4, 4, 4, 4, 4, 4, 4, 5, 5, 5, 5, 5, 5, 5, 5, 6, 6, 6, 6, 6,
                                              6, 6, 6, 7, 7, 7, 7, 7, 7, 7, 7)};
    Lanes8 turns{};
#pragma GCC unroll 2
    for (std::size_t half = 0; half < 2; ++half) {
        const __m256i set = _mm256_and_si256(_mm256_shuffle_epi8(all, byte[half]), bit);
        turns.half[half] = _mm256_or_si256(_mm256_cmpeq_epi8(set, bit), _mm256_set1_epi8(1));
    }
    return turns;
}

inline std::uint64_t bits_int8(const Lanes8& lanes) {
    const auto low = static_cast<std::uint32_t>(_mm256_movemask_epi8(lanes.half[0]));
    const auto high = static_cast<std::uint32_t>(_mm256_movemask_epi8(lanes.half[1]));
    return low | (static_cast<std::uint64_t>(high) << 32);
}

// Flips spin `i` in the lanes whose byte of `turns`, minus its sign before, is not 0.
inline void flip_int8(const Int8Replicas& replicas, std::size_t i, const Lanes8& turns) {
    const Int8Edge* end = replicas.edges + replicas.row_start[i + 1];
    for (const Int8Edge* edge = replicas.edges + replicas.row_start[i]; edge < end; ++edge) {
        const auto* weight = reinterpret_cast<const __m256i*>(replicas.weights + edge->weight);
        auto* local = reinterpret_cast<__m256i*>(replicas.local + edge->neighbour);
#pragma GCC unroll 2
        for (std::size_t half = 0; half < 2; ++half) {
            // The "sign" instruction multiplies by -1, 0 or 1.
            const __m256i change = _mm256_sign_epi8(_mm256_load_si256(weight + half), turns.half[half]);
            _mm256_store_si256(local + half, _mm256_add_epi8(_mm256_load_si256(local + half), change));
        }
    }
}

// gain -= sum, 64 int8 onto 64 int32.
inline void count_int8(const Int8Replicas& replicas, const Lanes8& sum) {
    alignas(64) std::int8_t parts[kInt8Replicas];
    _mm256_store_si256(reinterpret_cast<__m256i*>(parts), sum.half[0]);
    _mm256_store_si256(reinterpret_cast<__m256i*>(parts) + 1, sum.half[1]);
    for (std::size_t part = 0; part < 8; ++part) {
        const __m256i wide =
            _mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(parts + 8 * part)));
        auto* gain = reinterpret_cast<__m256i*>(replicas.gain + 8 * part);
        _mm256_store_si256(gain, _mm256_sub_epi32(_mm256_load_si256(gain), wide));
    }
}

// -s_i L_i, of what is stored.
inline Lanes8 rise_int8(const Int8Replicas& replicas, std::size_t i, const Lanes8& turns) {
    const auto* local = reinterpret_cast<const __m256i*>(replicas.local + i * kInt8Replicas);
    return {{_mm256_sign_epi8(_mm256_load_si256(local), turns.half[0]),
             _mm256_sign_epi8(_mm256_load_si256(local + 1), turns.half[1])}};
}

inline bool is_halved_int8(const Int8Replicas& replicas, std::size_t i) {
    return replicas.halved != nullptr && replicas.halved[i] >= 0;
}

// -s_i h of a hub's L = 2 l + h.
inline Lanes8 odd_rise_int8(const Int8Replicas& replicas, std::size_t i, const Lanes8& turns) {
    const __m256i odd = _mm256_set1_epi8(static_cast<char>(replicas.halved[i]));
    return {{_mm256_sign_epi8(odd, turns.half[0]), _mm256_sign_epi8(odd, turns.half[1])}};
}

// -s_i L_i, or where that is too large for a hub, the nearest int8: no table accepts so high a rise.
inline Lanes8 any_rise_int8(const Int8Replicas& replicas, std::size_t i, const Lanes8& turns) {
    Lanes8 rise = rise_int8(replicas, i, turns);
    if (is_halved_int8(replicas, i)) {
        const Lanes8 odd = odd_rise_int8(replicas, i, turns);
#pragma GCC unroll 2
        for (std::size_t half = 0; half < 2; ++half) {
            // In this order: twice a large rise would saturate before the odd part comes.
            const __m256i once = _mm256_adds_epi8(rise.half[half], odd.half[half]);
            rise.half[half] = _mm256_adds_epi8(once, rise.half[half]);
        }
    }
    return rise;
}

// gain += s_i L_i in the lanes that turn: 0 elsewhere.
inline void count_any_int8(const Int8Replicas& replicas, std::size_t i, const Lanes8& turns) {
    const Lanes8 rise = rise_int8(replicas, i, turns);
    count_int8(replicas, rise);
    if (is_halved_int8(replicas, i)) {
        count_int8(replicas, rise);
        count_int8(replicas, odd_rise_int8(replicas, i, turns));
    }
}

// What the rises of the energy look like: all below kTableWidth, in a table of one part or of several, or with hubs.
enum class Rises : std::uint8_t { few, one_part, many_parts, of_hubs };

// c of every lane. Of several parts a byte outside of a part gets its highest bit set, for which the shuffle gives 0.
template <Rises kRises>
inline __m256i looked_up_int8(const std::uint8_t* table, std::size_t parts, __m256i rise) {
    const auto part_of = [table](std::size_t part) {
        return _mm256_broadcastsi128_si256(_mm_load_si128(reinterpret_cast<const __m128i*>(table) + part));
    };
    if constexpr (kRises == Rises::few) {
        return _mm256_shuffle_epi8(part_of(0), rise);
    }
    __m256i entry = _mm256_min_epi8(rise, _mm256_set1_epi8(static_cast<char>(parts * kTableWidth - 1)));
    if (kRises == Rises::one_part || parts == 1) {
        return _mm256_shuffle_epi8(part_of(0), entry);
    }
    const __m256i beyond = _mm256_set1_epi8(0x70);
    __m256i c = _mm256_shuffle_epi8(part_of(0), _mm256_adds_epu8(entry, beyond));
    for (std::size_t part = 1; part < parts; ++part) {
        entry = _mm256_sub_epi8(entry, _mm256_set1_epi8(kTableWidth));
        c = _mm256_or_si256(c, _mm256_shuffle_epi8(part_of(part), _mm256_adds_epu8(entry, beyond)));
    }
    return c;
}

template <Rises kRises>
void metropolis_of_kind_int8(const Int8Replicas& group, std::size_t begin, std::size_t end,
                             const Int8Acceptance& acceptance) {
    const Int8Replicas replicas = group;  // a copy: no store into the replicas can change it
    const std::uint8_t* tables = acceptance.table;
    const std::size_t phase = acceptance.phase;
    const std::size_t parts = acceptance.parts;
    // Visits whose gains fit one int8.
    const auto countable = static_cast<std::size_t>(kInt8Reach / replicas.reach);
    std::size_t counted = 0;
    const Lanes8 none{{_mm256_setzero_si256(), _mm256_setzero_si256()}};
    Lanes8 sum = none;
    DrawnBytes drawn{};
    for (std::size_t block = begin; block < end; block += kVisitsPerWord) {
        draw_int8(replicas.random, drawn);
        const std::uint8_t* table = tables + dither_at(block, phase) * parts * kTableWidth;
        const std::size_t stop = end < block + kVisitsPerWord ? end : block + kVisitsPerWord;
        for (std::size_t i = block; i < stop; ++i) {
            Lanes8 turns = turns_int8(replicas.up[i]);
            const Lanes8 rise =
                kRises == Rises::of_hubs ? any_rise_int8(replicas, i, turns) : rise_int8(replicas, i, turns);
            Lanes8 stays{};
#pragma GCC unroll 2
            for (std::size_t half = 0; half < 2; ++half) {
                const __m256i c = looked_up_int8<kRises>(table, parts, rise.half[half]);
                // u > c, unsigned, is not (max(u, c) == c).
                const __m256i u = drawn.visit[i - block][half];
                stays.half[half] = _mm256_cmpeq_epi8(_mm256_max_epu8(u, c), c);
                turns.half[half] = _mm256_andnot_si256(stays.half[half], turns.half[half]);
            }
            const std::uint64_t mask = ~bits_int8(stays);
            if (mask == 0) {
                continue;
            }
            replicas.up[i] ^= mask;
            if (kRises == Rises::of_hubs && is_halved_int8(replicas, i)) {
                count_any_int8(replicas, i, turns);
            } else {
#pragma GCC unroll 2
                for (std::size_t half = 0; half < 2; ++half) {
                    sum.half[half] = _mm256_add_epi8(sum.half[half],
                                                     _mm256_andnot_si256(stays.half[half], rise.half[half]));
                }
                if (++counted == countable) {
                    count_int8(replicas, sum);
                    sum = none;
                    counted = 0;
                }
            }
            flip_int8(replicas, i, turns);
        }
    }
    count_int8(replicas, sum);
}

void metropolis_int8(const Int8Replicas& group, std::size_t begin, std::size_t end,
                     const Int8Acceptance& acceptance) {
    constexpr int kWidth = kTableWidth;
    if (group.halved != nullptr) {
        metropolis_of_kind_int8<Rises::of_hubs>(group, begin, end, acceptance);
    } else if (acceptance.parts > 1) {
        metropolis_of_kind_int8<Rises::many_parts>(group, begin, end, acceptance);
    } else if (group.reach < kWidth) {
        metropolis_of_kind_int8<Rises::few>(group, begin, end, acceptance);
    } else {
        metropolis_of_kind_int8<Rises::one_part>(group, begin, end, acceptance);
    }
}

std::uint64_t greedy_int8(const Int8Replicas& group, std::size_t begin, std::size_t end) {
    const Int8Replicas replicas = group;
    std::uint64_t flipped = 0;
    for (std::size_t i = begin; i < end; ++i) {
        Lanes8 turns = turns_int8(replicas.up[i]);
        const Lanes8 rise = any_rise_int8(replicas, i, turns);
        const std::uint64_t mask = bits_int8(rise);
        if (mask == 0) {
            continue;
        }
        flipped |= mask;
        replicas.up[i] ^= mask;
#pragma GCC unroll 2
        for (std::size_t half = 0; half < 2; ++half) {
            const __m256i falls = _mm256_cmpgt_epi8(_mm256_setzero_si256(), rise.half[half]);
            turns.half[half] = _mm256_and_si256(falls, turns.half[half]);
        }
        count_any_int8(replicas, i, turns);
        flip_int8(replicas, i, turns);
    }
    return flipped;
}

void raise_int8(const Int8Replicas& group, const std::uint64_t* target, std::size_t n) {
    const Int8Replicas replicas = group;
    const __m256i one = _mm256_set1_epi8(1);
    for (std::size_t i = 0; i < n; ++i) {
        // A spin of -1 turns by +1.
        Lanes8 turns = turns_int8(target[i]);
#pragma GCC unroll 2
        for (__m256i& half : turns.half) {
            const __m256i wanted = _mm256_cmpgt_epi8(_mm256_setzero_si256(), half);
            half = _mm256_and_si256(wanted, one);
        }
        count_any_int8(replicas, i, turns);
        replicas.up[i] = target[i];
        flip_int8(replicas, i, turns);
    }
}

constexpr SparseInt8Kernels kSparseInt8{raise_int8, metropolis_int8, greedy_int8};
