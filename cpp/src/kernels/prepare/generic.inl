// One look at the rows of a dense matrix, and their int16 form. The registers are those of finish/generic.inl.

// Sums over the columns with the same remainder modulo eight, in as many registers as that takes.
struct EightSums {
    static constexpr std::size_t kParts = 8 / kDoubleLanes;
    DoubleLanes sums[kParts] = {};
    DoubleLanes squares[kParts] = {};
    DoubleLanes largest[kParts] = {};

    // Eight entries of a row.
    template <class Real>
    void add(const Real* entries) {
#pragma GCC unroll 4
        for (std::size_t part = 0; part < kParts; ++part) {
            const DoubleLanes values = load_lanes(entries + part * kDoubleLanes);
            const DoubleLanes size = values < 0.0 ? -values : values;
            sums[part] += size;
            squares[part] += values * values;
            largest[part] = size > largest[part] ? size : largest[part];
        }
    }
};

inline double total_of(const DoubleLanes* sums) {
    double s[8];
    __builtin_memcpy(s, sums, sizeof(s));
    return ((s[0] + s[4]) + (s[2] + s[6])) + ((s[1] + s[5]) + (s[3] + s[7]));
}

template <class Real>
RowStatistics row_statistics(const Real* row, std::size_t n, std::size_t i) {
    EightSums eight;
    // The eight columns with the diagonal, and those that the row ends in, with zeros where nothing counts.
    const auto add_some = [&](std::size_t first) {
        Real entries[8] = {};
        for (std::size_t k = 0; k < 8 && first + k < n; ++k) {
            entries[k] = first + k == i ? Real{0} : row[first + k];
        }
        eight.add(entries);
    };
    const std::size_t diagonal = i / 8 * 8;
    for (std::size_t j = 0; j < diagonal; j += 8) {
        eight.add(row + j);
    }
    add_some(diagonal);
    std::size_t j = diagonal + 8;
    for (; j + 8 <= n; j += 8) {
        eight.add(row + j);
    }
    if (j < n) {
        add_some(j);
    }
    double largest[8];
    __builtin_memcpy(largest, eight.largest, sizeof(largest));
    double most = 0.0;
    for (const double one : largest) {
        most = one > most ? one : most;
    }
    return {total_of(eight.sums), total_of(eight.squares), most};
}

using ShortLanes = std::int16_t __attribute__((vector_size(kDoubleLanes * sizeof(std::int16_t))));
using IntLanes = std::int32_t __attribute__((vector_size(kDoubleLanes * sizeof(std::int32_t))));

// Entries [begin, end) of a row.
template <class Real>
inline void quantise_entries(const Real* row, std::size_t begin, std::size_t end, double factor,
                             std::int16_t* out) {
    constexpr double kShift = 0x1.8p52;  // as nearest_integer
    std::size_t j = begin;
    for (; j + kDoubleLanes <= end; j += kDoubleLanes) {
        const DoubleLanes units = (load_lanes(row + j) * factor + kShift) - kShift;
        const auto doubled =
            __builtin_convertvector(__builtin_convertvector(units + units, IntLanes), ShortLanes);
        __builtin_memcpy(out + j, &doubled, sizeof(doubled));
    }
    for (; j < end; ++j) {
        const double units = (static_cast<double>(row[j]) * factor + kShift) - kShift;
        out[j] = static_cast<std::int16_t>(static_cast<std::int32_t>(units + units));
    }
}

// The diagonal may be of any size, for which there is no integer: it is not looked at.
template <class Real>
void quantise_row(const Real* row, std::size_t n, std::size_t i, double factor, std::int16_t* out) {
    quantise_entries(row, 0, i, factor, out);
    out[i] = 0;
    quantise_entries(row, i + 1, n, factor, out);
}

template <class Real>
constexpr PrepareKernels<Real> kPrepare{row_statistics<Real>, quantise_row<Real>};
