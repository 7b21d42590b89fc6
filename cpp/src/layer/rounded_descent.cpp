#include "layer/rounded_descent.hpp"

#include <algorithm>
#include <cmath>

#include "base/threads.hpp"
#include "layer/couplings.hpp"

namespace qpsbgd {
namespace {

constexpr double kMostUnits = 128.0;  // of a diagonal entry
constexpr std::size_t kRowsOfPart = 64;

// Largest |A_ij| of row i beside the diagonal.
float largest_of_others(const float* row, std::size_t i, std::size_t d) {
    const ProjectionInt8Kernels& table = kernels().projection_int8;
    return std::max(table.largest(row, i), table.largest(row + i + 1, d - i - 1));
}

}  // namespace

RoundedCouplings::RoundedCouplings(Rows<const float> gram, std::size_t d, const ProjectionOptions& options,
                                   StopToken& token)
    : d_(d), inverse_units_(d), couplings_((d + 1) * rounded_up(d, kInt8Slots)) {
    double total = 0.0;
    for (std::size_t i = 0; i < d; ++i) {
        total += static_cast<double>(gram[i][i]);
    }
    const double mean = total / static_cast<double>(d);
    const float factor = options.mask ? 1.0F : 2.0F;
    const std::size_t threads = useful_threads(options.threads, static_cast<double>(d * d), kWorkOfThread);
    const std::size_t parts = (d + kRowsOfPart - 1) / kRowsOfPart;
    const auto for_all_rows = [&](const auto& work) {
        parallel_for(parts, threads, token, [&](std::size_t /*worker*/, std::size_t part) {
            for (std::size_t i = part * kRowsOfPart; i < std::min(d, (part + 1) * kRowsOfPart); ++i) {
                work(i);
            }
        });
    };
    for_all_rows([&](std::size_t i) {
        // Fields are bounded by multiples of sqrt(A_ii), so are units where couplings allow it.
        const double of_field = std::sqrt(mean * static_cast<double>(gram[i][i])) / kMostUnits;
        const double of_couplings = static_cast<double>(factor * largest_of_others(gram[i], i, d)) /
                                    static_cast<double>(kMostCoupling);
        const double unit = std::max(of_field, of_couplings);
        inverse_units_[i] = unit > 0.0 ? static_cast<float>(1.0 / unit) : 0.0F;
    });
    std::fill_n(couplings_.data() + d * stride(), stride(), std::int8_t{0});
    for_all_rows([&](std::size_t i) {
        std::int8_t* row = couplings_.data() + i * stride();
        kernels().projection_int8.quantise(gram[i], inverse_units_.data(), factor, d, row);
        row[i] = 0;
        std::fill(row + d, row + stride(), std::int8_t{0});
    });
}

RoundedDescent::RoundedDescent(const RoundedCouplings& couplings, std::size_t most_rows)
    : couplings_(couplings),
      rows_(most_rows),
      spins_(most_rows * couplings.stride(), std::int16_t{1}),
      fields_(most_rows * couplings.stride(), kInt16NoGain) {}

void RoundedDescent::take(std::size_t index, const float* spins, const float* fields) {
    const std::size_t stride = couplings_.stride();
    rows_[index] = {.couplings = couplings_.data(),
                    .stride = stride,
                    .zero_row = couplings_.d(),
                    .d = stride,
                    .spins = spins_.data() + index * stride,
                    .fields = fields_.data() + index * stride,
                    .settled = false};
    kernels().projection_int8.start(spins, fields, couplings_.inverse_units(), couplings_.d(),
                                    rows_[index].spins, rows_[index].fields);
}

void RoundedDescent::run(std::size_t count) {
    kernels().projection_int8.descend(rows_.data(), count, 1 + couplings_.d() / 4);
}

}  // namespace qpsbgd
