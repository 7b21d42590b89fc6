// Gram matrices against the product written out.
#include <gtest/gtest.h>

#include <cstddef>
#include <optional>
#include <vector>

#include "base/rng.hpp"
#include "qpsbgd/cancellation.hpp"
#include "qpsbgd/layer.hpp"

namespace {

using namespace qpsbgd;

TEST(Gram, equals_the_product_written_out) {
    const std::size_t samples = 37;
    const std::size_t d = 21;
    std::vector<float> inputs(samples * d);
    Random random(1, 0, 0);
    for (auto& value : inputs) {
        value = static_cast<float>(random.below(200)) / 100.0F - 1.0F;
    }
    std::vector<float> matrix(d * d);
    StopToken token(std::nullopt, {});
    gram<float>(inputs, samples, d, 0.5, {matrix.data(), d}, 2, token);
    for (std::size_t i = 0; i < d; ++i) {
        for (std::size_t j = 0; j < d; ++j) {
            double sum = 0.0;
            for (std::size_t k = 0; k < samples; ++k) {
                sum += static_cast<double>(inputs[k * d + i]) * static_cast<double>(inputs[k * d + j]);
            }
            EXPECT_NEAR(static_cast<double>(matrix[i * d + j]), 0.5 * sum, 1e-4);
        }
    }
}

}  // namespace
