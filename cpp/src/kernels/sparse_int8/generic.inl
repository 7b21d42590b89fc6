// 64 replicas of small-integer couplings in plain loops over the lanes, for every instruction set without a version of its
// own. 64 operations where wider ones take one or two.

// Bit b of `bits` as byte b, -1 or 0. Eight bits at a time in one word, which all these machines store lowest byte
// first: a copy of the byte in every byte, of which byte b keeps bit b.
inline void spread_int8(std::uint64_t bits, std::int8_t* bytes) {
    for (std::size_t part = 0; part < kInt8Replicas / 8; ++part) {
        const std::uint64_t copies =
            ((bits >> (8 * part)) & 0xFFU) * 0x0101010101010101U & 0x8040201008040201U;
        const std::uint64_t spread = ((copies + 0x7F7F7F7F7F7F7F7FU) >> 7 & 0x0101010101010101U) * 0xFFU;
        __builtin_memcpy(bytes + 8 * part, &spread, 8);
    }
}

// The inverse of spread_int8.
inline std::uint64_t gathered_int8(const std::int8_t* bytes) {
    std::uint64_t bits = 0;
    for (std::size_t part = 0; part < kInt8Replicas / 8; ++part) {
        std::uint64_t word = 0;
        __builtin_memcpy(&word, bytes + 8 * part, 8);
        bits |= ((word & 0x0101010101010101U) * 0x0102040810204080U >> 56) << (8 * part);
    }
    return bits;
}

// Random bytes of 8 visits, 64 lanes each.
struct DrawnBytes {
    alignas(64) std::uint64_t words[kInt8Replicas];
};

// The next word of the generators in columns 8 v to 8 v + 7.
inline void step_generators(std::uint64_t* state, std::size_t v, DrawnBytes& drawn) {
    std::uint64_t* first = state + 8 * v;
    std::uint64_t* second = first + kInt8Replicas;
    for (std::size_t q = 0; q < 8; ++q) {
        const std::uint64_t s0 = first[q];
        std::uint64_t s1 = second[q];
        const std::uint64_t sum = s0 + s1;
        drawn.words[8 * v + q] = rotated(sum, 17) + s0;
        s1 ^= s0;
        first[q] = rotated(s0, 49) ^ s1 ^ (s1 << 21);
        second[q] = rotated(s1, 28);
    }
}

// Words of the generators into bytes of the visits: 8 x 8 bytes transposed in every column of 64 bits.
inline void transpose_drawn(DrawnBytes& drawn) {
    constexpr std::uint64_t kMasks[] = {0x00000000FFFFFFFFU, 0x0000FFFF0000FFFFU, 0x00FF00FF00FF00FFU};
    for (std::size_t stage = 0; stage < 3; ++stage) {
        const std::size_t distance = 4U >> stage;
        const std::size_t shift = 8 * distance;
        for (std::size_t v = 0; v < 8; ++v) {
            if ((v & distance) == 0) {
                std::uint64_t* low = drawn.words + 8 * v;
                std::uint64_t* high = drawn.words + 8 * (v + distance);
                for (std::size_t q = 0; q < 8; ++q) {
                    const std::uint64_t swapped = ((low[q] >> shift) ^ high[q]) & kMasks[stage];
                    high[q] ^= swapped;
                    low[q] ^= swapped << shift;
                }
            }
        }
    }
}

inline void draw_int8(std::uint64_t* state, DrawnBytes& drawn) {
    for (std::size_t v = 0; v < 8; ++v) {
        step_generators(state, v, drawn);
    }
    transpose_drawn(drawn);
}

inline const std::uint8_t* bytes_of_visit(const DrawnBytes& drawn, std::size_t visit) {
    return reinterpret_cast<const std::uint8_t*>(drawn.words) + visit * kInt8Replicas;
}

// The lanes whose byte is above c.
inline std::uint64_t drawn_above(const DrawnBytes& drawn, std::size_t visit, std::uint8_t c) {
    const std::uint8_t* bytes = bytes_of_visit(drawn, visit);
    alignas(64) std::int8_t above[kInt8Replicas];
    for (std::size_t lane = 0; lane < kInt8Replicas; ++lane) {
        above[lane] = static_cast<std::int8_t>(bytes[lane] > c ? -1 : 0);
    }
    return gathered_int8(above);
}

// Flips spin `i` in the lanes whose byte of `flips` is -1. Their bits.
inline std::uint64_t flip_int8(const Int8Replicas& replicas, std::size_t i, const std::int8_t* flips,
                               const std::int16_t* rise) {
    const std::uint64_t mask = gathered_int8(flips);
    if (mask == 0) {
        return 0;
    }
    std::int8_t up[kInt8Replicas];
    spread_int8(replicas.up[i], up);
    replicas.up[i] ^= mask;
    for (std::size_t lane = 0; lane < kInt8Replicas; ++lane) {
        replicas.gain[lane] -= rise[lane] & flips[lane];  // flips: -1 or 0
    }
    for (std::uint32_t e = replicas.row_start[i]; e < replicas.row_start[i + 1]; ++e) {
        const std::int8_t* weight = replicas.weights + replicas.edges[e].weight;
        std::int8_t* local = replicas.local + replicas.edges[e].neighbour;
        for (std::size_t lane = 0; lane < kInt8Replicas; ++lane) {
            // -W where the spin was up, W where it was down.
            const int change = ((weight[lane] ^ up[lane]) - up[lane]) & flips[lane];
            local[lane] = static_cast<std::int8_t>(local[lane] + change);
        }
    }
    return mask;
}

// -s_i L_i.
inline void rises_int8(const Int8Replicas& replicas, std::size_t i, std::int16_t* rise) {
    std::int8_t up[kInt8Replicas];
    spread_int8(replicas.up[i], up);
    const std::int8_t* local = replicas.local + i * kInt8Replicas;
    const int halved = replicas.halved != nullptr ? replicas.halved[i] : -1;
    const int factor = halved >= 0 ? 2 : 1;
    const int odd = halved >= 0 ? halved : 0;
    for (std::size_t lane = 0; lane < kInt8Replicas; ++lane) {
        const int field = factor * local[lane] + odd;
        rise[lane] = static_cast<std::int16_t>((field ^ up[lane]) - up[lane]);
    }
}

void metropolis_int8(const Int8Replicas& replicas, std::size_t begin, std::size_t end,
                     const Int8Acceptance& acceptance) {
    const int last = static_cast<int>(acceptance.parts * kTableWidth) - 1;
    DrawnBytes drawn{};
    for (std::size_t i = begin; i < end; ++i) {
        if (i % kVisitsPerWord == 0) {
            draw_int8(replicas.random, drawn);
        }
        const std::uint8_t* random = bytes_of_visit(drawn, i % kVisitsPerWord);
        const std::uint8_t* table =
            acceptance.table + dither_at(i, acceptance.phase) * acceptance.parts * kTableWidth;
        alignas(64) std::int16_t rise[kInt8Replicas];
        alignas(64) std::int8_t flips[kInt8Replicas];
        rises_int8(replicas, i, rise);
        for (std::size_t lane = 0; lane < kInt8Replicas; ++lane) {
            const int entry = rise[lane] < last ? rise[lane] : last;
            const std::uint8_t c = entry < 0 ? std::uint8_t{0} : table[entry];
            flips[lane] = static_cast<std::int8_t>(random[lane] > c ? -1 : 0);
        }
        flip_int8(replicas, i, flips, rise);
    }
}

std::uint64_t greedy_int8(const Int8Replicas& replicas, std::size_t begin, std::size_t end) {
    std::uint64_t flipped = 0;
    for (std::size_t i = begin; i < end; ++i) {
        alignas(64) std::int16_t rise[kInt8Replicas];
        alignas(64) std::int8_t flips[kInt8Replicas];
        rises_int8(replicas, i, rise);
        for (std::size_t lane = 0; lane < kInt8Replicas; ++lane) {
            flips[lane] = static_cast<std::int8_t>(rise[lane] < 0 ? -1 : 0);
        }
        flipped |= flip_int8(replicas, i, flips, rise);
    }
    return flipped;
}

void raise_int8(const Int8Replicas& replicas, const std::uint64_t* target, std::size_t n) {
    for (std::size_t i = 0; i < n; ++i) {
        alignas(64) std::int16_t rise[kInt8Replicas];
        alignas(64) std::int8_t flips[kInt8Replicas];
        rises_int8(replicas, i, rise);
        spread_int8(target[i], flips);
        flip_int8(replicas, i, flips, rise);
    }
}

constexpr SparseInt8Kernels kSparseInt8{raise_int8, metropolis_int8, greedy_int8};
