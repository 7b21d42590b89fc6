// The dense matrices of a batch in the forms that the solvers read.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "qpsbgd/cancellation.hpp"
#include "qpsbgd/problem.hpp"
#include "qpsbgd/solve.hpp"
#include "search/float32/matrices.hpp"
#include "search/int16/matrix.hpp"
#include "search/symmetric_rows.hpp"

namespace qpsbgd {

// The couplings of problems [first, last): in int16 where that serves, in float32 for the other problems. Every form is
// made once for each matrix of the caller, as long as the budget lasts: then a problem may have neither.
class DenseMatrices {
public:
    template <class Real>
    DenseMatrices(const IsingBatch& batch, const SolveOptions& options, const DenseView<Real>& view,
                  std::size_t first, std::size_t last, Budget& budget);

    bool are_ready(std::size_t problem) const { return int16_serves(problem) || of(problem).float32; }
    bool int16_serves(std::size_t problem) const { return int16_serves_[problem - first_]; }
    const Int16Matrix& int16(std::size_t problem) const { return *of(problem).int16; }
    const SymmetricRows& rows(std::size_t problem) const { return of(problem).rows; }
    const DenseMatrix& float32(std::size_t problem) const { return *of(problem).float32; }

private:
    // One matrix of the caller.
    struct Forms {
        SymmetricRows rows;
        std::unique_ptr<Int16Matrix> int16;
        std::unique_ptr<DenseMatrix> float32;
    };

    const Forms& of(std::size_t problem) const { return forms_[shared_ ? 0 : problem - first_]; }
    Forms& of(std::size_t problem) { return forms_[shared_ ? 0 : problem - first_]; }

    std::size_t first_;
    bool shared_;
    std::vector<Forms> forms_;
    std::vector<bool> int16_serves_;  // of each problem: its fields decide too
};

}  // namespace qpsbgd
