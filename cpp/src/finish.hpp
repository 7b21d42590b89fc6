// The last step of every read: from the caller's own numbers, in float64.
#pragma once

#include <cstdint>
#include <span>
#include <variant>
#include <vector>

#include "qpsbgd/aligned.hpp"
#include "qpsbgd/cancellation.hpp"
#include "qpsbgd/problem.hpp"

namespace qpsbgd {

// One dense matrix of a batch, M = (J + J') / 2 row by row: the caller's own rows where J is symmetric, else a float64
// copy, or for large matrices both triangles of the caller's on every use.
class SymmetricRows {
public:
    template <class Real>
    SymmetricRows(const DenseView<Real>& view, std::size_t problem, StopToken& token);

    std::size_t n() const { return n_; }

    // out_r = M s_r for kProductReads reads, laid out as the kernel wants them.
    void products(const double* spins, std::size_t stride, double* out, StopToken& token) const;

    // out += factor * row i.
    void add_row(std::size_t i, double factor, std::span<double> out) const;

    double diagonal(std::size_t i) const;

private:
    std::size_t n_;
    bool symmetric_ = false;
    std::variant<const float*, const double*> matrix_;
    std::vector<double> copy_;
};

// Scratch memory of one worker.
struct FinishSpace {
    AlignedVector<double> spins;
    AlignedVector<double> local;
};

// A read whose energy is wanted; its spins are improved where a flip still lowers the energy.
struct Finished {
    std::size_t problem = 0;
    std::span<std::int8_t> spins;
    double* energy = nullptr;
};

// Energies of up to kProductReads reads by the definition, after flipping every spin whose flip lowers the energy by
// more than rounding error (the solvers search in lower precision). One pass over the couplings and one row a flip.
void finish_dense(const IsingBatch& batch, const SymmetricRows& rows, std::span<const Finished> reads,
                  FinishSpace& space, StopToken& token);

// The same for one read over sparse couplings, in passes over all entries.
void finish_sparse(const IsingBatch& batch, const Finished& read, FinishSpace& space, StopToken& token);

// S = scale (J + J') without its diagonal, (n x n) in float64. For small n.
std::vector<double> symmetric_couplings(const IsingBatch& batch, std::size_t problem);

}  // namespace qpsbgd
