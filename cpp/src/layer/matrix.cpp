#include "layer/matrix.hpp"

#include "qpsbgd/layer.hpp"

namespace qpsbgd {

void FreeMatrix::operator()(void* memory) const { free_aligned(memory); }

template <class Real>
OwnedMatrix<Real> allocate_matrix(std::size_t rows, std::size_t columns) {
    const std::size_t stride = spread<Real>(columns);
    AlignedBuffer<Real> buffer(rows * stride);
    return {std::unique_ptr<Real[], FreeMatrix>(buffer.release()), stride};
}

template OwnedMatrix<float> allocate_matrix(std::size_t, std::size_t);
template OwnedMatrix<double> allocate_matrix(std::size_t, std::size_t);

}  // namespace qpsbgd
