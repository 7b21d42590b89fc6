// Products with weights of one bit each: each sample is brought into the form that the kernels take, then rows are shared.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/threads.hpp"
#include "kernels/kernel_table.hpp"
#include "qpsbgd/packed.hpp"

namespace qpsbgd {
namespace {

constexpr std::size_t kRowsOfPart = 256;
constexpr std::size_t kSamplesOfPart = 64;
constexpr double kWorkOfThread = 4e6;  // signs: some 100 microseconds

// Bits of a sample, set for -1, if it is of -1 and +1 alone.
bool is_signs(std::span<const float> sample, std::span<std::uint32_t> bits) {
    std::ranges::fill(bits, 0U);
    for (std::size_t j = 0; j < sample.size(); ++j) {
        if (sample[j] != 1.0F && sample[j] != -1.0F) {
            return false;
        }
        bits[j / 32] |= static_cast<std::uint32_t>(sample[j] < 0.0F) << (j % 32);
    }
    return true;
}

}  // namespace

void packed_product(const PackedSigns& signs, std::span<const float> inputs, std::size_t samples,
                    std::span<float> out, std::size_t threads, StopToken& token) {
    const std::size_t d = signs.columns;
    const std::size_t words = signs.words();
    const std::size_t parts_of_rows = (signs.count + kRowsOfPart - 1) / kRowsOfPart;
    const std::size_t parts_of_samples = (samples + kSamplesOfPart - 1) / kSamplesOfPart;
    const double work =
        static_cast<double>(signs.count) * static_cast<double>(d) * static_cast<double>(samples);
    const PackedKernels& packed = kernels().packed;
    parallel_for(
        parts_of_rows * parts_of_samples, useful_threads(threads, work, kWorkOfThread), token,
        [&](std::size_t /*worker*/, std::size_t part) {
            const std::size_t row = part % parts_of_rows * kRowsOfPart;
            const std::size_t rows = std::min(kRowsOfPart, signs.count - row);
            const std::size_t first = part / parts_of_rows * kSamplesOfPart;
            const SignRows block{signs.bits.data() + row * words, rows, words};
            std::vector<std::uint32_t> bits(words);
            std::vector<std::int32_t> differences(rows);
            std::vector<float> padded(32 * words);
            for (std::size_t s = first; s < std::min(first + kSamplesOfPart, samples); ++s) {
                const auto sample = inputs.subspan(s * d, d);
                const auto result = out.subspan(s * signs.count + row, rows);
                if (is_signs(sample, bits)) {
                    packed.differences(block, bits.data(), differences.data());
                    std::ranges::transform(differences, result.begin(), [d](std::int32_t differ) {
                        return static_cast<float>(static_cast<std::int64_t>(d) - 2 * std::int64_t{differ});
                    });
                } else {
                    std::ranges::copy(sample, padded.begin());
                    packed.signed_sums(block, padded.data(), result.data());
                }
            }
        });
}

}  // namespace qpsbgd
