// The training step's descent in int16, written once over the registers of registers/*.inl.
//
// Products with signs look up sums of five rows: d^2 / 5 additions a row of the layer. A pass over a row of d coordinates
// applies up to four flips and looks for the next ones: 2 d operations a flip, 4 d besides. Arithmetic is on whole
// registers of int16; results do not depend on their width.

inline std::int16_t rounded_int16(float value) {
    return static_cast<std::int16_t>(__builtin_bit_cast(std::uint32_t, value + kRounding));
}

inline void quantise_int16(const float* row, const float* inverse_units, float factor, std::size_t d,
                           std::int16_t* couplings) {
    for (std::size_t i = 0; i < d; ++i) {
        couplings[i] = rounded_int16(factor * row[i] * inverse_units[i]);
    }
}

template <class Real>
inline void start_by_int16(const float* p, const Int16Start& of_layer, Real inverse_scale, std::size_t d,
                           std::int16_t* spins, std::int16_t* fields) {
    const float* rest = of_layer.rest;
    const float* bounds = of_layer.bounds;
    const float* inverse_units = of_layer.inverse_units;
    const float* exclusions = of_layer.exclusions;
    const float inverse_factor = of_layer.inverse_factor;
    for (std::size_t i = 0; i < d; ++i) {
        const float spin = p[i] < 0.0F ? -1.0F : 1.0F;
        auto pull = static_cast<float>(inverse_scale * static_cast<Real>(p[i]));
        pull = pull < bounds[i] ? pull : bounds[i];
        pull = pull > -bounds[i] ? pull : -bounds[i];
        const float others = inverse_factor * static_cast<float>(fields[i]);
        const float own = (spin * rest[i] - pull) * inverse_units[i];
        fields[i] = rounded_int16(others + own + spin * exclusions[i]);
        spins[i] = static_cast<std::int16_t>(p[i] < 0.0F ? -1 : 1);
    }
}

inline void start_int16(const float* p, const Int16Start& of_layer, double inverse_scale, std::size_t d,
                        std::int16_t* spins, std::int16_t* fields) {
    constexpr double kMost = 1e30;
    if (inverse_scale < kMost && inverse_scale * kMost > 1.0) {
        start_by_int16(p, of_layer, static_cast<float>(inverse_scale), d, spins, fields);
    } else {
        start_by_int16(p, of_layer, inverse_scale, d, spins, fields);
    }
}

// Products of W and rows of signs: the 32 signed sums of five rows of W at a time are tabulated, so that one addition serves
// five entries. Tables of kTablesOfChunk times five rows and kColumnsOfTile columns stay in the first cache.
constexpr std::size_t kSignsOfTable = 5;
constexpr std::size_t kEntriesOfTable = std::size_t{1} << kSignsOfTable;
constexpr std::size_t kTablesOfChunk = 8;
constexpr std::size_t kSignsOfChunk = kTablesOfChunk * kSignsOfTable;
constexpr std::size_t kColumnsOfTile = kProductsTile;
constexpr std::size_t kVectorsOfTile = kColumnsOfTile / kLanes<std::int16_t>;

inline std::size_t chunks_of(std::size_t d) { return (d + kSignsOfChunk - 1) / kSignsOfChunk; }

// The signs of every chunk in a word.
inline std::size_t workspace_bytes_int16(std::size_t rows, std::size_t d) {
    return rows * chunks_of(d) * sizeof(std::uint64_t);
}

inline void split_signs(const Int16SignProducts& what, std::size_t rows, std::uint64_t* chunks) {
    constexpr std::uint64_t kMask = (std::uint64_t{1} << kSignsOfChunk) - 1U;
    for (std::size_t chunk = 0; chunk < chunks_of(what.d); ++chunk) {
        const std::size_t bit = chunk * kSignsOfChunk;
        const std::size_t shift = bit % kSignsOfWord;
        const std::uint64_t* low = what.signs + bit / kSignsOfWord * what.signs_stride;
        const bool crosses =
            shift + kSignsOfChunk > kSignsOfWord && bit / kSignsOfWord < (what.d - 1) / kSignsOfWord;
        const std::uint64_t* high = crosses ? low + what.signs_stride : low;
        const std::size_t back = crosses ? kSignsOfWord - shift : 0;
        const std::uint64_t of_high = crosses ? kMask : 0;
        for (std::size_t row = 0; row < rows; ++row) {
            const std::uint64_t signs = (low[row] >> shift) | ((high[row] << back) & of_high);
            chunks[row] = signs & kMask;
        }
        chunks += rows;
    }
}

// The sums +-a +-b +-c +-d +-e of five rows; bit i of the index is set where row i counts negatively.
inline void tabulate_int16(const std::int16_t* const* rows, std::int16_t* table) {
    for (std::size_t v = 0; v < kColumnsOfTile; v += kLanes<std::int16_t>) {
        const auto a = load<Shorts>(rows[0] + v);
        const auto b = load<Shorts>(rows[1] + v);
        const auto c = load<Shorts>(rows[2] + v);
        const auto d = load<Shorts>(rows[3] + v);
        const auto e = load<Shorts>(rows[4] + v);
        const Shorts first[4] = {a + b, b - a, a - b, -a - b};
        const Shorts second[8] = {c + d + e, d - c + e, c - d + e, e - c - d,
                                  c + d - e, d - c - e, c - d - e, -c - d - e};
#pragma GCC unroll 32
        for (std::size_t entry = 0; entry < kEntriesOfTable; ++entry) {
            save(table + entry * kColumnsOfTile + v, first[entry % 4] + second[entry / 4]);
        }
    }
}

inline void add_tabulated_int16(const std::uint64_t* chunks, std::size_t rows, const std::int16_t* tables,
                                bool first, std::int16_t* sums) {
    for (std::size_t row = 0; row < rows; ++row) {
        Shorts local[kVectorsOfTile];
#pragma GCC unroll 8
        for (std::size_t v = 0; v < kVectorsOfTile; ++v) {
            local[v] = first ? Shorts{} : load<Shorts>(sums + v * kLanes<std::int16_t>);
        }
        // Every five signs are the place of an entry in bytes, when they come to stand above its size.
        constexpr std::size_t entry_bytes = kColumnsOfTile * sizeof(std::int16_t);
        const std::size_t signs = chunks[row] * entry_bytes;
        const auto* table = reinterpret_cast<const std::byte*>(tables);
#pragma GCC unroll 8
        for (std::size_t first_sign = 0; first_sign < kSignsOfChunk; first_sign += kSignsOfTable) {
            const std::size_t place = signs >> first_sign & (kEntriesOfTable - 1) * entry_bytes;
            const auto* entry = reinterpret_cast<const std::int16_t*>(table + place);
            table += kEntriesOfTable * entry_bytes;
#pragma GCC unroll 8
            for (std::size_t v = 0; v < kVectorsOfTile; ++v) {
                local[v] += load<Shorts>(entry + v * kLanes<std::int16_t>);
            }
        }
#pragma GCC unroll 8
        for (std::size_t v = 0; v < kVectorsOfTile; ++v) {
            save(sums + v * kLanes<std::int16_t>, local[v]);
        }
        sums += kColumnsOfTile;
    }
}

inline void sign_products_int16(const Int16SignProducts& what, std::size_t rows) {
    alignas(64) std::int16_t tables[kTablesOfChunk * kEntriesOfTable * kColumnsOfTile];
    alignas(64) static constexpr std::int16_t kZeros[kColumnsOfTile] = {};
    auto* chunks = static_cast<std::uint64_t*>(what.workspace);
    split_signs(what, rows, chunks);
    std::int16_t* products = what.products;
    for (std::size_t column = 0; column < what.d; column += kColumnsOfTile) {
        for (std::size_t chunk = 0; chunk < chunks_of(what.d); ++chunk) {
            for (std::size_t table = 0; table < kTablesOfChunk; ++table) {
                const std::int16_t* of_table[kSignsOfTable];
                for (std::size_t k = 0; k < kSignsOfTable; ++k) {
                    const std::size_t i = chunk * kSignsOfChunk + table * kSignsOfTable + k;
                    of_table[k] = i < what.d ? what.couplings + i * what.couplings_stride + column : kZeros;
                }
                tabulate_int16(of_table, tables + table * kEntriesOfTable * kColumnsOfTile);
            }
            add_tabulated_int16(chunks + chunk * rows, rows, tables, chunk == 0, products);
        }
        products += what.tile_stride;
    }
}

inline double signed_sum_int16(const float* p, const std::int16_t* products, const float* units,
                               std::size_t d) {
    return sum_of_floats(d, [&](std::size_t i) {
        const float value = units[i] * static_cast<float>(products[i]);
        return p[i] < 0.0F ? -value : value;
    });
}

constexpr std::size_t kSlotsOfFlip = kInt16Slots / kFlipsOfPass;

// The largest key of every slot: a gain whose last bits tell which of the slot's coordinates it belongs to. So the
// maximum of the keys names its coordinate, and no second search is needed.
struct Int16SlotKeys {
    static constexpr std::size_t kRegisters = kInt16Slots / kLanes<std::int16_t>;
    Shorts best[kRegisters];
};

// Bits of a key that count the coordinates of a slot, all set.
inline std::int16_t key_mask_int16(std::size_t d) {
    const std::uint64_t last = (d + kInt16Slots - 1) / kInt16Slots - 1;
    return static_cast<std::int16_t>(last == 0 ? 0 : ~std::uint64_t{0} >> __builtin_clzll(last));
}

// The best flip of a quarter of the slots. Branch-free: these branches mispredict about half of the time.
inline Int16Candidate best_of(const Int16SlotKeys& slots, std::int16_t mask, std::size_t quarter) {
    const std::size_t first = quarter * kSlotsOfFlip;
    constexpr std::size_t lanes = kLanes<std::int16_t>;
    constexpr std::size_t registers = kSlotsOfFlip / lanes;
    const Shorts* best = slots.best + first / lanes;
    Shorts largest = best[0];
#pragma GCC unroll 16
    for (std::size_t r = 1; r < registers; ++r) {
        largest = larger(best[r], largest);
    }
    const std::int16_t most = largest_of(largest);
    const Shorts everywhere = Shorts{} + most;
    std::uint64_t below = 0;
#pragma GCC unroll 16
    for (std::size_t r = 0; r < registers; ++r) {
        below |= std::uint64_t{above(everywhere, best[r])} << (r * lanes);
    }
    const std::size_t slot = first + static_cast<std::size_t>(__builtin_ctzll(~below));
    const std::size_t index = static_cast<std::size_t>(most & mask) * kInt16Slots + slot;
    return {static_cast<std::int16_t>(most & ~mask), index};
}

// Takes flips off the fields, if there are any, and keeps the largest keys of the gains that they leave. 2 operations a
// flip and coordinate, 4 besides.
template <class... Flips>
inline Int16SlotKeys flip_and_look_int16(const Int16Descent& row, const Flips&... flips) {
    constexpr std::size_t lanes = kLanes<std::int16_t>;
    Int16SlotKeys slots{};
#pragma GCC unroll 16
    for (Shorts& of_slots : slots.best) {
        of_slots = Shorts{} + kInt16NoGain;
    }
    const std::int16_t* spins = row.spins;
    std::int16_t* fields = row.fields;
    const std::size_t d = row.d;
    const Shorts of_gain = Shorts{} + static_cast<std::int16_t>(~key_mask_int16(row.d));
    Shorts number{};
    const auto look = [&](std::size_t i, Shorts& of_slots) {
        auto field = load<Shorts>(fields + i);
        if constexpr (sizeof...(flips) > 0) {
            ((field -= load<Shorts>(flips.couplings + i) * (Shorts{} + flips.spin)), ...);
            save(fields + i, field);
        }
        const Shorts gain = field * load<Shorts>(spins + i);
        of_slots = larger((gain & of_gain) | number, of_slots);
    };
    std::size_t begin = 0;
    for (; begin + kInt16Slots <= d; begin += kInt16Slots) {
#pragma GCC unroll 16
        for (std::size_t r = 0; r < Int16SlotKeys::kRegisters; ++r) {
            look(begin + r * lanes, slots.best[r]);
        }
        number += 1;
    }
#pragma GCC unroll 16
    for (std::size_t r = 0; r < Int16SlotKeys::kRegisters; ++r) {
        if (begin + r * lanes < d) {
            look(begin + r * lanes, slots.best[r]);
        }
    }
    return slots;
}

template <>
struct Looks<Int16Descent> {
    using Slots = Int16SlotKeys;

    template <class... Flips>
    static Slots look(const Int16Descent& row, const Flips&... flips) {
        return flip_and_look_int16(row, flips...);
    }
    static Int16Candidate best(const Int16Descent& row, const Slots& slots, std::size_t quarter) {
        return best_of(slots, key_mask_int16(row.d), quarter);
    }
};

inline Int16Change change_int16(const float* p, const std::int16_t* first_fields, const Int16Descent& row,
                                const float* units, std::size_t d) {
    const std::int16_t* spins = row.spins;
    const std::int16_t* fields = row.fields;
    // Sign(p) where it is not the spin, else 0.
    const auto changed = [&](std::size_t i) {
        const float sign = p[i] < 0.0F ? -1.0F : 1.0F;
        return 0.5F * (sign - static_cast<float>(spins[i]));
    };
    const double lowered = sum_of_floats(d, [&](std::size_t i) {
        const int both = first_fields[i] + fields[i];
        return changed(i) * units[i] * static_cast<float>(both);
    });
    const double sum = sum_of_floats(d, [&](std::size_t i) { return changed(i) * changed(i) * units[i]; });
    return {0.5 * lowered, sum};
}

inline double write_step_int16(const float* p, const std::int16_t* spins, const float* own, bool mask,
                               std::size_t d, std::int8_t* step) {
    for (std::size_t i = 0; i < d; ++i) {
        const auto sign = static_cast<std::int8_t>(p[i] < 0.0F ? -1 : 1);
        const auto spin = spins == nullptr ? sign : static_cast<std::int8_t>(spins[i]);
        const auto value = static_cast<std::int8_t>(mask ? (sign + spin) / 2 : spin);
        const bool unknown = p[i] == 0.0F && own[i] == 0.0F;
        step[i] = unknown ? std::int8_t{0} : value;
    }
    return sum_of_floats(d, [&](std::size_t i) { return p[i] * static_cast<float>(step[i]); });
}

constexpr ProjectionInt16Kernels kProjectionInt16{
    workspace_bytes_int16, sign_products_int16,        signed_sum_int16, quantise_int16,
    start_int16,           descend_rows<Int16Descent>, change_int16,     write_step_int16};
