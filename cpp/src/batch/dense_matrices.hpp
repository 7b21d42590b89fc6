// The dense matrices of a batch in the forms that the solvers read.
#pragma once

#include <cstddef>
#include <memory>
#include <utility>
#include <vector>

#include "batch/finish.hpp"
#include "qpsbgd/cancellation.hpp"
#include "qpsbgd/problem.hpp"
#include "qpsbgd/solve.hpp"
#include "search/float32/matrices.hpp"
#include "search/int16/replica_group.hpp"
#include "search/int16/search.hpp"

namespace qpsbgd {

// The couplings of problems [first, last): in int16 where that serves, in float32 for the other problems.
template <class Real>
class DenseMatrices {
public:
    DenseMatrices(const IsingBatch& batch, const SolveOptions& options, const DenseView<Real>& view,
                  std::size_t first, std::size_t last, StopToken& token)
        : first_(first), shared_(view.count == 1), int16_serves_(last - first, false) {
        const std::size_t matrices = shared_ ? 1 : last - first;
        const bool searches = options.method != Method::descent;
        rows_.reserve(matrices);  // their addresses tell which reads share a matrix
        for (std::size_t index = 0; index < matrices; ++index) {
            rows_.emplace_back(view, first + index, token);
            int16_.emplace_back();
            if (searches) {
                const bool anneals = options.method == Method::anneal;
                auto made = Int16Matrix::make(rows_.back(), batch.coupling_scale,
                                              anneals ? Saturation::avoided : Saturation::allowed, token);
                int16_.back() = made ? std::make_unique<Int16Matrix>(std::move(*made)) : nullptr;
                if (made && anneals &&
                    options.reads * (shared_ ? last - first : 1) >= Int16ReplicaCouplings::least_reads()) {
                    int16_.back()->prepare_in_step();
                }
            }
        }
        float32_.resize(matrices);
        for (std::size_t problem = first; problem < last; ++problem) {
            const std::size_t index = shared_ ? 0 : problem - first;
            const auto& matrix = int16_[index];
            int16_serves_[problem - first] = matrix && matrix->holds(batch.field(problem));
            if (!int16_serves_[problem - first] && !float32_[index]) {
                float32_[index] =
                    std::make_unique<DenseMatrix>(view, first + index, batch.coupling_scale, token);
            }
        }
    }

    bool int16_serves(std::size_t problem) const { return int16_serves_[problem - first_]; }
    const Int16Matrix& int16(std::size_t problem) const { return *int16_[shared_ ? 0 : problem - first_]; }
    const SymmetricRows& rows(std::size_t problem) const { return rows_[shared_ ? 0 : problem - first_]; }
    const DenseMatrix& float32(std::size_t problem) const {
        return *float32_[shared_ ? 0 : problem - first_];
    }

private:
    std::size_t first_;
    bool shared_;
    std::vector<std::unique_ptr<Int16Matrix>> int16_;
    std::vector<std::unique_ptr<DenseMatrix>> float32_;
    std::vector<SymmetricRows> rows_;
    std::vector<bool> int16_serves_;
};

}  // namespace qpsbgd
