// Gram matrix and fields of a layer, from its inputs X (samples x d) and output gradients V (samples x m).
//
// Both are sums over samples of outer products, so both are built from one register tile: kTileRows x kTileColumns
// sums stay in registers while the samples stream by, each read contiguously. The Gram matrix computes its lower
// triangle of tiles only and mirrors them. samples * d^2 / 2 and samples * d * m multiplications.
// A tile's sums run over the samples in order, so the result does not depend on the threads.
#include <algorithm>
#include <array>

#include "qpsbgd/assembly.hpp"
#include "qpsbgd/threads.hpp"

namespace qpsbgd {
namespace {

constexpr std::size_t kTileRows = 4;
constexpr std::size_t kTileColumns = 16;
constexpr std::size_t kSampleBlock = 256;  // samples whose columns of a tile stay in L1

template <class Real>
struct Columns {
    const Real* first;  // first column of the tile, sample 0
    std::size_t stride;
    std::size_t count;  // columns of the tile, less than its width at the edge
};

// out (row-major, out_stride) += sum over samples of left outer right, for one tile.
template <class Real>
void add_tile(const Columns<Real>& left, const Columns<Real>& right, std::size_t samples, Real* out,
              std::size_t out_stride) {
    std::array<std::array<Real, kTileColumns>, kTileRows> sums{};
    if (left.count == kTileRows && right.count == kTileColumns) {
        for (std::size_t k = 0; k < samples; ++k) {
            for (std::size_t i = 0; i < kTileRows; ++i) {
                for (std::size_t j = 0; j < kTileColumns; ++j) {
                    sums[i][j] += left.first[k * left.stride + i] * right.first[k * right.stride + j];
                }
            }
        }
    } else {
        for (std::size_t k = 0; k < samples; ++k) {
            for (std::size_t i = 0; i < left.count; ++i) {
                for (std::size_t j = 0; j < right.count; ++j) {
                    sums[i][j] += left.first[k * left.stride + i] * right.first[k * right.stride + j];
                }
            }
        }
    }
    for (std::size_t i = 0; i < left.count; ++i) {
        for (std::size_t j = 0; j < right.count; ++j) {
            out[i * out_stride + j] += sums[i][j];
        }
    }
}

// Rows [row, row + kTileRows) of out += left' right, columns [0, columns).
template <class Real>
void add_rows(std::span<const Real> left, std::size_t left_width, std::span<const Real> right,
              std::size_t right_width, std::size_t samples, std::size_t row, std::size_t columns, Real* out) {
    const std::size_t rows = std::min(kTileRows, left_width - row);
    for (std::size_t first = 0; first < samples; first += kSampleBlock) {
        const std::size_t block = std::min(kSampleBlock, samples - first);
        for (std::size_t column = 0; column < columns; column += kTileColumns) {
            add_tile<Real>({left.data() + first * left_width + row, left_width, rows},
                           {right.data() + first * right_width + column, right_width,
                            std::min(kTileColumns, right_width - column)},
                           block, out + row * right_width + column, right_width);
        }
    }
}

template <class Real>
void scale_row_block(Real* out, std::size_t count, double scale) {
    for (std::size_t i = 0; i < count; ++i) {
        out[i] = static_cast<Real>(scale * static_cast<double>(out[i]));
    }
}

}  // namespace

template <class Real>
void gram(std::span<const Real> inputs, std::size_t samples, std::size_t d, double scale, std::span<Real> out,
          std::size_t threads, StopToken& token) {
    std::ranges::fill(out, Real{0});
    const std::size_t blocks = (d + kTileRows - 1) / kTileRows;
    parallel_for(blocks, threads, token, [&](std::size_t /*worker*/, std::size_t index) {
        const std::size_t row =
            (blocks - 1 - index) * kTileRows;  // long rows first, so that the threads end together
        const std::size_t rows = std::min(kTileRows, d - row);
        add_rows<Real>(inputs, d, inputs, d, samples, row, row + rows, out.data());
        scale_row_block(out.data() + row * d, rows * d, scale);
    });
    parallel_for(blocks, threads, token, [&](std::size_t /*worker*/, std::size_t block) {
        for (std::size_t i = block * kTileRows; i < std::min(d, (block + 1) * kTileRows); ++i) {
            for (std::size_t j = i + 1; j < d; ++j) {
                out[i * d + j] = out[j * d + i];
            }
        }
    });
}

template <class Real>
void layer_fields(std::span<const Real> output_gradients, std::span<const Real> inputs, std::size_t samples,
                  std::size_t m, std::size_t d, double scale, std::span<Real> out, std::size_t threads,
                  StopToken& token) {
    std::ranges::fill(out, Real{0});
    parallel_for((m + kTileRows - 1) / kTileRows, threads, token,
                 [&](std::size_t /*worker*/, std::size_t block) {
                     const std::size_t row = block * kTileRows;
                     add_rows<Real>(output_gradients, m, inputs, d, samples, row, d, out.data());
                     scale_row_block(out.data() + row * d, std::min(kTileRows, m - row) * d, scale);
                 });
}

template void gram(std::span<const float>, std::size_t, std::size_t, double, std::span<float>, std::size_t,
                   StopToken&);
template void gram(std::span<const double>, std::size_t, std::size_t, double, std::span<double>, std::size_t,
                   StopToken&);
template void layer_fields(std::span<const float>, std::span<const float>, std::size_t, std::size_t,
                           std::size_t, double, std::span<float>, std::size_t, StopToken&);
template void layer_fields(std::span<const double>, std::span<const double>, std::size_t, std::size_t,
                           std::size_t, double, std::span<double>, std::size_t, StopToken&);

}  // namespace qpsbgd
