// Kernels of the training step in floats against their reference, to the last bit.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <type_traits>
#include <utility>
#include <vector>

#include "base/aligned.hpp"
#include "kernels/kernel_table.hpp"
#include "kernels/projection_float/reference.inl"
#include "support.hpp"

namespace {

using namespace qpsbgd;
using namespace qpsbgd::kernel_tests;
namespace expected = qpsbgd::reference::projection_float;

template <class Real>
const ProjectionKernels<Real>& projection_of(const KernelTable& table) {
    if constexpr (std::is_same_v<Real, float>) {
        return table.projection_float32;
    } else {
        return table.projection_float64;
    }
}

std::size_t words_of(std::size_t d) { return (d + kSignsOfWord - 1) / kSignsOfWord; }

// Calls check(d, values) for every size and kind.
template <class Check>
void for_all(const Check& check) {
    for (const std::size_t d : sizes()) {
        for (const Values values : all_values()) {
            SCOPED_TRACE(testing::Message() << "d " << d << ", values " << static_cast<int>(values));
            check(d, values);
        }
    }
}

template <class Real>
void check_take_signs(const ProjectionKernels<Real>& kernels) {
    Draws draws(1);
    for_all([&](std::size_t d, Values values) {
        constexpr std::size_t kStride = 3;
        const auto gradient = draws.reals<Real>(d, values);
        const auto residual = draws.reals<Real>(d, values);
        for (const Real* with : {static_cast<const Real*>(nullptr), residual.data()}) {
            std::vector<Real> p(d, Real{7});
            std::vector<Real> expected_p = p;
            std::vector<std::uint64_t> signs(words_of(d) * kStride, 7);
            std::vector<std::uint64_t> expected_signs = signs;
            const double sum = kernels.take_signs(gradient.data(), with, d, p.data(), signs.data(), kStride);
            const double expected_sum = expected::take_signs(gradient.data(), with, d, expected_p.data(),
                                                             expected_signs.data(), kStride);
            EXPECT_TRUE(same_bits(sum, expected_sum)) << sum << ", expected " << expected_sum;
            EXPECT_TRUE(same(p, expected_p));
            EXPECT_TRUE(same(signs, expected_signs));
        }
    });
}

template <class Real>
void check_sign_products(const ProjectionKernels<Real>& kernels) {
    Draws draws(2);
    for_all([&](std::size_t d, Values values) {
        const std::size_t rows = draws.index(4) + 1;
        const std::size_t stride = (d + kernels.tile - 1) / kernels.tile * kernels.tile;
        AlignedVector<Real> matrix(d * padded<Real>(d), Real{0});
        for (std::size_t i = 0; i < d; ++i) {
            draws.fill(std::span(matrix).subspan(i * padded<Real>(d), d), values);
        }
        std::vector<std::uint64_t> signs(words_of(d) * rows);
        std::ranges::generate(signs, [&] { return draws.word(); });
        AlignedVector<Real> products(rows * stride, Real{7});
        const SignProducts<Real> what{.matrix = matrix.data(),
                                      .matrix_stride = padded<Real>(d),
                                      .d = d,
                                      .signs = signs.data(),
                                      .signs_stride = rows,
                                      .products = products.data(),
                                      .stride = stride};
        kernels.sign_products(what, rows);
        for (std::size_t row = 0; row < rows; ++row) {
            for (std::size_t j = 0; j < d; ++j) {
                const Real product = expected::sign_product(what, row, j);
                ASSERT_TRUE(same_bits(products[row * stride + j], product))
                    << "row " << row << ", coordinate " << j << " is " << products[row * stride + j]
                    << ", expected " << product;
            }
        }
    });
}

template <class Real>
void check_sums(const ProjectionKernels<Real>& kernels) {
    Draws draws(3);
    for_all([&](std::size_t d, Values values) {
        const auto p = draws.reals<Real>(d, Values::few);
        const auto a = draws.reals<Real>(d, values);
        const double sizes_of = kernels.magnitude(a.data(), d);
        EXPECT_TRUE(same_bits(sizes_of, expected::magnitude(a.data(), d))) << sizes_of;
        const double sum = kernels.signed_sum(p.data(), a.data(), d);
        EXPECT_TRUE(same_bits(sum, expected::signed_sum(p.data(), a.data(), d))) << sum;
    });
}

template <class Real>
void check_start(const ProjectionKernels<Real>& kernels) {
    Draws draws(4);
    for_all([&](std::size_t d, Values values) {
        const auto p = draws.reals<Real>(d, values);
        const auto product = draws.reals<Real>(d, values);
        const auto own = draws.reals<Real>(d, values);
        for (const double inverse_scale : {0.0, 1.0, 1e-300, 1e300}) {
            std::vector<Real> spins(d);
            std::vector<Real> fields(d);
            std::vector<Real> expected_spins(d);
            std::vector<Real> expected_fields(d);
            kernels.start(p.data(), product.data(), own.data(), inverse_scale, d, spins.data(),
                          fields.data());
            expected::start(p.data(), product.data(), own.data(), inverse_scale, d, expected_spins.data(),
                            expected_fields.data());
            EXPECT_TRUE(same(spins, expected_spins));
            EXPECT_TRUE(same(fields, expected_fields));
        }
    });
}

// A row with memory of its own.
template <class Real>
struct Row {
    Row(std::size_t size, Values values, Draws& draws)
        : d(size),
          stride((size + kFlipSlots - 1) / kFlipSlots * kFlipSlots),
          couplings(size * stride, Real{0}),
          spins(stride, Real{0}),
          fields(stride, Real{0}) {
        for (std::size_t i = 0; i < d; ++i) {
            for (std::size_t j = 0; j < i; ++j) {
                couplings[i * stride + j] = couplings[j * stride + i] = draws.real<Real>(values);
            }
            couplings[i * stride + i] = Real{1};
            spins[i] = static_cast<Real>(2 * draws.integer(0, 1) - 1);
            fields[i] = draws.real<Real>(values);
            units.push_back(0.5 + draws.integer(0, 3));
            errors.push_back(1e-9 * draws.integer(0, 3));
        }
    }

    Descent<Real> descent() {
        return {.couplings = couplings.data(),
                .stride = stride,
                .d = d,
                .factor = Real{2},
                .units = units.data(),
                .errors = errors.data(),
                .first_error = 3.0,
                .spins = spins.data(),
                .fields = fields.data()};
    }

    std::size_t d;
    std::size_t stride;
    AlignedVector<Real> couplings;
    AlignedVector<Real> spins;
    AlignedVector<Real> fields;
    std::vector<double> units;
    std::vector<double> errors;
};

template <class Real>
void check_descend(const ProjectionKernels<Real>& kernels) {
    Draws draws(5);
    for_all([&](std::size_t d, Values values) {
        if (values == Values::huge) {
            return;  // fields that overflow are the caller's to avoid
        }
        const Row<Real> given(d, values, draws);
        for (const std::size_t most_flips : {std::size_t{0}, std::size_t{3}, 10 * d}) {
            Row<Real> a = given;
            Row<Real> b = given;
            Descent<Real> of_a = a.descent();
            Descent<Real> of_b = b.descent();
            for (int call = 0; call < 2; ++call) {  // the second goes on where the first gave up
                EXPECT_EQ(kernels.descend(of_a, most_flips), expected::descend(of_b, most_flips));
                EXPECT_EQ(of_a.flips, of_b.flips);
                EXPECT_TRUE(same_bits(of_a.lowered, of_b.lowered)) << of_a.lowered << ", " << of_b.lowered;
                EXPECT_TRUE(same_bits(of_a.certain, of_b.certain)) << of_a.certain << ", " << of_b.certain;
                EXPECT_TRUE(same(a.spins, b.spins));
                EXPECT_TRUE(same(a.fields, b.fields));
            }
        }
    });
}

template <class Real>
void check_steps(const ProjectionKernels<Real>& kernels) {
    Draws draws(6);
    for_all([&](std::size_t d, Values values) {
        auto p = draws.reals<Real>(d, values);
        p[draws.index(d)] = Real{0};
        const auto own = draws.reals<Real>(d, Values::few);
        std::vector<Real> spins(d);
        std::ranges::generate(spins, [&] { return static_cast<Real>(2 * draws.integer(0, 1) - 1); });
        for (const Real* of_row : {static_cast<const Real*>(nullptr), std::as_const(spins).data()}) {
            for (const bool mask : {false, true}) {
                std::vector<std::int8_t> step(d, 7);
                std::vector<std::int8_t> expected_step(d, 7);
                const double sum = kernels.write_step(p.data(), of_row, own.data(), mask, d, step.data());
                const double expected_sum =
                    expected::write_step(p.data(), of_row, own.data(), mask, d, expected_step.data());
                EXPECT_TRUE(same_bits(sum, expected_sum)) << sum << ", expected " << expected_sum;
                EXPECT_TRUE(same(step, expected_step));

                const Real size = draws.real<Real>(values);
                std::vector<Real> out(d);
                std::vector<Real> in_place = p;
                std::vector<Real> expected_out(d);
                kernels.subtract_step(p.data(), step.data(), size, d, out.data());
                kernels.subtract_step(in_place.data(), step.data(), size, d, in_place.data());
                expected::subtract_step(p.data(), step.data(), size, d, expected_out.data());
                EXPECT_TRUE(same(out, expected_out));
                EXPECT_TRUE(same(in_place, expected_out));

                const Real clip = std::max(Real{0}, draws.real<Real>(values));
                std::vector<Real> weights = p;
                std::vector<Real> expected_weights = p;
                kernels.move_weights(weights.data(), step.data(), size, clip, d);
                expected::move_weights(expected_weights.data(), step.data(), size, clip, d);
                EXPECT_TRUE(same(weights, expected_weights));
            }
        }
    });
}

// A row of random signs, inputs and pulls, which descends by its inputs.
template <class Real>
struct InputRow {
    InputRow(std::size_t d, std::size_t samples, Draws& draws)
        : stride((samples + kInputLanes - 1) / kInputLanes * kInputLanes),
          inputs(d * stride, Real{0}),
          own(d),
          slacks(d, Real(1e-6)),
          pulls(draws.reals<Real>(d, Values::ordinary)),
          spins(d),
          outputs(stride, Real{0}) {
        for (std::size_t i = 0; i < d; ++i) {
            const auto drawn = draws.reals<Real>(samples, Values::ordinary);
            std::ranges::copy(drawn, inputs.data() + i * stride);
            spins[i] = drawn[0] < pulls[i] ? Real{-1} : Real{1};
            for (std::size_t k = 0; k < samples; ++k) {
                own[i] += drawn[k] * drawn[k];
                outputs[k] += spins[i] * drawn[k];
            }
        }
    }

    InputDescent<Real> row() {
        return {inputs.data(), stride,       Real{2},      own.data(),    slacks.data(),
                Real{3},       pulls.data(), spins.data(), outputs.data()};
    }

    std::size_t stride;
    AlignedVector<Real> inputs;
    std::vector<Real> own;
    std::vector<Real> slacks;
    std::vector<Real> pulls;
    std::vector<Real> spins;
    AlignedVector<Real> outputs;
};

template <class Real>
void expect_same_gains(const std::vector<Gain<Real>>& found, const std::vector<Gain<Real>>& expected) {
    ASSERT_EQ(found.size(), expected.size());
    for (std::size_t k = 0; k < found.size(); ++k) {
        EXPECT_EQ(found[k].coordinate, expected[k].coordinate);
        EXPECT_EQ(found[k].gain, expected[k].gain);
    }
}

template <class Real>
void check_descent_by_inputs(const ProjectionKernels<Real>& kernels) {
    Draws draws(9);
    std::size_t flips = 0;
    for (const std::size_t d : sizes()) {
        for (const std::size_t samples : {std::size_t{1}, std::size_t{7}, std::size_t{16}, std::size_t{33}}) {
            SCOPED_TRACE(testing::Message() << "d " << d << ", samples " << samples);
            InputRow<Real> ours(d, samples, draws);
            InputRow<Real> others = ours;
            const std::size_t first = d / 3;
            std::vector<Real> products(d - first);
            for (std::size_t i = first; i < d; ++i) {
                products[i - first] = expected::product_of_samples(others.row(), i);
            }
            const auto wanted = expected::find_gains(others.row(), products, first);
            std::vector<Gain<Real>> found(products.size() + 1);
            found.resize(
                kernels.find_gains(ours.row(), products.data(), first, products.size(), found.data()));
            expect_same_gains(found, wanted);
            const std::size_t flipped = kernels.flip_gains(ours.row(), found.data(), found.size());
            EXPECT_EQ(flipped, expected::flip_gains(others.row(), wanted));
            EXPECT_EQ(ours.spins, others.spins);
            EXPECT_EQ(ours.outputs, others.outputs);
            flips += flipped;
            // Other spins, which X G follows: few, and so many that they are followed in parts.
            auto next = ours.spins;
            for (std::size_t i = 0; i < next.size(); i += 1 + next.size() / 300) {
                next[i] = -next[i];
            }
            EXPECT_EQ(kernels.follow(ours.row(), next.data(), next.size()),
                      expected::follow(others.row(), next.data(), next.size()));
            EXPECT_EQ(ours.spins, next);
            EXPECT_EQ(ours.outputs, others.outputs);
        }
    }
    EXPECT_GT(flips, 100U);
}

class ProjectionFloat : public OnEveryInstructionSet {};

TEST_P(ProjectionFloat, take_signs) {
    check_take_signs(projection_of<float>(table()));
    check_take_signs(projection_of<double>(table()));
}

TEST_P(ProjectionFloat, sign_products) {
    check_sign_products(projection_of<float>(table()));
    check_sign_products(projection_of<double>(table()));
}

TEST_P(ProjectionFloat, sums_over_a_row) {
    check_sums(projection_of<float>(table()));
    check_sums(projection_of<double>(table()));
}

TEST_P(ProjectionFloat, start) {
    check_start(projection_of<float>(table()));
    check_start(projection_of<double>(table()));
}

TEST_P(ProjectionFloat, descend) {
    check_descend(projection_of<float>(table()));
    check_descend(projection_of<double>(table()));
}

TEST_P(ProjectionFloat, descent_by_inputs) {
    check_descent_by_inputs(projection_of<float>(*GetParam()));
    check_descent_by_inputs(projection_of<double>(*GetParam()));
}

TEST_P(ProjectionFloat, steps_of_a_row_and_of_weights) {
    check_steps(projection_of<float>(table()));
    check_steps(projection_of<double>(table()));
}

QPSBGD_ON_EVERY_INSTRUCTION_SET(ProjectionFloat);

}  // namespace
