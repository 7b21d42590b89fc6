// Local fields of 32 reads by tables: 2 n / 5 vector operations and one load of 64 bytes a spin for every five others.
//
// Of every spin i and every five spins j a table holds the 32 sums of +-S_ij, one for each pattern of their signs, and
// one permutation looks up those of all reads. Sums go modulo 2^16, which is exact where no field leaves int16.

constexpr std::size_t kTabled = 5;  // spins j of a table: 2^5 entries fill a register
constexpr std::size_t kMostSpinsOfTables = 256;
constexpr std::size_t kLeastReadsOfTables = 28;

inline std::size_t tables_of(std::size_t n) { return (n + kTabled - 1) / kTabled; }

inline std::size_t packed_bytes_int16(std::size_t n, std::size_t stride) {
    return stride * tables_of(n) * kInt16Replicas * sizeof(std::int16_t);
}

// Those of sixteen spins i side by side for the same spins j, in the order in which they are read.
inline void pack_int16(const std::int16_t* couplings, std::size_t n, std::size_t stride, void* packed) {
    // Bit k of the pattern, for all patterns.
    static constexpr __mmask32 kPatterns[kTabled] = {0xAAAAAAAA, 0xCCCCCCCC, 0xF0F0F0F0, 0xFF00FF00,
                                                     0xFFFF0000};
    auto* table = static_cast<std::int16_t*>(packed);
    for (std::size_t first = 0; first < stride; first += kTileSpins) {
        for (std::size_t j = 0; j < n; j += kTabled) {
            for (std::size_t i = first; i < first + kTileSpins; ++i) {
                __m512i sums = _mm512_setzero_si512();
                for (std::size_t k = 0; i < n && k < kTabled && j + k < n; ++k) {
                    const __m512i half =
                        _mm512_srai_epi16(_mm512_set1_epi16(couplings[i * stride + j + k]), 1);
                    const __m512i with_up = _mm512_add_epi16(sums, half);
                    sums = _mm512_mask_sub_epi16(with_up, kPatterns[k], sums, half);
                }
                _mm512_store_si512(table, sums);
                table += kInt16Replicas;
            }
        }
    }
}

// A pattern for every read and table.
inline std::size_t replica_workspace_bytes_int16(std::size_t n) {
    return tables_of(n) * kInt16Replicas * sizeof(std::int16_t);
}

class TabledFields {
public:
    explicit TabledFields(Int16Replicas& replicas)
        : replicas_(replicas), tables_(tables_of(replicas.real_spins)) {}

    void begin(std::size_t) const {}

    void finish(std::size_t group, __m512i* local) const {
        const std::int16_t* fields = replicas_.fields + group * kTileSpins * kInt16Replicas;
        const std::int16_t* table = static_cast<const std::int16_t*>(replicas_.packed) +
                                    group * tables_ * kTileSpins * kInt16Replicas;
        const auto* pattern = static_cast<const std::int16_t*>(replicas_.workspace);
#pragma GCC unroll 16
        for (std::size_t i = 0; i < kTileSpins; ++i) {
            local[i] = load16(fields + i * kInt16Replicas);
        }
        for (std::size_t t = 0; t < tables_; ++t) {
            const __m512i patterns = load16(pattern + t * kInt16Replicas);
#pragma GCC unroll 16
            for (std::size_t i = 0; i < kTileSpins; ++i) {
                local[i] = _mm512_add_epi16(
                    local[i], _mm512_permutexvar_epi16(patterns, load16(table + i * kInt16Replicas)));
            }
            table += kTileSpins * kInt16Replicas;
        }
    }

    // The patterns that hold spins of this group.
    void store_spins(std::size_t group) const {
        const std::size_t n = replicas_.real_spins;
        const std::size_t begin = group * kTileSpins;
        const std::size_t end = begin + kTileSpins < n ? begin + kTileSpins : n;
        auto* pattern = static_cast<std::int16_t*>(replicas_.workspace);
        for (std::size_t t = begin / kTabled; t * kTabled < end; ++t) {
            __m512i patterns = _mm512_setzero_si512();
#pragma GCC unroll 5
            for (std::size_t k = 0; k < kTabled; ++k) {
                const std::size_t j = t * kTabled + k;
                const __mmask32 down = j < n ? replicas_.negative[j] : 0;
                const __m512i bit = _mm512_set1_epi16(static_cast<std::int16_t>(1 << k));
                patterns = _mm512_mask_add_epi16(patterns, down, patterns, bit);
            }
            _mm512_store_si512(pattern + t * kInt16Replicas, patterns);
        }
    }

private:
    Int16Replicas& replicas_;
    std::size_t tables_;
};
