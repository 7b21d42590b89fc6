// 64 replicas of small-integer couplings: a spin's local fields are two vectors, its bits are spread to bytes +1 and -1.
//
// An attempt takes about 45 operations, an edge of a flipped spin 8, for 64 replicas. All loads are aligned.

// Random bytes of 8 visits, 64 lanes each, in two halves.
struct DrawnBytes {
    __m256i visit[kVisitsPerWord][2];
};

inline __m256i rotated_int8(__m256i value, int by) {
    return _mm256_or_si256(_mm256_slli_epi64(value, by), _mm256_srli_epi64(value, 64 - by));
}

// The next word of the generators in columns 8 v to 8 v + 7. 28 operations.
inline void step_generators(std::uint64_t* state, std::size_t v, DrawnBytes& drawn) {
    for (std::size_t half = 0; half < 2; ++half) {
        auto* first = reinterpret_cast<__m256i*>(state + 8 * v) + half;
        auto* second = reinterpret_cast<__m256i*>(state + kInt8Replicas + 8 * v) + half;
        const __m256i s0 = _mm256_load_si256(first);
        __m256i s1 = _mm256_load_si256(second);
        drawn.visit[v][half] = _mm256_add_epi64(rotated_int8(_mm256_add_epi64(s0, s1), 17), s0);
        s1 = _mm256_xor_si256(s1, s0);
        const __m256i mixed = _mm256_xor_si256(rotated_int8(s0, 49), s1);
        _mm256_store_si256(first, _mm256_xor_si256(mixed, _mm256_slli_epi64(s1, 21)));
        _mm256_store_si256(second, rotated_int8(s1, 28));
    }
}

// Words of the generators into bytes of the visits: 8 x 8 bytes transposed in every column of 64 bits. 12 operations a visit.
inline void transpose_drawn(DrawnBytes& drawn) {
    const __m256i odd = _mm256_set1_epi16(static_cast<std::int16_t>(0xFF00));
    for (std::size_t half = 0; half < 2; ++half) {
        __m256i v[kVisitsPerWord];
#pragma GCC unroll 8
        for (std::size_t k = 0; k < 8; ++k) {
            v[k] = drawn.visit[k][half];
        }
#pragma GCC unroll 4
        for (std::size_t k = 0; k < 4; ++k) {
            const __m256i low = v[k];
            v[k] = _mm256_blend_epi32(low, _mm256_slli_epi64(v[k + 4], 32), 0xAA);
            v[k + 4] = _mm256_blend_epi32(_mm256_srli_epi64(low, 32), v[k + 4], 0xAA);
        }
#pragma GCC unroll 8
        for (std::size_t k = 0; k < 8; ++k) {
            if ((k & 2) == 0) {
                const __m256i low = v[k];
                v[k] = _mm256_blend_epi16(low, _mm256_slli_epi64(v[k + 2], 16), 0xAA);
                v[k + 2] = _mm256_blend_epi16(_mm256_srli_epi64(low, 16), v[k + 2], 0xAA);
            }
        }
#pragma GCC unroll 4
        for (std::size_t k = 0; k < 8; k += 2) {
            const __m256i low = v[k];
            drawn.visit[k][half] = _mm256_blendv_epi8(low, _mm256_slli_epi64(v[k + 1], 8), odd);
            drawn.visit[k + 1][half] = _mm256_blendv_epi8(_mm256_srli_epi64(low, 8), v[k + 1], odd);
        }
    }
}

inline void draw_int8(std::uint64_t* state, DrawnBytes& drawn) {
    for (std::size_t v = 0; v < kVisitsPerWord; ++v) {
        step_generators(state, v, drawn);
    }
    transpose_drawn(drawn);
}

// The lanes whose byte is above c: those where the larger of the two is not c.
inline std::uint64_t drawn_above(const DrawnBytes& drawn, std::size_t visit, std::uint8_t c) {
    const __m256i level = _mm256_set1_epi8(static_cast<char>(c));
    std::uint64_t lanes = 0;
    for (std::size_t half = 2; half-- > 0;) {
        const __m256i not_above = _mm256_cmpeq_epi8(_mm256_max_epu8(drawn.visit[visit][half], level), level);
        lanes = (lanes << 32) | static_cast<std::uint32_t>(~_mm256_movemask_epi8(not_above));
    }
    return lanes;
}

struct Lanes8 {
    __m256i half[2];
};

// +1 where the bit is set, -1 elsewhere.
inline Lanes8 signs_int8(std::uint64_t up) {
    const __m256i all = _mm256_set1_epi64x(static_cast<std::int64_t>(up));
    const __m256i bit = _mm256_set1_epi64x(static_cast<std::int64_t>(0x8040201008040201U));
    const __m256i byte[2] = {_mm256_setr_epi8(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2,
                                              2, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3),
                             _mm256_setr_epi8(4, 4, 4, 4, 4, 4, 4, 4, 5, 5, 5, 5, 5, 5, 5, 5, 6, 6, 6, 6, 6,
                                              6, 6, 6, 7, 7, 7, 7, 7, 7, 7, 7)};
    Lanes8 signs{};
    for (std::size_t half = 0; half < 2; ++half) {
        const __m256i set = _mm256_and_si256(_mm256_shuffle_epi8(all, byte[half]), bit);
        const __m256i clear = _mm256_cmpeq_epi8(set, _mm256_setzero_si256());  // -1 or 0
        signs.half[half] = _mm256_or_si256(clear, _mm256_set1_epi8(1));
    }
    return signs;
}

inline std::uint64_t bits_int8(const Lanes8& lanes) {
    const auto low = static_cast<std::uint32_t>(_mm256_movemask_epi8(lanes.half[0]));
    const auto high = static_cast<std::uint32_t>(_mm256_movemask_epi8(lanes.half[1]));
    return low | (static_cast<std::uint64_t>(high) << 32);
}

// Flips spin `i` in the lanes whose byte of `flips` is -1.
inline void flip_int8(const Int8Replicas& replicas, std::size_t i, const Lanes8& signs, const Lanes8& flips) {
    const __m256i step[2] = {_mm256_and_si256(signs.half[0], flips.half[0]),
                             _mm256_and_si256(signs.half[1], flips.half[1])};
    const Int8Edge* end = replicas.edges + replicas.row_start[i + 1];
    for (const Int8Edge* edge = replicas.edges + replicas.row_start[i]; edge < end; ++edge) {
        const auto* weight = reinterpret_cast<const __m256i*>(replicas.weights + edge->weight);
        auto* local = reinterpret_cast<__m256i*>(replicas.local + edge->neighbour);
        for (std::size_t half = 0; half < 2; ++half) {
            // The "sign" instruction multiplies by -1, 0 or 1.
            const __m256i change = _mm256_sign_epi8(_mm256_load_si256(weight + half), step[half]);
            _mm256_store_si256(local + half, _mm256_sub_epi8(_mm256_load_si256(local + half), change));
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

// -s_i L_i.
inline Lanes8 rise_int8(const Int8Replicas& replicas, std::size_t i, const Lanes8& signs) {
    const auto* local = reinterpret_cast<const __m256i*>(replicas.local + i * kInt8Replicas);
    Lanes8 rise{};
    for (std::size_t half = 0; half < 2; ++half) {
        rise.half[half] = _mm256_sub_epi8(
            _mm256_setzero_si256(), _mm256_sign_epi8(_mm256_load_si256(local + half), signs.half[half]));
    }
    return rise;
}

inline bool is_halved_int8(const Int8Replicas& replicas, std::size_t i) {
    return replicas.halved != nullptr && replicas.halved[i] >= 0;
}

// -s_i h of a hub's L = 2 l + h.
inline Lanes8 odd_rise_int8(const Int8Replicas& replicas, std::size_t i, const Lanes8& signs) {
    const __m256i odd = _mm256_set1_epi8(static_cast<char>(-replicas.halved[i]));
    return {{_mm256_sign_epi8(odd, signs.half[0]), _mm256_sign_epi8(odd, signs.half[1])}};
}

// -s_i L_i, or where that is too large for a hub, the nearest int8: no table accepts so high a rise.
inline Lanes8 any_rise_int8(const Int8Replicas& replicas, std::size_t i, const Lanes8& signs) {
    Lanes8 rise = rise_int8(replicas, i, signs);
    if (is_halved_int8(replicas, i)) {
        const Lanes8 odd = odd_rise_int8(replicas, i, signs);
        for (std::size_t half = 0; half < 2; ++half) {
            // In this order: twice a large rise would saturate before the odd part comes.
            const __m256i once = _mm256_adds_epi8(rise.half[half], odd.half[half]);
            rise.half[half] = _mm256_adds_epi8(once, rise.half[half]);
        }
    }
    return rise;
}

inline Lanes8 both_int8(const Lanes8& a, const Lanes8& b) {
    return {{_mm256_and_si256(a.half[0], b.half[0]), _mm256_and_si256(a.half[1], b.half[1])}};
}

// gain += s_i L_i in the lanes of `flips`.
inline void count_any_int8(const Int8Replicas& replicas, std::size_t i, const Lanes8& signs,
                           const Lanes8& flips) {
    const Lanes8 rise = both_int8(flips, rise_int8(replicas, i, signs));
    count_int8(replicas, rise);
    if (is_halved_int8(replicas, i)) {
        count_int8(replicas, rise);
        count_int8(replicas, both_int8(flips, odd_rise_int8(replicas, i, signs)));
    }
}

// c of every lane, from a table of several parts: a byte outside of a part gets its highest bit set, for which the
// shuffle gives 0.
inline __m256i looked_up_int8(const std::uint8_t* table, std::size_t parts, __m256i rise) {
    const auto part_of = [table](std::size_t part) {
        return _mm256_broadcastsi128_si256(_mm_load_si128(reinterpret_cast<const __m128i*>(table) + part));
    };
    __m256i entry = _mm256_min_epi8(rise, _mm256_set1_epi8(static_cast<char>(parts * kTableWidth - 1)));
    if (parts == 1) {
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

void metropolis_int8(const Int8Replicas& group, std::size_t begin, std::size_t end,
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
            const Lanes8 signs = signs_int8(replicas.up[i]);
            const Lanes8 rise = any_rise_int8(replicas, i, signs);
            Lanes8 flips{};
            for (std::size_t half = 0; half < 2; ++half) {
                const __m256i c = looked_up_int8(table, parts, rise.half[half]);
                // u > c, unsigned, is not (max(u, c) == c).
                const __m256i u = drawn.visit[i - block][half];
                const __m256i stays = _mm256_cmpeq_epi8(_mm256_max_epu8(u, c), c);
                flips.half[half] = _mm256_xor_si256(stays, _mm256_set1_epi8(-1));
            }
            const std::uint64_t mask = bits_int8(flips);
            if (mask == 0) {
                continue;
            }
            replicas.up[i] ^= mask;
            if (is_halved_int8(replicas, i)) {
                count_any_int8(replicas, i, signs, flips);
            } else {
                const Lanes8 rises = both_int8(flips, rise);
                for (std::size_t half = 0; half < 2; ++half) {
                    sum.half[half] = _mm256_add_epi8(sum.half[half], rises.half[half]);
                }
                if (++counted == countable) {
                    count_int8(replicas, sum);
                    sum = none;
                    counted = 0;
                }
            }
            flip_int8(replicas, i, signs, flips);
        }
    }
    count_int8(replicas, sum);
}

std::uint64_t greedy_int8(const Int8Replicas& group, std::size_t begin, std::size_t end) {
    const Int8Replicas replicas = group;
    std::uint64_t flipped = 0;
    for (std::size_t i = begin; i < end; ++i) {
        const Lanes8 signs = signs_int8(replicas.up[i]);
        const Lanes8 rise = any_rise_int8(replicas, i, signs);
        const std::uint64_t mask = bits_int8(rise);
        if (mask == 0) {
            continue;
        }
        flipped |= mask;
        replicas.up[i] ^= mask;
        Lanes8 flips{};
        for (std::size_t half = 0; half < 2; ++half) {
            flips.half[half] = _mm256_cmpgt_epi8(_mm256_setzero_si256(), rise.half[half]);
        }
        count_any_int8(replicas, i, signs, flips);
        flip_int8(replicas, i, signs, flips);
    }
    return flipped;
}

void raise_int8(const Int8Replicas& group, const std::uint64_t* target, std::size_t n) {
    const Int8Replicas replicas = group;
    for (std::size_t i = 0; i < n; ++i) {
        const Lanes8 down = signs_int8(0);
        const Lanes8 wanted = signs_int8(target[i]);
        Lanes8 flips{};
        for (std::size_t half = 0; half < 2; ++half) {
            flips.half[half] = _mm256_cmpgt_epi8(wanted.half[half], _mm256_setzero_si256());
        }
        count_any_int8(replicas, i, down, flips);
        replicas.up[i] = target[i];
        flip_int8(replicas, i, down, flips);
    }
}

constexpr SparseInt8Kernels kSparseInt8{raise_int8, metropolis_int8, greedy_int8};
