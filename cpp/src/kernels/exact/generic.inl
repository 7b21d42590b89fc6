// Exhaustive search. Vectors as wide as the instruction set of the including file, by the compilers' vector extension;
// all arithmetic is modulo 2^16, on words without a sign, for which that is defined: every instruction set computes the
// same bits. Energies have signs where they are compared.

#if defined(__AVX512BW__)
constexpr std::size_t kEnergyBytes = 64;
#elif defined(__AVX2__)
constexpr std::size_t kEnergyBytes = 32;
#else
constexpr std::size_t kEnergyBytes = 16;
#endif
constexpr std::size_t kEnergyLanes = kEnergyBytes / sizeof(std::int16_t);
constexpr std::size_t kEnergyVectors = kInnerStates / kEnergyLanes;
using Energies = std::int16_t __attribute__((vector_size(kEnergyBytes), may_alias));
using EnergyWords = std::uint16_t __attribute__((vector_size(kEnergyBytes), may_alias));

using OuterFields =
    std::uint16_t __attribute__((vector_size(kOuterSpins * sizeof(std::uint16_t)), may_alias));

inline bool any_at_most(Energies energies, std::int16_t limit) {
#if defined(__AVX512BW__)
    return _mm512_cmple_epi16_mask(reinterpret_cast<__m512i>(energies), _mm512_set1_epi16(limit)) != 0;
#elif defined(__AVX2__)
    const __m256i above = _mm256_cmpgt_epi16(reinterpret_cast<__m256i>(energies), _mm256_set1_epi16(limit));
    return _mm256_movemask_epi8(above) != -1;
#else
    std::int16_t lanes[kEnergyLanes];
    __builtin_memcpy(lanes, &energies, sizeof(energies));
    std::int16_t least = lanes[0];
    for (const std::int16_t energy : lanes) {
        least = energy < least ? energy : least;
    }
    return least <= limit;
#endif
}

constexpr std::size_t kLowSpins =
    5;  // inner spins whose 32 states make one vector; the other 3 choose the vector
constexpr std::size_t kLowStates = std::size_t{1} << kLowSpins;
constexpr std::size_t kHighStates = kInnerStates / kLowStates;
using LowStates = std::uint16_t __attribute__((vector_size(kLowStates * sizeof(std::uint16_t)), may_alias));

// s_i in the 32 states of the low spins.
alignas(64) constexpr std::int16_t kLowSigns[kLowSpins][kLowStates] = {
    {-1, 1, -1, 1, -1, 1, -1, 1, -1, 1, -1, 1, -1, 1, -1, 1,
     -1, 1, -1, 1, -1, 1, -1, 1, -1, 1, -1, 1, -1, 1, -1, 1},
    {-1, -1, 1, 1, -1, -1, 1, 1, -1, -1, 1, 1, -1, -1, 1, 1,
     -1, -1, 1, 1, -1, -1, 1, 1, -1, -1, 1, 1, -1, -1, 1, 1},
    {-1, -1, -1, -1, 1, 1, 1, 1, -1, -1, -1, -1, 1, 1, 1, 1,
     -1, -1, -1, -1, 1, 1, 1, 1, -1, -1, -1, -1, 1, 1, 1, 1},
    {-1, -1, -1, -1, -1, -1, -1, -1, 1, 1, 1, 1, 1, 1, 1, 1,
     -1, -1, -1, -1, -1, -1, -1, -1, 1, 1, 1, 1, 1, 1, 1, 1},
    {-1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1,
     1,  1,  1,  1,  1,  1,  1,  1,  1,  1,  1,  1,  1,  1,  1,  1},
};

inline const LowStates& low_signs(std::size_t spin) {
    return *reinterpret_cast<const LowStates*>(kLowSigns[spin]);
}

inline std::uint16_t wrapped(int value) { return static_cast<std::uint16_t>(value); }

// sum_i c_i s_i over the three high spins, in each of their 8 states.
inline void high_sums(const int* coefficient, int* sum) {
    sum[0] = -coefficient[0] - coefficient[1] - coefficient[2];
    for (std::size_t i = 0; i < kInnerSpins - kLowSpins; ++i) {
        for (std::size_t state = 0; state < std::size_t{1} << i; ++state) {
            sum[state + (std::size_t{1} << i)] = sum[state] + 2 * coefficient[i];
        }
    }
}

void prepare_tables(ExactTables& tables, std::size_t n) {
    const std::size_t outer = n > kInnerSpins ? n - kInnerSpins : 0;
    int field[kInnerSpins];  // of the inner spins, the outer spins being -1
    for (std::size_t i = 0; i < kInnerSpins; ++i) {
        field[i] = tables.field[i];
    }
    for (std::size_t k = 0; k < outer; ++k) {
        for (std::size_t i = 0; i < kInnerSpins; ++i) {
            field[i] -= tables.coupling[kInnerSpins + k][i];
        }
    }

    // Energies of the low spins beside each state of the high ones.
    LowStates pairs{};
    for (std::size_t i = 1; i < kLowSpins; ++i) {
        LowStates lower{};
        for (std::size_t j = 0; j < i; ++j) {
            lower += low_signs(j) * wrapped(tables.coupling[i][j]);
        }
        pairs += lower * low_signs(i);
    }
    int low_field[kLowSpins][kHighStates];
    for (std::size_t i = 0; i < kLowSpins; ++i) {
        const int row[] = {tables.coupling[i][5], tables.coupling[i][6], tables.coupling[i][7]};
        high_sums(row, low_field[i]);
    }
    int high_energy[kHighStates];
    high_sums(field + kLowSpins, high_energy);
    const int pair[] = {tables.coupling[6][5], tables.coupling[7][5], tables.coupling[7][6]};
    for (std::size_t high = 0; high < kHighStates; ++high) {
        const int s5 = (high & 1) != 0 ? 1 : -1;
        const int s6 = (high & 2) != 0 ? 1 : -1;
        const int s7 = (high & 4) != 0 ? 1 : -1;
        const int energy = high_energy[high] + pair[0] * s6 * s5 + pair[1] * s7 * s5 + pair[2] * s7 * s6;
        LowStates sum = pairs + wrapped(energy);
        for (std::size_t i = 0; i < kLowSpins; ++i) {
            sum += low_signs(i) * wrapped(field[i] + low_field[i][high]);
        }
        *reinterpret_cast<LowStates*>(tables.energy + high * kLowStates) = sum;
    }

    tables.outer_energy = 0;
    tables.outer_up = 0;
    for (std::int16_t& local : tables.outer_local) {
        local = 0;
    }
    for (std::size_t k = 0; k < outer; ++k) {
        const std::int16_t* row = tables.coupling[kInnerSpins + k];
        LowStates low{};
        for (std::size_t i = 0; i < kLowSpins; ++i) {
            low += low_signs(i) * wrapped(2 * row[i]);
        }
        const int high_couplings[] = {2 * row[5], 2 * row[6], 2 * row[7]};
        int base[kHighStates];
        high_sums(high_couplings, base);
        for (std::size_t high = 0; high < kHighStates; ++high) {
            const LowStates up = low + wrapped(base[high]);
            *reinterpret_cast<LowStates*>(tables.change[k][0] + high * kLowStates) = up;
            *reinterpret_cast<LowStates*>(tables.change[k][1] + high * kLowStates) = -up;
        }
        int local = tables.field[kInnerSpins + k];
        for (std::size_t j = 0; j < kOuterSpins; ++j) {
            const std::int16_t coupling = row[kInnerSpins + j];
            tables.outer_change[k][0][j] = static_cast<std::int16_t>(2 * coupling);
            tables.outer_change[k][1][j] = static_cast<std::int16_t>(-2 * coupling);
            local -= coupling;
            if (j < k) {
                tables.outer_energy += coupling;
            }
        }
        tables.outer_local[k] = static_cast<std::int16_t>(local);
        tables.outer_energy -= tables.field[kInnerSpins + k];
    }
}

std::uint64_t advance_tables(ExactTables& tables, std::uint64_t begin, std::uint64_t end,
                             std::int32_t limit) {
    EnergyWords energy[kEnergyVectors];
    auto* stored = reinterpret_cast<EnergyWords*>(tables.energy);
#pragma GCC unroll 16
    for (std::size_t v = 0; v < kEnergyVectors; ++v) {
        energy[v] = stored[v];
    }
    auto* outer_local = reinterpret_cast<OuterFields*>(tables.outer_local);
    std::int32_t outer_energy = tables.outer_energy;
    std::uint32_t outer_up = tables.outer_up;
    std::uint64_t step = begin;
    for (; step < end; ++step) {
        if (step != 0) {
            const auto k = static_cast<std::size_t>(__builtin_ctzll(step));
            const std::uint32_t down = (outer_up >> k) & 1U;
            const auto* change = reinterpret_cast<const EnergyWords*>(tables.change[k][down]);
#pragma GCC unroll 16
            for (std::size_t v = 0; v < kEnergyVectors; ++v) {
                energy[v] += change[v];
            }
            const int change_of_energy = 2 * tables.outer_local[k];
            outer_energy += down != 0 ? -change_of_energy : change_of_energy;
            *outer_local += *reinterpret_cast<const OuterFields*>(tables.outer_change[k][down]);
            outer_up ^= 1U << k;
        }
        auto least = reinterpret_cast<Energies>(energy[0]);
#pragma GCC unroll 16
        for (std::size_t v = 1; v < kEnergyVectors; ++v) {
            const auto of_vector = reinterpret_cast<Energies>(energy[v]);
            least = of_vector < least ? of_vector : least;
        }
        const std::int32_t rest = limit - outer_energy;
        if (rest >= INT16_MIN &&
            any_at_most(least, static_cast<std::int16_t>(rest > INT16_MAX ? INT16_MAX : rest))) {
            break;
        }
    }
#pragma GCC unroll 16
    for (std::size_t v = 0; v < kEnergyVectors; ++v) {
        stored[v] = energy[v];
    }
    tables.outer_energy = outer_energy;
    tables.outer_up = outer_up;
    return step;
}

std::size_t find_state(const ExactTables& tables, std::size_t from, std::int32_t limit) {
    const std::int32_t rest = limit - tables.outer_energy;
    const auto highest = static_cast<std::int16_t>(rest > INT16_MAX ? INT16_MAX : rest);
    const auto* stored = reinterpret_cast<const Energies*>(tables.energy);
    for (std::size_t v = from / kEnergyLanes; rest >= INT16_MIN && v < kEnergyVectors; ++v) {
        if (any_at_most(stored[v], highest)) {
            for (std::size_t state = v * kEnergyLanes > from ? v * kEnergyLanes : from;
                 state < (v + 1) * kEnergyLanes; ++state) {
                if (tables.energy[state] <= highest) {
                    return state;
                }
            }
        }
    }
    return kInnerStates;
}

constexpr ExactKernels kExact{prepare_tables, advance_tables, find_state};
