// The training step's solver, written once over the registers that lanes_*.inl defines.
//
// Sums over a row run in kSums partial sums, one for every coordinate modulo kSums, which are added in a fixed order.

constexpr std::size_t kBlockVectors = 4;
template <class Real>
constexpr std::size_t kCoordinates = kBlockVectors * kLanes<Real>;
template <class Real>
constexpr std::size_t kFlipStride = kCoordinates<Real> + kFlipRoom;
constexpr std::size_t kSignGroup = 4;                        // rows of A in a table
constexpr std::size_t kTableGroups = 8;                      // tables that stay in the first cache
constexpr std::size_t kCovered = kTableGroups * kSignGroup;  // rows of A in them
constexpr std::size_t kTableEntries = std::size_t{1} << kSignGroup;
constexpr std::size_t kInterleaved = 4;  // rows whose flips are decided at the same time, to hide latencies
constexpr std::size_t kSums = 32;
constexpr unsigned kNegativeBit = 15;  // of a flip: the spin was -1; below it the coordinate in its block
constexpr std::uint16_t kIndexMask = (1U << kNegativeBit) - 1;

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
double take_signs(const Real* gradient, const Real* residual, std::size_t d, Real* p, std::uint64_t* signs,
                  std::size_t signs_stride) {
    if (residual != nullptr) {
        for (std::size_t i = 0; i < d; ++i) {
            p[i] = gradient[i] + residual[i];
        }
        gradient = p;
    }
    const Vector<Real> zero{};
    for (std::size_t begin = 0; begin < d; begin += kCoordinates<Real>) {
        std::uint64_t negative = 0;
        if (begin + kCoordinates<Real> <= d) {
#pragma GCC unroll 4
            for (std::size_t v = 0; v < kBlockVectors; ++v) {
                const std::size_t first = v * kLanes<Real>;
                negative |= std::uint64_t{above(zero, load<Vector<Real>>(gradient + begin + first))} << first;
            }
        } else {
            for (std::size_t i = begin; i < d; ++i) {
                negative |= std::uint64_t{gradient[i] < Real{0}} << (i - begin);
            }
        }
        *signs = negative;
        signs += signs_stride;
    }
    return sum_terms(d, [&](std::size_t i) {
        const auto value = static_cast<double>(gradient[i]);
        return value < 0.0 ? -value : value;
    });
}

template <class Real>
void expand_signs(const std::uint64_t* signs, std::size_t signs_stride, std::size_t d, Real* spins) {
    const Vector<Real> one = broadcast(Real{1});
    for (std::size_t begin = 0; begin < d; begin += kCoordinates<Real>) {
#pragma GCC unroll 4
        for (std::size_t v = 0; v < kBlockVectors; ++v) {
            const std::size_t first = v * kLanes<Real>;
            save(spins + begin + first, turn_signs(one, static_cast<std::uint32_t>(*signs >> first)));
        }
        signs += signs_stride;
    }
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

// One tile of columns for all rows, from the tables of rows [first, first + kCovered) of A.
template <class Real, std::size_t kVectors>
inline void add_tabulated(const RowGroup<Real>& group, std::size_t rows, std::size_t first,
                          std::size_t column, const Real* tables) {
    for (std::size_t row = 0; row < rows; ++row) {
        Real* local = group.local + row * group.stride + column;
        std::uint64_t signs = 0;
        for (std::size_t covered = 0; covered < kCovered && first + covered < group.d;
             covered += kCoordinates<Real>) {
            const std::size_t i = first + covered;
            const std::uint64_t of_block = group.signs[i / kCoordinates<Real> * group.rows + row];
            signs |= of_block >> (i % kCoordinates<Real>) << covered;
        }
        Vector<Real> sums[kVectors];
#pragma GCC unroll 4
        for (std::size_t v = 0; v < kVectors; ++v) {
            sums[v] = first == 0 ? Vector<Real>{} : load<Vector<Real>>(local + v * kLanes<Real>);
        }
#pragma GCC unroll 8
        for (std::size_t g = 0; g < kTableGroups; ++g) {
            const std::size_t pattern = signs >> (g * kSignGroup) & (kTableEntries - 1);
            const Real* entry = tables + (g * kTableEntries + pattern) * kCoordinates<Real>;
#pragma GCC unroll 4
            for (std::size_t v = 0; v < kVectors; ++v) {
                sums[v] += load<Vector<Real>>(entry + v * kLanes<Real>);
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
        add_tabulated<Real, kVectors>(group, rows, i, column, tables);
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

// The flips of kRows rows in one block of kVectors registers, in which e stays. Rows without another flip go through
// the motions with nothing to add until the others have none either.
template <class Real, std::size_t kVectors, std::size_t kRows>
inline void decide(const RowGroup<Real>& group, std::size_t block, const std::uint16_t* rows) {
    constexpr std::size_t lanes = kLanes<Real>;
    const std::size_t begin = block * kCoordinates<Real>;
    const std::size_t matrix_stride = group.matrix_stride;
    const Real* const matrix = group.matrix + begin * matrix_stride + begin;
    const Real changes[3] = {group.factor, -group.factor, Real{0}};
    Vector<Real> local[kRows][kVectors];
    std::uint64_t signs[kRows];
    std::uint16_t* flips[kRows];
#pragma GCC unroll 8
    for (std::size_t r = 0; r < kRows; ++r) {
        const std::size_t place = block * group.rows + rows[r];
        signs[r] = group.signs[place];
        flips[r] = group.flips + place * kFlipStride<Real>;
#pragma GCC unroll 4
        for (std::size_t v = 0; v < kVectors; ++v) {
            local[r][v] = load<Vector<Real>>(group.local + rows[r] * group.stride + begin + v * lanes);
        }
    }
#pragma GCC unroll 4
    for (std::size_t v = 0; v < kVectors; ++v) {
        const auto thresholds = load<Vector<Real>>(group.thresholds + begin + v * lanes);
        std::uint32_t before[kRows];
        std::uint32_t helpful[kRows];
        std::uint32_t any = 0;
#pragma GCC unroll 8
        for (std::size_t r = 0; r < kRows; ++r) {
            before[r] = static_cast<std::uint32_t>(signs[r] >> (v * lanes));
            helpful[r] = above(turn_signs(local[r][v], before[r]), thresholds);
            any |= helpful[r];
        }
        while (any != 0) {
            any = 0;
#pragma GCC unroll 8
            for (std::size_t r = 0; r < kRows; ++r) {
                const bool live = helpful[r] != 0;
                const std::uint32_t lowest = helpful[r] & (~helpful[r] + 1U);
                const auto lane = static_cast<std::size_t>(live ? __builtin_ctz(helpful[r]) : 0);
                const std::size_t negative = before[r] >> lane & 1U;
                const Vector<Real> change = broadcast(changes[live ? negative : 2]);
                const Real* of_flip = matrix + (v * lanes + lane) * matrix_stride;
#pragma GCC unroll 4
                for (std::size_t u = 0; u < kVectors; ++u) {
                    local[r][u] =
                        multiply_subtract(change, load<Vector<Real>>(of_flip + u * lanes), local[r][u]);
                }
                signs[r] ^= std::uint64_t{lowest} << (v * lanes);
                *flips[r] = static_cast<std::uint16_t>((v * lanes + lane) | negative << kNegativeBit);
                flips[r] += static_cast<std::size_t>(live);
                // Only coordinates after the flipped one; none are when there was no flip.
                const std::uint32_t later = live ? ~(lowest | (lowest - 1U)) : 0U;
                helpful[r] = above(turn_signs(local[r][v], before[r]), thresholds) & later;
                any |= helpful[r];
            }
        }
    }
#pragma GCC unroll 8
    for (std::size_t r = 0; r < kRows; ++r) {
        const std::size_t place = block * group.rows + rows[r];
        group.touched[block] |= group.signs[place] ^ signs[r];
        group.signs[place] = signs[r];
        group.counts[place] =
            static_cast<std::uint16_t>(flips[r] - (group.flips + place * kFlipStride<Real>));
#pragma GCC unroll 4
        for (std::size_t v = 0; v < kVectors; ++v) {
            save(group.local + rows[r] * group.stride + begin + v * lanes, local[r][v]);
        }
    }
}

// Applies to block `block` the flips that block `source` made when it was last looked at.
// Meanwhile the rows of A are fetched that the flips of block `next` will need.
template <class Real, std::size_t kVectors>
inline void apply(const RowGroup<Real>& group, std::size_t source, std::size_t next, std::size_t block) {
    constexpr std::size_t lanes = kLanes<Real>;
    const std::size_t column = block * kCoordinates<Real>;
    const std::size_t matrix_stride = group.matrix_stride;
    const std::size_t stride = group.stride;
    const Real* const matrix = group.matrix + source * kCoordinates<Real> * matrix_stride + column;
    const std::uint16_t* const rows = group.order + source * group.rows;
    const std::uint16_t* const counts = group.counts + source * group.rows;
    const std::uint16_t* const all_flips = group.flips + source * group.rows * kFlipStride<Real>;
    const std::size_t count = group.flipping[source];
    const Real* const next_matrix = group.matrix + next * kCoordinates<Real> * matrix_stride + column;
    std::uint64_t to_fetch = group.flipping[next] == 0 ? 0 : group.touched[next];
    const std::size_t fetches = static_cast<std::size_t>(__builtin_popcountll(to_fetch)) / (count + 1) + 1;
    constexpr std::size_t kLineEntries = 64 / sizeof(Real);
    const Real changes[2] = {group.factor, -group.factor};
    for (std::size_t k = 0; k < count; ++k) {
        for (std::size_t f = 0; f < fetches && to_fetch != 0; ++f, to_fetch &= to_fetch - 1) {
            const Real* row_of_next =
                next_matrix + static_cast<std::size_t>(__builtin_ctzll(to_fetch)) * matrix_stride;
#pragma GCC unroll 4
            for (std::size_t entry = 0; entry < kVectors * lanes; entry += kLineEntries) {
                __builtin_prefetch(row_of_next + entry);
            }
        }
        const std::size_t row = rows[k];
        Real* local = group.local + row * stride + column;
        Vector<Real> sums[kVectors];
#pragma GCC unroll 4
        for (std::size_t v = 0; v < kVectors; ++v) {
            sums[v] = load<Vector<Real>>(local + v * lanes);
        }
        const std::uint16_t* flip = all_flips + row * kFlipStride<Real>;
        const std::uint16_t* const end = flip + counts[row];
        do {
            const Vector<Real> change = broadcast(changes[*flip >> kNegativeBit]);
            const Real* of_flip = matrix + (*flip & kIndexMask) * matrix_stride;
#pragma GCC unroll 4
            for (std::size_t v = 0; v < kVectors; ++v) {
                sums[v] = multiply_subtract(change, load<Vector<Real>>(of_flip + v * lanes), sums[v]);
            }
        } while (++flip < end);
#pragma GCC unroll 4
        for (std::size_t v = 0; v < kVectors; ++v) {
            save(local + v * lanes, sums[v]);
        }
    }
}

// Rows that flipped, by the number of their flips: the processor foresees the ends of loops of the same length.
template <class Real>
inline void order_rows(const RowGroup<Real>& group, std::size_t block, const std::uint16_t* rows,
                       std::size_t count) {
    const std::uint16_t* const counts = group.counts + block * group.rows;
    std::uint16_t starts[kMostBlockCoordinates + 2] = {};
    for (std::size_t k = 0; k < count; ++k) {
        ++starts[counts[rows[k]] + 1];
    }
    for (std::size_t flips = 1; flips < kMostBlockCoordinates + 2; ++flips) {
        starts[flips] = static_cast<std::uint16_t>(starts[flips] + starts[flips - 1]);
    }
    for (std::size_t k = 0; k < count; ++k) {
        group.order[block * group.rows + starts[counts[rows[k]]]++] = rows[k];
    }
    group.flipping[block] = static_cast<std::uint16_t>(count);
}

template <class Real, std::size_t kVectors>
inline std::size_t descend_block(const RowGroup<Real>& group, std::size_t block, std::uint16_t* rows,
                                 std::size_t count) {
    constexpr std::size_t lanes = kLanes<Real>;
    const std::size_t blocks = (group.d + kCoordinates<Real> - 1) / kCoordinates<Real>;
    std::size_t source = block;
    for (std::size_t k = 1; k <= blocks; ++k) {
        const std::size_t next = source + 1 < blocks ? source + 1 : 0;
        if (k > 1) {
            apply<Real, kVectors>(group, source, next, block);
        }
        source = next;
    }
    const std::size_t begin = block * kCoordinates<Real>;
    std::size_t flipping = 0;
    for (std::size_t k = 0; k < count; ++k) {
        const std::uint16_t row = rows[k];
        const std::uint64_t signs = group.signs[block * group.rows + row];
        std::uint32_t helpful = 0;
#pragma GCC unroll 4
        for (std::size_t v = 0; v < kVectors; ++v) {
            const Real* of_row = group.local + row * group.stride + begin + v * lanes;
            const auto local = load<Vector<Real>>(of_row);
            __builtin_prefetch(of_row + kCoordinates<Real>);  // the next block
            helpful |= above(turn_signs(local, static_cast<std::uint32_t>(signs >> (v * lanes))),
                             load<Vector<Real>>(group.thresholds + begin + v * lanes));
        }
        rows[k] = rows[flipping];
        rows[flipping] = row;
        flipping += static_cast<std::size_t>(helpful != 0);
    }
    group.touched[block] = 0;
    std::size_t decided = 0;
    for (; decided + kInterleaved <= flipping; decided += kInterleaved) {
        decide<Real, kVectors, kInterleaved>(group, block, rows + decided);
    }
    for (; decided < flipping; ++decided) {
        decide<Real, kVectors, 1>(group, block, rows + decided);
    }
    order_rows(group, block, rows, flipping);
    return flipping;
}

// What the blocks after each block flipped last.
template <class Real>
void settle(const RowGroup<Real>& group) {
    const std::size_t blocks = (group.d + kCoordinates<Real> - 1) / kCoordinates<Real>;
    for (std::size_t block = 0; block < blocks; ++block) {
        for (std::size_t source = block + 1; source < blocks; ++source) {
            const std::size_t next = source + 1 < blocks ? source + 1 : source;
            switch (tile_vectors<Real>(group.d, block * kCoordinates<Real>)) {
                case 1: apply<Real, 1>(group, source, next, block); break;
                case 2: apply<Real, 2>(group, source, next, block); break;
                case 3: apply<Real, 3>(group, source, next, block); break;
                default: apply<Real, 4>(group, source, next, block);
            }
        }
    }
    for (std::size_t block = 0; block < blocks; ++block) {
        group.flipping[block] = 0;
    }
}

template <class Real>
std::size_t descend_row(const RowGroup<Real>& group, std::size_t row, std::size_t last) {
    constexpr std::size_t lanes = kLanes<Real>;
    const std::size_t vectors = (group.d + lanes - 1) / lanes;
    const std::size_t blocks = (group.d + kCoordinates<Real> - 1) / kCoordinates<Real>;
    const Real* const thresholds = group.thresholds;
    Real* const local = group.local + row * group.stride;
    std::size_t flipped = 0;
    for (std::size_t block = 0; block < blocks && (flipped != 0 || block <= last); ++block) {
        const std::size_t first = block * kBlockVectors;
        std::uint64_t signs = group.signs[block * group.rows + row];
        std::uint32_t any = 0;
#pragma GCC unroll 4
        for (std::size_t v = 0; v < kBlockVectors; ++v) {
            const auto e = load<Vector<Real>>(local + (first + v) * lanes);
            any |= above(turn_signs(e, static_cast<std::uint32_t>(signs >> (v * lanes))),
                         load<Vector<Real>>(thresholds + (first + v) * lanes));
        }
        if (any == 0) {
            continue;
        }
        for (std::size_t v = 0; v < kBlockVectors; ++v) {
            const auto threshold = load<Vector<Real>>(thresholds + (first + v) * lanes);
            const auto before = static_cast<std::uint32_t>(signs >> (v * lanes));
            std::uint32_t later = ~std::uint32_t{0};
            while (true) {
                const auto e = load<Vector<Real>>(local + (first + v) * lanes);
                const std::uint32_t helpful = above(turn_signs(e, before), threshold) & later;
                if (helpful == 0) {
                    break;
                }
                const std::uint32_t lowest = helpful & (~helpful + 1U);
                const auto lane = static_cast<std::size_t>(__builtin_ctz(helpful));
                const bool negative = (before >> lane & 1U) != 0;
                const Vector<Real> change = broadcast(negative ? -group.factor : group.factor);
                const Real* of_flip = group.matrix + ((first + v) * lanes + lane) * group.matrix_stride;
#pragma GCC unroll 4
                for (std::size_t u = 0; u < vectors; ++u) {
                    save(local + u * lanes, multiply_subtract(change, load<Vector<Real>>(of_flip + u * lanes),
                                                              load<Vector<Real>>(local + u * lanes)));
                }
                signs ^= std::uint64_t{lowest} << (v * lanes);
                later = ~(lowest | (lowest - 1U));
                flipped = block + 1;
            }
        }
        group.signs[block * group.rows + row] = signs;
    }
    return flipped;
}

template <class Real>
std::size_t descend(const RowGroup<Real>& group, std::size_t block, std::uint16_t* rows, std::size_t count) {
    switch (tile_vectors<Real>(group.d, block * kCoordinates<Real>)) {
        case 1: return descend_block<Real, 1>(group, block, rows, count);
        case 2: return descend_block<Real, 2>(group, block, rows, count);
        case 3: return descend_block<Real, 3>(group, block, rows, count);
        default: return descend_block<Real, 4>(group, block, rows, count);
    }
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
constexpr ProjectionKernels<Real> kProjection{kCoordinates<Real>,  take_signs<Real>, expand_signs<Real>,
                                              sign_products<Real>, dot<Real>,        add_fields<Real>,
                                              descend<Real>,       settle<Real>,     descend_row<Real>,
                                              compare<Real>,       write_step<Real>, subtract_step<Real>};
