// The training step's solver, written once over the registers of registers/*.inl.
//
// Products with signs look up sums of four rows: d^2 / 4 additions a row of the layer. The descent takes 2 d operations for
// a look at all gains and d multiply-adds for a flip. All else is a pass over d coordinates.
//
// Sums over a row run in kSums partial sums, one for every coordinate modulo kSums, which are added in a fixed order.

constexpr std::size_t kTileRegisters = 4;
template <class Real>
constexpr std::size_t kCoordinates = kTileRegisters * kLanes<Real>;
constexpr std::size_t kSignGroup = 4;                        // rows of A in a table
constexpr std::size_t kTableGroups = 8;                      // tables that stay in the first cache
constexpr std::size_t kCovered = kTableGroups * kSignGroup;  // rows of A in them
constexpr std::size_t kTableEntries = std::size_t{1} << kSignGroup;
constexpr std::size_t kSums = 32;

// Halves are added until one number is left, in loops of constant length.
template <std::size_t kHalf>
inline double fold(double* sums) {
    for (std::size_t i = 0; i < kHalf; ++i) {
        sums[i] += sums[i + kHalf];
    }
    if constexpr (kHalf > 1) {
        return fold<kHalf / 2>(sums);
    }
    return sums[0];
}

template <class Real>
inline double sum_of(const Real* sums) {
    double level[kSums];
    for (std::size_t i = 0; i < kSums; ++i) {
        level[i] = static_cast<double>(sums[i]);
    }
    return fold<kSums / 2>(level);
}

// Calls term(i) for every i, and adds it to the partial sum that it belongs to.
template <class Real, class Term>
inline double sum_terms(std::size_t d, const Term& term) {
    Real sums[kSums] = {};
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

// A sum in float32, which is fast, unless it leaves float32's range.
template <class Term>
inline double sum_of_floats(std::size_t d, const Term& term) {
    const double sum = sum_terms<float>(d, term);
    return sum - sum == 0.0
               ? sum
               : sum_terms<double>(d, [&](std::size_t i) { return static_cast<double>(term(i)); });
}

template <class Real>
double magnitude(const Real* a, std::size_t d) {
    const auto size = [&](std::size_t i) { return a[i] < Real{0} ? -a[i] : a[i]; };
    if constexpr (sizeof(Real) == sizeof(float)) {
        return sum_of_floats(d, size);
    } else {
        return sum_terms<double>(d, size);
    }
}

template <class Real>
double signed_sum(const Real* p, const Real* a, std::size_t d) {
    return sum_terms<double>(d, [&](std::size_t i) {
        const auto value = static_cast<double>(a[i]);
        return p[i] < Real{0} ? -value : value;
    });
}

// One pass: a row that comes from beyond the first cache is read once.
template <class Real>
double take_signs(const Real* gradient, const Real* residual, std::size_t d, Real* p, std::uint64_t* signs,
                  std::size_t signs_stride) {
    constexpr std::size_t lanes = kLanes<Real>;
    constexpr std::size_t registers = kSums / lanes;
    const Vector<Real> zero{};
    Vector<Real> sizes[registers] = {};
    std::size_t begin = 0;
    for (; begin + kSignsOfWord <= d; begin += kSignsOfWord) {
        std::uint64_t negative = 0;
#pragma GCC unroll 32
        for (std::size_t r = 0; r < kSignsOfWord / lanes; ++r) {
            const std::size_t i = begin + r * lanes;
            auto value = load<Vector<Real>>(gradient + i);
            if (residual != nullptr) {
                value += load<Vector<Real>>(residual + i);
                save(p + i, value);
            }
            negative |= std::uint64_t{above(zero, value)} << (r * lanes);
            sizes[r % registers] += value < zero ? -value : value;
        }
        *signs = negative;
        signs += signs_stride;
    }
    Real sums[kSums];
    for (std::size_t r = 0; r < registers; ++r) {
        save(sums + r * lanes, sizes[r]);
    }
    if (begin < d) {
        std::uint64_t negative = 0;
        for (std::size_t i = begin; i < d; ++i) {
            Real value = gradient[i];
            if (residual != nullptr) {
                value += residual[i];
                p[i] = value;
            }
            negative |= std::uint64_t{value < Real{0}} << (i - begin);
            sums[i % kSums] += value < Real{0} ? -value : value;
        }
        *signs = negative;
    }
    const double sum = sum_of(sums);
    return sum - sum == 0.0 ? sum : magnitude(residual == nullptr ? gradient : p, d);
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
inline void add_tabulated(const SignProducts<Real>& what, std::size_t rows, std::size_t first,
                          std::size_t column, const Real* tables) {
    for (std::size_t row = 0; row < rows; ++row) {
        Real* local = what.products + row * what.stride + column;
        const std::uint64_t signs =
            what.signs[first / kSignsOfWord * what.signs_stride + row] >> (first % kSignsOfWord);
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
void sign_products_of_tile(const SignProducts<Real>& what, std::size_t rows, std::size_t column) {
    alignas(64) Real tables[kTableGroups * kTableEntries * kCoordinates<Real>];
    const Real zeros[kCoordinates<Real>] = {};
    for (std::size_t i = 0; i < what.d; i += kCovered) {
        for (std::size_t g = 0; g < kTableGroups; ++g) {
            const Real* of_group[kSignGroup];
            for (std::size_t k = 0; k < kSignGroup; ++k) {
                const std::size_t row = i + g * kSignGroup + k;
                of_group[k] = row < what.d ? what.matrix + row * what.matrix_stride + column : zeros;
            }
            tabulate<Real, kVectors>(of_group, tables + g * kTableEntries * kCoordinates<Real>);
        }
        add_tabulated<Real, kVectors>(what, rows, i, column, tables);
    }
}

template <class Real>
inline std::size_t tile_vectors(std::size_t d, std::size_t column) {
    const std::size_t vectors = (d - column + kLanes<Real> - 1) / kLanes<Real>;
    return vectors < kTileRegisters ? vectors : kTileRegisters;
}

template <class Real>
void sign_products(const SignProducts<Real>& what, std::size_t rows) {
    for (std::size_t column = 0; column < what.d; column += kCoordinates<Real>) {
        switch (tile_vectors<Real>(what.d, column)) {
            case 1: sign_products_of_tile<Real, 1>(what, rows, column); break;
            case 2: sign_products_of_tile<Real, 2>(what, rows, column); break;
            case 3: sign_products_of_tile<Real, 3>(what, rows, column); break;
            default: sign_products_of_tile<Real, 4>(what, rows, column);
        }
    }
}

template <class Real>
void start(const Real* p, const Real* product, const Real* own, double inverse_scale, std::size_t d,
           Real* spins, Real* fields) {
    for (std::size_t i = 0; i < d; ++i) {
        const Real spin = p[i] < Real{0} ? Real{-1} : Real{1};
        spins[i] = spin;
        fields[i] = product[i] - spin * own[i] - static_cast<Real>(inverse_scale * static_cast<double>(p[i]));
    }
}

// The best of the coordinates of each slot: i modulo kFlipSlots.
template <class Real>
struct Candidates {
    Real groups[kFlipSlots];  // i / kFlipSlots
    Real half;                // of the largest gain
    std::uint32_t chosen;     // bits of the slots with a gain above that
};

template <class Real>
inline Candidates<Real> candidates(const Real* fields, const Real* spins, std::size_t d) {
    constexpr std::size_t lanes = kLanes<Real>;
    constexpr std::size_t registers = kFlipSlots / lanes;
    Vector<Real> best[registers] = {};
    Vector<Real> group[registers] = {};
    Vector<Real> number{};
#pragma GCC unroll 2
    for (std::size_t begin = 0; begin < d; begin += kFlipSlots) {
#pragma GCC unroll 16
        for (std::size_t r = 0; r < registers; ++r) {
            const Vector<Real> gain = load<Vector<Real>>(fields + begin + r * lanes) *
                                      load<Vector<Real>>(spins + begin + r * lanes);
            group[r] = gain > best[r] ? number : group[r];
            best[r] = larger(gain, best[r]);
        }
        number += Real{1};
    }
    Vector<Real> largest = best[0];
#pragma GCC unroll 16
    for (std::size_t r = 1; r < registers; ++r) {
        largest = larger(best[r], largest);
    }
    Real most = 0;
    for (std::size_t lane = 0; lane < lanes; ++lane) {
        most = largest[lane] > most ? largest[lane] : most;
    }
    Candidates<Real> found{};
    found.half = static_cast<Real>(most / 2);
    const Vector<Real> half = Vector<Real>{} + found.half;
    found.chosen = 0;
#pragma GCC unroll 16
    for (std::size_t r = 0; r < registers; ++r) {
        save(found.groups + r * lanes, group[r]);
        found.chosen |= above(best[r], half) << (r * lanes);
    }
    return found;
}

template <class Real>
inline void flip(const Real* couplings, Real factor, std::size_t i, std::size_t d, Real* spins,
                 Real* fields) {
    constexpr std::size_t lanes = kLanes<Real>;
    const Vector<Real> change = Vector<Real>{} + static_cast<Real>(factor * spins[i]);
    const Real own = fields[i];
    spins[i] = static_cast<Real>(-spins[i]);
#pragma GCC unroll 4
    for (std::size_t j = 0; j < d; j += lanes) {
        save(fields + j,
             multiply_subtract(change, load<Vector<Real>>(couplings + j), load<Vector<Real>>(fields + j)));
    }
    fields[i] = own;
}

template <class Real>
bool descend(Descent<Real>& state, std::size_t most_flips) {
    Descent<Real> row = state;  // a copy that fields cannot alias
    const std::size_t end = row.flips + most_flips;
    bool settled = false;
    while (!settled && row.flips <= end) {
        const Candidates<Real> found = candidates(row.fields, row.spins, row.d);
        settled = found.chosen == 0;
        for (std::uint32_t left = found.chosen; left != 0; left &= left - 1) {
            const auto slot = static_cast<std::size_t>(__builtin_ctz(left));
            const std::size_t i = static_cast<std::size_t>(found.groups[slot]) * kFlipSlots + slot;
            const auto gain = static_cast<Real>(row.fields[i] * row.spins[i]);
            if (gain > found.half) {
                flip(row.couplings + i * row.stride, row.factor, i, row.d, row.spins, row.fields);
                const double lowered = row.units[i] * static_cast<double>(gain);
                row.lowered += lowered;
                row.certain += lowered - row.errors[i] * (row.first_error + static_cast<double>(row.flips));
                ++row.flips;
            }
        }
    }
    state = row;
    return settled;
}

// Bits of the coordinates from `i` on, of one register, whose gains are above their slacks; gains are saved.
template <class Real>
inline std::uint64_t good_gains(const InputDescent<Real>& row, const Real* products, std::size_t i,
                                Real* gains) {
    const Vector<Real> slack = Vector<Real>{} + row.slack;
    const Vector<Real> field = load<Vector<Real>>(products) - load<Vector<Real>>(row.pulls + i);
    const Vector<Real> gain = load<Vector<Real>>(row.spins + i) * field - load<Vector<Real>>(row.own + i);
    save(gains, gain);
    return std::uint64_t{above(gain, slack * load<Vector<Real>>(row.slacks + i))};
}

template <class Real>
std::size_t find_gains(const InputDescent<Real>& row, const Real* products, std::size_t first,
                       std::size_t count, Gain<Real>* found) {
    constexpr std::size_t lanes = kLanes<Real>;
    constexpr std::size_t kMost = 64;
    Real gains[kMost];
    std::size_t size = 0;
    for (std::size_t begin = 0; begin < count; begin += kMost) {
        const std::size_t some = count - begin < kMost ? count - begin : kMost;
        const std::size_t offset = first + begin;
        std::uint64_t good = 0;
        std::size_t k = 0;
        for (; k + lanes <= some; k += lanes) {
            good |= good_gains(row, products + begin + k, offset + k, gains + k) << k;
        }
        for (; k < some; ++k) {
            const Real field = products[begin + k] - row.pulls[offset + k];
            gains[k] = row.spins[offset + k] * field - row.own[offset + k];
            good |= std::uint64_t{gains[k] > row.slack * row.slacks[offset + k]} << k;
        }
        for (; good != 0; good &= good - 1) {
            const auto of_good = static_cast<std::size_t>(__builtin_ctzll(good));
            found[size++] = {static_cast<std::uint32_t>(offset + of_good), gains[of_good]};
        }
    }
    return size;
}

// x'y of the samples of one coordinate: kInputLanes partial sums, whose halves are added until one is left.
template <class Real>
inline Real product_of_samples(const Real* x, const Real* y, std::size_t stride) {
    constexpr std::size_t lanes = kLanes<Real>;
    constexpr std::size_t registers = kInputLanes / lanes;
    Vector<Real> sums[registers] = {};
    for (std::size_t k = 0; k < stride; k += kInputLanes) {
#pragma GCC unroll 8
        for (std::size_t r = 0; r < registers; ++r) {
            sums[r] = multiply_add(load<Vector<Real>>(x + k + r * lanes),
                                   load<Vector<Real>>(y + k + r * lanes), sums[r]);
        }
    }
    Real part[kInputLanes];
#pragma GCC unroll 8
    for (std::size_t r = 0; r < registers; ++r) {
        save(part + r * lanes, sums[r]);
    }
    for (std::size_t half = kInputLanes / 2; half > 0; half /= 2) {
        for (std::size_t k = 0; k < half; ++k) {
            part[k] += part[k + half];
        }
    }
    return part[0];
}

// Flips coordinate i, and X G follows.
template <class Real>
inline void flip_of_samples(const InputDescent<Real>& row, std::size_t i) {
    const Real* samples = row.inputs + i * row.stride;
    const Vector<Real> change = Vector<Real>{} + static_cast<Real>(row.factor * row.spins[i]);
    for (std::size_t k = 0; k < row.stride; k += kLanes<Real>) {
        save(row.outputs + k,
             multiply_subtract(change, load<Vector<Real>>(samples + k), load<Vector<Real>>(row.outputs + k)));
    }
    row.spins[i] = -row.spins[i];
}

// Flips of `count` coordinates, whose spins are still as before: kBlocks times kInputLanes samples of X G stay in registers.
template <class Real, std::size_t kBlocks>
inline void flip_in_registers(const InputDescent<Real>& row, const std::uint32_t* coordinates,
                              std::size_t count, std::size_t first_sample) {
    constexpr std::size_t lanes = kLanes<Real>;
    constexpr std::size_t registers = kBlocks * kInputLanes / lanes;
    Vector<Real> sums[registers];
#pragma GCC unroll 16
    for (std::size_t r = 0; r < registers; ++r) {
        sums[r] = load<Vector<Real>>(row.outputs + first_sample + r * lanes);
    }
    for (std::size_t c = 0; c < count; ++c) {
        const std::size_t i = coordinates[c];
        const Real* samples = row.inputs + i * row.stride + first_sample;
        const Vector<Real> change = Vector<Real>{} + static_cast<Real>(row.factor * row.spins[i]);
#pragma GCC unroll 16
        for (std::size_t r = 0; r < registers; ++r) {
            sums[r] = multiply_subtract(change, load<Vector<Real>>(samples + r * lanes), sums[r]);
        }
    }
#pragma GCC unroll 16
    for (std::size_t r = 0; r < registers; ++r) {
        save(row.outputs + first_sample + r * lanes, sums[r]);
    }
}

template <class Real>
std::size_t follow(const InputDescent<Real>& row, const Real* spins, std::size_t d) {
    constexpr std::size_t kMost = 256;
    constexpr std::size_t kBlocks = 4;
    std::uint32_t coordinates[kMost];
    std::size_t changes = 0;
    for (std::size_t begin = 0; begin < d; begin += kMost) {
        const std::size_t end = d - begin < kMost ? d : begin + kMost;
        std::size_t count = 0;
        for (std::size_t i = begin; i < end; ++i) {
            coordinates[count] = static_cast<std::uint32_t>(i);
            count += spins[i] != row.spins[i] ? 1 : 0;
        }
        std::size_t sample = 0;
        for (; sample + kBlocks * kInputLanes <= row.stride; sample += kBlocks * kInputLanes) {
            flip_in_registers<Real, kBlocks>(row, coordinates, count, sample);
        }
        for (; sample < row.stride; sample += kInputLanes) {
            flip_in_registers<Real, 1>(row, coordinates, count, sample);
        }
        for (std::size_t c = 0; c < count; ++c) {
            row.spins[coordinates[c]] = spins[coordinates[c]];
        }
        changes += count;
    }
    return changes;
}

template <class Real>
std::size_t flip_gains(const InputDescent<Real>& given, const Gain<Real>* found, std::size_t count) {
    const InputDescent<Real> row = given;  // a copy that spins cannot alias
    constexpr std::size_t kAhead = 4;      // candidates whose samples are fetched
    std::size_t flips = 0;
    for (std::size_t c = 0; c < count; ++c) {
        const std::size_t i = found[c].coordinate;
        const Real* samples = row.inputs + i * row.stride;
        if (c + kAhead < count) {
            const Real* next = row.inputs + found[c + kAhead].coordinate * row.stride;
            for (std::size_t k = 0; k < row.stride; k += 64 / sizeof(Real)) {
                __builtin_prefetch(next + k);
            }
        }
        const Real spin = row.spins[i];
        const Real field = product_of_samples(samples, row.outputs, row.stride) - row.pulls[i];
        const Real gain = spin * field - row.own[i];
        if (gain > row.slack * row.slacks[i] && gain > Real(0.25) * found[c].gain) {
            flip_of_samples(row, i);
            ++flips;
        }
    }
    return flips;
}

template <class Real>
double write_step(const Real* p, const Real* spins, const Real* own, bool mask, std::size_t d,
                  std::int8_t* step) {
    for (std::size_t i = 0; i < d; ++i) {
        const Real sign = p[i] < Real{0} ? Real{-1} : Real{1};
        const Real spin = spins == nullptr ? sign : static_cast<Real>(spins[i]);
        const Real value = mask ? Real(0.5) * (sign + spin) : spin;
        const bool unknown = p[i] == Real{0} && own[i] == Real{0};
        step[i] = static_cast<std::int8_t>(unknown ? Real{0} : value);
    }
    return sum_terms<double>(
        d, [&](std::size_t i) { return static_cast<double>(p[i]) * static_cast<double>(step[i]); });
}

template <class Real>
void subtract_step(const Real* p, const std::int8_t* step, Real size, std::size_t d, Real* out) {
    for (std::size_t i = 0; i < d; ++i) {
        out[i] = p[i] - size * static_cast<Real>(step[i]);
    }
}

template <class Real>
void move_weights(Real* weights, const std::int8_t* step, Real lr, Real clip, std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) {
        Real weight = weights[i] - lr * static_cast<Real>(step[i]);
        weight = weight < -clip ? -clip : weight;
        weights[i] = weight > clip ? clip : weight;
    }
}

template <class Real>
constexpr ProjectionKernels<Real> kProjection{
    kCoordinates<Real>, take_signs<Real>,    sign_products<Real>, magnitude<Real>,  signed_sum<Real>,
    start<Real>,        descend<Real>,       find_gains<Real>,    flip_gains<Real>, follow<Real>,
    write_step<Real>,   subtract_step<Real>, move_weights<Real>};
