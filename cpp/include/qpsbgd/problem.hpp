// Batches of Ising problems as the caller stores them: views, never copies.
//
// minimise  E(s) = scale * s'Js + h's + offset   over s in {-1,+1}^n;  every entry of J counts.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <variant>

namespace qpsbgd {

// `count` matrices n x n, row after row. One matrix may serve a whole batch.
template <class Real>
struct DenseView {
    std::span<const Real> values;
    std::size_t n = 0;
    std::size_t count = 1;

    const Real* matrix(std::size_t problem) const {
        return values.data() + (count == 1 ? 0 : problem) * n * n;
    }
};

// One matrix n x n in compressed rows, shared by the batch.
template <class Real>
struct SparseView {
    std::span<const std::int64_t> row_start;  // n + 1
    std::span<const std::int32_t> column;
    std::span<const Real> value;
    std::size_t n = 0;
};

using CouplingsView =
    std::variant<DenseView<float>, DenseView<double>, SparseView<float>, SparseView<double>>;

struct IsingBatch {
    std::size_t problems = 0;
    std::size_t n = 0;
    std::span<const double> fields;  // problems x n
    std::span<const double> offset;  // problems
    CouplingsView couplings;
    double coupling_scale = 1.0;
    std::span<const std::int8_t> initial_states;  // problems x initial_reads x n, or empty
    std::size_t initial_reads = 1;

    std::span<const double> field(std::size_t problem) const { return fields.subspan(problem * n, n); }
};

}  // namespace qpsbgd
