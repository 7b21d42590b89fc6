// Inverse temperatures of an annealing run.
#pragma once

#include <cstddef>
#include <span>

#include "qpsbgd/solve.hpp"

namespace qpsbgd {

// Sweeps of a run whose caller names none.
inline constexpr std::size_t kDefaultAnnealSweeps = 1000;
inline constexpr std::size_t kDefaultTabuSweeps = 200;
// Of the first run within a time limit; every further one has twice as many.
inline constexpr std::size_t kFirstRoundSweeps = 100;

// The local fields of a local minimum tell the barriers that annealing has to cross: hot is a temperature at which a
// typical spin of that minimum still flips now and then, cold one at which only the weakest still do. (The fields of
// a random state overestimate them where the couplings have low rank, and the smallest single coupling, which peers
// use, says nothing about the gaps that matter and stretches the schedule at every other spin's cost.)
// `mean_field` is the mean of |L_i|. Measured on the instances of the data folder and on layer problems.
BetaRange default_beta_range(double mean_field);

// Step `step` of `steps` on a geometric ladder from hot to cold.
double geometric_beta(BetaRange range, std::size_t step, std::size_t steps);
// From one step to the next.
double geometric_ratio(BetaRange range, std::size_t steps);

// 4096 quantiles of the unit exponential distribution, -ln((k + 1/2) / 4096), computed without the mathematical
// library so that every machine holds the same bits.
std::span<const float, 4096> exponential_quantiles();

}  // namespace qpsbgd
