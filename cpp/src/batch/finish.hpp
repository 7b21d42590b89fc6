// The last step of every read: from the caller's own numbers, in float64.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/aligned.hpp"
#include "qpsbgd/cancellation.hpp"
#include "qpsbgd/problem.hpp"
#include "search/symmetric_rows.hpp"

namespace qpsbgd {

// Scratch memory of one worker.
struct FinishSpace {
    std::vector<std::uint16_t> signs;
    AlignedVector<double> local;
    std::vector<double> diagonal;
};

// A read whose energy is wanted; its spins are improved where a flip still lowers the energy.
struct Finished {
    std::size_t problem = 0;
    std::span<std::int8_t> spins;
    double* energy = nullptr;
};

// Keeps the energy of a read that is done. Throws std::domain_error where it is no finite number: an infinite energy
// stands for a read that was left out.
void store_energy(double energy, double& place);

// Energies of up to kProductReads reads by the definition, after flipping every spin whose flip lowers the energy by
// more than rounding error (the solvers search in lower precision). One pass over the couplings and one row a flip.
void finish_dense(const IsingBatch& batch, const SymmetricRows& rows, std::span<const Finished> reads,
                  FinishSpace& space, StopToken& token);

// The same for one read over sparse couplings, in passes over all entries.
void finish_sparse(const IsingBatch& batch, const Finished& read, FinishSpace& space, StopToken& token);

}  // namespace qpsbgd
