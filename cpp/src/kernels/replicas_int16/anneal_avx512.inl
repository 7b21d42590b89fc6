// Annealing of 32 reads with the same couplings, on AVX-512 BW. How local fields are summed is up to `Fields`.
//
// Besides that sum an attempt of all reads takes about 7 operations, and one or two for each later spin of its sixteen.

// What a sweep knows of its temperatures, for each read.
struct ReplicaHeat {
    __m512i factor;
    __m512i most;
    __m512i shift;
};

inline ReplicaHeat replica_heat(const Int16Replicas& replicas, std::size_t sweep) {
    alignas(64) std::uint32_t temperature[2][16];
    for (std::size_t r = 0; r < kInt16Replicas; ++r) {
        temperature[r / 16][r % 16] = replicas.temperature[r][sweep];
    }
    __m512i factor[2];
    __m512i shift[2];
    for (std::size_t half = 0; half < 2; ++half) {
        // heat_of: as many bits to the right as leave sixteen, by the place of the highest one.
        const __m512i value = _mm512_load_si512(temperature[half]);
        const __m512 highest =
            _mm512_getexp_ps(_mm512_cvt_roundepu32_ps(value, _MM_FROUND_TO_ZERO | _MM_FROUND_NO_EXC));
        const __m512i by = _mm512_cvtps_epi32(
            _mm512_sub_ps(_mm512_max_ps(highest, _mm512_set1_ps(15.0F)), _mm512_set1_ps(15.0F)));
        factor[half] = _mm512_srlv_epi32(value, by);
        shift[half] = _mm512_min_epi32(by, _mm512_set1_epi32(15));
    }
    const auto joined = [](const __m512i* halves) {
        return _mm512_inserti64x4(_mm512_castsi256_si512(_mm512_cvtepi32_epi16(halves[0])),
                                  _mm512_cvtepi32_epi16(halves[1]), 1);
    };
    const __m512i shifts = joined(shift);
    return {joined(factor), _mm512_srlv_epi16(_mm512_set1_epi16(32767), shifts), shifts};
}

// Rows of eight words from 32 places: on return word k of all of them is rows[k].
inline void gather_words(const std::uint16_t* const* from, std::size_t offset, __m512i* rows) {
    const auto at = [&](std::size_t lane) {
        return _mm_loadu_si128(reinterpret_cast<const __m128i*>(from[lane] + offset));
    };
    __m512i a[8];
#pragma GCC unroll 8
    for (std::size_t k = 0; k < 8; ++k) {
        a[k] = _mm512_castsi128_si512(at(k));
        a[k] = _mm512_inserti32x4(a[k], at(k + 8), 1);
        a[k] = _mm512_inserti32x4(a[k], at(k + 16), 2);
        a[k] = _mm512_inserti32x4(a[k], at(k + 24), 3);
    }
    __m512i b[8];
#pragma GCC unroll 4
    for (std::size_t k = 0; k < 4; ++k) {
        b[2 * k] = _mm512_unpacklo_epi16(a[2 * k], a[2 * k + 1]);      // words 0-3 of two
        b[2 * k + 1] = _mm512_unpackhi_epi16(a[2 * k], a[2 * k + 1]);  // words 4-7
    }
#pragma GCC unroll 2
    for (std::size_t k = 0; k < 2; ++k) {
        a[4 * k] = _mm512_unpacklo_epi32(b[4 * k], b[4 * k + 2]);  // words 0, 1 of four
        a[4 * k + 1] = _mm512_unpackhi_epi32(b[4 * k], b[4 * k + 2]);
        a[4 * k + 2] = _mm512_unpacklo_epi32(b[4 * k + 1], b[4 * k + 3]);
        a[4 * k + 3] = _mm512_unpackhi_epi32(b[4 * k + 1], b[4 * k + 3]);
    }
#pragma GCC unroll 4
    for (std::size_t k = 0; k < 4; ++k) {
        rows[2 * k] = _mm512_unpacklo_epi64(a[k], a[k + 4]);
        rows[2 * k + 1] = _mm512_unpackhi_epi64(a[k], a[k + 4]);
    }
}

// The thresholds of draw_thresholds_int16, for kTileSpins spins and all reads.
inline void draw_thresholds_of_tile(const Int16Replicas& replicas, const ReplicaHeat& heat, std::size_t group,
                                    const std::uint16_t* const* entries, std::int16_t* thresholds) {
    const __m512i one = _mm512_set1_epi16(1);
    const std::size_t spin = group * kTileSpins;
    for (std::size_t first = 0; first < kTileSpins; first += 8) {
        __m512i words[8];
        gather_words(entries, spin % kBlock + first, words);
#pragma GCC unroll 8
        for (std::size_t k = 0; k < 8; ++k) {
            const __m512i bounded = _mm512_min_epu16(_mm512_mulhi_epu16(words[k], heat.factor), heat.most);
            const __m512i threshold = _mm512_sub_epi16(_mm512_sllv_epi16(bounded, heat.shift), one);
            _mm512_store_si512(thresholds + (first + k) * kInt16Replicas, threshold);
        }
    }
    for (std::size_t i = spin + kTileSpins; i > spin && i > replicas.real_spins; --i) {
        _mm512_store_si512(thresholds + (i - 1 - spin) * kInt16Replicas, _mm512_set1_epi16(-32768));
    }
}

// Decides kTileSpins spins in order, and adds what the flips gain to the two halves of `gains`.
inline void decide_tile(const Int16Replicas& replicas, std::size_t group, __m512i* local,
                        const std::int16_t* thresholds, __m512i* gains) {
    std::uint32_t* negative = replicas.negative + group * kTileSpins;
    const std::int32_t* pair = replicas.pairs + group * kTilePairs;
    const __m512i zero = _mm512_setzero_si512();
    const __m512i one = _mm512_set1_epi16(1);
    const __m512i ones = _mm512_set1_epi16(-1);
    __m512i gain_before = zero;
#pragma GCC unroll 16
    for (std::size_t i = 0; i < kTileSpins; ++i) {
        const __mmask32 down = negative[i];
        const __m512i step = _mm512_mask_sub_epi16(local[i], down, zero, local[i]);
        // step + threshold >= 0 without the sum, which spin after spin would wait for.
        const __m512i below = _mm512_xor_si512(load16(thresholds + i * kInt16Replicas), ones);
        const __mmask32 flips = _mm512_cmpgt_epi16_mask(step, below);
        negative[i] = _kxor_mask32(down, flips);
#pragma GCC unroll 16
        for (std::size_t j = i + 1; j < kTileSpins; ++j) {
            const __m512i coupling = _mm512_set1_epi32(*pair++);
            const __m512i change = _mm512_mask_sub_epi16(coupling, down, zero, coupling);
            local[j] = _mm512_mask_sub_epi16(local[j], flips, local[j], change);
        }
        const __m512i gained = _mm512_maskz_mov_epi16(flips, step);
        if (i % 2 == 0) {
            gain_before = gained;
        } else {
            const __m512i first = _mm512_unpacklo_epi16(gain_before, gained);
            const __m512i second = _mm512_unpackhi_epi16(gain_before, gained);
            gains[0] = _mm512_add_epi32(gains[0], _mm512_madd_epi16(first, one));
            gains[1] = _mm512_add_epi32(gains[1], _mm512_madd_epi16(second, one));
        }
    }
}

// Adds the sweep's gains, and keeps the states that are better than all before.
inline void end_sweep(Int16Replicas& replicas, const __m512i* gains) {
    alignas(64) std::int32_t gained[2][16];
    _mm512_store_si512(gained[0], gains[0]);
    _mm512_store_si512(gained[1], gains[1]);
    std::uint32_t better = 0;
    for (std::size_t r = 0; r < kInt16Replicas; ++r) {
        replicas.gain[r] += gained[r / 4 % 2][r / 8 * 4 + r % 4];
        const bool best = replicas.gain[r] > replicas.best_gain[r];
        replicas.best_gain[r] = best ? replicas.gain[r] : replicas.best_gain[r];
        better |= static_cast<std::uint32_t>(best) << r;
    }
    if (better != 0) {
        for (std::size_t i = 0; i < replicas.stride; ++i) {
            replicas.best_negative[i] =
                (replicas.best_negative[i] & ~better) | (replicas.negative[i] & better);
        }
    }
}

template <class Fields>
void anneal_replicas_int16(Int16Replicas& replicas, const std::uint16_t* exponentials, std::size_t first,
                           std::size_t last) {
    constexpr std::size_t kTilesOfBlock = kBlock / kTileSpins;
    constexpr std::size_t kBlocksOfDraw = 5;
    alignas(64) std::int16_t thresholds[kTileSpins * kInt16Replicas];
    const std::size_t groups = (replicas.real_spins + kTileSpins - 1) / kTileSpins;
    Fields fields(replicas);
    for (std::size_t group = 0; group < groups; ++group) {
        fields.store_spins(group);
    }
    for (std::size_t sweep = first; sweep < last; ++sweep) {
        const ReplicaHeat heat = replica_heat(replicas, sweep);
        __m512i gains[2] = {_mm512_setzero_si512(), _mm512_setzero_si512()};
        std::uint64_t bits[kInt16Replicas] = {};
        const std::uint16_t* entries[kInt16Replicas];
        for (std::size_t group = 0; group < groups; ++group) {
            if (group % kTilesOfBlock == 0) {
                const bool draw = group / kTilesOfBlock % kBlocksOfDraw == 0;
                for (std::size_t r = 0; r < kInt16Replicas; ++r) {
                    bits[r] = draw ? next_random(replicas.random[r]) : bits[r] >> 12;
                    entries[r] = exponentials + (bits[r] & (kExponentials - 1));
                }
            }
            fields.begin(group);
            // Meanwhile the products of tiles, where `Fields` has any, are computed.
            draw_thresholds_of_tile(replicas, heat, group, entries, thresholds);
            __m512i local[kTileSpins];
            fields.finish(group, local);
            decide_tile(replicas, group, local, thresholds, gains);
            fields.store_spins(group);
        }
        end_sweep(replicas, gains);
    }
}
