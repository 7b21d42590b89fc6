// The last step of every read: from the caller's own numbers, in float64.
//
// Whatever spins come in, a local minimum goes out: no flip lowers the energy by more than rounding error. Spins are
// visited in index order, again and again, and flipped where that lowers the energy. The solvers search in lower
// precision, so as a rule few spins flip; where a search was cut short, or left out, many do.
// Cost: one pass over the couplings, one row of them for each flip, and another pass after every n flips. Sparse reads that
// need no flip share the pass, eight at a time.
#pragma once

#include <cstdint>
#include <mutex>
#include <span>
#include <vector>

#include "base/aligned.hpp"
#include "base/index_set.hpp"
#include "qpsbgd/cancellation.hpp"
#include "qpsbgd/problem.hpp"
#include "search/symmetric_rows.hpp"

namespace qpsbgd {

// Scratch memory of one worker.
struct FinishSpace {
    std::vector<std::uint16_t> signs;
    AlignedVector<double> local;
    AlignedVector<double> spins;  // of reads side by side
    std::vector<double> diagonal;
    IndexSet improving;
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

// Up to kProductReads reads over dense couplings.
void finish_dense(const IsingBatch& batch, const SymmetricRows& rows, std::span<const Finished> reads,
                  FinishSpace& space, StopToken& token);

// Reads over sparse couplings. Serves any number of threads; the batch has to stay.
class SparseFinish {
public:
    explicit SparseFinish(const IsingBatch& batch) : batch_(batch) {}

    void finish(const Finished& read, FinishSpace& space, StopToken& token);

    // The same for each of the reads. Those that are local minima already share passes over the entries.
    void finish_all(std::span<const Finished> reads, FinishSpace& space, StopToken& token);

private:
    static constexpr std::size_t kTogether = 8;

    // Entries by their columns, those of one column in the order of their rows: a flip needs both a row and a column, and
    // the caller gives rows. Made at the first flip, in one pass over the entries.
    struct Columns {
        std::vector<std::size_t> start;
        std::vector<std::int32_t> row;
        std::vector<double> value;
    };

    template <class Real>
    void finish_with(const SparseView<Real>& view, const Finished& finished, FinishSpace& space,
                     StopToken& token);
    template <class Real>
    void finish_minima(const SparseView<Real>& view, std::span<const Finished, kTogether> reads,
                       FinishSpace& space, StopToken& token);
    template <class Real>
    const Columns& columns(const SparseView<Real>& view);

    const IsingBatch& batch_;
    std::once_flag made_;
    Columns columns_;
};

}  // namespace qpsbgd
