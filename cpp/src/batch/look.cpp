#include "batch/look.hpp"

#include <algorithm>
#include <cmath>

namespace qpsbgd {
namespace {

constexpr std::size_t kRows = 16;

}  // namespace

template <class Real>
RowSizes sizes_of_rows(const DenseView<Real>& view, std::size_t problem, double scale) {
    const std::size_t n = view.n;
    const Real* matrix = view.matrix(problem);
    const std::size_t rows = std::min(n, kRows);
    RowSizes sizes;
    double squares_of_all = 0.0;
    std::size_t coupled = 0;
    for (std::size_t row = 0; row < rows; ++row) {
        const std::size_t i = row * n / rows;
        double sum = 0.0;
        double squares = 0.0;
        for (std::size_t j = 0; j < n; ++j) {
            if (j != i) {
                const double coupling =
                    static_cast<double>(matrix[i * n + j]) + static_cast<double>(matrix[j * n + i]);
                sum += std::fabs(coupling);
                squares += coupling * coupling;
            }
        }
        squares_of_all += squares;
        if (squares > 0.0) {
            sizes.neighbours += sum / squares * sum;
            ++coupled;
        }
    }
    sizes.neighbours /= static_cast<double>(std::max<std::size_t>(1, coupled));
    sizes.norm =
        std::fabs(scale) * std::sqrt(squares_of_all / static_cast<double>(std::max<std::size_t>(1, rows)));
    return sizes;
}

Look look(const RowSizes& sizes, std::span<const double> fields) {
    double squares = 0.0;
    for (const double field : fields) {
        squares += field * field;
    }
    const double typical = std::sqrt(squares / static_cast<double>(std::max<std::size_t>(1, fields.size())));
    // Without couplings the fields decide everything.
    return {sizes.neighbours, typical > 0.0 ? typical / sizes.norm : 0.0};
}

template RowSizes sizes_of_rows(const DenseView<float>&, std::size_t, double);
template RowSizes sizes_of_rows(const DenseView<double>&, std::size_t, double);

}  // namespace qpsbgd
