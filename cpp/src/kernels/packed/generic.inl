// Products of a matrix of signs with a vector, on the registers of the instruction set.

inline void differences_of_signs(const SignRows& rows, const std::uint32_t* x, std::int32_t* out) {
    constexpr std::size_t kWords = kRegisterBytes / sizeof(std::uint32_t);
    const std::size_t whole = rows.words / kWords;
    for (std::size_t i = 0; i < rows.count; ++i) {
        const std::uint32_t* row = rows.bits + i * rows.words;
        Words total = {};
        for (std::size_t first = 0; first < whole; first += kCountedWords) {
            const std::size_t end = whole - first < kCountedWords ? whole : first + kCountedWords;
            Counts counts = {};
            for (std::size_t r = first; r < end; ++r) {
                Words left;
                Words right;
                __builtin_memcpy(&left, row + r * kWords, kRegisterBytes);
                __builtin_memcpy(&right, x + r * kWords, kRegisterBytes);
                counts = add_counts(counts, byte_counts(left ^ right));
            }
            total += widen_counts(counts);
        }
        std::uint32_t sum = 0;
        for (std::size_t k = 0; k < kWords; ++k) {
            sum += total[k];
        }
        for (std::size_t w = whole * kWords; w < rows.words; ++w) {
            sum += static_cast<std::uint32_t>(__builtin_popcount(row[w] ^ x[w]));
        }
        out[i] = static_cast<std::int32_t>(sum);
    }
}

// The sums of kRows rows, whose chains of additions hide each other's latency and share the loads of x.
template <std::size_t kRows>
void signed_sums_of(const std::uint32_t* row, std::size_t words, const float* x, float* out) {
    constexpr std::size_t kLanes = kRegisterBytes / sizeof(float);
    constexpr std::size_t kSums = 16 / kLanes;
    constexpr std::uint32_t kMask = (1U << kLanes) - 1U;
    Floats sums[kRows][kSums] = {};
    for (std::size_t w = 0; w < words; ++w) {
        for (std::size_t part = 0; part < 32 / kLanes; ++part) {
            Floats values;
            __builtin_memcpy(&values, x + 32 * w + part * kLanes, kRegisterBytes);
            for (std::size_t i = 0; i < kRows; ++i) {
                const std::uint32_t bits = row[i * words + w] >> (part * kLanes) & kMask;
                sums[i][part % kSums] += turn_signs(values, bits);
            }
        }
    }
    for (std::size_t i = 0; i < kRows; ++i) {
        float lanes[16];
        __builtin_memcpy(lanes, sums[i], sizeof(lanes));
        for (std::size_t width = 8; width > 0; width /= 2) {
            for (std::size_t k = 0; k < width; ++k) {
                lanes[k] += lanes[k + width];
            }
        }
        out[i] = lanes[0];
    }
}

inline void signed_sums_of_rows(const SignRows& rows, const float* x, float* out) {
    constexpr std::size_t kTogether = 4;
    std::size_t i = 0;
    for (; i + kTogether <= rows.count; i += kTogether) {
        signed_sums_of<kTogether>(rows.bits + i * rows.words, rows.words, x, out + i);
    }
    for (; i < rows.count; ++i) {
        signed_sums_of<1>(rows.bits + i * rows.words, rows.words, x, out + i);
    }
}

constexpr PackedKernels kPacked{differences_of_signs, signed_sums_of_rows};
