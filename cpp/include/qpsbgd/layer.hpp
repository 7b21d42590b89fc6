// From a layer's inputs and gradients to its projection problem, and the training step's own solver.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "qpsbgd/cancellation.hpp"

namespace qpsbgd {

// A row-major matrix whose rows are `stride` entries apart.
template <class Real>
struct Rows {
    Real* data;
    std::size_t stride;

    Real* operator[](std::size_t row) const { return data + row * stride; }
};

// Memory of a matrix whose rows the kernels read well: they start on cache lines, and are padded.
struct FreeMatrix {
    void operator()(void* memory) const;
};
template <class Real>
struct OwnedMatrix {
    std::unique_ptr<Real[], FreeMatrix> memory;
    std::size_t stride = 0;

    Rows<Real> rows() const { return {memory.get(), stride}; }
};

// Holds nothing yet. Throws std::bad_alloc where there is no memory.
template <class Real>
OwnedMatrix<Real> allocate_matrix(std::size_t rows, std::size_t columns);

// out (d x d) = scale * X'X for inputs X (samples x d): by counting bits where all inputs are -1 or +1.
template <class Real>
void gram(std::span<const Real> inputs, std::size_t samples, std::size_t d, double scale, Rows<Real> out,
          std::size_t threads, StopToken& token);

// The gradient of the layer's weights: out (m x d) = scale * V'X for output gradients V (samples x m) and inputs X
// (samples x d).
template <class Real>
void weight_gradient(std::span<const Real> inputs, std::span<const Real> output_gradients,
                     std::size_t samples, std::size_t d, std::size_t m, double scale, Rows<Real> out,
                     std::size_t threads, StopToken& token);

// The Gram matrix, and gradient (m x d) = gradient_scale * V'X for output gradients V (samples x m).
template <class Real>
void gram_and_weight_gradient(std::span<const Real> inputs, std::span<const Real> output_gradients,
                              std::size_t samples, std::size_t d, std::size_t m, double gram_scale,
                              double gradient_scale, Rows<Real> out, Rows<Real> gradient, std::size_t threads,
                              StopToken& token);

enum class ScaleRule : std::uint8_t { relative, automatic, fixed };

// Per row j with sigma = sign(p_j), from which the search starts:
//   minimise s_j^2 G'AG - 2 s_j p_j'G   over G in {-1,+1}^d, or over G = sigma * mask, mask in {0,1}^d.
struct ProjectionOptions {
    ScaleRule rule = ScaleRule::relative;
    double kappa = 1.0;  // relative: s = kappa |p|_1 / (sigma'A sigma); fixed: s = kappa
    bool mask = false;
    std::size_t threads = 1;
};

// A layer's rows: p = gradient + residual.
template <class Real>
struct LayerRows {
    std::span<const Real> gradient;  // (m x d)
    std::span<const Real> residual;  // (m x d), or empty for none
    std::size_t m = 0;
    std::size_t d = 0;
    std::span<std::int8_t> steps;  // out (m x d): G, of -1, 0, +1
    std::span<Real>
        next_residual;  // out (m x d): p - max(0, mean_k p_k G_k) G of each row, or empty for none
};

// gram (d x d) is symmetric. Greedy passes from sign(p) until no flip helps; the row keeps sign(p) unless the result's
// objective, compared in float64, is lower. A coordinate with A_kk = 0 and p_k = 0, and a row whose p is all zero, gets
// 0: there is nothing to move for. Returns false if some p or A is not finite: then all of G and residual is 0. Finite
// numbers may be of any size; std::domain_error where the next residual itself would overflow.
template <class Real>
bool project_rows(Rows<const Real> gram, const LayerRows<Real>& rows, const ProjectionOptions& options,
                  StopToken& token);

// The same for A = scale X'X of inputs X (samples x d), without that matrix: for layers much wider than they have samples.
// What it finds is another local minimum than that of `project_rows`, and as good a one.
template <class Real>
bool project_rows_by_inputs(std::span<const Real> inputs, std::size_t samples, double scale,
                            const LayerRows<Real>& rows, const ProjectionOptions& options, StopToken& token);

// The same where the matrix is there, too. In float32 the first fields come from X and the first flips from the matrix rounded
// to int8; in float64 the first flips are passes by X. The last flips read the matrix itself. For layers so wide that A lies
// beyond the second cache, of some samples fewer.
template <class Real>
bool project_rows_by_both(Rows<const Real> gram, std::span<const Real> inputs, std::size_t samples,
                          double scale, const LayerRows<Real>& rows, const ProjectionOptions& options,
                          StopToken& token);

// A running mean of matrices: state = past + weight (values - past), and mean = state / correction.
template <class Real>
struct RunningMean {
    Rows<const Real> values;
    std::size_t m = 0;
    std::size_t d = 0;
    std::span<const Real> past;  // (m x d), or empty for zeros
    Real weight = 1;
    Real correction = 1;
    std::span<Real> state;  // out (m x d)
    std::span<Real> mean;   // out (m x d), or empty for none
};
template <class Real>
void update_mean(const RunningMean<Real>& what, std::size_t threads, StopToken& token);

// weights <- clip(weights - lr steps, -clip, clip), entry by entry.
template <class Real>
void move_weights(std::span<Real> weights, std::span<const std::int8_t> steps, Real lr, Real clip,
                  std::size_t threads, StopToken& token);

}  // namespace qpsbgd
