// The couplings of one problem, entry by entry, however they are stored.
#pragma once

#include <cstddef>
#include <variant>

#include "qpsbgd/problem.hpp"

namespace qpsbgd {

// Visits every entry (i, j, J_ij) of one problem's couplings.
template <class Visit>
void for_each_entry(const IsingBatch& batch, std::size_t problem, const Visit& visit) {
    std::visit(
        [&](const auto& view) {
            if constexpr (requires { view.row_start; }) {
                for (std::size_t i = 0; i < view.n; ++i) {
                    for (auto k = static_cast<std::size_t>(view.row_start[i]);
                         k < static_cast<std::size_t>(view.row_start[i + 1]); ++k) {
                        visit(i, static_cast<std::size_t>(view.column[k]),
                              static_cast<double>(view.value[k]));
                    }
                }
            } else {
                const auto* matrix = view.matrix(problem);
                for (std::size_t i = 0; i < view.n; ++i) {
                    for (std::size_t j = 0; j < view.n; ++j) {
                        visit(i, j, static_cast<double>(matrix[i * view.n + j]));
                    }
                }
            }
        },
        batch.couplings);
}

}  // namespace qpsbgd
