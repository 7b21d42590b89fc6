// Products of a symmetric matrix with the spins of several reads. Vector types of eight doubles: one register, two or four,
// as the instruction set has it, with the same sums in the same lanes.

using Doubles8 = double __attribute__((vector_size(64)));

// An entry times a spin is exact, so a fused multiplication and addition rounds like two operations.
inline void multiply_and_add(const Doubles8& a, const Doubles8& b, Doubles8& sum) {
#if defined(__AVX512F__)
    sum = _mm512_fmadd_pd(a, b, sum);
#else
    sum += a * b;
#endif
}

using Floats8 = float __attribute__((vector_size(32)));

template <class Entries8>
inline void widen(const Entries8& entries, Doubles8& values) {
#if defined(__AVX512F__)
    if constexpr (sizeof(Entries8) < sizeof(Doubles8)) {
        values = _mm512_cvtps_pd(entries);  // GCC 12 takes three instructions for the generic form
        return;
    }
#endif
    values = __builtin_convertvector(entries, Doubles8);
}

// A tile of rows and reads whose sums stay in registers.
#if defined(__AVX512F__)
constexpr std::size_t kProductRows = 6;
#else
constexpr std::size_t kProductRows = 1;
#endif

template <class Real, class Entries8, std::size_t kRows>
inline void product_tile(const Real* rows, std::size_t n, const double* spins, std::size_t stride,
                         double* out) {
    const std::size_t whole = n / 8 * 8;
    Doubles8 sums[kRows][kProductTile] = {};
    for (std::size_t j = 0; j < whole; j += 8) {
        Doubles8 of_read[kProductTile];
#pragma GCC unroll 4
        for (std::size_t r = 0; r < kProductTile; ++r) {
            __builtin_memcpy(&of_read[r], spins + r * stride + j, sizeof(of_read[r]));
        }
#pragma GCC unroll 6
        for (std::size_t i = 0; i < kRows; ++i) {
            Entries8 entries;
            __builtin_memcpy(&entries, rows + i * n + j, sizeof(entries));
            Doubles8 values;
            widen(entries, values);
#pragma GCC unroll 4
            for (std::size_t r = 0; r < kProductTile; ++r) {
                multiply_and_add(values, of_read[r], sums[i][r]);
            }
        }
    }
    for (std::size_t i = 0; i < kRows; ++i) {
        for (std::size_t r = 0; r < kProductTile; ++r) {
            Doubles8& s = sums[i][r];
            for (std::size_t j = whole; j < n; ++j) {
                s[j - whole] += static_cast<double>(rows[i * n + j]) * spins[r * stride + j];
            }
            out[r * stride + i] = ((s[0] + s[4]) + (s[2] + s[6])) + ((s[1] + s[5]) + (s[3] + s[7]));
        }
    }
}

template <class Real, class Entries8>
void products(const Real* matrix, std::size_t n, std::size_t begin, std::size_t end, const double* spins,
              std::size_t reads, std::size_t stride, double* out) {
    for (std::size_t i = begin; i < end;) {
        const std::size_t rows = i + kProductRows <= end ? kProductRows : 1;
        for (std::size_t r = 0; r < reads; r += kProductTile) {
            const auto tile =
                rows == 1 ? product_tile<Real, Entries8, 1> : product_tile<Real, Entries8, kProductRows>;
            tile(matrix + i * n, n, spins + r * stride, stride, out + r * stride + i);
        }
        i += rows;
    }
}

constexpr FinishKernels kFinish{products<float, Floats8>, products<double, Doubles8>};
