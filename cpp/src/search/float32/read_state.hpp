// Searches in float32, each written once over DenseMatrix and SparseMatrix. A search works on the state of one read and
// knows nothing of threads, batches or Python.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

#include "base/aligned.hpp"
#include "base/rng.hpp"
#include "base/schedule.hpp"
#include "qpsbgd/cancellation.hpp"
#include "search/float32/matrices.hpp"

namespace qpsbgd {

// Everything that one read changes. Energies are in the matrix's units.
struct ReadState {
    AlignedVector<float> fields;      // f, (n,)
    AlignedVector<float> spins;       // s, -1 or +1
    AlignedVector<float> local;       // L = f + S s
    AlignedVector<float> thresholds;  // of one sweep
    AlignedVector<float> best_spins;
    std::vector<std::int32_t> tabu_until;
    double energy = 0.0;
    double best_energy = 0.0;
    std::size_t sweeps_done = 0;

    void resize(std::size_t n);

    // Recomputes local fields and energy from the spins.
    template <class Matrix>
    void refresh(const Matrix& matrix) {
        matrix.local_fields(fields.data(), spins.data(), local.data());
        energy = 0.0;
        for (std::size_t i = 0; i < spins.size(); ++i) {
            energy += 0.5 * static_cast<double>(spins[i]) *
                      (static_cast<double>(fields[i]) + static_cast<double>(local[i]));
        }
    }

    void forget_best() { best_energy = std::numeric_limits<double>::infinity(); }

    void keep_if_best() {
        if (energy < best_energy) {
            best_energy = energy;
            best_spins = spins;
        }
    }

    void randomise(Random& random);
};

// Greedy passes until no flip helps, at most `max_sweeps`.
template <class Matrix>
void descend(const Matrix& matrix, ReadState& state, std::size_t max_sweeps, Budget& budget);

// One annealing run from the state's spins over the whole ladder.
template <class Matrix>
void anneal(const Matrix& matrix, ReadState& state, BetaRange range, std::size_t sweeps, Random& random,
            Budget& budget);

// Sweeps by a rule of the caller's; the answer is left in best_spins.
template <class Matrix>
void sample(const Matrix& matrix, ReadState& state, const Sampling& sampling, Random& random, Budget& budget);

// Tabu search from the state's spins, sweeps * n flips.
template <class Matrix>
void tabu(const Matrix& matrix, ReadState& state, std::size_t sweeps, Random& random, Budget& budget);

}  // namespace qpsbgd
