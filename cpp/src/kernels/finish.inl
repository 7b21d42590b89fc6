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

template <class Real, class Entries8>
void products(const Real* matrix, std::size_t n, std::size_t begin, std::size_t end, const double* spins,
              std::size_t stride, double* out) {
    const std::size_t whole = n / 8 * 8;
    for (std::size_t i = begin; i < end; ++i) {
        const Real* row = matrix + i * n;
        Doubles8 sums[kProductReads] = {};
        for (std::size_t j = 0; j < whole; j += 8) {
            Entries8 entries;
            __builtin_memcpy(&entries, row + j, sizeof(entries));
            const Doubles8 values = __builtin_convertvector(entries, Doubles8);
            for (std::size_t r = 0; r < kProductReads; ++r) {
                Doubles8 of_read;
                __builtin_memcpy(&of_read, spins + r * stride + j, sizeof(of_read));
                multiply_and_add(values, of_read, sums[r]);
            }
        }
        for (std::size_t j = whole; j < n; ++j) {
            for (std::size_t r = 0; r < kProductReads; ++r) {
                sums[r][j - whole] += static_cast<double>(row[j]) * spins[r * stride + j];
            }
        }
        for (std::size_t r = 0; r < kProductReads; ++r) {
            const Doubles8& s = sums[r];
            out[r * stride + i] = ((s[0] + s[4]) + (s[2] + s[6])) + ((s[1] + s[5]) + (s[3] + s[7]));
        }
    }
}

constexpr FinishKernels kFinish{products<float, Floats8>, products<double, Doubles8>};
