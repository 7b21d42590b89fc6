// Rows descend in int16, in units of its own for every coordinate: each pass over the gains flips up to four coordinates,
// the best and others that are still good after it, and looks for the next four. Products and descents use the same
// rounded couplings, in exact arithmetic, so that gains are wrong by what A was rounded by and no more, however many
// flips there are: that much is taken off every spin that changed before a descent is trusted to be one. Instruction sets
// may multiply as they like, tiles of int8 among them.
//
// Cost: as in project_float.cpp, in operations that take half as long or less.
#include "layer/project_int16.hpp"

#include <algorithm>
#include <span>

namespace qpsbgd {

Int16Projection::Int16Projection(const LayerCouplings<float>& problem, const LayerRows<float>& layer,
                                 const ProjectionOptions& options, std::size_t most_rows)
    : kernels_(kernels().projection_int16),
      problem_(problem),
      rows_(layer, options, most_rows),
      products_(most_rows * rounded_up(layer.d, kProductsTile)),
      workspace_(kernels_.workspace_bytes(most_rows, layer.d)),
      states_(layer.d) {}

bool Int16Projection::run(std::size_t first, std::size_t count, StopToken& token) {
    rows_.begin(first, count);
    multiply(count);
    bool in_range = true;
    for (std::size_t row = 0; row < count; row += kTogether) {
        in_range = project(row, std::min(kTogether, count - row), token) && in_range;
    }
    return in_range;
}

// W sigma of `count` rows.
void Int16Projection::multiply(std::size_t count) {
    kernels_.sign_products({.couplings = problem_.rows_int16(),
                            .couplings_stride = problem_.stride_int16(),
                            .d = rows_.d(),
                            .signs = rows_.signs(),
                            .signs_stride = rows_.most_rows(),
                            .workspace = workspace_.data(),
                            .products = products_.data(),
                            .tile_stride = rows_.most_rows() * kProductsTile},
                           count);
}

// W sigma of one row, whose columns lie in tiles.
void Int16Projection::copy_product(std::size_t row, std::int16_t* product) const {
    const std::int16_t* tile = products_.data() + row * kProductsTile;
    for (std::size_t i = 0; i < rows_.d(); i += kProductsTile) {
        std::copy_n(tile, std::min(kProductsTile, rows_.d() - i), product + i);
        tile += rows_.most_rows() * kProductsTile;
    }
}

// Spins, fields and scale of a row of the group, in place `i` of those together. Returns false if a sum over p or A
// leaves the range of numbers.
bool Int16Projection::start(std::size_t row, std::size_t i) {
    std::int16_t* fields = states_.first_fields(i);
    copy_product(row, fields);
    const double others = kernels_.signed_sum(rows_.p(row), fields, problem_.units_int16(), rows_.d());
    const double curvature = problem_.trace() + problem_.inverse_factor() * others;
    const double scale = rows_.first_scale(row, curvature);
    if (scale > 0.0) {
        kernels_.start(rows_.p(row), problem_.start_int16(), 1.0 / scale, rows_.d(), states_.spins(i),
                       fields);
        std::copy_n(fields, rows_.d(), states_.fields(i));
    }
    states_.scales[i] = scale;
    states_.descents[i] = {.couplings = problem_.rows_int16(),
                           .stride = problem_.stride_int16(),
                           .zero_row = rows_.d(),
                           .d = problem_.stride_int16(),
                           .spins = states_.spins(i),
                           .fields = states_.fields(i),
                           .settled = !(scale > 0.0)};
    return leaves_room(rows_.norm(row)) && leaves_room(curvature);
}

// The first `count` rows together, until all are settled. A pass flips one spin or more.
void Int16Projection::descend(std::size_t count, StopToken& token) {
    const std::span rows = std::span(states_.descents).first(count);
    const auto settled = [](const Int16Descent& row) { return row.settled; };
    for (std::size_t passes = 0; passes < rows_.most_flips() && !std::ranges::all_of(rows, settled);
         passes += rows_.flips_of_look()) {
        kernels_.descend(rows.data(), count, rows_.flips_of_look());
        token.throw_if_interrupted();
    }
}

bool Int16Projection::is_better(std::size_t row, std::size_t i) {
    const Int16Descent& descent = states_.descents[i];
    const Int16Change change =
        kernels_.change(rows_.p(row), states_.first_fields(i), descent, problem_.units_int16(), rows_.d());
    const double certain = change.lowered - problem_.error_int16() * change.units;
    return change.units > 0.0 &&
           rows_.is_better(problem_, row, states_.scales[i], change.lowered, certain,
                           [&](std::size_t k) { return static_cast<double>(descent.spins[k]); });
}

// Rows [first, first + count) of the group, at most kTogether.
bool Int16Projection::project(std::size_t first, std::size_t count, StopToken& token) {
    bool in_range = true;
    for (std::size_t i = 0; i < count; ++i) {
        in_range = start(first + i, i) && in_range;
    }
    descend(count, token);
    for (std::size_t i = 0; i < count; ++i) {
        const Int16Descent& descent = states_.descents[i];
        const bool better = states_.scales[i] > 0.0 && is_better(first + i, i);
        rows_.finish(first + i, [&](std::int8_t* step) {
            return kernels_.write_step(rows_.p(first + i), better ? descent.spins : nullptr, problem_.own(),
                                       rows_.options().mask, rows_.d(), step);
        });
    }
    return in_range;
}

}  // namespace qpsbgd
