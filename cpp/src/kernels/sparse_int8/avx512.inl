// 64 replicas of small-integer couplings: a spin's local fields are one vector, its bits a mask register.
//
// An attempt takes about 25 operations, an edge of a flipped spin 4, for 64 replicas. All loads are aligned.

// Exchanges, between vectors `Distance` apart, the upper groups of `Distance` bytes of the first with the lower ones of
// the second. One shuffle a vector, which leaves the bytes outside of its mask as they are.
template <int Distance, std::uint64_t Upper>
inline void exchange8(__m512i* v) {
    const __m512i place =
        _mm512_set_epi8(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0, 15, 14, 13, 12, 11, 10, 9, 8, 7,
                        6, 5, 4, 3, 2, 1, 0, 15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0, 15, 14, 13,
                        12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
    const __m512i other = _mm512_xor_si512(place, _mm512_set1_epi8(Distance));
#pragma GCC unroll 8
    for (int low = 0; low < 8; ++low) {
        if ((low & Distance) == 0) {
            const __m512i a = v[low];
            const __m512i b = v[low + Distance];
            v[low] = _mm512_mask_shuffle_epi8(a, Upper, b, other);
            v[low + Distance] = _mm512_mask_shuffle_epi8(b, ~Upper, a, other);
        }
    }
}

// Random bytes of 8 visits, 64 lanes each.
struct DrawnBytes {
    __m512i visit[kVisitsPerWord];
};

// The next word of the generators in columns 8 v to 8 v + 7. 8 operations.
inline void step_generators(std::uint64_t* state, std::size_t v, DrawnBytes& drawn) {
    std::uint64_t* first = state + 8 * v;
    std::uint64_t* second = first + kInt8Replicas;
    const __m512i s0 = _mm512_load_si512(first);
    __m512i s1 = _mm512_load_si512(second);
    drawn.visit[v] = _mm512_add_epi64(_mm512_maskz_rol_epi64(0xFF, _mm512_add_epi64(s0, s1), 17), s0);
    s1 = _mm512_xor_si512(s1, s0);
    const __m512i turned = _mm512_maskz_rol_epi64(0xFF, s0, 49);
    _mm512_store_si512(first,
                       _mm512_ternarylogic_epi64(turned, s1, _mm512_maskz_slli_epi64(0xFF, s1, 21), 0x96));
    _mm512_store_si512(second, _mm512_maskz_rol_epi64(0xFF, s1, 28));
}

// Words of the generators into bytes of the visits: 8 x 8 bytes transposed in every column of 64 bits. 3 operations a visit.
inline void transpose_drawn(DrawnBytes& drawn) {
    exchange8<4, 0xF0F0F0F0F0F0F0F0U>(drawn.visit);
    exchange8<2, 0xCCCCCCCCCCCCCCCCU>(drawn.visit);
    exchange8<1, 0xAAAAAAAAAAAAAAAAU>(drawn.visit);
}

inline void draw_int8(std::uint64_t* state, DrawnBytes& drawn) {
#pragma GCC unroll 8
    for (std::size_t v = 0; v < kVisitsPerWord; ++v) {
        step_generators(state, v, drawn);
    }
    transpose_drawn(drawn);
}

// The lanes whose byte is above c.
inline std::uint64_t drawn_above(const DrawnBytes& drawn, std::size_t visit, std::uint8_t c) {
    return _cvtmask64_u64(_mm512_cmpgt_epu8_mask(drawn.visit[visit], _mm512_set1_epi8(static_cast<char>(c))));
}

// Flips spin `i` in the lanes of `flips`.
inline void flip_int8(const Int8Replicas& replicas, std::size_t i, __mmask64 flips, __mmask64 up) {
    const __mmask64 from_up = _kand_mask64(flips, up);
    const __mmask64 from_down = _kandn_mask64(up, flips);
    replicas.up[i] = _cvtmask64_u64(_kxor_mask64(up, flips));
    const Int8Edge* end = replicas.edges + replicas.row_start[i + 1];
    for (const Int8Edge* edge = replicas.edges + replicas.row_start[i]; edge < end; ++edge) {
        const __m512i weight = _mm512_load_si512(replicas.weights + edge->weight);
        std::int8_t* address = replicas.local + edge->neighbour;
        __m512i local = _mm512_load_si512(address);
        local = _mm512_mask_sub_epi8(local, from_up, local, weight);
        local = _mm512_mask_add_epi8(local, from_down, local, weight);
        _mm512_store_si512(address, local);
    }
}

// gain -= sum, 64 int8 onto 64 int32.
inline void count_int8(const Int8Replicas& replicas, __m512i sum) {
    alignas(64) std::int8_t parts[kInt8Replicas];
    _mm512_store_si512(parts, sum);
#pragma GCC unroll 4
    for (std::size_t part = 0; part < 4; ++part) {
        const __m512i wide = _mm512_maskz_cvtepi8_epi32(
            0xFFFF, _mm_load_si128(reinterpret_cast<const __m128i*>(parts) + part));
        std::int32_t* gain = replicas.gain + 16 * part;
        _mm512_store_si512(gain, _mm512_sub_epi32(_mm512_load_si512(gain), wide));
    }
}

// -s_i L_i.
inline __m512i rise_int8(const Int8Replicas& replicas, std::size_t i, __mmask64 up) {
    const __m512i local = _mm512_load_si512(replicas.local + i * kInt8Replicas);
    return _mm512_mask_sub_epi8(local, up, _mm512_setzero_si512(), local);
}

inline bool is_halved_int8(const Int8Replicas& replicas, std::size_t i) {
    return replicas.halved != nullptr && replicas.halved[i] >= 0;
}

// -s_i h of a hub's L = 2 l + h.
inline __m512i odd_rise_int8(const Int8Replicas& replicas, std::size_t i, __mmask64 up) {
    const __m512i odd = _mm512_set1_epi8(replicas.halved[i]);
    return _mm512_mask_sub_epi8(odd, up, _mm512_setzero_si512(), odd);
}

// -s_i L_i, or where that is too large for a hub, the nearest int8: no table accepts so high a rise.
inline __m512i any_rise_int8(const Int8Replicas& replicas, std::size_t i, __mmask64 up) {
    const __m512i rise = rise_int8(replicas, i, up);
    // In this order: twice a large rise would saturate before the odd part comes, and end beside the nearest int8.
    return is_halved_int8(replicas, i)
               ? _mm512_adds_epi8(_mm512_adds_epi8(rise, odd_rise_int8(replicas, i, up)), rise)
               : rise;
}

// gain += s_i L_i in the lanes of `flips`.
inline void count_any_int8(const Int8Replicas& replicas, std::size_t i, __mmask64 flips, __mmask64 up) {
    const __m512i rise = _mm512_maskz_mov_epi8(flips, rise_int8(replicas, i, up));
    count_int8(replicas, rise);
    if (is_halved_int8(replicas, i)) {
        count_int8(replicas, rise);
        count_int8(replicas, _mm512_maskz_mov_epi8(flips, odd_rise_int8(replicas, i, up)));
    }
}

// c of every lane, from a table of several parts: a byte outside of a part gets its highest bit set, for which the
// shuffle gives 0.
inline __m512i looked_up_int8(const std::uint8_t* table, std::size_t parts, __m512i rise) {
    const auto part_of = [table](std::size_t part) {
        return _mm512_broadcast_i32x4(_mm_load_si128(reinterpret_cast<const __m128i*>(table) + part));
    };
    if (parts == 1) {
        return _mm512_shuffle_epi8(part_of(0), _mm512_min_epi8(rise, _mm512_set1_epi8(kTableWidth - 1)));
    }
    __m512i entry = _mm512_min_epi8(rise, _mm512_set1_epi8(static_cast<char>(parts * kTableWidth - 1)));
    const __m512i beyond = _mm512_set1_epi8(0x70);
    __m512i c = _mm512_shuffle_epi8(part_of(0), _mm512_adds_epu8(entry, beyond));
    for (std::size_t part = 1; part < parts; ++part) {
        entry = _mm512_sub_epi8(entry, _mm512_set1_epi8(kTableWidth));
        c = _mm512_or_si512(c, _mm512_shuffle_epi8(part_of(part), _mm512_adds_epu8(entry, beyond)));
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
    __m512i sum = _mm512_setzero_si512();
    DrawnBytes drawn{};
    for (std::size_t block = begin; block < end; block += kVisitsPerWord) {
        draw_int8(replicas.random, drawn);
        const std::uint8_t* table = tables + dither_at(block, phase) * parts * kTableWidth;
        const std::size_t stop = end < block + kVisitsPerWord ? end : block + kVisitsPerWord;
        for (std::size_t i = block; i < stop; ++i) {
            const __mmask64 up = _cvtu64_mask64(replicas.up[i]);
            const __m512i rise = any_rise_int8(replicas, i, up);
            const __m512i c = looked_up_int8(table, parts, rise);
            const __mmask64 flips = _mm512_cmpgt_epu8_mask(drawn.visit[i - block], c);
            if (_ktestz_mask64_u8(flips, flips) != 0) {
                continue;
            }
            if (is_halved_int8(replicas, i)) {
                count_any_int8(replicas, i, flips, up);
            } else {
                sum = _mm512_mask_add_epi8(sum, flips, sum, rise);
                if (++counted == countable) {
                    count_int8(replicas, sum);
                    sum = _mm512_setzero_si512();
                    counted = 0;
                }
            }
            flip_int8(replicas, i, flips, up);
        }
    }
    count_int8(replicas, sum);
}

std::uint64_t greedy_int8(const Int8Replicas& group, std::size_t begin, std::size_t end) {
    const Int8Replicas replicas = group;
    std::uint64_t flipped = 0;
    for (std::size_t i = begin; i < end; ++i) {
        const __mmask64 up = _cvtu64_mask64(replicas.up[i]);
        const __mmask64 flips = _mm512_movepi8_mask(any_rise_int8(replicas, i, up));
        if (_cvtmask64_u64(flips) != 0) {
            flipped |= _cvtmask64_u64(flips);
            count_any_int8(replicas, i, flips, up);
            flip_int8(replicas, i, flips, up);
        }
    }
    return flipped;
}

void raise_int8(const Int8Replicas& group, const std::uint64_t* target, std::size_t n) {
    const Int8Replicas replicas = group;
    for (std::size_t i = 0; i < n; ++i) {
        const __mmask64 flips = _cvtu64_mask64(target[i]);
        const __mmask64 none_up = _cvtu64_mask64(0);
        count_any_int8(replicas, i, flips, none_up);
        flip_int8(replicas, i, flips, none_up);
    }
}

constexpr SparseInt8Kernels kSparseInt8{raise_int8, metropolis_int8, greedy_int8};
