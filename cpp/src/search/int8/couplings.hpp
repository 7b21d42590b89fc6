// Sparse couplings as 64 replicas read them: small integers, spins in an order that keeps neighbours apart.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "base/aligned.hpp"
#include "kernels/sparse_bits/table.hpp"
#include "kernels/sparse_int8/table.hpp"
#include "qpsbgd/cancellation.hpp"
#include "qpsbgd/problem.hpp"
#include "search/float32/matrices.hpp"

namespace qpsbgd {

inline constexpr std::size_t kWordBits = 64;

// Words of one bit a spin.
inline std::size_t words_of(std::size_t n) { return (n + kWordBits - 1) / kWordBits; }

// Couplings and fields of a batch as small integers, in the order of the sweep.
class Int8ReplicaCouplings {
public:
    // Nothing when no common unit makes integers of all couplings and fields with every local field within +-254,
    // or when the time runs out first.
    // `by_bits`: where possible local fields are counted from bits, which is faster and gives the same results.
    // `pin`: one spin may have any field where there are no fields in the problem: it stays +1, its couplings become fields of
    // its neighbours, and the negative of every state stands for those with -1.
    static std::optional<Int8ReplicaCouplings> make(const SparseMatrix& matrix, const IsingBatch& batch,
                                                    StopToken& token, bool by_bits = true, bool pin = false);

    std::size_t n() const { return order_.size(); }
    double unit() const { return unit_; }         // of energy
    int reach() const { return reach_; }          // largest local field of spins that are no hubs
    int hub_reach() const { return hub_reach_; }  // of all

    // The spin that stays +1, or nothing.
    std::optional<std::size_t> pinned() const { return pinned_; }

    // Spin at each position of the sweep.
    std::span<const std::uint32_t> order() const { return order_; }
    // For int8 local fields.
    std::span<const std::uint32_t> row_start() const { return row_start_; }
    std::span<const Int8Edge> edges() const { return edges_; }
    const std::int8_t* weights() const { return weights_.data(); }
    const std::int8_t* halved() const { return halved_.empty() ? nullptr : halved_.data(); }

    // For local fields counted from bits; the degree is 0 where that is not possible.
    std::size_t degree() const { return degree_; }
    std::span<const std::uint32_t> word_edges() const { return word_edges_; }
    std::span<const std::uint32_t> bonds() const { return bonds_; }
    std::int32_t negative_bonds() const { return negative_bonds_; }

    std::size_t problems() const { return base_.size() / n(); }
    // Calls visit(neighbour, S) for every coupling of the spin at a position, neighbours as positions.
    template <class Visit>
    void for_each_coupling(std::size_t at, const Visit& visit) const {
        if (degree_ == 0) {
            for (std::size_t k = row_start_[at]; k < row_start_[at + 1]; ++k) {
                visit(edges_[k].neighbour / kInt8Replicas, int{strengths_[k]});
            }
            return;
        }
        for (std::size_t k = at * degree_; k < (at + 1) * degree_; ++k) {
            const std::size_t word = word_edges_[k] / sizeof(std::uint64_t);
            if (word < 2 * n()) {  // else it only fills the row
                visit(word / 2, word % 2 != 0 ? -1 : 1);
            }
        }
    }
    // The local field beside spins all -1.
    int down_field(std::size_t problem, std::size_t at) const {
        const int base{base_[problem * n() + at]};
        return halved_.empty() || halved_[at] < 0 ? base : 2 * base + (halved_[at] != 0 ? 1 : 0);
    }

    // Vector operations of one sweep, roughly.
    std::size_t work() const { return 4 * n() + std::max(edges_.size(), word_edges_.size()); }

    // Local fields of a problem beside spins all -1, at each position, as they are stored.
    std::span<const std::int8_t> base(std::size_t problem) const {
        return std::span(base_).subspan(problem * n(), n());
    }

private:
    Int8ReplicaCouplings() = default;
    void sort_spins(const SparseMatrix& matrix);
    void pin_largest(const SparseMatrix& matrix, const IsingBatch& batch);
    bool add_fields(const SparseMatrix& matrix, const IsingBatch& batch);
    bool countable(const SparseMatrix& matrix, const IsingBatch& batch);
    void add_bytes(const SparseMatrix& matrix, std::span<const std::uint32_t> position);
    void add_bits(const SparseMatrix& matrix, std::span<const std::uint32_t> position);
    int coupling(float value, const SparseMatrix& matrix) const;

    double unit_ = 1.0;
    int reach_ = 1;
    int hub_reach_ = 1;
    std::optional<std::size_t> pinned_;
    std::vector<std::uint32_t> order_;
    std::vector<std::uint32_t> row_start_;
    std::vector<Int8Edge> edges_;
    std::vector<std::int16_t> strengths_;  // S of each edge, which its weight gives modulo 128 only
    AlignedVector<std::int8_t> weights_;
    std::vector<std::int8_t> base_;  // problems x n
    std::vector<std::int8_t> halved_;
    std::size_t degree_ = 0;
    std::vector<std::uint32_t> word_edges_;
    std::vector<std::uint32_t> bonds_;
    std::int32_t negative_bonds_ = 0;
};

}  // namespace qpsbgd
