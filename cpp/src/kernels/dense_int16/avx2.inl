// Dense int16 kernels for AVX2: two registers hold the 32 spins of a block.
//
// A flip subtracts one row of couplings, four instructions for 16 fields; an attempt compares 32 spins at once, about 16
// instructions, six of them for thresholds. All loads but those of the table of exponentials are aligned.

inline __m256i load16(const std::int16_t* from) {
    return _mm256_load_si256(reinterpret_cast<const __m256i*>(from));
}
inline void store16(std::int16_t* to, __m256i value) {
    _mm256_store_si256(reinterpret_cast<__m256i*>(to), value);
}

// All ones in the lanes of the lower 16 bits that are set.
inline __m256i replicas_int16(std::uint32_t bits) {
    const __m256i select = _mm256_setr_epi16(1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192,
                                             16384, static_cast<short>(-32768));
    return _mm256_cmpeq_epi16(_mm256_and_si256(_mm256_set1_epi16(static_cast<short>(bits)), select), select);
}

inline void subtract_row_int16(std::int16_t* local, const std::int16_t* row, int sign, std::size_t stride) {
    const __m256i spin = _mm256_set1_epi16(static_cast<short>(sign));
    for (std::size_t j = 0; j < stride; j += kBlock) {
#pragma GCC unroll 2
        for (std::size_t k = j; k < j + kBlock; k += 16) {
            const __m256i change = _mm256_sign_epi16(load16(row + k), spin);
            store16(local + k, _mm256_subs_epi16(load16(local + k), change));
        }
    }
}

void flip_int16(Int16Replica& replica, std::size_t spin, std::size_t stride) {
    const std::uint32_t bit = std::uint32_t{1} << (spin % kBlock);
    const int sign = (replica.negative[spin / kBlock] & bit) != 0 ? -1 : 1;
    replica.negative[spin / kBlock] ^= bit;
    subtract_row_int16(replica.local, replica.couplings + spin * stride, sign, stride);
}

inline void keep_best_int16(Int16Replica& replica, std::size_t blocks) {
    if (replica.gain > replica.best_gain) {
        replica.best_gain = replica.gain;
        replica.since_best = 0;
        for (std::size_t block = 0; block < blocks; ++block) {
            replica.best_negative[block] = replica.negative[block];
        }
    }
}

// Two registers of columns for kCount replicas of the same couplings: what two rows add to L has four forms, which are made
// once for all replicas.
template <std::size_t kCount>
inline void local_fields_tile_int16(const Int16Replica* replicas, std::size_t n, std::size_t stride,
                                    std::size_t column) {
    __m256i local[kCount][2];
#pragma GCC unroll 4
    for (std::size_t r = 0; r < kCount; ++r) {
        local[r][0] = load16(replicas[r].local + column);
        local[r][1] = load16(replicas[r].local + column + 16);
    }
    alignas(64) std::int16_t forms[4][32];  // bits of the index: first spin, second spin
    for (std::size_t i = 0; i < n; i += 2) {
        const std::int16_t* row = replicas[0].couplings + i * stride + column;
#pragma GCC unroll 2
        for (std::size_t j = 0; j < 32; j += 16) {
            const __m256i first = _mm256_srai_epi16(load16(row + j), 1);
            const __m256i second = _mm256_srai_epi16(load16(row + stride + j), 1);
            const __m256i sum = _mm256_add_epi16(first, second);
            const __m256i difference = _mm256_sub_epi16(first, second);
            const __m256i zero = _mm256_setzero_si256();
            store16(forms[0] + j, sum);
            store16(forms[1] + j, _mm256_sub_epi16(zero, difference));
            store16(forms[2] + j, difference);
            store16(forms[3] + j, _mm256_sub_epi16(zero, sum));
        }
#pragma GCC unroll 4
        for (std::size_t r = 0; r < kCount; ++r) {
            const std::int16_t* form = forms[replicas[r].negative[i / kBlock] >> (i % kBlock) & 3U];
            local[r][0] = _mm256_adds_epi16(local[r][0], load16(form));
            local[r][1] = _mm256_adds_epi16(local[r][1], load16(form + 16));
        }
    }
#pragma GCC unroll 4
    for (std::size_t r = 0; r < kCount; ++r) {
        store16(replicas[r].local + column, local[r][0]);
        store16(replicas[r].local + column + 16, local[r][1]);
    }
}

void local_fields_int16(const Int16Replica* replicas, std::size_t count, std::size_t n, std::size_t stride) {
    bool shared = count == kReplicaGroup;
    for (std::size_t r = 1; r < count; ++r) {
        shared = shared && replicas[r].couplings == replicas[0].couplings;
    }
    for (std::size_t column = 0; column < stride; column += 32) {
        if (shared) {
            local_fields_tile_int16<kReplicaGroup>(replicas, n, stride, column);
            continue;
        }
        for (std::size_t r = 0; r < count; ++r) {
            local_fields_tile_int16<1>(replicas + r, n, stride, column);
        }
    }
}

// Thresholds of a sweep, one block after the other: drawn entries go through `scaled`.
template <class Scaled>
inline void draw_blocks_int16(Int16Replica& replica, std::size_t blocks, const std::uint16_t* exponentials,
                              const Scaled& scaled) {
    const __m256i one = _mm256_set1_epi16(1);
    std::uint64_t bits = 0;
    for (std::size_t block = 0; block < blocks; ++block) {
        bits = block % 5 == 0 ? next_random(replica.random) : bits >> 12;
        const std::uint16_t* entry = exponentials + (bits & (kExponentials - 1));
        for (std::size_t half = 0; half < kBlock; half += 16) {
            const __m256i drawn = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(entry + half));
            store16(replica.scratch + block * kBlock + half, _mm256_sub_epi16(scaled(drawn), one));
        }
    }
}

inline void draw_thresholds_int16(Int16Replica& replica, std::size_t n, std::size_t blocks,
                                  const std::uint16_t* exponentials, std::uint32_t temperature) {
    const Int16Heat heat = heat_of(temperature);
    const __m256i scale = _mm256_set1_epi16(static_cast<short>(heat.factor));
    if (heat.shift == 0 && heat.factor <= heat.most) {  // nothing exceeds the factor
        draw_blocks_int16(replica, blocks, exponentials,
                          [&](__m256i drawn) { return _mm256_mulhi_epu16(drawn, scale); });
    } else {
        const __m256i most = _mm256_set1_epi16(static_cast<short>(heat.most));
        const __m128i shift = _mm_cvtsi32_si128(heat.shift);
        draw_blocks_int16(replica, blocks, exponentials, [&](__m256i drawn) {
            return _mm256_sll_epi16(_mm256_min_epu16(_mm256_mulhi_epu16(drawn, scale), most), shift);
        });
    }
    for (std::size_t j = n; j < blocks * kBlock; ++j) {
        replica.scratch[j] = -32768;
    }
}

// Bit set where a word of two registers is below 0.
inline std::uint32_t negative_words_int16(__m256i low, __m256i high) {
    // Packing keeps the signs; the two middle quarters come out exchanged.
    const __m256i packed = _mm256_permute4x64_epi64(_mm256_packs_epi16(low, high), 0xD8);
    return static_cast<std::uint32_t>(_mm256_movemask_epi8(packed));
}

// Candidates of a block: bit set where s L + threshold >= 0. Both signs are tried for all spins, and each spin takes its own.
inline std::uint32_t candidates_int16(const std::int16_t* local, const std::int16_t* threshold,
                                      std::uint32_t negative) {
    const __m256i field[2] = {load16(local), load16(local + 16)};
    const __m256i margin[2] = {load16(threshold), load16(threshold + 16)};
    const std::uint32_t if_up =
        negative_words_int16(_mm256_adds_epi16(margin[0], field[0]), _mm256_adds_epi16(margin[1], field[1]));
    const std::uint32_t if_down =
        negative_words_int16(_mm256_subs_epi16(margin[0], field[0]), _mm256_subs_epi16(margin[1], field[1]));
    return ~(if_up ^ ((if_up ^ if_down) & negative));
}

// One step: the lowest pending candidate of the block flips, or the replica moves on to the next block. Has a spin flipped?
inline bool step_int16(Int16Replica& replica, std::size_t stride) {
    const std::size_t first = replica.block * kBlock;
    const std::uint32_t before = replica.negative[replica.block];
    const std::uint32_t found =
        candidates_int16(replica.local + first, replica.scratch + first, before) & replica.pending;
    if (found == 0) {
        replica.pending = ~0U;
        ++replica.block;
        return false;
    }
    const std::uint32_t bit = found & (~found + 1);
    const std::size_t spin = first + _tzcnt_u32(found);
    replica.negative[replica.block] = before ^ bit;
    subtract_row_int16(replica.local, replica.couplings + spin * stride, (before & bit) != 0 ? -1 : 1,
                       stride);
    replica.pending = ~(bit | (bit - 1));
    return true;
}

// sum of s_i (f_i + L_i).
inline std::int64_t energy_int16(const Int16Replica& replica, std::size_t stride) {
    const __m256i one = _mm256_set1_epi16(1);
    __m256i total = _mm256_setzero_si256();
    for (std::size_t j = 0; j < stride; j += 16) {
        const __m256i minus = replicas_int16(replica.negative[j / kBlock] >> (j % kBlock));
        const __m256i spin = _mm256_or_si256(minus, one);  // -1 where all bits are set
        total =
            _mm256_add_epi32(total, _mm256_add_epi32(_mm256_madd_epi16(load16(replica.local + j), spin),
                                                     _mm256_madd_epi16(load16(replica.fields + j), spin)));
    }
    // 65,000 spins add up to less than 2^30 a lane.
    const __m256i wide = _mm256_add_epi64(_mm256_cvtepi32_epi64(_mm256_castsi256_si128(total)),
                                          _mm256_cvtepi32_epi64(_mm256_extracti128_si256(total, 1)));
    const __m128i half = _mm_add_epi64(_mm256_castsi256_si128(wide), _mm256_extracti128_si256(wide, 1));
    return _mm_cvtsi128_si64(_mm_add_epi64(half, _mm_unpackhi_epi64(half, half)));
}

// Steps of kCount replicas in turn. Copies, which no other pointer can reach, stay in registers.
template <std::size_t kCount>
bool anneal_count_int16(Int16Replica* states, std::size_t n, std::size_t stride,
                        const std::uint16_t* exponentials, std::size_t last, std::size_t steps) {
    const std::size_t blocks = stride / kBlock;
    Int16Replica replicas[kCount];
    bool changed[kCount];  // since the gain was taken from the local fields
    std::size_t running = 0;
    const auto draw = [&](Int16Replica& replica) {
        draw_thresholds_int16(replica, n, blocks, exponentials, replica.temperature[replica.sweep]);
        replica.pending = ~0U;
        replica.drawn = true;
    };
    for (std::size_t r = 0; r < kCount; ++r) {
        replicas[r] = states[r];
        changed[r] = true;
        if (replicas[r].sweep < last) {
            ++running;
            if (!replicas[r].drawn) {
                draw(replicas[r]);
            }
        }
    }
    for (std::size_t step = 0; step < steps && running != 0; ++step) {
#pragma GCC unroll 4
        for (std::size_t r = 0; r < kCount; ++r) {
            Int16Replica& replica = replicas[r];
            if (replica.sweep >= last) {
                continue;
            }
            changed[r] |= step_int16(replica, stride);
            if (__builtin_expect(static_cast<long>(replica.block == blocks), 0) != 0) {
                if (changed[r]) {
                    replica.gain = (replica.start - energy_int16(replica, stride)) / 4;
                    keep_best_int16(replica, blocks);
                    changed[r] = false;
                }
                replica.block = 0;
                replica.drawn = false;
                if (++replica.sweep == last) {
                    --running;
                } else {
                    draw(replica);
                }
            }
        }
    }
    for (std::size_t r = 0; r < kCount; ++r) {
        states[r] = replicas[r];
    }
    return running == 0;
}

bool anneal_int16(Int16Replica* replicas, std::size_t count, std::size_t n, std::size_t stride,
                  const std::uint16_t* exponentials, std::size_t last, std::size_t steps) {
    switch (count) {
        case 4: return anneal_count_int16<4>(replicas, n, stride, exponentials, last, steps);
        case 3: return anneal_count_int16<3>(replicas, n, stride, exponentials, last, steps);
        case 2: return anneal_count_int16<2>(replicas, n, stride, exponentials, last, steps);
        default: return anneal_count_int16<1>(replicas, n, stride, exponentials, last, steps);
    }
}
