// Inverse temperatures of an annealing run.
#pragma once

#include <cstddef>
#include <span>

namespace qpsbgd {

// beta multiplies energy differences in the caller's units: a flip by dE is accepted with min(1, exp(-beta dE)).
struct BetaRange {
    double hot = 0.0;   // first and smallest
    double cold = 0.0;  // last and largest
};

// Root-mean-square local fields of a random state tell the energy scale of a spin: spin i sees
// r_i = sqrt(h_i^2 + sum_j S_ij^2). Hot means that a typical spin still flips freely, cold that a flip of a
// small fraction of the typical field is rare. The smallest single coupling plays no part, because one weak
// bias says nothing about the gaps that matter and would stretch the schedule at every other spin's cost.
BetaRange default_beta_range(std::span<const float> typical_fields, double unit);

// Step `step` of `steps` on a geometric ladder from hot to cold.
double geometric_beta(BetaRange range, std::size_t step, std::size_t steps);

// 4096 quantiles of the unit exponential distribution, -ln((k + 1/2) / 4096), computed without the mathematical
// library so that every machine holds the same bits.
std::span<const float, 4096> exponential_quantiles();

}  // namespace qpsbgd
