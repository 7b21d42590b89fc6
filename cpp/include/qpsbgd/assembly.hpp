// From a layer's inputs and gradients to its projection problem, and the training step's own solver.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>

#include "qpsbgd/cancellation.hpp"

namespace qpsbgd {

// out (d x d) = scale * X'X for inputs X (samples x d).
template <class Real>
void gram(std::span<const Real> inputs, std::size_t samples, std::size_t d, double scale, std::span<Real> out,
          std::size_t threads, StopToken& token);

// out (m x d) = scale * V'X for output gradients V (samples x m) and inputs X (samples x d).
template <class Real>
void layer_fields(std::span<const Real> output_gradients, std::span<const Real> inputs, std::size_t samples,
                  std::size_t m, std::size_t d, double scale, std::span<Real> out, std::size_t threads,
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

// gram (d x d) symmetric, gradient (m x d), out (m x d) of -1, 0, +1. Greedy passes from sign(p) until no flip
// helps; the row keeps sign(p) unless the result's objective, compared in float64, is lower. A coordinate with
// A_kk = 0 and p_k = 0, and a row whose p is all zero, gets 0: there is nothing to move for.
template <class Real>
void project_rows(std::span<const Real> gram, std::span<const Real> gradient, std::size_t m, std::size_t d,
                  const ProjectionOptions& options, std::span<std::int8_t> out, StopToken& token);

}  // namespace qpsbgd
