// The training step's solver, written once over the registers that lanes_*.inl defines.
//
// Sums over a row run in kSums partial sums, one for every coordinate modulo kSums, which are added in a fixed order.

constexpr std::size_t kBlockVectors = 4;
template <class Real>
constexpr std::size_t kCoordinates = kBlockVectors * kLanes<Real>;
constexpr std::size_t kTableGroups = 8;                      // tables that stay in the first cache
constexpr std::size_t kCovered = kTableGroups * kSignGroup;  // rows of A in them
constexpr std::size_t kTableEntries = std::size_t{1} << kSignGroup;
constexpr std::size_t kInterleaved = 4;  // rows whose flips are decided at the same time, to hide latencies
constexpr std::size_t kSums = 32;

inline double sum_of(const double* sums) {
    double level[kSums];
    for (std::size_t i = 0; i < kSums; ++i) {
        level[i] = sums[i];
    }
    for (std::size_t half = kSums / 2; half > 0; half /= 2) {
        for (std::size_t i = 0; i < half; ++i) {
            level[i] += level[i + half];
        }
    }
    return level[0];
}

// Calls term(i, sum) for every i, with the partial sum that it belongs to.
template <class Term>
inline double sum_terms(std::size_t d, const Term& term) {
    double sums[kSums] = {};
    std::size_t i = 0;
    for (; i + kSums <= d; i += kSums) {
        for (std::size_t lane = 0; lane < kSums; ++lane) {
            sums[lane] += term(i + lane);
        }
    }
    for (std::size_t lane = 0; i + lane < d; ++lane) {
        sums[lane] += term(i + lane);
    }
    return sum_of(sums);
}

template <class Real>
double take_signs(const Real* gradient, const Real* residual, std::size_t d, Real* p, Real* spins,
                  std::uint16_t* patterns) {
    if (residual != nullptr) {
        for (std::size_t i = 0; i < d; ++i) {
            p[i] = gradient[i] + residual[i];
        }
        gradient = p;
    } else if (p != nullptr) {
        for (std::size_t i = 0; i < d; ++i) {
            p[i] = gradient[i];
        }
    }
    for (std::size_t i = 0; i < d; ++i) {
        spins[i] = gradient[i] < Real{0} ? Real{-1} : Real{1};
    }
    const std::size_t end = (d + kCoordinates<Real> - 1) / kCoordinates<Real> * kCoordinates<Real>;
    for (std::size_t i = d; i < end + 1; ++i) {
        spins[i] = Real{1};
    }
    const Vector<Real> zero{};
    constexpr std::uint32_t kPattern = kTableEntries - 1;
    const std::uint16_t* last_pattern = patterns + (d + kCovered - 1) / kCovered * kTableGroups;
    std::uint32_t negative = 0;
    std::size_t held = 0;
    for (std::size_t i = 0; i < end; i += kLanes<Real>) {
        negative |= above(zero, load<Vector<Real>>(spins + i)) << held;
        held += kLanes<Real>;
        for (; held >= kSignGroup; held -= kSignGroup) {
            *patterns++ = static_cast<std::uint16_t>((negative & kPattern) * kCoordinates<Real>);
            negative >>= kSignGroup;
        }
    }
    while (patterns < last_pattern) {
        *patterns++ = 0;
    }
    return sum_terms(d, [&](std::size_t i) {
        const auto value = static_cast<double>(gradient[i]);
        return value < 0.0 ? -value : value;
    });
}

// The sums +-a +-b +-c +-d of kVectors registers of four rows; bit i of the index is set where row i counts
// negatively.
template <class Real, std::size_t kVectors>
inline void tabulate(const Real* const* rows, Real* table) {
    for (std::size_t v = 0; v < kVectors; ++v) {
        const auto a = load<Vector<Real>>(rows[0] + v * kLanes<Real>);
        const auto b = load<Vector<Real>>(rows[1] + v * kLanes<Real>);
        const auto c = load<Vector<Real>>(rows[2] + v * kLanes<Real>);
        const auto d = load<Vector<Real>>(rows[3] + v * kLanes<Real>);
        const Vector<Real> first[4] = {a + b, b - a, a - b, -a - b};
        const Vector<Real> second[4] = {c + d, d - c, c - d, -c - d};
#pragma GCC unroll 16
        for (std::size_t entry = 0; entry < kTableEntries; ++entry) {
            save(table + entry * kCoordinates<Real> + v * kLanes<Real>, first[entry % 4] + second[entry / 4]);
        }
    }
}

// One tile of columns for all rows, from kTableGroups tables.
template <class Real, std::size_t kVectors>
inline void add_tabulated(const RowGroup<Real>& group, std::size_t rows, std::size_t first_pattern,
                          std::size_t column, const Real* tables) {
    constexpr std::size_t kHeld = 4;  // patterns of 16 bits in a word
    for (std::size_t row = 0; row < rows; ++row) {
        Real* local = group.local + row * group.stride + column;
        const std::uint16_t* patterns = group.patterns + row * group.pattern_stride + first_pattern;
        Vector<Real> sums[kVectors];
#pragma GCC unroll 4
        for (std::size_t v = 0; v < kVectors; ++v) {
            sums[v] = first_pattern == 0 ? Vector<Real>{} : load<Vector<Real>>(local + v * kLanes<Real>);
        }
#pragma GCC unroll 8
        for (std::size_t word = 0; word < kTableGroups / kHeld; ++word) {
            auto held = load<std::uint64_t>(patterns + word * kHeld);
#pragma GCC unroll 4
            for (std::size_t k = 0; k < kHeld; ++k) {
                const Real* entry =
                    tables + (word * kHeld + k) * kTableEntries * kCoordinates<Real> + (held & 0xffffU);
                held >>= 16;
#pragma GCC unroll 4
                for (std::size_t v = 0; v < kVectors; ++v) {
                    sums[v] += load<Vector<Real>>(entry + v * kLanes<Real>);
                }
            }
        }
#pragma GCC unroll 4
        for (std::size_t v = 0; v < kVectors; ++v) {
            save(local + v * kLanes<Real>, sums[v]);
        }
    }
}

template <class Real, std::size_t kVectors>
void sign_products_of_tile(const RowGroup<Real>& group, std::size_t rows, std::size_t column) {
    alignas(64) Real tables[kTableGroups * kTableEntries * kCoordinates<Real>];
    const Real zeros[kCoordinates<Real>] = {};
    for (std::size_t i = 0; i < group.d; i += kCovered) {
        for (std::size_t g = 0; g < kTableGroups; ++g) {
            const Real* of_group[kSignGroup];
            for (std::size_t k = 0; k < kSignGroup; ++k) {
                const std::size_t row = i + g * kSignGroup + k;
                of_group[k] = row < group.d ? group.matrix + row * group.matrix_stride + column : zeros;
            }
            tabulate<Real, kVectors>(of_group, tables + g * kTableEntries * kCoordinates<Real>);
        }
        add_tabulated<Real, kVectors>(group, rows, i / kSignGroup, column, tables);
    }
}

template <class Real>
inline std::size_t tile_vectors(std::size_t d, std::size_t column) {
    const std::size_t vectors = (d - column + kLanes<Real> - 1) / kLanes<Real>;
    return vectors < kBlockVectors ? vectors : kBlockVectors;
}

template <class Real>
void sign_products(const RowGroup<Real>& group, std::size_t rows) {
    for (std::size_t column = 0; column < group.d; column += kCoordinates<Real>) {
        switch (tile_vectors<Real>(group.d, column)) {
            case 1: sign_products_of_tile<Real, 1>(group, rows, column); break;
            case 2: sign_products_of_tile<Real, 2>(group, rows, column); break;
            case 3: sign_products_of_tile<Real, 3>(group, rows, column); break;
            default: sign_products_of_tile<Real, 4>(group, rows, column);
        }
    }
}

template <class Real>
double dot(const Real* a, const Real* b, std::size_t d) {
    return sum_terms(d, [&](std::size_t i) { return static_cast<double>(a[i]) * static_cast<double>(b[i]); });
}

template <class Real>
void add_fields(const Real* p, double before, double after, std::size_t d, Real* local) {
    for (std::size_t i = 0; i < d; ++i) {
        const auto value = static_cast<double>(p[i]);
        local[i] += static_cast<Real>(before * value) - static_cast<Real>(after * value);
    }
}

// The flips of kRows rows in one block, e of the block in registers. Rows without another flip go through the
// motions with a row of zeros until the others have none either.
template <class Real, std::size_t kRows>
__attribute__((noinline)) void decide(const RowGroup<Real>& group, std::size_t begin,
                                      const std::uint32_t* rows, const Real* block) {
    constexpr std::size_t lanes = kLanes<Real>;
    constexpr std::size_t none = kCoordinates<Real>;
    Vector<Real> local[kRows][kBlockVectors];
    Real* spins[kRows];
    std::uint16_t* flipped[kRows];
    Real* changes[kRows];
    std::size_t counts[kRows] = {};
#pragma GCC unroll 8
    for (std::size_t r = 0; r < kRows; ++r) {
        spins[r] = group.spins + rows[r] * group.stride + begin;
        flipped[r] = group.flipped + rows[r] * (none + 1);
        changes[r] = group.changes + rows[r] * (none + 1);
#pragma GCC unroll 4
        for (std::size_t v = 0; v < kBlockVectors; ++v) {
            local[r][v] = load<Vector<Real>>(group.local + rows[r] * group.stride + begin + v * lanes);
        }
    }
#pragma GCC unroll 4
    for (std::size_t v = 0; v < kBlockVectors; ++v) {
        const auto thresholds = load<Vector<Real>>(group.thresholds + begin + v * lanes);
        Vector<Real> before[kRows];
        std::uint32_t helpful[kRows];
        std::uint32_t any = 0;
#pragma GCC unroll 8
        for (std::size_t r = 0; r < kRows; ++r) {
            before[r] = load<Vector<Real>>(spins[r] + v * lanes);
            helpful[r] = above(before[r] * local[r][v], thresholds);
            any |= helpful[r];
        }
        while (any != 0) {
            any = 0;
#pragma GCC unroll 8
            for (std::size_t r = 0; r < kRows; ++r) {
                const bool live = helpful[r] != 0;
                const std::uint32_t lowest = helpful[r] & (~helpful[r] + 1U);
                const std::size_t i =
                    live ? v * lanes + static_cast<std::size_t>(__builtin_ctz(helpful[r])) : none;
                const Real spin = spins[r][i];
                const Vector<Real> factor = broadcast(spin);
#pragma GCC unroll 4
                for (std::size_t u = 0; u < kBlockVectors; ++u) {
                    local[r][u] = multiply_subtract(factor, load<Vector<Real>>(block + i * none + u * lanes),
                                                    local[r][u]);
                }
                spins[r][i] = live ? -spin : spin;
                flipped[r][counts[r]] = static_cast<std::uint16_t>(i);
                changes[r][counts[r]] = group.factor * spin;
                counts[r] += static_cast<std::size_t>(live);
                // Only coordinates after the flipped one; none are when there was no flip.
                const std::uint32_t later = live ? ~(lowest | (lowest - 1U)) : 0U;
                helpful[r] = above(before[r] * local[r][v], thresholds) & later;
                any |= helpful[r];
            }
        }
    }
#pragma GCC unroll 8
    for (std::size_t r = 0; r < kRows; ++r) {
        group.counts[rows[r]] = static_cast<std::uint16_t>(counts[r]);
#pragma GCC unroll 4
        for (std::size_t v = 0; v < kBlockVectors; ++v) {
            save(group.local + rows[r] * group.stride + begin + v * lanes, local[r][v]);
        }
    }
}

// The rows of A that a block's flips need, each once.
struct FlippedRows {
    std::uint16_t rows[kMostBlockCoordinates];
    std::size_t count;
};

// The flips of a block, applied to one tile of other columns: e of the tile in registers. Meanwhile the rows of A
// are fetched that the next tile will need.
template <class Real, std::size_t kVectors>
inline void apply(const RowGroup<Real>& group, std::size_t begin, std::size_t column,
                  const std::uint32_t* rows, std::size_t count, const FlippedRows& needed) {
    constexpr std::size_t most = kCoordinates<Real> + 1;
    constexpr std::size_t width = kVectors * kLanes<Real>;
    const std::size_t matrix_stride = group.matrix_stride;
    const std::size_t stride = group.stride;
    const Real* const matrix = group.matrix + begin * matrix_stride + column;
    Real* const all_local = group.local + column;
    const std::uint16_t* const all_flipped = group.flipped;
    const Real* const all_changes = group.changes;
    const std::uint16_t* const counts = group.counts;
    const std::size_t fetches =
        column + width < group.d ? (needed.count + count - 1) / count : std::size_t{0};
    std::size_t fetched = 0;
    for (std::size_t k = 0; k < count; ++k) {
        const std::size_t row = rows[k];
        Real* local = all_local + row * stride;
        const std::uint16_t* flipped = all_flipped + row * most;
        const Real* changes = all_changes + row * most;
        for (std::size_t end = fetched + fetches; fetched < end && fetched < needed.count; ++fetched) {
            const Real* next = matrix + needed.rows[fetched] * matrix_stride + width;
#pragma GCC unroll 8
            for (std::size_t line = 0; line < width * sizeof(Real) / 64; ++line) {
                __builtin_prefetch(next + line * (64 / sizeof(Real)));
            }
        }
        Vector<Real> sums[kVectors];
#pragma GCC unroll 8
        for (std::size_t v = 0; v < kVectors; ++v) {
            sums[v] = load<Vector<Real>>(local + v * kLanes<Real>);
        }
        const std::size_t flips = counts[row];
        std::size_t f = 0;
        do {
            const Real* of_flip = matrix + flipped[f] * matrix_stride;
            const Vector<Real> change = broadcast(changes[f]);
#pragma GCC unroll 8
            for (std::size_t v = 0; v < kVectors; ++v) {
                sums[v] = multiply_subtract(change, load<Vector<Real>>(of_flip + v * kLanes<Real>), sums[v]);
            }
        } while (++f < flips);
#pragma GCC unroll 8
        for (std::size_t v = 0; v < kVectors; ++v) {
            save(local + v * kLanes<Real>, sums[v]);
        }
    }
}

// The same for columns [column, end), in the widest tiles that fit.
template <class Real, std::size_t kVectors>
__attribute__((noinline)) void apply_columns(const RowGroup<Real>& group, std::size_t begin,
                                             std::size_t column, std::size_t end, const std::uint32_t* rows,
                                             std::size_t count, const FlippedRows& needed) {
    constexpr std::size_t width = kVectors * kLanes<Real>;
    for (; column + width <= end; column += width) {
        apply<Real, kVectors>(group, begin, column, rows, count, needed);
    }
    if constexpr (kVectors > 1) {
        if (column < end) {
            apply_columns<Real, kVectors / 2>(group, begin, column, end, rows, count, needed);
        }
    } else if (column < end) {
        apply<Real, 1>(group, begin, column, rows, count, needed);
    }
}

template <class Real>
std::size_t descend(const RowGroup<Real>& group, std::size_t begin, std::uint32_t* rows, std::size_t count) {
    constexpr std::size_t lanes = kLanes<Real>;
    constexpr std::size_t coordinates = kCoordinates<Real>;
    std::size_t flipping = 0;
    for (std::size_t k = 0; k < count; ++k) {
        const std::uint32_t row = rows[k];
        const std::size_t offset = row * group.stride + begin;
        std::uint32_t helpful = 0;
#pragma GCC unroll 4
        for (std::size_t v = 0; v < kBlockVectors; ++v) {
            helpful |= above(load<Vector<Real>>(group.spins + offset + v * lanes) *
                                 load<Vector<Real>>(group.local + offset + v * lanes),
                             load<Vector<Real>>(group.thresholds + begin + v * lanes));
        }
        rows[k] = rows[flipping];
        rows[flipping] = row;
        flipping += static_cast<std::size_t>(helpful != 0);
    }
    if (flipping == 0) {
        return 0;
    }
    // The square of A on the diagonal, times f, and a row of zeros.
    alignas(64) Real block[(coordinates + 1) * coordinates];
    const Vector<Real> factor = broadcast(group.factor);
    const std::size_t size = group.d - begin < coordinates ? group.d - begin : coordinates;
    const std::size_t vectors = tile_vectors<Real>(group.d, begin);
    for (std::size_t i = 0; i < size; ++i) {
        const Real* from = group.matrix + (begin + i) * group.matrix_stride + begin;
        for (std::size_t v = 0; v < vectors; ++v) {
            save(block + i * coordinates + v * lanes, factor * load<Vector<Real>>(from + v * lanes));
        }
        for (std::size_t v = vectors; v < kBlockVectors; ++v) {
            save(block + i * coordinates + v * lanes, Vector<Real>{});
        }
    }
    for (std::size_t v = 0; v < kBlockVectors; ++v) {
        save(block + coordinates * coordinates + v * lanes, Vector<Real>{});
    }
    std::size_t decided = 0;
    for (; decided + kInterleaved <= flipping; decided += kInterleaved) {
        decide<Real, kInterleaved>(group, begin, rows + decided, block);
    }
    for (; decided < flipping; ++decided) {
        decide<Real, 1>(group, begin, rows + decided, block);
    }
    FlippedRows needed{};
    std::uint64_t seen = 0;
    std::uint16_t starts[kMostBlockCoordinates + 2] = {};
    for (std::size_t k = 0; k < flipping; ++k) {
        const std::size_t flips = group.counts[rows[k]];
        ++starts[flips + 1];
        for (std::size_t f = 0; f < flips; ++f) {
            seen |= std::uint64_t{1} << group.flipped[rows[k] * (coordinates + 1) + f];
        }
    }
    for (; seen != 0; seen &= seen - 1) {
        needed.rows[needed.count++] = static_cast<std::uint16_t>(__builtin_ctzll(seen));
    }
    // Rows with the same number of flips next to each other: the processor foresees the ends of their loops.
    for (std::size_t flips = 1; flips < kMostBlockCoordinates + 2; ++flips) {
        starts[flips] = static_cast<std::uint16_t>(starts[flips] + starts[flips - 1]);
    }
    std::uint32_t sorted[kMostGroupRows];
    for (std::size_t k = 0; k < flipping; ++k) {
        sorted[starts[group.counts[rows[k]]]++] = rows[k];
    }
    constexpr std::size_t kApplied = 8;  // registers of a tile
    apply_columns<Real, kApplied>(group, begin, 0, begin, sorted, flipping, needed);
    apply_columns<Real, kApplied>(group, begin, begin + size, group.d, sorted, flipping, needed);
    return flipping;
}

template <class Real>
struct EightOf;
template <>
struct EightOf<float> {
    using Type = float __attribute__((vector_size(32)));
};
template <>
struct EightOf<double> {
    using Type = double __attribute__((vector_size(64)));
};
template <class Real>
using Eight = EightOf<Real>::Type;

// One term of a comparison for each of eight coordinates.
template <class Real>
inline void compare_eight(const Real* p, const Real* spins, const Real* start, const Real* local,
                          const Real* thresholds, Eight<double>& change, Eight<double>& magnitude) {
    const Eight<Real> zero{};
    const Eight<Real> one = zero + Real{1};
    const Eight<Real> negative = zero - Real{1};
    Eight<Real> of_p;
    Eight<Real> spin;
    Eight<Real> first;
    Eight<Real> last;
    Eight<Real> threshold;
    __builtin_memcpy(&of_p, p, sizeof(of_p));
    __builtin_memcpy(&spin, spins, sizeof(spin));
    __builtin_memcpy(&first, start, sizeof(first));
    __builtin_memcpy(&last, local, sizeof(last));
    __builtin_memcpy(&threshold, thresholds, sizeof(threshold));
    const auto differs = (of_p < zero ? negative : one) != spin;
    first = differs ? first : zero;
    last = differs ? last : zero;
    threshold = differs ? threshold : zero;
    change += __builtin_convertvector(spin, Eight<double>) *
              (__builtin_convertvector(first, Eight<double>) + __builtin_convertvector(last, Eight<double>));
    first = first < zero ? -first : first;
    last = last < zero ? -last : last;
    magnitude += __builtin_convertvector(first, Eight<double>) +
                 __builtin_convertvector(last, Eight<double>) +
                 __builtin_convertvector(threshold, Eight<double>);
}

template <class Real>
Comparison compare(const Real* p, const Real* spins, const Real* start, const Real* local,
                   const Real* thresholds, std::size_t d) {
    constexpr std::size_t eights = kSums / 8;
    Eight<double> change[eights] = {};
    Eight<double> magnitude[eights] = {};
    std::size_t i = 0;
    for (; i + kSums <= d; i += kSums) {
#pragma GCC unroll 4
        for (std::size_t k = 0; k < eights; ++k) {
            const std::size_t at = i + 8 * k;
            compare_eight(p + at, spins + at, start + at, local + at, thresholds + at, change[k],
                          magnitude[k]);
        }
    }
    if (i < d) {
        Real rest[5][kSums] = {};
        const Real* const all[5] = {p, spins, start, local, thresholds};
        for (std::size_t array = 0; array < 5; ++array) {
            for (std::size_t j = 0; j < kSums; ++j) {
                rest[array][j] = i + j < d ? all[array][i + j] : Real{1};  // the same sign: no difference
            }
        }
        for (std::size_t k = 0; k < eights; ++k) {
            const std::size_t at = 8 * k;
            compare_eight(rest[0] + at, rest[1] + at, rest[2] + at, rest[3] + at, rest[4] + at, change[k],
                          magnitude[k]);
        }
    }
    double sums[2][kSums];
    __builtin_memcpy(sums[0], change, sizeof(sums[0]));
    __builtin_memcpy(sums[1], magnitude, sizeof(sums[1]));
    return {sum_of(sums[0]), sum_of(sums[1])};
}

template <class Real>
double write_step(const Real* p, const Real* spins, const Real* thresholds, bool mask, std::size_t d,
                  std::int8_t* step) {
    for (std::size_t i = 0; i < d; ++i) {
        const Real sign = p[i] < Real{0} ? Real{-1} : Real{1};
        const Real spin = spins == nullptr ? sign : spins[i];
        const Real value = mask ? Real(0.5) * (sign + spin) : spin;
        const bool unknown = p[i] == Real{0} && thresholds[i] == Real{0};
        step[i] = static_cast<std::int8_t>(unknown ? Real{0} : value);
    }
    return sum_terms(d,
                     [&](std::size_t i) { return static_cast<double>(p[i]) * static_cast<double>(step[i]); });
}

template <class Real>
void subtract_step(const Real* p, const std::int8_t* step, Real size, std::size_t d, Real* out) {
    for (std::size_t i = 0; i < d; ++i) {
        out[i] = p[i] - size * static_cast<Real>(step[i]);
    }
}

template <class Real>
constexpr ProjectionKernels<Real> kProjection{kCoordinates<Real>, take_signs<Real>, sign_products<Real>,
                                              dot<Real>,          add_fields<Real>, descend<Real>,
                                              compare<Real>,      write_step<Real>, subtract_step<Real>};
