// Local fields of 32 reads on tiles of int8: 2 n multiplications of int8 an attempt.

constexpr std::size_t kMostSpinsOfTiles = 2048;  // 8 MB of couplings
constexpr std::size_t kLeastReadsOfTiles = 10;

// Spins, padded to whole tiles.
inline std::size_t depth_of_tiles(std::size_t n) { return (n + kTileDepth - 1) / kTileDepth * kTileDepth; }

inline std::size_t packed_bytes_int16(std::size_t n, std::size_t stride) {
    return stride * depth_of_tiles(n) * 2;
}

// S of every sixteen spins i and kTileDepth spins j, as 256 high + low: a tile of low, then one of high parts.
inline void pack_int16(const std::int16_t* couplings, std::size_t n, std::size_t stride, void* packed) {
    auto* tile = static_cast<std::int8_t*>(packed);
    for (std::size_t first = 0; first < stride; first += kTileSpins) {
        for (std::size_t column = 0; column < depth_of_tiles(n); column += kTileDepth) {
            for (std::size_t i = 0; i < kTileSpins; ++i) {
                for (std::size_t j = 0; j < kTileDepth; ++j) {
                    const bool inside = first + i < n && column + j < n;
                    const int half = inside ? couplings[(first + i) * stride + column + j] / 2 : 0;
                    const auto low = static_cast<std::int8_t>(half & 0xFF);
                    tile[i * kTileDepth + j] = low;
                    tile[kTileBytes + i * kTileDepth + j] = static_cast<std::int8_t>((half - low) / 256);
                }
            }
            tile += 2 * kTileBytes;
        }
    }
}

// Spins as bytes.
inline std::size_t replica_workspace_bytes_int16(std::size_t n) { return depth_of_tiles(n) * kInt16Replicas; }

// S s of kTileSpins spins: four tiles of sums, low and high parts for each half of the reads.
inline void multiply_tiles(const Int16Replicas& replicas, std::size_t group, std::int32_t* sums) {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    const std::size_t steps = depth_of_tiles(replicas.real_spins) / kTileDepth;
    const std::int8_t* coupling =
        static_cast<const std::int8_t*>(replicas.packed) + group * steps * 2 * kTileBytes;
    const auto* spin = static_cast<const std::int8_t*>(replicas.workspace);
    for (std::size_t step = 0; step < steps; ++step) {
        _tile_loadd(4, coupling, 64);
        _tile_loadd(5, coupling + kTileBytes, 64);
        _tile_loadd(6, spin, 64);
        _tile_loadd(7, spin + kTileBytes, 64);
        _tile_dpbssd(0, 4, 6);
        _tile_dpbssd(1, 4, 7);
        _tile_dpbssd(2, 5, 6);
        _tile_dpbssd(3, 5, 7);
        coupling += 2 * kTileBytes;
        spin += 2 * kTileBytes;
    }
    _tile_stored(0, sums, 64);
    _tile_stored(1, sums + kTileBytes / 4, 64);
    _tile_stored(2, sums + 2 * kTileBytes / 4, 64);
    _tile_stored(3, sums + 3 * kTileBytes / 4, 64);
}

// Local fields of kTileSpins spins. The halves of the reads are such that packing puts them into order.
inline void local_fields_of_tile(const Int16Replicas& replicas, std::size_t group, const std::int32_t* sums,
                                 __m512i* local) {
    const std::int16_t* fields = replicas.fields + group * kTileSpins * kInt16Replicas;
#pragma GCC unroll 16
    for (std::size_t i = 0; i < kTileSpins; ++i) {
        const auto half = [&](std::size_t h) {
            const __m512i low = _mm512_load_si512(sums + (h * kTileSpins + i) * 16);
            const __m512i high = _mm512_load_si512(sums + ((h + 2) * kTileSpins + i) * 16);
            return _mm512_add_epi32(low, _mm512_slli_epi32(high, 8));
        };
        local[i] =
            _mm512_add_epi16(_mm512_packs_epi32(half(0), half(1)), load16(fields + i * kInt16Replicas));
    }
}

// Spins as bytes, as tiles want them: four spins of one read side by side.
inline void store_spin_bytes(const Int16Replicas& replicas, std::size_t group) {
    const std::size_t first = group * kTileSpins;
    std::int8_t* to = static_cast<std::int8_t*>(replicas.workspace) + first / kTileDepth * 2 * kTileBytes +
                      first % kTileDepth / 4 * 64;
    const __m512i ones = _mm512_set1_epi16(0x0101);
    const __m512i low = _mm512_set1_epi16(0x00FE);  // makes -1 of 1 in the low byte
    const __m512i high = _mm512_set1_epi16(static_cast<short>(0xFE00));
#pragma GCC unroll 4
    for (std::size_t k = 0; k < kTileSpins / 4; ++k) {
        const std::uint32_t* negative = replicas.negative + first + 4 * k;
        const auto two = [&](std::size_t i) {
            const __m512i one = _mm512_mask_add_epi16(ones, negative[i], ones, low);
            return _mm512_mask_add_epi16(one, negative[i + 1], one, high);
        };
        const __m512i front = two(0);
        const __m512i back = two(2);
        _mm512_store_si512(to + k * 64, _mm512_unpacklo_epi16(front, back));
        _mm512_store_si512(to + k * 64 + kTileBytes, _mm512_unpackhi_epi16(front, back));
    }
}

class TiledFields {
public:
    explicit TiledFields(Int16Replicas& replicas) : replicas_(replicas) {
        const TileShapes shapes;
        _tile_loadconfig(&shapes);
    }
    ~TiledFields() { _tile_release(); }
    TiledFields(const TiledFields&) = delete;
    TiledFields& operator=(const TiledFields&) = delete;
    TiledFields(TiledFields&&) = delete;
    TiledFields& operator=(TiledFields&&) = delete;

    void begin(std::size_t group) { multiply_tiles(replicas_, group, sums_); }
    void finish(std::size_t group, __m512i* local) const {
        local_fields_of_tile(replicas_, group, sums_, local);
    }
    void store_spins(std::size_t group) const { store_spin_bytes(replicas_, group); }

private:
    Int16Replicas& replicas_;
    alignas(64) std::int32_t sums_[kTileBytes] = {};
};
