// Kernels of the training step.
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/aligned.hpp"
#include "base/rng.hpp"
#include "entries.hpp"
#include "kernels/kernel_table.hpp"
#include "layer/matrix.hpp"
#include "qpsbgd/cancellation.hpp"
#include "qpsbgd/layer.hpp"

namespace qpsbgd::limits {
namespace {

void add_gram(std::vector<Entry>& entries, std::size_t samples, std::size_t d, bool signs) {
    struct Data {
        AlignedVector<float> inputs;
        AlignedVector<float> out;
    };
    const auto data =
        std::make_shared<Data>(Data{AlignedVector<float>(samples * d), AlignedVector<float>(d * d)});
    Random random(0, 0, 0);
    for (auto& value : data->inputs) {
        value = static_cast<float>(random.below(1U << 16U)) / 32768.0F - 1.0F;
        value = signs ? std::copysign(1.0F, value) : value;
    }
    const auto width = static_cast<double>(d);
    const double products = 0.5 * static_cast<double>(samples) * width * (width + 1.0);
    const std::string size = std::to_string(d) + "x" + std::to_string(samples);
    // Inputs of ±1 are bits: an exclusive or, a count and an addition for 32 products, each on two lanes of int16.
    Work of_bits{Unit::int16, 3.0 * 2.0 * products / 32.0, 4.0 * width * width, 0.0, 0.0};
    if (register_bytes() == 32) {
        // AVX2 has no count of bits: two nibbles are split off, looked up and added up in its stead, six operations.
        of_bits.issue.operations = of_bits.operations * 8.0 / 3.0;
    }
    const Work of_floats{Unit::float32, products, 4.0 * width * width, 0.0, 0.0};
    entries.push_back({signs ? "gram of ±1" : "gram", size, signs ? of_bits : of_floats, [=] {
                           StopToken token(std::nullopt, nullptr);
                           gram<float>(data->inputs, samples, d, 1.0, {data->out.data(), d}, 1, token);
                       }});
}

// Rows of a layer without couplings.
struct LayerProblem {
    LayerProblem(std::size_t size, std::size_t count)
        : d(size),
          rows(count),
          stride((size + 63) / 64 * 64 + 16),
          matrix(size * spread<float>(size), 0.0F),
          products(count * stride, 0.0F),
          signs((size + kSignsOfWord - 1) / kSignsOfWord * count, 0x5555555555555555U),
          stride_int16(padded<std::int16_t>(size)),
          couplings_int16((size + 1) * stride_int16 + kInt16Slots, 0),
          spins_int16((size + kInt16Slots - 1) / kInt16Slots * kInt16Slots, 0),
          fields_int16(spins_int16.size(), kInt16NoGain),
          workspace(kernels().projection_int16.workspace_bytes(count, size)),
          products_int16(count * ((size + kProductsTile - 1) / kProductsTile) * kProductsTile) {}

    // Flips all spins that want to.
    bool descend(std::int16_t field) {
        std::fill_n(spins_int16.begin(), d, std::int16_t{1});
        std::fill_n(fields_int16.begin(), d, field);
        Int16Descent row{.couplings = couplings_int16.data(),
                         .stride = stride_int16,
                         .zero_row = d,
                         .d = stride_int16,
                         .spins = spins_int16.data(),
                         .fields = fields_int16.data()};
        kernels().projection_int16.descend(&row, 1, d);
        return row.settled;
    }

    std::size_t d;
    std::size_t rows;
    std::size_t stride;
    AlignedVector<float> matrix;
    AlignedVector<float> products;
    std::vector<std::uint64_t> signs;
    std::size_t stride_int16;
    AlignedVector<std::int16_t> couplings_int16;
    AlignedVector<std::int16_t> spins_int16;
    AlignedVector<std::int16_t> fields_int16;
    AlignedVector<std::byte> workspace;
    AlignedVector<std::int16_t> products_int16;
};

void add_projection(std::vector<Entry>& entries, std::size_t size, std::size_t rows) {
    const auto problem = std::make_shared<LayerProblem>(size, rows);
    const auto d = static_cast<double>(size);
    const auto m = static_cast<double>(rows);
    const std::string name = std::to_string(size) + "x" + std::to_string(rows);
    // Some rows are all signed sums of them, which are stored; one of those is added for every row of the layer. Four of A,
    // and five of its int16 couplings.
    const double sums = (16.0 / 4.0 + m / 4.0) * d * d;
    const double int16_sums = (32.0 / 5.0 + m / 5.0) * d * d;
    const Work products{Unit::float32, sums, 4.0 * sums, 4.0 * d * d, 4.0 * d * d};
    const Work products_int16{Unit::int16, int16_sums, 2.0 * int16_sums, 2.0 * d * d, 2.0 * d * d};
    entries.push_back({"projection_int16.sign_products", name, products_int16, [=] {
                           kernels().projection_int16.sign_products(
                               {.couplings = problem->couplings_int16.data(),
                                .couplings_stride = problem->stride_int16,
                                .d = size,
                                .signs = problem->signs.data(),
                                .signs_stride = rows,
                                .workspace = problem->workspace.data(),
                                .products = problem->products_int16.data(),
                                .tile_stride = rows * kProductsTile},
                               rows);
                       }});
    entries.push_back({"projection_float.sign_products", name, products, [=] {
                           kernels().projection_float32.sign_products({.matrix = problem->matrix.data(),
                                                                       .matrix_stride = spread<float>(size),
                                                                       .d = size,
                                                                       .signs = problem->signs.data(),
                                                                       .signs_stride = rows,
                                                                       .products = problem->products.data(),
                                                                       .stride = problem->stride},
                                                                      rows);
                       }});
    // A look multiplies fields and spins and keeps the larger gain.
    const std::string one_row = "d=" + std::to_string(size);
    const Work look{Unit::int16, 2.0 * d, 4.0 * d, 0.0, 0.0};
    entries.push_back({"projection_int16.descend, none flips", one_row, look, [=] { problem->descend(-1); }});
    // A flip takes a row of couplings times a spin from the fields; four flips need a look at them times their spins.
    const Work all_flip{Unit::int16, 3.0 * d * d, 2.0 * d * d, 2.0 * d * d, 2.0 * d * d};
    entries.push_back({"projection_int16.descend, all flip", one_row, all_flip,
                       [=] { problem->descend(static_cast<std::int16_t>(problem->d)); }});
}

}  // namespace

void add_layer_kernels(std::vector<Entry>& entries) {
    add_gram(entries, 128, 784, false);
    add_gram(entries, 512, 784, true);
    add_projection(entries, 512, 128);
    add_projection(entries, 784, 128);
}

}  // namespace qpsbgd::limits
