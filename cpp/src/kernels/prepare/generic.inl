// One look at the rows of a dense matrix, and their int16 form. The vector types are those of finish/generic.inl.

template <class Real>
inline void load_entries(const Real* from, Doubles8& entries) {
    std::conditional_t<std::is_same_v<Real, float>, Floats8, Doubles8> values;
    __builtin_memcpy(&values, from, sizeof(values));
    widen(values, entries);
}

template <class Real>
RowStatistics row_statistics(const Real* row, std::size_t n, std::size_t i) {
    Doubles8 sums = {};
    Doubles8 squares = {};
    Doubles8 largest = {};
    const auto add = [&](const Doubles8& values) {
        const Doubles8 size = values < 0.0 ? -values : values;
        sums += size;
        squares += values * values;
        largest = size > largest ? size : largest;
    };
    std::size_t j = 0;
    for (; j + 8 <= n; j += 8) {
        Doubles8 values;
        load_entries(row + j, values);
        if (i - j < 8) {
            values[i - j] = 0.0;
        }
        add(values);
    }
    Doubles8 rest = {};
    for (std::size_t k = 0; j + k < n; ++k) {
        rest[k] = j + k == i ? 0.0 : static_cast<double>(row[j + k]);
    }
    add(rest);
    const auto total = [](const Doubles8& s) {
        return ((s[0] + s[4]) + (s[2] + s[6])) + ((s[1] + s[5]) + (s[3] + s[7]));
    };
    double most = 0.0;
    for (std::size_t k = 0; k < 8; ++k) {
        most = largest[k] > most ? largest[k] : most;
    }
    return {total(sums), total(squares), most};
}

using Shorts8 = std::int16_t __attribute__((vector_size(16)));
using Ints8 = std::int32_t __attribute__((vector_size(32)));

// Entries [begin, end) of a row.
template <class Real>
inline void quantise_entries(const Real* row, std::size_t begin, std::size_t end, double factor,
                             std::int16_t* out) {
    constexpr double kShift = 0x1.8p52;  // as nearest_integer
    std::size_t j = begin;
    for (; j + 8 <= end; j += 8) {
        Doubles8 units;
        load_entries(row + j, units);
        units = (units * factor + kShift) - kShift;
        const Shorts8 doubled =
            __builtin_convertvector(__builtin_convertvector(units + units, Ints8), Shorts8);
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
