// Counts of set bits by AVX-512 VPOPCNTDQ, which some processors with AVX-512 have.

template <class Real>
__attribute__((target("avx512vpopcntdq"))) void multiply_sign_words(const std::uint32_t* left,
                                                                    const std::uint32_t* right,
                                                                    std::size_t samples, std::size_t rows,
                                                                    const Destination<Real>& to,
                                                                    Real* block) {
    constexpr std::size_t vectors = kBitVectors<Real>;
    constexpr std::size_t width = kBitWidth<Real>;
    const std::size_t words = (samples + kWordSamples - 1) / kWordSamples;
    for (std::size_t row = 0; row < rows; row += kBitRows) {
        __m512i counts[kBitRows][vectors];
#pragma GCC unroll 8
        for (auto& of_row : counts) {
#pragma GCC unroll 8
            for (__m512i& count : of_row) {
                count = _mm512_setzero_si512();
            }
        }
        for (std::size_t w = 0; w < words; ++w) {
            fetch<Real, kBitRows>(to, row, 2 * w);
            fetch<Real, kBitRows>(to, row, 2 * w + 1);
            __m512i of_right[vectors];
#pragma GCC unroll 8
            for (std::size_t v = 0; v < vectors; ++v) {
                of_right[v] = _mm512_load_si512(right + w * width + v * kWordLanes);
            }
#pragma GCC unroll 8
            for (std::size_t i = 0; i < kBitRows; ++i) {
                const __m512i of_left = _mm512_set1_epi32(static_cast<int>(left[w * width + row + i]));
#pragma GCC unroll 8
                for (std::size_t v = 0; v < vectors; ++v) {
                    const __m512i differ = _mm512_xor_si512(of_left, of_right[v]);
                    counts[i][v] = _mm512_add_epi32(counts[i][v], _mm512_popcnt_epi32(differ));
                }
            }
        }
#pragma GCC unroll 8
        for (std::size_t i = 0; i < kBitRows; ++i) {
            Words totals[vectors];
            __builtin_memcpy(totals, counts[i], sizeof(totals));
            save_sums(totals, samples, block + (row + i) * kWidth<Real>);
        }
    }
}

template <class Real>
void multiply_signs(const std::uint32_t* left, const std::uint32_t* right, std::size_t samples,
                    std::size_t rows, const Destination<Real>& to, Real* block) {
    if (__builtin_cpu_supports("avx512vpopcntdq") != 0) {
        multiply_sign_words(left, right, samples, rows, to, block);
    } else {
        multiply_sign_bytes(left, right, samples, rows, to, block);
    }
}
