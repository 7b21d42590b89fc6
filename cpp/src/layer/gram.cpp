// Gram matrix and weight gradient of a layer, from its inputs X (samples x d) and output gradients V (samples x m).
//
// X and V are packed into panels of neighbouring columns, and the kernels multiply panels: blocks of the Gram matrix on
// and below the diagonal, which are stored twice, and blocks of V'X. samples * d^2 / 2 and samples * d * m
// multiplications. Inputs that are all -1 or +1 are packed as bits, and their products counted: exact, and 32 samples in
// three operations. Every entry is summed over the samples in order, whatever the threads and the instruction set.
#include <algorithm>
#include <atomic>
#include <optional>

#include "base/aligned.hpp"
#include "base/threads.hpp"
#include "kernels/kernel_table.hpp"
#include "layer/panels.hpp"
#include "qpsbgd/layer.hpp"

namespace qpsbgd {
namespace {

constexpr double kWorkOfThread = 2e6;  // multiplications that pay for starting a thread

// Panels of bits, if all values are -1 or +1.
class SignPanels {
public:
    template <class Real>
    static std::optional<SignPanels> pack(std::span<const Real> values, std::size_t samples,
                                          std::size_t columns, const GramKernels<Real>& kernels,
                                          std::size_t threads, StopToken& token) {
        const Real first = values.front();
        if (first != Real{1} && first != Real{-1}) {
            return std::nullopt;
        }
        const std::size_t panels = (columns + kernels.width - 1) / kernels.width;
        const std::size_t words = (samples + kWordSamples - 1) / kWordSamples;
        SignPanels result(panels, padded<std::uint32_t>(words * kernels.bit_width));
        std::atomic<bool> all = true;
        parallel_for(words, threads, token, [&](std::size_t /*worker*/, std::size_t word) {
            const std::size_t sample = word * kWordSamples;
            const bool signs = all.load(std::memory_order_relaxed) &&
                               kernels.pack_signs(values.data() + sample * columns, columns,
                                                  std::min(kWordSamples, samples - sample), columns,
                                                  result.panel(0) + word * kernels.bit_width, result.stride_);
            if (!signs) {
                all.store(false, std::memory_order_relaxed);
            }
        });
        return all ? std::optional(std::move(result)) : std::nullopt;
    }

    std::uint32_t* panel(std::size_t index) { return data_.data() + index * stride_; }
    const std::uint32_t* panel(std::size_t index) const { return data_.data() + index * stride_; }

private:
    SignPanels(std::size_t panels, std::size_t stride) : stride_(stride), data_(panels * stride) {}

    std::size_t stride_;
    AlignedBuffer<std::uint32_t> data_;
};

// One block of products, in the first cache.
template <class Real>
struct alignas(kCacheLine) Block {
    Real values[kMostPanelColumns * kMostPanelColumns];
};

// Columns of the Gram matrix left of and on the diagonal, for the rows of panel `index`, and their mirror images.
// Rows are filled up with zeros to whole cache lines, as far as they have room.
template <class Real, class Multiply>
void gram_rows(const GramKernels<Real>& kernels, std::size_t index, std::size_t d, Real scale, Rows<Real> out,
               const Multiply& multiply) {
    Block<Real> block{};
    const std::size_t width = kernels.width;
    const std::size_t rows = std::min(width, d - index * width);
    for (std::size_t other = 0; other < index; ++other) {
        const Destination<Real> to{.rows = out[index * width] + other * width,
                                   .mirrored = out[other * width] + index * width,
                                   .stride = out.stride};
        multiply(index, other, to, block.values);
        kernels.store(block.values, rows, width, scale, to.rows, to.stride);
        kernels.store_transposed(block.values, rows, width, scale, to.mirrored, to.stride);
    }
    const Destination<Real> diagonal{
        .rows = out[index * width] + index * width, .mirrored = nullptr, .stride = out.stride};
    multiply(index, index, diagonal, block.values);
    for (std::size_t i = 0; i < rows; ++i) {
        for (std::size_t j = i + 1; j < rows; ++j) {
            block.values[i * width + j] = block.values[j * width + i];
        }
        Real* row = out[index * width + i];
        std::fill(row + d, row + std::min(out.stride, padded<Real>(d)), Real{0});
    }
    kernels.store(block.values, rows, rows, scale, diagonal.rows, diagonal.stride);
}

double gram_work(std::size_t samples, std::size_t d) {
    return 0.5 * static_cast<double>(samples) * static_cast<double>(d) * static_cast<double>(d);
}

template <class Real>
bool sign_gram(std::span<const Real> inputs, std::size_t samples, std::size_t d, double scale, Rows<Real> out,
               std::size_t threads, StopToken& token) {
    const GramKernels<Real>& table = gram_kernels<Real>();
    // Counting is some ten times faster than multiplying.
    threads = useful_threads(threads, 0.1 * gram_work(samples, d), kWorkOfThread);
    const std::optional<SignPanels> signs = SignPanels::pack<Real>(inputs, samples, d, table, threads, token);
    if (!signs) {
        return false;
    }
    const std::size_t panels = (d + table.width - 1) / table.width;
    parallel_for(panels, threads, token, [&](std::size_t /*worker*/, std::size_t task) {
        const std::size_t index = panels - 1 - task;  // long rows first, so that the threads end together
        gram_rows<Real>(table, index, d, static_cast<Real>(scale), out,
                        [&](std::size_t left, std::size_t right, const Destination<Real>& to, Real* block) {
                            table.multiply_signs(signs->panel(left), signs->panel(right), samples,
                                                 std::min(table.width, d - left * table.width), to, block);
                        });
    });
    return true;
}

// The rows of V'X that one panel of V gives.
template <class Real>
void gradient_rows(const GramKernels<Real>& table, const Panels<Real>& v, std::size_t left,
                   const Panels<Real>& x, std::size_t samples, Real scale, Rows<Real> out) {
    Block<Real> block{};
    for (std::size_t right = 0; right < x.count(); ++right) {
        const Destination<Real> to{
            .rows = out[left * table.width] + right * table.width, .mirrored = nullptr, .stride = out.stride};
        table.multiply(v.panel(left), x.panel(right), samples, v.width(left), x.width(right), false, to,
                       block.values);
        table.store(block.values, v.width(left), x.width(right), scale, to.rows, to.stride);
    }
}

}  // namespace

template <class Real>
void gram(std::span<const Real> inputs, std::size_t samples, std::size_t d, double scale, Rows<Real> out,
          std::size_t threads, StopToken& token) {
    gram_and_weight_gradient<Real>(inputs, {}, samples, d, 0, scale, 0.0, out, {}, threads, token);
}

template <class Real>
void gram_and_weight_gradient(std::span<const Real> inputs, std::span<const Real> output_gradients,
                              std::size_t samples, std::size_t d, std::size_t m, double gram_scale,
                              double gradient_scale, Rows<Real> out, Rows<Real> gradient, std::size_t threads,
                              StopToken& token) {
    const GramKernels<Real>& table = gram_kernels<Real>();
    const bool counted = sign_gram<Real>(inputs, samples, d, gram_scale, out, threads, token);
    if (counted && m == 0) {
        return;
    }
    const double gradient_work =
        static_cast<double>(samples) * static_cast<double>(d) * static_cast<double>(m);
    threads = useful_threads(threads, gradient_work + (counted ? 0.0 : gram_work(samples, d)), kWorkOfThread);
    const Panels<Real> x(inputs, samples, d, table, threads, token);
    const Panels<Real> v(output_gradients, samples, m, table, threads, token);
    const std::size_t gram_tasks = counted ? 0 : x.count();
    parallel_for(gram_tasks + v.count(), threads, token, [&](std::size_t /*worker*/, std::size_t task) {
        if (task < gram_tasks) {
            const std::size_t index =
                gram_tasks - 1 - task;  // long rows first, so that the threads end together
            gram_rows<Real>(
                table, index, d, static_cast<Real>(gram_scale), out,
                [&](std::size_t left, std::size_t right, const Destination<Real>& to, Real* block) {
                    table.multiply(x.panel(left), x.panel(right), samples, x.width(left), x.width(right),
                                   left == right, to, block);
                });
            return;
        }
        gradient_rows<Real>(table, v, task - gram_tasks, x, samples, static_cast<Real>(gradient_scale),
                            gradient);
    });
}

template <class Real>
void weight_gradient(std::span<const Real> inputs, std::span<const Real> output_gradients,
                     std::size_t samples, std::size_t d, std::size_t m, double scale, Rows<Real> out,
                     std::size_t threads, StopToken& token) {
    const GramKernels<Real>& table = gram_kernels<Real>();
    const double work = static_cast<double>(samples) * static_cast<double>(d) * static_cast<double>(m);
    threads = useful_threads(threads, work, kWorkOfThread);
    const Panels<Real> x(inputs, samples, d, table, threads, token);
    const Panels<Real> v(output_gradients, samples, m, table, threads, token);
    parallel_for(v.count(), threads, token, [&](std::size_t /*worker*/, std::size_t task) {
        gradient_rows<Real>(table, v, task, x, samples, static_cast<Real>(scale), out);
    });
}

template void gram(std::span<const float>, std::size_t, std::size_t, double, Rows<float>, std::size_t,
                   StopToken&);
template void gram(std::span<const double>, std::size_t, std::size_t, double, Rows<double>, std::size_t,
                   StopToken&);
template void weight_gradient(std::span<const float>, std::span<const float>, std::size_t, std::size_t,
                              std::size_t, double, Rows<float>, std::size_t, StopToken&);
template void weight_gradient(std::span<const double>, std::span<const double>, std::size_t, std::size_t,
                              std::size_t, double, Rows<double>, std::size_t, StopToken&);
template void gram_and_weight_gradient(std::span<const float>, std::span<const float>, std::size_t,
                                       std::size_t, std::size_t, double, double, Rows<float>, Rows<float>,
                                       std::size_t, StopToken&);
template void gram_and_weight_gradient(std::span<const double>, std::span<const double>, std::size_t,
                                       std::size_t, std::size_t, double, double, Rows<double>, Rows<double>,
                                       std::size_t, StopToken&);

}  // namespace qpsbgd
