// Tabu search over dense int16 couplings for AVX2: 16 spins a register, of avx2.inl.
//
// One pass over the local fields applies the flip decided before and finds the best allowed step. Steps are compared as
// unsigned words, y = 32768 + s L: a resting spin's is 0, which no spin flips for. A resting spin is allowed only where its
// step beats all that free ones can have, so two maxima are enough: of all steps, which counts where it exceeds the
// aspiration, and of the free ones. While the kernel runs, what belongs to 16 of up to kMostNear spins lies side by side.
// A pass takes stride / 16 times 10 vector operations, a choice some 60 in a chain.

constexpr std::size_t kMostNear = 1024;

// 16 spins of a read side by side, for as long as the kernel runs.
struct NearSpins {
    __m256i local;
    __m256i turns;  // 0x7fff where the spin is negative, else 0x8000
    __m256i ones;   // 1 where the spin is negative, else 0
    __m256i rests;  // the iteration at which the spin is free again
};

// A read while the kernel runs.
struct TabuRead {
    NearSpins* near;  // null where there are too many spins
    std::int16_t* local;
    std::int16_t* rests;
    std::uint32_t* negative;
    const std::int16_t* row;  // of the flip that was decided on and is not yet in the local fields
    __m256i sign;             // of its spin: all ones where it was negative
};

// What a pass reads and writes of 16 spins, register k.
template <bool kNear>
struct SpinsAt {
    const TabuRead& read;
    std::size_t k;

    __m256i local() const { return kNear ? read.near[k].local : load16(read.local + 16 * k); }
    void set_local(__m256i value) const {
        if constexpr (kNear) {
            read.near[k].local = value;
        } else {
            store16(read.local + 16 * k, value);
        }
    }
    // 32768 + s L: L with its highest bit turned, or for a negative spin all others, and one more.
    __m256i raised_steps(__m256i local) const {
        if constexpr (kNear) {
            return _mm256_adds_epu16(_mm256_xor_si256(local, read.near[k].turns), read.near[k].ones);
        } else {
            const __m256i negative = replicas_int16(read.negative[k / 2] >> (k % 2 * 16));
            const __m256i turned = _mm256_xor_si256(local, _mm256_set1_epi16(-32768));
            return _mm256_adds_epu16(_mm256_xor_si256(turned, negative), _mm256_srli_epi16(negative, 15));
        }
    }
    // The steps of spins that are free, 0 elsewhere. `next` is one more than the iteration.
    __m256i of_free(__m256i steps, __m256i next) const {
        const __m256i rests = kNear ? read.near[k].rests : load16(read.rests + 16 * k);
        return _mm256_and_si256(steps, _mm256_cmpgt_epi16(next, rests));
    }
};

struct Int16Choice {
    std::int32_t step;
    std::size_t spin;
};

// The largest steps so far.
struct LargestSteps {
    __m256i all;
    __m256i free;
    __m256i where;  // number of the register or group of registers in which each lane of `free` came first
};

// The largest of 16 unsigned words.
inline std::uint32_t maximum_int16(__m256i words) {
    // There is an instruction for the smallest.
    const __m256i turned = _mm256_xor_si256(words, _mm256_set1_epi16(-1));
    const __m128i half = _mm_min_epu16(_mm256_castsi256_si128(turned), _mm256_extracti128_si256(turned, 1));
    return 0xFFFFU ^ static_cast<std::uint32_t>(_mm_extract_epi16(_mm_minpos_epu16(half), 0));
}

inline std::uint32_t minimum_int16(__m256i words) {
    const __m128i half = _mm_min_epu16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
    return static_cast<std::uint32_t>(_mm_extract_epi16(_mm_minpos_epu16(half), 0));
}

// Applies the decided flip to 16 spins; their free steps.
template <bool kNear>
inline __m256i flip_and_look_int16(const TabuRead& read, std::size_t k, __m256i next, LargestSteps& largest) {
    const SpinsAt<kNear> spins{read, k};
    // L + W as -1 - ((-1 - L) - W), saturating alike.
    const __m256i turned = _mm256_xor_si256(spins.local(), read.sign);
    const __m256i local = _mm256_xor_si256(_mm256_subs_epi16(turned, load16(read.row + 16 * k)), read.sign);
    spins.set_local(local);
    const __m256i steps = spins.raised_steps(local);
    largest.all = _mm256_max_epu16(largest.all, steps);
    return spins.of_free(steps, next);
}

// Notes the lanes in which the steps of register or group `number` are the largest so far. Numbers grow.
inline void note_free_int16(LargestSteps& largest, __m256i steps, __m256i number) {
    const __m256i both = _mm256_max_epu16(largest.free, steps);
    const __m256i as_before = _mm256_cmpeq_epi16(both, largest.free);
    largest.where = _mm256_max_epi16(largest.where, _mm256_andnot_si256(as_before, number));
    largest.free = both;
}

// The lowest spin with this raised step among all, resting or not. Rarely called.
template <bool kNear>
__attribute__((noinline)) Int16Choice choose_of_all_int16(const TabuRead& read, std::uint32_t step) {
    const __m256i wanted = _mm256_set1_epi16(static_cast<short>(step));
    for (std::size_t k = 0;; ++k) {
        const SpinsAt<kNear> spins{read, k};
        const __m256i equal = _mm256_cmpeq_epi16(spins.raised_steps(spins.local()), wanted);
        const auto bytes = static_cast<std::uint32_t>(_mm256_movemask_epi8(equal));
        if (bytes != 0) {
            return {static_cast<std::int32_t>(step) - 32768, 16 * k + _tzcnt_u32(bytes) / 2};
        }
    }
}

inline __m256i lanes_int16() {
    return _mm256_setr_epi16(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
}

constexpr std::size_t kGroupRegisters = 4;  // of rows of any length: a group has one number

// Applies the decided flip and looks at all spins. kRegisters registers have numbers that are constants, the first spins of
// each; with 0 there may be any number of them, in groups.
template <std::size_t kRegisters, bool kNear>
inline LargestSteps pass_int16(const TabuRead& state, std::size_t registers, __m256i next) {
    TabuRead read = state;  // a copy: no store can change it
    LargestSteps largest{_mm256_setzero_si256(), _mm256_setzero_si256(), _mm256_setzero_si256()};
    if constexpr (kRegisters != 0) {
#pragma GCC unroll 8
        for (std::size_t k = 0; k < kRegisters; ++k) {
            const __m256i steps = flip_and_look_int16<kNear>(read, k, next, largest);
            note_free_int16(largest, steps, _mm256_set1_epi16(static_cast<short>(16 * k)));
        }
        return largest;
    }
    const __m256i one = _mm256_set1_epi16(1);
    __m256i number = _mm256_setzero_si256();
    std::size_t k = 0;
    const auto look = [&](std::size_t ahead) {
        return flip_and_look_int16<kNear>(read, k + ahead, next, largest);
    };
    for (; k + kGroupRegisters <= registers; k += kGroupRegisters) {
        const __m256i first = _mm256_max_epu16(look(0), look(1));
        const __m256i second = _mm256_max_epu16(look(2), look(3));
        note_free_int16(largest, _mm256_max_epu16(first, second), number);
        number = _mm256_add_epi16(number, one);
    }
    if (k < registers) {
        const __m256i first = look(0);
        note_free_int16(largest, _mm256_max_epu16(first, look(1)), number);
    }
    return largest;
}

// The lowest spin of a group whose free step is this one.
template <bool kNear>
inline std::size_t lowest_of_group_int16(const TabuRead& read, std::size_t group, std::size_t registers,
                                         __m256i next, std::uint32_t step) {
    const __m256i wanted = _mm256_set1_epi16(static_cast<short>(step));
    const auto equal = [&](std::size_t k) {
        const SpinsAt<kNear> spins{read, k};
        return _mm256_cmpeq_epi16(spins.of_free(spins.raised_steps(spins.local()), next), wanted);
    };
    const auto bits = [&](std::size_t k) {
        return std::uint64_t{negative_words_int16(equal(k), equal(k + 1))};
    };
    const std::size_t first = kGroupRegisters * group;
    const std::size_t second = first + 2 < registers ? first + 2 : first;  // a last half group twice
    return 16 * first + _tzcnt_u64(bits(first) | bits(second) << 32U);
}

// The best allowed step after a pass.
template <std::size_t kRegisters, bool kNear>
inline Int16Choice choose_int16(const TabuRead& read, const LargestSteps& largest, std::size_t registers,
                                __m256i next, std::int64_t missing) {
    const auto aspiration = static_cast<short>(32768 + (missing > 32767 ? 32767 : missing));
    const __m256i beyond = _mm256_subs_epu16(largest.all, _mm256_set1_epi16(aspiration));
    if (__builtin_expect(static_cast<long>(_mm256_testz_si256(beyond, beyond)), 1) == 0) {
        return choose_of_all_int16<kNear>(read, maximum_int16(largest.all));
    }
    const std::uint32_t step = maximum_int16(largest.free);
    const __m256i equal = _mm256_cmpeq_epi16(largest.free, _mm256_set1_epi16(static_cast<short>(step)));
    const __m256i others = _mm256_xor_si256(equal, _mm256_set1_epi16(-1));
    std::size_t spin = 0;
    if constexpr (kRegisters != 0) {
        const __m256i spins = _mm256_or_si256(largest.where, lanes_int16());
        spin = minimum_int16(_mm256_or_si256(spins, others));
    } else {
        const std::size_t group = minimum_int16(_mm256_or_si256(largest.where, others));
        spin = lowest_of_group_int16<kNear>(read, group, registers, next, step);
    }
    return {static_cast<std::int32_t>(step) - 32768, spin};
}

// No flip to apply, and near spins.
template <bool kNear>
inline void begin_tabu_int16(const Int16Replica& replica, std::size_t n, std::size_t registers,
                             NearSpins* near, TabuRead& read) {
    read = {near,
            replica.local,
            replica.scratch,
            replica.negative,
            replica.couplings + n * 16 * registers,
            _mm256_setzero_si256()};
    for (std::size_t j = n; j < 16 * registers; ++j) {
        replica.scratch[j] = 32767;  // padding rests for ever
    }
    for (std::size_t k = 0; kNear && k < registers; ++k) {
        const __m256i negative = replicas_int16(replica.negative[k / 2] >> (k % 2 * 16));
        near[k] = {load16(replica.local + 16 * k), _mm256_xor_si256(negative, _mm256_set1_epi16(-32768)),
                   _mm256_srli_epi16(negative, 15), load16(replica.scratch + 16 * k)};
    }
}

// The last flip, and how long spins still rest.
template <bool kNear>
inline void end_tabu_int16(const TabuRead& read, std::size_t registers, std::size_t flips) {
    const __m256i passed = _mm256_set1_epi16(static_cast<short>(flips));
    for (std::size_t k = 0; k < registers; ++k) {
        const SpinsAt<kNear> spins{read, k};
        const __m256i turned = _mm256_xor_si256(spins.local(), read.sign);
        const __m256i changed = _mm256_subs_epi16(turned, load16(read.row + 16 * k));
        store16(read.local + 16 * k, _mm256_xor_si256(changed, read.sign));
        const __m256i rests = kNear ? read.near[k].rests : load16(read.rests + 16 * k);
        store16(read.rests + 16 * k,
                _mm256_max_epi16(_mm256_sub_epi16(rests, passed), _mm256_setzero_si256()));
    }
}

// Decides for the chosen spin. Whole registers are stored: their next load comes too soon to wait for two bytes of them to
// reach the cache.
template <bool kNear>
inline void decide_int16(Int16Replica& replica, TabuRead& read, std::size_t spin, std::size_t registers,
                         std::size_t now) {
    // All ones in the lane: 16 words from the place where the one of them is at the right distance.
    alignas(64) static constexpr std::int16_t kLane[32] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, -1};
    const __m256i lane = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(kLane + 15 - spin % 16));
    const std::uint32_t bit = std::uint32_t{1} << (spin % kBlock);
    const std::uint32_t before = read.negative[spin / kBlock];
    const int sign = 1 - 2 * static_cast<int>((before & bit) != 0);
    read.negative[spin / kBlock] = before ^ bit;
    read.row = replica.couplings + spin * 16 * registers;
    read.sign = _mm256_set1_epi16(static_cast<short>(sign >> 1));
    const std::uint64_t draw = ((next_random(replica.random) >> 32) * replica.tenure_spread) >> 32;
    const __m256i end = _mm256_set1_epi16(static_cast<short>(now + replica.least_tenure + 1 + draw));
    if constexpr (kNear) {
        NearSpins& spins = read.near[spin / 16];
        const auto* local = reinterpret_cast<const char*>(&spins.local) + spin % 16 * sizeof(std::int16_t);
        std::int16_t field = 0;
        __builtin_memcpy(&field, local, sizeof(field));
        replica.gain += std::int64_t{sign} * field;
        spins.turns = _mm256_xor_si256(spins.turns, lane);
        spins.ones = _mm256_xor_si256(spins.ones, _mm256_srli_epi16(lane, 15));
        spins.rests = _mm256_blendv_epi8(spins.rests, end, lane);
    } else {
        replica.gain += std::int64_t{sign} * read.local[spin];
        std::int16_t* rests = read.rests + spin / 16 * 16;
        store16(rests, _mm256_blendv_epi8(load16(rests), end, lane));
    }
    keep_best_int16(replica, registers / 2);
}

// What follows a pass of one read.
template <std::size_t kRegisters, bool kNear>
inline void choose_and_decide_int16(Int16Replica& replica, TabuRead& read, const LargestSteps& largest,
                                    std::size_t n, std::size_t registers, std::size_t now) {
    ++replica.since_best;
    const __m256i next = _mm256_set1_epi16(static_cast<short>(now + 1));
    const Int16Choice choice =
        choose_int16<kRegisters, kNear>(read, largest, registers, next, replica.best_gain - replica.gain);
    if (choice.step == -32768) {  // every spin rests
        read.row = replica.couplings + n * 16 * registers;
        return;
    }
    decide_int16<kNear>(replica, read, choice.spin, registers, now);
    if constexpr (kRegisters == 0) {
        // A matrix of long rows leaves the caches; while this one comes the other reads have their turns.
        for (std::size_t k = 0; k < registers; k += 2) {
            _mm_prefetch(reinterpret_cast<const char*>(read.row + 16 * k), _MM_HINT_T0);
        }
    }
}

// kRegisters is the number of registers of a row, or 0: any. A choice is a long chain of short operations. It follows the
// next read's pass, so that the processor has both at once.
template <std::size_t kRegisters, bool kNear>
void tabu_reads_int16(Int16Replica* replicas, std::size_t count, std::size_t n, std::size_t stride,
                      std::size_t flips) {
    constexpr std::size_t kNearRegisters = !kNear ? 1 : (kRegisters == 0 ? kMostNear / 16 : kRegisters);
    const std::size_t registers = kRegisters == 0 ? stride / 16 : kRegisters;
    NearSpins near[kReplicaGroup][kNearRegisters];
    TabuRead reads[kReplicaGroup];
    LargestSteps largest[kReplicaGroup];
    for (std::size_t r = 0; r < count; ++r) {
        begin_tabu_int16<kNear>(replicas[r], n, registers, near[r], reads[r]);
    }
    const auto decide = [&](std::size_t r, std::size_t now) {
        choose_and_decide_int16<kRegisters, kNear>(replicas[r], reads[r], largest[r], n, registers, now);
    };
    for (std::size_t now = 1; now <= flips; ++now) {
        const __m256i next = _mm256_set1_epi16(static_cast<short>(now + 1));
        for (std::size_t r = 0; r < count; ++r) {
            largest[r] = pass_int16<kRegisters, kNear>(reads[r], registers, next);
            if (r > 0) {
                decide(r - 1, now);
            }
        }
        decide(count - 1, now);
    }
    for (std::size_t r = 0; r < count; ++r) {
        end_tabu_int16<kNear>(reads[r], registers, flips);
    }
}

void tabu_int16(Int16Replica* replicas, std::size_t count, std::size_t n, std::size_t stride,
                std::size_t flips) {
    switch (stride / 16) {
        case 2: tabu_reads_int16<2, true>(replicas, count, n, stride, flips); break;
        case 4: tabu_reads_int16<4, true>(replicas, count, n, stride, flips); break;
        case 6: tabu_reads_int16<6, true>(replicas, count, n, stride, flips); break;
        case 8: tabu_reads_int16<8, true>(replicas, count, n, stride, flips); break;
        default:
            if (stride <= kMostNear) {
                tabu_reads_int16<0, true>(replicas, count, n, stride, flips);
            } else {
                tabu_reads_int16<0, false>(replicas, count, n, stride, flips);
            }
            break;
    }
}
