// The training step's projection writes all of its results, whatever the numbers are.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

#include "base/rng.hpp"
#include "qpsbgd/layer.hpp"

namespace qpsbgd {
namespace {

constexpr std::size_t kD = 40;
constexpr std::size_t kM = 7;
constexpr std::int8_t kUntouched = 77;

template <class Real>
struct Layer {
    std::vector<Real> gram = std::vector<Real>(kD * kD);
    std::vector<Real> gradient = std::vector<Real>(kM * kD);
    std::vector<std::int8_t> steps = std::vector<std::int8_t>(kM * kD, kUntouched);
    std::vector<Real> residual = std::vector<Real>(kM * kD, Real{kUntouched});

    // A Gram matrix of few samples, times `of_gram`, and gradients times `of_gradient`.
    Layer(Real of_gram, Real of_gradient) {
        Random random(1, 2, 3);
        const auto draw = [&] { return static_cast<Real>(random.below(2001)) / Real{1000} - Real{1}; };
        constexpr std::size_t kSamples = 12;
        std::vector<Real> inputs(kSamples * kD);
        std::ranges::generate(inputs, draw);
        for (std::size_t i = 0; i < kD; ++i) {
            for (std::size_t j = 0; j < kD; ++j) {
                Real sum = 0;
                for (std::size_t k = 0; k < kSamples; ++k) {
                    sum += inputs[k * kD + i] * inputs[k * kD + j];
                }
                gram[i * kD + j] = of_gram * sum;
            }
        }
        std::ranges::generate(gradient, [&] { return of_gradient * draw(); });
    }

    bool project(ScaleRule rule, bool mask) {
        StopToken token(std::nullopt, nullptr);
        const LayerRows<Real> rows{gradient, {}, kM, kD, steps, residual};
        return project_rows<Real>({gram.data(), kD}, rows, {.rule = rule, .mask = mask, .threads = 2}, token);
    }
};

template <class Real>
class Project : public testing::Test {};
using Reals = testing::Types<float, double>;
TYPED_TEST_SUITE(Project, Reals, );

TYPED_TEST(Project, steps_do_not_depend_on_units_up_to_the_largest_numbers) {
    using Real = TypeParam;
    const int top = std::numeric_limits<Real>::max_exponent - 5;
    for (const ScaleRule rule : {ScaleRule::relative, ScaleRule::automatic}) {
        for (const bool mask : {false, true}) {
            Layer<Real> plain(1, 1);
            ASSERT_TRUE(plain.project(rule, mask));
            for (const int of_gram : {0, top / 2, top}) {
                for (const int of_gradient : {0, top}) {
                    Layer<Real> large(std::ldexp(Real{1}, of_gram), std::ldexp(Real{1}, of_gradient));
                    ASSERT_TRUE(large.project(rule, mask));
                    EXPECT_EQ(large.steps, plain.steps);
                    for (std::size_t k = 0; k < plain.residual.size(); ++k) {
                        EXPECT_EQ(large.residual[k], std::ldexp(plain.residual[k], of_gradient));
                    }
                }
            }
        }
    }
}

TYPED_TEST(Project, numbers_that_are_not_finite_give_zeros) {
    using Real = TypeParam;
    for (const Real bad : {std::numeric_limits<Real>::infinity(), std::numeric_limits<Real>::quiet_NaN()}) {
        Layer<Real> in_gram(1, 1);
        in_gram.gram[5 * kD + 5] = bad;
        Layer<Real> in_gradient(1, 1);
        in_gradient.gradient[3 * kD + 1] = bad;
        for (Layer<Real>* layer : {&in_gram, &in_gradient}) {
            EXPECT_FALSE(layer->project(ScaleRule::relative, false));
            EXPECT_EQ(layer->steps, std::vector<std::int8_t>(kM * kD, 0));
            EXPECT_EQ(layer->residual, std::vector<Real>(kM * kD, Real{0}));
        }
    }
}

}  // namespace
}  // namespace qpsbgd
