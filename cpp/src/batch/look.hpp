// A cheap look at a dense problem: what the rules of method "auto" ask.
//
// Cost: kRows rows and columns of the couplings for each matrix, and one pass over the fields of each problem.
#pragma once

#include <cstddef>
#include <span>

#include "qpsbgd/problem.hpp"

namespace qpsbgd {

// Means over some rows of the symmetric couplings S = J + J', diagonal left out.
struct RowSizes {
    double neighbours =
        0.0;            // (sum |S_ij|)^2 / sum S_ij^2: equal couplings count once each, tiny ones hardly
    double norm = 0.0;  // root mean square of the rows' Euclidean norms, in the caller's units
};

struct Look {
    double neighbours = 0.0;
    double fields = 0.0;  // root mean square of the fields, in row norms
};

template <class Real>
RowSizes sizes_of_rows(const DenseView<Real>& view, std::size_t problem, double scale);

Look look(const RowSizes& sizes, std::span<const double> fields);

}  // namespace qpsbgd
