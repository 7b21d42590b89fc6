// Local fields of 32 reads by tables of rows, the "method of the four Russians" (Arlazarov et al., 1970), for every
// instruction set with registers of 16 or 32 bytes: 3 n^2 / 256 table look-ups of 32 bytes a read and sweep.
//
// Sixteen spins i at a time. Their couplings to every sixteen spins j stand in three tables, of 6, 5 and 5 spins j: one
// entry of sixteen sums of +-S_ij for each pattern of signs. A read adds up the entries that its spins choose, its lanes
// being the spins i; then rows and columns change places, so that the lanes are reads, and the spins are decided one after
// another for all reads. Sums go modulo 2^16, which is exact where no field leaves int16.
// Memory: 16 n^2 bytes of tables. They should fit into L2, which limits the size this is good for: a unit of kernels names
// kMostSpinsOfRows and kLeastReadsOfRows.

constexpr std::size_t kShortLanes = kRegisterBytes / sizeof(std::int16_t);
constexpr std::size_t kReadRegisters = kInt16Replicas / kShortLanes;
constexpr std::size_t kRowRegisters = kTileSpins / kShortLanes;
constexpr std::size_t kPartSpins[3] = {6, 5, 5};
constexpr std::size_t kPartEntries[3] = {64, 32, 32};
constexpr std::size_t kEntriesOfTiles = 128;  // of sixteen spins i and sixteen spins j
constexpr std::size_t kTransposed = 8;        // words of a read that change places together

template <class Vector = Shorts, class Word>
inline Vector load_shorts(const Word* from) {
    Vector value;
    __builtin_memcpy(&value, from, sizeof(value));
    return value;
}
inline void store_shorts(std::int16_t* to, Shorts value) { __builtin_memcpy(to, &value, sizeof(value)); }
inline Shorts every_lane(int value) { return Shorts{} + static_cast<std::int16_t>(value); }

inline std::size_t packed_bytes_int16(std::size_t n, std::size_t stride) {
    const std::size_t tiles = (n + kTileSpins - 1) / kTileSpins;
    return stride / kTileSpins * tiles * kEntriesOfTiles * kTileSpins * sizeof(std::int16_t);
}

// The entries of the tables follow one another from pattern 0, where all spins are up; a spin that turns takes W.
inline void pack_int16(const std::int16_t* couplings, std::size_t n, std::size_t stride, void* packed) {
    auto* entry = static_cast<std::int16_t*>(packed);
    const auto coupling = [&](std::size_t i, std::size_t j) {
        return i < n && j < n ? couplings[i * stride + j] : std::int16_t{0};
    };
    for (std::size_t first = 0; first < stride; first += kTileSpins) {
        for (std::size_t tile = 0; tile < n; tile += kTileSpins) {
            std::size_t begin = tile;
            for (std::size_t part = 0; part < 3; ++part) {
                for (std::size_t i = 0; i < kTileSpins; ++i) {
                    std::int32_t sum = 0;
                    for (std::size_t k = 0; k < kPartSpins[part]; ++k) {
                        sum += coupling(first + i, begin + k) / 2;
                    }
                    entry[i] = static_cast<std::int16_t>(sum);
                }
                for (std::size_t pattern = 1; pattern < kPartEntries[part]; ++pattern) {
                    const std::int16_t* without = entry + (pattern & (pattern - 1)) * kTileSpins;
                    const std::size_t turned =
                        begin + static_cast<std::size_t>(__builtin_ctzll(std::uint64_t{pattern}));
                    for (std::size_t i = 0; i < kTileSpins; ++i) {
                        entry[pattern * kTileSpins + i] =
                            static_cast<std::int16_t>(without[i] - coupling(first + i, turned));
                    }
                }
                entry += kPartEntries[part] * kTileSpins;
                begin += kPartSpins[part];
            }
        }
    }
}

// For each read and every sixteen spins: a word with a bit for each spin, set for -1, then where their entries stand.
constexpr std::size_t kWordsOfTile = 4 * kInt16Replicas;

inline std::size_t replica_workspace_bytes_int16(std::size_t n) {
    return (n + kTileSpins - 1) / kTileSpins * kWordsOfTile * sizeof(std::uint16_t);
}

// The bytes between the first entry of the three tables and those of these spins.
inline void store_places(std::int16_t* words) {
    constexpr int kBytes = 5;  // of an entry, its logarithm
    for (std::size_t read = 0; read < kInt16Replicas; read += kShortLanes) {
        const auto spins = load_shorts<UnsignedShorts>(words + read);
        const auto store = [&](std::size_t part, UnsignedShorts entry) {
            store_shorts(words + part * kInt16Replicas + read, reinterpret_cast<Shorts>(entry << kBytes));
        };
        store(1, spins & 63U);
        store(2, (spins >> 6 & 31U) + 64U);
        store(3, (spins >> 11) + 96U);
    }
}

// All ones in the lanes whose bit is set: lane 0 is bit `first`.
inline Shorts lanes_of(std::uint32_t bits, std::size_t first) {
    Shorts select{};
    for (std::size_t lane = 0; lane < kShortLanes; ++lane) {
        select[lane] = static_cast<std::int16_t>(1U << lane);
    }
    return (every_lane(static_cast<int>(bits >> first & 0xFFFFU)) & select) == select;
}

// From a word of reads for each spin, which is how the caller keeps them, to a word of spins for each read.
inline void read_spins(const Int16Replicas& replicas, std::size_t tiles, std::int16_t* patterns) {
    for (std::size_t tile = 0; tile < tiles; ++tile) {
        for (std::size_t g = 0; g < kReadRegisters; ++g) {
            Shorts pattern{};
            for (std::size_t i = 0; i < kTileSpins; ++i) {
                const Shorts down = lanes_of(replicas.negative[tile * kTileSpins + i], g * kShortLanes);
                pattern |= down & every_lane(1 << i);
            }
            store_shorts(patterns + tile * kWordsOfTile + g * kShortLanes, pattern);
        }
        store_places(patterns + tile * kWordsOfTile);
    }
}

// And back, for those of the reads whose bits are set.
inline void write_spins(const Int16Replicas& replicas, std::size_t tiles, const std::int16_t* patterns,
                        std::uint32_t reads, std::uint32_t* negative) {
    for (std::size_t spin = 0; spin < tiles * kTileSpins && spin < replicas.stride; ++spin) {
        std::uint32_t bits = 0;
        for (std::size_t g = 0; g < kReadRegisters; ++g) {
            const Shorts pattern = load_shorts(patterns + spin / kTileSpins * kWordsOfTile + g * kShortLanes);
            const Shorts bit = pattern & every_lane(1 << spin % kTileSpins);
            bits |= above(Shorts{} - (bit != Shorts{}), Shorts{}) << (g * kShortLanes);
        }
        negative[spin] = (negative[spin] & ~reads) | (bits & reads);
    }
}

// S s of sixteen spins, one row for each read.
inline void add_entries(const Int16Replicas& replicas, std::size_t group, std::size_t tiles,
                        const std::int16_t* patterns, std::int16_t* sums) {
    constexpr std::size_t kBytesOfTiles = kEntriesOfTiles * kTileSpins * sizeof(std::int16_t);
    const auto* tables = static_cast<const std::byte*>(replicas.packed) + group * tiles * kBytesOfTiles;
    for (std::size_t read = 0; read < kInt16Replicas; ++read) {
        Shorts even[kRowRegisters] = {};  // two sums, so that additions need not wait for one another
        Shorts odd[kRowRegisters] = {};
        const std::byte* table = tables;
        const auto* place = reinterpret_cast<const std::uint16_t*>(patterns + kInt16Replicas + read);
        for (std::size_t tile = 0; tile < tiles; ++tile) {
            const std::byte* entry[3] = {table + place[0], table + place[kInt16Replicas],
                                         table + place[2 * kInt16Replicas]};
            for (std::size_t k = 0; k < kRowRegisters; ++k) {
                even[k] += load_shorts(entry[0] + k * kRegisterBytes);
                odd[k] += load_shorts(entry[1] + k * kRegisterBytes);
                even[k] += load_shorts(entry[2] + k * kRegisterBytes);
            }
            table += kBytesOfTiles;
            place += kWordsOfTile;
        }
        for (std::size_t k = 0; k < kRowRegisters; ++k) {
            store_shorts(sums + read * kTileSpins + k * kShortLanes, even[k] + odd[k]);
        }
    }
}

// Eight words of every read of a register: on return word k of all of them is rows[k].
template <class Word>
inline void gather_words(const Word* const* from, std::size_t offset, Shorts* rows) {
    Shorts a[kTransposed];
    Shorts b[kTransposed];
    for (std::size_t k = 0; k < kTransposed; ++k) {
        a[k] = load_eighths(from + k, offset);
    }
    for (std::size_t k = 0; k < 4; ++k) {
        b[2 * k] = interleave_words<0>(a[2 * k], a[2 * k + 1]);      // words 0-3 of two
        b[2 * k + 1] = interleave_words<1>(a[2 * k], a[2 * k + 1]);  // words 4-7
    }
    for (std::size_t k = 0; k < 2; ++k) {
        a[4 * k] = interleave_pairs<0>(b[4 * k], b[4 * k + 2]);  // words 0, 1 of four
        a[4 * k + 1] = interleave_pairs<1>(b[4 * k], b[4 * k + 2]);
        a[4 * k + 2] = interleave_pairs<0>(b[4 * k + 1], b[4 * k + 3]);
        a[4 * k + 3] = interleave_pairs<1>(b[4 * k + 1], b[4 * k + 3]);
    }
    for (std::size_t k = 0; k < 4; ++k) {
        rows[2 * k] = interleave_quads<0>(a[k], a[k + 4]);
        rows[2 * k + 1] = interleave_quads<1>(a[k], a[k + 4]);
    }
}

// What a sweep knows of its temperatures, for each read: see heat_of. The shift is a factor, with the sign that decisions
// want.
struct alignas(kRegisterBytes) ReplicaHeat {
    std::uint16_t factor[kInt16Replicas];
    std::uint16_t most[kInt16Replicas];
    std::uint16_t shift[kInt16Replicas];
};

inline void set_heat(ReplicaHeat& heat, std::size_t read, std::uint32_t temperature) {
    constexpr int kBitsOfFactor = 16;
    const int surplus = kBitsOfFactor - __builtin_clz(temperature | 1U);
    const int by = surplus > 0 ? surplus : 0;
    const int shift = by < 15 ? by : 15;
    heat.factor[read] = static_cast<std::uint16_t>(temperature >> by);
    heat.most[read] = static_cast<std::uint16_t>(32767U >> shift);
    heat.shift[read] = static_cast<std::uint16_t>(-(1 << shift));
}

// Sixteen spins of some reads: what decisions compare with, and local fields, lanes being reads.
struct alignas(64) DecisionRows {
    std::int16_t below[kTileSpins][kInt16Replicas];
    std::int16_t local[kTileSpins][kInt16Replicas];
};

// Less the thresholds of draw_thresholds_int16, less one: a flip needs s L above it.
inline void draw_limits(const Int16Replicas& replicas, const ReplicaHeat& heat, std::size_t group,
                        const std::uint16_t* const* entries, DecisionRows& rows) {
    const std::size_t spin = group * kTileSpins;
    for (std::size_t g = 0; g < kReadRegisters; ++g) {
        const std::size_t read = g * kShortLanes;
        const auto factor = load_shorts<UnsignedShorts>(heat.factor + read);
        const auto most = load_shorts<UnsignedShorts>(heat.most + read);
        const auto shift = load_shorts<UnsignedShorts>(heat.shift + read);
        for (std::size_t first = 0; first < kTileSpins; first += kTransposed) {
            Shorts words[kTransposed];
            gather_words(entries + read, spin % kBlock + first, words);
            for (std::size_t k = 0; k < kTransposed; ++k) {
                const UnsignedShorts scaled =
                    multiply_high(reinterpret_cast<UnsignedShorts>(words[k]), factor);
                store_shorts(rows.below[first + k] + read,
                             reinterpret_cast<Shorts>(smaller(scaled, most) * shift));
            }
        }
        for (std::size_t i = spin + kTileSpins; i > spin && i > replicas.real_spins; --i) {
            store_shorts(rows.below[i - 1 - spin] + read, every_lane(32767));
        }
    }
}

// Local fields of sixteen spins from the sums of each read.
inline void place_fields(const Int16Replicas& replicas, std::size_t group, const std::int16_t* sums,
                         DecisionRows& rows) {
    const std::int16_t* fields = replicas.fields + group * kTileSpins * kInt16Replicas;
    const std::int16_t* from[kInt16Replicas];
    for (std::size_t read = 0; read < kInt16Replicas; ++read) {
        from[read] = sums + read * kTileSpins;
    }
    for (std::size_t g = 0; g < kReadRegisters; ++g) {
        const std::size_t read = g * kShortLanes;
        for (std::size_t first = 0; first < kTileSpins; first += kTransposed) {
            Shorts words[kTransposed];
            gather_words(from + read, first, words);
            for (std::size_t k = 0; k < kTransposed; ++k) {
                const Shorts field = load_shorts(fields + (first + k) * kInt16Replicas + read);
                store_shorts(rows.local[first + k] + read, words[k] + field);
            }
        }
    }
}

// Gains of a sweep: two registers of 32-bit sums for each of reads.
struct ReplicaGains {
    Words sum[kReadRegisters][2] = {};

    std::int64_t of(std::size_t read) const {
        // Interleaving works on 16 bytes at a time.
        const std::size_t lane = read % kShortLanes;
        const Words& half = sum[read / kShortLanes][lane % 8 / 4];
        return static_cast<std::int32_t>(half[lane / 8 * 4 + lane % 4]);
    }
};

// Decides sixteen spins of the reads of one register in order. A spin takes into account the flips of those before it.
inline void decide_rows(const Int16Replicas& replicas, std::size_t group, std::size_t g,
                        const DecisionRows& rows, std::int16_t* pattern, Words* gains) {
    const std::int32_t* pairs = replicas.pairs + group * kTilePairs;
    const std::size_t read = g * kShortLanes;
    const Shorts one = every_lane(1);
    const Shorts before = load_shorts(pattern + read);
    Shorts flipped{};
    Shorts turned[kTileSpins];  // the spin before its flip, 0 where it stays
    Shorts gain_before{};
#pragma GCC unroll 16
    for (std::size_t i = 0; i < kTileSpins; ++i) {
        Shorts local = load_shorts(rows.local[i] + read);
#pragma GCC unroll 16
        for (std::size_t k = 0; k < i; ++k) {
            const std::size_t pair = k * (2 * kTileSpins - 1 - k) / 2 + i - k - 1;
            local -= times_sign(every_pair(pairs[pair]), turned[k]);
        }
        const Shorts spin = (before << (15 - static_cast<int>(i))) >> 15 | one;
        const Shorts step = times_sign(local, spin);
        const Shorts flips = step > load_shorts(rows.below[i] + read);
        turned[i] = spin & flips;
        flipped |= flips & every_lane(1 << i);
        const Shorts gained = step & flips;
        if (i % 2 == 0) {
            gain_before = gained;
        } else {
            add_pairs(gains, gain_before, gained);
        }
    }
    store_shorts(pattern + read, before ^ flipped);
}

// Adds the sweep's gains, and keeps the states that are better than all before.
inline void end_sweep(Int16Replicas& replicas, std::size_t tiles, const std::int16_t* patterns,
                      const ReplicaGains& gains) {
    std::uint32_t better = 0;
    for (std::size_t r = 0; r < kInt16Replicas; ++r) {
        replicas.gain[r] += gains.of(r);
        const bool best = replicas.gain[r] > replicas.best_gain[r];
        replicas.best_gain[r] = best ? replicas.gain[r] : replicas.best_gain[r];
        better |= static_cast<std::uint32_t>(best) << r;
    }
    if (better != 0) {
        write_spins(replicas, tiles, patterns, better, replicas.best_negative);
    }
}

inline void anneal_replicas_int16(Int16Replicas& replicas, const std::uint16_t* exponentials,
                                  std::size_t first, std::size_t last) {
    constexpr std::size_t kTilesOfBlock = kBlock / kTileSpins;
    constexpr std::size_t kBlocksOfDraw = 5;
    alignas(64) std::int16_t sums[kInt16Replicas * kTileSpins];
    DecisionRows rows{};
    ReplicaHeat heat{};
    const std::size_t tiles = (replicas.real_spins + kTileSpins - 1) / kTileSpins;
    auto* patterns = static_cast<std::int16_t*>(replicas.workspace);
    read_spins(replicas, tiles, patterns);
    for (std::size_t sweep = first; sweep < last; ++sweep) {
        for (std::size_t r = 0; r < kInt16Replicas; ++r) {
            const std::uint32_t temperature = replicas.temperature[r][sweep];
            if (sweep == first || temperature != replicas.temperature[r][sweep - 1]) {
                set_heat(heat, r, temperature);
            }
        }
        ReplicaGains gains;
        std::uint64_t bits[kInt16Replicas] = {};
        const std::uint16_t* entries[kInt16Replicas];
        for (std::size_t group = 0; group < tiles; ++group) {
            if (group % kTilesOfBlock == 0) {
                const bool draw = group / kTilesOfBlock % kBlocksOfDraw == 0;
                for (std::size_t r = 0; r < kInt16Replicas; ++r) {
                    bits[r] = draw ? next_random(replicas.random[r]) : bits[r] >> 12;
                    entries[r] = exponentials + (bits[r] & (kExponentials - 1));
                }
            }
            draw_limits(replicas, heat, group, entries, rows);
            add_entries(replicas, group, tiles, patterns, sums);
            place_fields(replicas, group, sums, rows);
            for (std::size_t g = 0; g < kReadRegisters; ++g) {
                decide_rows(replicas, group, g, rows, patterns + group * kWordsOfTile, gains.sum[g]);
            }
            store_places(patterns + group * kWordsOfTile);
        }
        end_sweep(replicas, tiles, patterns, gains);
    }
    write_spins(replicas, tiles, patterns, ~0U, replicas.negative);
}

constexpr ReplicasInt16Kernels kReplicasInt16{
    anneal_replicas_int16,         packed_bytes_int16, pack_int16,
    replica_workspace_bytes_int16, kMostSpinsOfRows,   kLeastReadsOfRows};
