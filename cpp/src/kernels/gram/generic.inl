// Products of panels, written once over the registers of registers/*.inl.
//
// A tile of sums stays in registers while the samples stream by: one multiply-add per sample and entry, or of signs one
// exclusive or, count and addition for 32 samples. Loads of panels are aligned; what leaves a block may lie anywhere.

template <class Real>
struct VectorOf;
template <>
struct VectorOf<float> {
    using Type = Floats;
};
template <>
struct VectorOf<double> {
    using Type = Doubles;
};
template <>
struct VectorOf<std::uint32_t> {
    using Type = Words;
};
template <>
struct VectorOf<std::int16_t> {
    using Type = Shorts;
};
template <class Real>
using Vector = VectorOf<Real>::Type;

template <class Real>
constexpr std::size_t kLanes = kRegisterBytes / sizeof(Real);
template <class Real>
constexpr std::size_t kWidth = kTileVectors * kLanes<Real>;
constexpr std::size_t kWordLanes = kRegisterBytes / sizeof(std::uint32_t);
template <class Real>
constexpr std::size_t kBitVectors = (kWidth<Real> + kWordLanes - 1) / kWordLanes;
template <class Real>
constexpr std::size_t kBitWidth = kBitVectors<Real> * kWordLanes;

template <class V, class T>
inline V load(const T* from) {
    V value;
    __builtin_memcpy(&value, from, sizeof(value));
    return value;
}

template <class V, class T>
inline void save(T* to, const V& value) {
    __builtin_memcpy(to, &value, sizeof(value));
}

template <class Real>
void pack(const Real* values, std::size_t stride, std::size_t samples, std::size_t columns, Real* panel) {
    constexpr std::size_t width = kWidth<Real>;
    for (std::size_t k = 0; k < samples; ++k) {
        const Real* from = values + k * stride;
        Real* to = panel + k * width;
        if (columns == width) {
            for (std::size_t j = 0; j < width; ++j) {
                to[j] = from[j];
            }
        } else {
            for (std::size_t j = 0; j < width; ++j) {
                to[j] = j < columns ? from[j] : Real{0};
            }
        }
    }
}

// For every column a word of 32 samples, by their signs; false when an entry is neither -1 nor +1.
template <class Real>
bool sign_words(const Real* values, std::size_t stride, std::size_t samples, std::size_t columns,
                std::uint32_t* words) {
    std::uint32_t other = 0;
    for (std::size_t k = 0; k < samples; ++k) {
        const Real* from = values + k * stride;
        for (std::size_t j = 0; j < columns; ++j) {
            const Real size = from[j] < Real{0} ? -from[j] : from[j];
            other |= static_cast<std::uint32_t>(!(size == Real{1}));
            words[j] |= static_cast<std::uint32_t>(from[j] < Real{0}) << k;
        }
    }
    return other == 0;
}

template <class Real>
bool pack_signs(const Real* values, std::size_t stride, std::size_t samples, std::size_t columns,
                std::uint32_t* words, std::size_t panel_stride) {
    for (std::size_t first = 0; first < columns; first += kWidth<Real>) {
        const std::size_t count = columns - first < kWidth<Real> ? columns - first : kWidth<Real>;
        std::uint32_t local[kBitWidth<Real>] = {};
        const bool all = count == kWidth<Real>
                             ? sign_words<Real>(values + first, stride, samples, kWidth<Real>, local)
                             : sign_words<Real>(values + first, stride, samples, count, local);
        if (!all) {
            return false;
        }
        for (std::size_t j = 0; j < kBitWidth<Real>; ++j) {
            words[j] = local[j];
        }
        words += panel_stride;
    }
    return true;
}

// Fetches line `turn` of the tile of kRows rows that begins at `row` of the block, at both places where it goes. One
// line for every sample or two is as much as the processor can have under way beside the products.
// Inlined always: GCC takes a function that only fetches for one without effects, and drops its calls.
template <class Real, std::size_t kRows>
__attribute__((always_inline)) inline void fetch(const Destination<Real>& to, std::size_t row,
                                                 std::size_t turn) {
    constexpr std::size_t line = 64 / sizeof(Real);
    constexpr std::size_t lines = (kWidth<Real> + line - 1) / line;
    if (turn < kRows * lines) {
        __builtin_prefetch(to.rows + (row + turn % kRows) * to.stride + turn / kRows * line, 1);
    } else if (to.mirrored != nullptr && turn < 2 * kRows * lines) {
        turn -= kRows * lines;
        __builtin_prefetch(to.mirrored + (row + turn % kRows) * to.stride + turn / kRows * line, 1);
    }
}

// kTileRows x kVectors registers of sums stay in registers while the samples stream by: per sample kTileRows + kVectors
// loads and kTileRows * kVectors multiplications and additions.
template <class Real, std::size_t kVectors>
inline void multiply_tile(const Real* left, const Real* right, std::size_t samples, bool add,
                          const Destination<Real>& to, std::size_t row, Real* out) {
    constexpr std::size_t lanes = kLanes<Real>;
    constexpr std::size_t width = kWidth<Real>;
    Vector<Real> sums[kTileRows][kVectors];
#pragma GCC unroll 8
    for (std::size_t i = 0; i < kTileRows; ++i) {
#pragma GCC unroll 8
        for (std::size_t v = 0; v < kVectors; ++v) {
            sums[i][v] = add ? load<Vector<Real>>(out + i * width + v * lanes) : Vector<Real>{};
        }
    }
    for (std::size_t k = 0; k < samples; ++k) {
        fetch<Real, kTileRows>(to, row, k);
        Vector<Real> of_right[kVectors];
#pragma GCC unroll 8
        for (std::size_t v = 0; v < kVectors; ++v) {
            of_right[v] = load<Vector<Real>>(right + k * width + v * lanes);
        }
#pragma GCC unroll 8
        for (std::size_t i = 0; i < kTileRows; ++i) {
            const Vector<Real> of_left = broadcast(left[k * width + i]);
#pragma GCC unroll 8
            for (std::size_t v = 0; v < kVectors; ++v) {
                sums[i][v] = multiply_add(of_left, of_right[v], sums[i][v]);
            }
        }
    }
#pragma GCC unroll 8
    for (std::size_t i = 0; i < kTileRows; ++i) {
#pragma GCC unroll 8
        for (std::size_t v = 0; v < kVectors; ++v) {
            save(out + i * width + v * lanes, sums[i][v]);
        }
    }
}

// The narrowest tile that covers `vectors` registers.
template <class Real, std::size_t kVectors>
inline void multiply_narrow(std::size_t vectors, const Real* left, const Real* right, std::size_t samples,
                            bool add, const Destination<Real>& to, std::size_t row, Real* out) {
    if constexpr (kVectors > 1) {
        if (vectors < kVectors) {
            multiply_narrow<Real, kVectors - 1>(vectors, left, right, samples, add, to, row, out);
            return;
        }
    }
    multiply_tile<Real, kVectors>(left, right, samples, add, to, row, out);
}

template <class Real>
void multiply(const Real* left, const Real* right, std::size_t samples, std::size_t rows, std::size_t columns,
              bool lower, const Destination<Real>& to, Real* block) {
    constexpr std::size_t kSampleBlock = 128;  // samples of a panel that stay in the first cache
    constexpr std::size_t width = kWidth<Real>;
    for (std::size_t first = 0; first < samples; first += kSampleBlock) {
        const std::size_t count = samples - first < kSampleBlock ? samples - first : kSampleBlock;
        for (std::size_t row = 0; row < rows; row += kTileRows) {
            const std::size_t below = row + kTileRows;
            const std::size_t needed = lower && below < columns ? below : columns;
            multiply_narrow<Real, kTileVectors>((needed + kLanes<Real> - 1) / kLanes<Real>,
                                                left + first * width + row, right + first * width, count,
                                                first > 0, to, row, block + row * width);
        }
    }
}

// Sums of one row of `left` with all columns of `right`, for kBitRows rows at a time.
constexpr std::size_t kBitRows = 4;

template <class Real>
inline void save_sums(const Words* counts, std::size_t samples, Real* out) {
    std::uint32_t distance[kBitWidth<Real>];
    __builtin_memcpy(distance, counts, sizeof(distance));
    for (std::size_t j = 0; j < kWidth<Real>; ++j) {
        out[j] = static_cast<Real>(static_cast<std::int32_t>(samples) -
                                   2 * static_cast<std::int32_t>(distance[j]));
    }
}

template <class Real>
void multiply_sign_bytes(const std::uint32_t* left, const std::uint32_t* right, std::size_t samples,
                         std::size_t rows, const Destination<Real>& to, Real* block) {
    constexpr std::size_t vectors = kBitVectors<Real>;
    const std::size_t words = (samples + kWordSamples - 1) / kWordSamples;
    for (std::size_t row = 0; row < rows; ++row) {
        Words totals[vectors] = {};
        for (std::size_t first = 0; first < words; first += kCountedWords) {
            const std::size_t end = words - first < kCountedWords ? words : first + kCountedWords;
            Counts counts[vectors] = {};
            for (std::size_t w = first; w < end; ++w) {
                fetch<Real, 1>(to, row, w);
                const Words of_left = Words{} + left[w * kBitWidth<Real> + row];
#pragma GCC unroll 8
                for (std::size_t v = 0; v < vectors; ++v) {
                    const Words differ = of_left ^ load<Words>(right + w * kBitWidth<Real> + v * kWordLanes);
                    counts[v] = add_counts(counts[v], byte_counts(differ));
                }
            }
#pragma GCC unroll 8
            for (std::size_t v = 0; v < vectors; ++v) {
                totals[v] += widen_counts(counts[v]);
            }
        }
        save_sums(totals, samples, block + row * kWidth<Real>);
    }
}

template <class Real>
void store(const Real* block, std::size_t rows, std::size_t columns, Real scale, Real* out,
           std::size_t stride) {
    for (std::size_t i = 0; i < rows; ++i) {
        const Real* from = block + i * kWidth<Real>;
        Real* to = out + i * stride;
        if (columns == kWidth<Real>) {
            for (std::size_t j = 0; j < kWidth<Real>; ++j) {
                to[j] = scale * from[j];
            }
        } else {
            for (std::size_t j = 0; j < columns; ++j) {
                to[j] = scale * from[j];
            }
        }
    }
}

template <class Real>
void store_transposed(const Real* block, std::size_t rows, std::size_t columns, Real scale, Real* out,
                      std::size_t stride) {
    constexpr std::size_t lanes = kLanes<Real>;
    const Vector<Real> scales = broadcast(scale);
    for (std::size_t row = 0; row < rows; row += lanes) {
        for (std::size_t column = 0; column < columns; column += lanes) {
            Vector<Real> square[lanes];
#pragma GCC unroll 16
            for (std::size_t i = 0; i < lanes; ++i) {
                square[i] = load<Vector<Real>>(block + (row + i) * kWidth<Real> + column) * scales;
            }
            transpose(square);
            Real* to = out + column * stride + row;
            if (row + lanes <= rows && column + lanes <= columns) {
#pragma GCC unroll 16
                for (std::size_t i = 0; i < lanes; ++i) {
                    save(to + i * stride, square[i]);
                }
            } else {
                for (std::size_t i = 0; i < lanes && column + i < columns; ++i) {
                    for (std::size_t j = 0; j < lanes && row + j < rows; ++j) {
                        to[i * stride + j] = square[i][j];
                    }
                }
            }
        }
    }
}

// As average, of one register full.
template <class Real>
inline void average_lanes(const Real* values, const Real* past, Real weight, Real correction, Real* state,
                          Real* mean) {
    const auto value = load<Vector<Real>>(values);
    const auto before = past == nullptr ? Vector<Real>{} : load<Vector<Real>>(past);
    const bool near_past = weight < Real(0.5) && weight > Real(-0.5);
    const auto next = multiply_add(broadcast(near_past ? weight : weight - Real{1}),
                                   Vector<Real>(value - before), near_past ? before : value);
    save(state, next);
    if (mean != nullptr) {
        save(mean, Vector<Real>(next / broadcast(correction)));
    }
}

template <class Real>
void average(const Real* values, const Real* past, Real weight, Real correction, std::size_t count,
             Real* state, Real* mean) {
    constexpr std::size_t lanes = kLanes<Real>;
    std::size_t i = 0;
    for (; i + lanes <= count; i += lanes) {
        average_lanes(values + i, past == nullptr ? nullptr : past + i, weight, correction, state + i,
                      mean == nullptr ? nullptr : mean + i);
    }
    if (i < count) {
        Real rest[4][lanes] = {};
        const std::size_t bytes = (count - i) * sizeof(Real);
        __builtin_memcpy(rest[0], values + i, bytes);
        if (past != nullptr) {
            __builtin_memcpy(rest[1], past + i, bytes);
        }
        average_lanes(rest[0], rest[1], weight, correction, rest[2], rest[3]);
        __builtin_memcpy(state + i, rest[2], bytes);
        if (mean != nullptr) {
            __builtin_memcpy(mean + i, rest[3], bytes);
        }
    }
}

template <class Real>
constexpr GramKernels<Real> gram_kernels(decltype(GramKernels<Real>::multiply_signs) multiply_signs) {
    return {kWidth<Real>,     kBitWidth<Real>,        pack<Real>,
            pack_signs<Real>, multiply<Real>,         multiply_signs,
            store<Real>,      store_transposed<Real>, average<Real>};
}
