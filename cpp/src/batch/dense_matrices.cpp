#include "batch/dense_matrices.hpp"

#include <utility>

#include "search/int16/replica_group.hpp"

namespace qpsbgd {
namespace {

// Nothing where the method does not search, or int16 is too coarse for the couplings.
std::unique_ptr<Int16Matrix> int16_of(const SymmetricRows& rows, double scale, const SolveOptions& options,
                                      std::size_t problems, Budget& budget) {
    if (options.method == Method::descent || options.sampling) {
        return nullptr;
    }
    const bool anneals = options.method == Method::anneal;
    auto made = Int16Matrix::make(rows, scale, anneals ? Saturation::avoided : Saturation::allowed, budget);
    if (!made) {
        return nullptr;
    }
    auto matrix = std::make_unique<Int16Matrix>(std::move(*made));
    if (anneals && !budget.exhausted() && options.reads * problems >= Int16ReplicaCouplings::least_reads()) {
        matrix->prepare_in_step();
    }
    return matrix;
}

}  // namespace

template <class Real>
DenseMatrices::DenseMatrices(const IsingBatch& batch, const SolveOptions& options,
                             const DenseView<Real>& view, std::size_t first, std::size_t last, Budget& budget)
    : first_(first), shared_(view.count == 1), int16_serves_(last - first, false) {
    const std::size_t matrices = shared_ ? 1 : last - first;
    const std::size_t problems_of_matrix = shared_ ? last - first : 1;
    forms_.reserve(matrices);  // their addresses tell which reads share a matrix
    for (std::size_t index = 0; index < matrices; ++index) {
        forms_.push_back({SymmetricRows(view, first + index, budget), nullptr, nullptr});
        Forms& forms = forms_.back();
        forms.int16 = int16_of(forms.rows, batch.coupling_scale, options, problems_of_matrix, budget);
    }
    for (std::size_t problem = first; problem < last; ++problem) {
        Forms& forms = of(problem);
        const bool serves = forms.int16 && forms.int16->holds(batch.field(problem));
        int16_serves_[problem - first] = serves;
        if (!serves && !forms.float32) {
            forms.float32 = DenseMatrix::make(view, problem, batch.coupling_scale, budget);
        }
    }
}

template DenseMatrices::DenseMatrices(const IsingBatch&, const SolveOptions&, const DenseView<float>&,
                                      std::size_t, std::size_t, Budget&);
template DenseMatrices::DenseMatrices(const IsingBatch&, const SolveOptions&, const DenseView<double>&,
                                      std::size_t, std::size_t, Budget&);

}  // namespace qpsbgd
