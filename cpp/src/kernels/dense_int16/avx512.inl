// Dense int16 kernels for AVX-512 BW: one register holds the 32 spins of a block.
//
// A flip subtracts one row of couplings, four instructions for 32 fields; an attempt compares 32 spins at once, about five
// instructions. Problems of few blocks have versions whose loops are unrolled. All loads but those of the table of
// exponentials are aligned.

inline __m512i load16(const std::int16_t* from) { return _mm512_load_si512(from); }

// s L of one block, saturating.
inline __m512i steps_int16(__m512i local, std::uint32_t negative) {
    return _mm512_mask_subs_epi16(local, negative, _mm512_setzero_si512(), local);
}

// L -= s W for one row; kBlocks = 0 leaves the number of blocks to run time.
template <std::size_t kBlocks>
inline void subtract_row_int16(std::int16_t* local, const std::int16_t* row, __m512i spin,
                               std::size_t blocks) {
    const std::size_t count = kBlocks == 0 ? blocks : kBlocks;
    for (std::size_t block = 0; block < count; ++block) {
        const __m512i product = _mm512_mullo_epi16(load16(row + block * kBlock), spin);
        _mm512_store_si512(local + block * kBlock,
                           _mm512_subs_epi16(load16(local + block * kBlock), product));
    }
}

void flip_int16(Int16Replica& replica, std::size_t spin, std::size_t stride) {
    const std::uint32_t bit = std::uint32_t{1} << (spin % kBlock);
    const bool negative = (replica.negative[spin / kBlock] & bit) != 0;
    replica.negative[spin / kBlock] ^= bit;
    subtract_row_int16<0>(replica.local, replica.couplings + spin * stride,
                          _mm512_set1_epi16(negative ? -1 : 1), stride / kBlock);
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

// Columns of kBlocks blocks for kCount replicas of the same couplings: what two rows add to L has four forms, which are
// made once for all replicas.
template <std::size_t kCount, std::size_t kBlocks>
inline void local_fields_tile_int16(const Int16Replica* replicas, std::size_t n, std::size_t stride,
                                    std::size_t column) {
    __m512i local[kCount][kBlocks];
    for (std::size_t r = 0; r < kCount; ++r) {
        for (std::size_t b = 0; b < kBlocks; ++b) {
            local[r][b] = load16(replicas[r].local + column + b * kBlock);
        }
    }
    alignas(64) std::int16_t forms[4][kBlocks][kBlock];  // bits of the index: first spin, second spin
    for (std::size_t i = 0; i < n; i += 2) {
        const std::int16_t* row = replicas[0].couplings + i * stride + column;
        for (std::size_t b = 0; b < kBlocks; ++b) {
            const __m512i first = _mm512_srai_epi16(load16(row + b * kBlock), 1);
            const __m512i second = _mm512_srai_epi16(load16(row + stride + b * kBlock), 1);
            const __m512i sum = _mm512_add_epi16(first, second);
            const __m512i difference = _mm512_sub_epi16(first, second);
            const __m512i zero = _mm512_setzero_si512();
            _mm512_store_si512(forms[0][b], sum);
            _mm512_store_si512(forms[1][b], _mm512_sub_epi16(zero, difference));
            _mm512_store_si512(forms[2][b], difference);
            _mm512_store_si512(forms[3][b], _mm512_sub_epi16(zero, sum));
        }
#pragma GCC unroll 4
        for (std::size_t r = 0; r < kCount; ++r) {
            const auto& form = forms[replicas[r].negative[i / kBlock] >> (i % kBlock) & 3U];
#pragma GCC unroll 4
            for (std::size_t b = 0; b < kBlocks; ++b) {
                local[r][b] = _mm512_adds_epi16(local[r][b], load16(form[b]));
            }
        }
    }
    for (std::size_t r = 0; r < kCount; ++r) {
        for (std::size_t b = 0; b < kBlocks; ++b) {
            _mm512_store_si512(replicas[r].local + column + b * kBlock, local[r][b]);
        }
    }
}

template <std::size_t kCount>
void local_fields_count_int16(const Int16Replica* replicas, std::size_t n, std::size_t stride) {
    std::size_t column = 0;
    for (; column + 4 * kBlock <= stride; column += 4 * kBlock) {
        local_fields_tile_int16<kCount, 4>(replicas, n, stride, column);
    }
    for (; column < stride; column += kBlock) {
        local_fields_tile_int16<kCount, 1>(replicas, n, stride, column);
    }
}

void local_fields_int16(const Int16Replica* replicas, std::size_t count, std::size_t n, std::size_t stride) {
    bool shared = count == 4;
    for (std::size_t r = 1; r < count; ++r) {
        shared = shared && replicas[r].couplings == replicas[0].couplings;
    }
    if (shared) {
        local_fields_count_int16<4>(replicas, n, stride);
        return;
    }
    for (std::size_t r = 0; r < count; ++r) {
        local_fields_count_int16<1>(replicas + r, n, stride);
    }
}

inline void draw_thresholds_int16(Int16Replica& replica, std::size_t n, std::size_t blocks,
                                  const std::uint16_t* exponentials, std::uint32_t temperature) {
    const Int16Heat heat = heat_of(temperature);
    const __m512i scale = _mm512_set1_epi16(static_cast<short>(heat.factor));
    const __m512i most = _mm512_set1_epi16(static_cast<short>(heat.most));
    const __m128i shift = _mm_cvtsi32_si128(heat.shift);
    const __m512i one = _mm512_set1_epi16(1);
    std::uint64_t bits = 0;
    for (std::size_t block = 0; block < blocks; ++block) {
        bits = block % 5 == 0 ? next_random(replica.random) : bits >> 12;
        const __m512i entry = _mm512_loadu_si512(exponentials + (bits & (kExponentials - 1)));
        const __m512i scaled =
            _mm512_sll_epi16(_mm512_min_epu16(_mm512_mulhi_epu16(entry, scale), most), shift);
        _mm512_store_si512(replica.scratch + block * kBlock, _mm512_sub_epi16(scaled, one));
    }
    if (n % kBlock != 0) {
        std::int16_t* edge = replica.scratch + (blocks - 1) * kBlock;
        const __mmask32 real = (std::uint32_t{1} << (n % kBlock)) - 1;
        _mm512_store_si512(edge, _mm512_mask_mov_epi16(_mm512_set1_epi16(-32768), real, load16(edge)));
    }
}

// Candidates among the pending spins of the block, lowest first.
inline std::uint32_t candidates_int16(const Int16Replica& replica) {
    const __m512i step =
        steps_int16(load16(replica.local + replica.block * kBlock), replica.negative[replica.block]);
    const __m512i margin = _mm512_adds_epi16(step, load16(replica.scratch + replica.block * kBlock));
    return ~static_cast<std::uint32_t>(_mm512_movepi16_mask(margin)) & replica.pending;
}

// One step of one replica without a branch on the decision: the lowest candidate flips, or none does (the row of
// zeros behind the couplings is subtracted) and the replica moves on to the next block.
template <std::size_t kBlocks>
inline void step_without_branch_int16(Int16Replica& replica, std::size_t n) {
    constexpr std::size_t kStride = kBlocks * kBlock;
    const std::uint32_t found = candidates_int16(replica);
    const std::uint32_t none = static_cast<std::uint32_t>(found != 0) - 1;  // all ones when nothing flips
    const std::uint32_t bit = found & (~found + 1);
    const auto spin = static_cast<std::uint32_t>(replica.block * kBlock + _tzcnt_u32(found));
    const std::size_t row = (spin & ~none) | (static_cast<std::uint32_t>(n) & none);
    const std::uint32_t before = replica.negative[replica.block];
    const int sign = 1 - 2 * static_cast<int>((before & bit) != 0);
    replica.negative[replica.block] = before ^ bit;
    subtract_row_int16<kBlocks>(replica.local, replica.couplings + row * kStride,
                                _mm512_set1_epi16(static_cast<short>(sign)), kBlocks);
    replica.pending = ~(bit | (bit - 1)) | none;
    replica.block += none & 1;
}

// The same with a branch: cheaper when rows are long.
inline void step_with_branch_int16(Int16Replica& replica, std::size_t stride) {
    const std::uint32_t found = candidates_int16(replica);
    if (found == 0) {
        replica.pending = ~std::uint32_t{0};
        ++replica.block;
        return;
    }
    const std::uint32_t bit = found & (~found + 1);
    const std::size_t spin = replica.block * kBlock + _tzcnt_u32(found);
    const std::uint32_t before = replica.negative[replica.block];
    const int sign = (before & bit) != 0 ? -1 : 1;
    replica.negative[replica.block] = before ^ bit;
    subtract_row_int16<0>(replica.local, replica.couplings + spin * stride,
                          _mm512_set1_epi16(static_cast<short>(sign)), stride / kBlock);
    replica.pending = ~(bit | (bit - 1));
}

// sum of s_i (f_i + L_i).
inline std::int64_t energy_int16(const Int16Replica& replica, std::size_t blocks) {
    const __m512i one = _mm512_set1_epi16(1);
    __m512i total = _mm512_setzero_si512();
    for (std::size_t block = 0; block < blocks; ++block) {
        const __m512i spin = _mm512_mask_sub_epi16(one, replica.negative[block], _mm512_setzero_si512(), one);
        const __m512i of_local = _mm512_madd_epi16(load16(replica.local + block * kBlock), spin);
        const __m512i of_fields = _mm512_madd_epi16(load16(replica.fields + block * kBlock), spin);
        total = _mm512_add_epi32(total, _mm512_add_epi32(of_local, of_fields));
    }
    // 65,000 spins add up to less than 2^30 a lane.
    return _mm512_reduce_add_epi64(
        _mm512_add_epi64(_mm512_cvtepi32_epi64(_mm512_castsi512_si256(total)),
                         _mm512_cvtepi32_epi64(_mm512_extracti64x4_epi64(total, 1))));
}

template <std::size_t kCount, std::size_t kBlocks>
bool anneal_group_int16(Int16Replica* states, std::size_t n, std::size_t stride,
                        const std::uint16_t* exponentials, std::size_t last, std::size_t steps) {
    const std::size_t blocks = stride / kBlock;
    Int16Replica replicas[kCount];  // copies, which no other pointer can reach, stay in registers
    std::size_t running = 0;
    for (std::size_t r = 0; r < kCount; ++r) {
        replicas[r] = states[r];
        if (replicas[r].sweep < last) {
            ++running;
            if (!replicas[r].drawn) {
                draw_thresholds_int16(replicas[r], n, blocks, exponentials,
                                      replicas[r].temperature[replicas[r].sweep]);
                replicas[r].pending = ~std::uint32_t{0};
                replicas[r].drawn = true;
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
            if constexpr (kBlocks == 0) {
                step_with_branch_int16(replica, stride);
            } else {
                step_without_branch_int16<kBlocks>(replica, n);
            }
            if (__builtin_expect(static_cast<long>(replica.block == blocks), 0) != 0) {
                replica.gain = (replica.start - energy_int16(replica, blocks)) / 4;
                keep_best_int16(replica, blocks);
                replica.block = 0;
                if (++replica.sweep == last) {
                    replica.drawn = false;
                    --running;
                } else {
                    draw_thresholds_int16(replica, n, blocks, exponentials,
                                          replica.temperature[replica.sweep]);
                }
            }
        }
    }
    for (std::size_t r = 0; r < kCount; ++r) {
        states[r] = replicas[r];
    }
    return running == 0;
}

template <std::size_t kCount>
bool anneal_count_int16(Int16Replica* replicas, std::size_t n, std::size_t stride,
                        const std::uint16_t* exponentials, std::size_t last, std::size_t steps) {
    switch (stride / kBlock) {
        case 1: return anneal_group_int16<kCount, 1>(replicas, n, stride, exponentials, last, steps);
        case 2: return anneal_group_int16<kCount, 2>(replicas, n, stride, exponentials, last, steps);
        case 3: return anneal_group_int16<kCount, 3>(replicas, n, stride, exponentials, last, steps);
        case 4: return anneal_group_int16<kCount, 4>(replicas, n, stride, exponentials, last, steps);
        case 5: return anneal_group_int16<kCount, 5>(replicas, n, stride, exponentials, last, steps);
        case 6: return anneal_group_int16<kCount, 6>(replicas, n, stride, exponentials, last, steps);
        default: return anneal_group_int16<kCount, 0>(replicas, n, stride, exponentials, last, steps);
    }
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

// The flip that a replica decided on and has not yet applied to its local fields.
struct PendingInt16Flip {
    const std::int16_t* row;
    __m512i spin;
};

struct Int16Choice {
    std::int32_t step;
    std::size_t spin;
};

// The lowest of 32 unsigned words, in the lowest word.
inline __m128i minimum_int16(__m512i words) {
    const __m256i half = _mm256_min_epu16(_mm512_castsi512_si256(words), _mm512_extracti64x4_epi64(words, 1));
    const __m128i quarter = _mm_min_epu16(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1));
    return _mm_minpos_epu16(quarter);
}

// The largest of 32 words, in the lowest word: the smallest after x -> 0x7fff - x.
inline __m128i maximum_int16(__m512i words) {
    const __m512i top = _mm512_set1_epi16(0x7FFF);
    return _mm_xor_si128(minimum_int16(_mm512_xor_si512(words, top)), _mm512_castsi512_si128(top));
}

inline std::uint32_t lowest_word(__m128i words) {
    return static_cast<std::uint32_t>(_mm_extract_epi16(words, 0));
}

// The lowest spin with the largest step, resting or not. Rarely called.
__attribute__((noinline)) Int16Choice choose_of_all_int16(const Int16Replica& replica, std::size_t blocks,
                                                          __m512i best) {
    const __m128i largest = maximum_int16(best);
    std::size_t block = 0;
    std::uint32_t equal = 0;
    for (; block < blocks; ++block) {
        const __m512i step = steps_int16(load16(replica.local + block * kBlock), replica.negative[block]);
        equal = _mm512_cmpeq_epi16_mask(step, _mm512_broadcastw_epi16(largest));
        if (equal != 0) {
            break;
        }
    }
    return {static_cast<std::int16_t>(lowest_word(largest)), block * kBlock + _tzcnt_u32(equal)};
}

// Applies the pending flip and finds the best allowed step in the same pass over the local fields. A resting spin is
// allowed only where its step beats all that free ones can have, so two maxima are enough: of all steps, which counts
// where it exceeds the aspiration, and of the free ones. No running value waits for a comparison.
template <std::size_t kBlocks>
inline Int16Choice flip_and_choose_int16(Int16Replica& replica, const PendingInt16Flip& flip,
                                         std::size_t blocks, std::size_t now, std::int32_t aspiration) {
    const std::size_t count = kBlocks == 0 ? blocks : kBlocks;
    const __m512i lowest = _mm512_set1_epi16(-32768);
    const __m512i time = _mm512_set1_epi16(static_cast<short>(now));
    const __m512i one = _mm512_set1_epi16(1);
    __m512i best_of_all = lowest;
    __m512i best = lowest;
    // Copies: the compiler has to take the stores below for changes of what a reference leads to.
    std::int16_t* const locals = replica.local;
    const std::int16_t* const tenures = replica.scratch;
    const std::uint32_t* const negative = replica.negative;
    const std::int16_t* const row = flip.row;
    const __m512i flipped = flip.spin;
    const auto step_of = [&](std::size_t block) {
        const __m512i product = _mm512_mullo_epi16(load16(row + block * kBlock), flipped);
        const __m512i local = _mm512_subs_epi16(load16(locals + block * kBlock), product);
        _mm512_store_si512(locals + block * kBlock, local);
        return steps_int16(local, negative[block]);
    };
    const auto rested = [&](std::size_t block) {
        return _mm512_cmple_epi16_mask(load16(tenures + block * kBlock), time);
    };
    const auto beats_all = [&] {
        return _mm512_cmpgt_epi16_mask(best_of_all, _mm512_set1_epi16(static_cast<short>(aspiration))) != 0;
    };
    if constexpr (kBlocks != 0) {
        __m512i steps[kBlocks];
        __mmask32 free[kBlocks];
        for (std::size_t block = 0; block < kBlocks; ++block) {
            steps[block] = step_of(block);
            free[block] = rested(block);
            best_of_all = _mm512_max_epi16(best_of_all, steps[block]);
            best = _mm512_mask_max_epi16(best, free[block], best, steps[block]);
        }
        if (__builtin_expect(static_cast<long>(beats_all()), 0) != 0) {
            return choose_of_all_int16(replica, count, best_of_all);
        }
        const __m128i largest = maximum_int16(best);
        const __m512i everywhere = _mm512_broadcastw_epi16(largest);
        std::uint64_t equal[2] = {0, 0};
        for (std::size_t block = 0; block < kBlocks; ++block) {
            const std::uint64_t of_block =
                _mm512_mask_cmpeq_epi16_mask(free[block], steps[block], everywhere);
            equal[block / 2] |= of_block << (block % 2 * kBlock);
        }
        // Branch-free, as the branch would mispredict: the count of the first word is 64 only where it is zero.
        const std::uint64_t first = _tzcnt_u64(equal[0]);
        const std::uint64_t second = _tzcnt_u64(equal[1]) & (0 - (first >> 6));
        return {static_cast<std::int16_t>(lowest_word(largest)), first + second};
    }
    __m512i here = _mm512_setzero_si512();
    __m512i where = here;
    for (std::size_t block = 0; block < count; ++block) {
        const __m512i step = step_of(block);
        const __mmask32 free = rested(block);
        best_of_all = _mm512_max_epi16(best_of_all, step);
        const __mmask32 better = _mm512_mask_cmpgt_epi16_mask(free, step, best);
        best = _mm512_mask_max_epi16(best, free, best, step);
        where = _mm512_mask_mov_epi16(where, better, here);
        here = _mm512_add_epi16(here, one);
    }
    if (__builtin_expect(static_cast<long>(beats_all()), 0) != 0) {
        return choose_of_all_int16(replica, count, best_of_all);
    }
    const __m128i largest = maximum_int16(best);
    const __mmask32 equal = _mm512_cmpeq_epi16_mask(best, _mm512_broadcastw_epi16(largest));
    alignas(64) static constexpr std::uint16_t kLane[32] = {0,  1,  2,  3,  4,  5,  6,  7,  8,  9,  10,
                                                            11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21,
                                                            22, 23, 24, 25, 26, 27, 28, 29, 30, 31};
    const __m512i spin = _mm512_or_si512(_mm512_slli_epi16(where, 5), _mm512_load_si512(kLane));
    const __m512i candidates = _mm512_mask_mov_epi16(_mm512_set1_epi16(-1), equal, spin);
    return {static_cast<std::int16_t>(lowest_word(largest)), lowest_word(minimum_int16(candidates))};
}

template <std::size_t kCount, std::size_t kBlocks>
void tabu_group_int16(Int16Replica* replicas, std::size_t n, std::size_t stride, std::size_t flips) {
    const std::size_t blocks = stride / kBlock;
    PendingInt16Flip pending[kCount];
    for (std::size_t r = 0; r < kCount; ++r) {
        pending[r] = {replicas[r].couplings + n * stride, _mm512_set1_epi16(1)};
        for (std::size_t j = n; j < stride; ++j) {
            replicas[r].scratch[j] = 32767;  // padding rests for ever
        }
    }
    for (std::size_t now = 1; now <= flips; ++now) {
#pragma GCC unroll 4
        for (std::size_t r = 0; r < kCount; ++r) {
            Int16Replica& replica = replicas[r];
            ++replica.since_best;
            const std::int64_t missing = replica.best_gain - replica.gain;
            const Int16Choice choice =
                flip_and_choose_int16<kBlocks>(replica, pending[r], blocks, now,
                                               missing > 32767 ? 32767 : static_cast<std::int32_t>(missing));
            if (choice.step == -32768) {  // every spin rests
                pending[r] = {replica.couplings + n * stride, _mm512_set1_epi16(1)};
                continue;
            }
            const std::size_t block = choice.spin / kBlock;
            const std::uint32_t bit = std::uint32_t{1} << (choice.spin % kBlock);
            const std::uint32_t before = replica.negative[block];
            const int sign = 1 - 2 * static_cast<int>((before & bit) != 0);
            replica.negative[block] = before ^ bit;
            replica.gain += std::int64_t{sign} * replica.local[choice.spin];
            pending[r] = {replica.couplings + choice.spin * stride,
                          _mm512_set1_epi16(static_cast<short>(sign))};
            if constexpr (kBlocks == 0) {
                // A matrix of long rows leaves the caches; while this one comes the other replicas have their turns.
                for (std::size_t ahead = 0; ahead < blocks; ++ahead) {
                    _mm_prefetch(reinterpret_cast<const char*>(pending[r].row + ahead * kBlock), _MM_HINT_T0);
                }
            }
            const std::uint64_t draw = ((next_random(replica.random) >> 32) * replica.tenure_spread) >> 32;
            // The whole block is stored: its next load comes too soon to wait for two bytes of it to reach the cache.
            std::int16_t* rests = replica.scratch + block * kBlock;
            const __m512i end = _mm512_set1_epi16(static_cast<short>(now + replica.least_tenure + 1 + draw));
            _mm512_store_si512(rests, _mm512_mask_mov_epi16(load16(rests), bit, end));
            keep_best_int16(replica, blocks);
        }
    }
    for (std::size_t r = 0; r < kCount; ++r) {
        subtract_row_int16<0>(replicas[r].local, pending[r].row, pending[r].spin, blocks);
        const __m512i passed = _mm512_set1_epi16(static_cast<short>(flips));
        for (std::size_t j = 0; j < stride; j += kBlock) {
            const __m512i left = _mm512_sub_epi16(load16(replicas[r].scratch + j), passed);
            _mm512_store_si512(replicas[r].scratch + j, _mm512_max_epi16(left, _mm512_setzero_si512()));
        }
    }
}

template <std::size_t kCount>
void tabu_count_int16(Int16Replica* replicas, std::size_t n, std::size_t stride, std::size_t flips) {
    switch (stride / kBlock) {
        case 1: tabu_group_int16<kCount, 1>(replicas, n, stride, flips); break;
        case 2: tabu_group_int16<kCount, 2>(replicas, n, stride, flips); break;
        case 3: tabu_group_int16<kCount, 3>(replicas, n, stride, flips); break;
        case 4: tabu_group_int16<kCount, 4>(replicas, n, stride, flips); break;
        default: tabu_group_int16<kCount, 0>(replicas, n, stride, flips); break;
    }
}

void tabu_int16(Int16Replica* replicas, std::size_t count, std::size_t n, std::size_t stride,
                std::size_t flips) {
    switch (count) {
        case 4: tabu_count_int16<4>(replicas, n, stride, flips); break;
        case 3: tabu_count_int16<3>(replicas, n, stride, flips); break;
        case 2: tabu_count_int16<2>(replicas, n, stride, flips); break;
        default: tabu_count_int16<1>(replicas, n, stride, flips); break;
    }
}
