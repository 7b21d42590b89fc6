// The spins of one sparse problem and their couplings, while presolve takes spins away and couples others.
//
// minimise sum_{i<j} w_ij s_i s_j + sum_i h_i s_i, in float64. Every rounding error is computed with the sum that makes it
// (Knuth's two-sum) and added up, so what is claimed of the smaller problem can be claimed of the caller's.
// Cost: O(entries log(row length)) to make where the caller's rows are not sorted, else O(entries). Then O(1) for a change
// of one spin, O(log(row length)) for a coupling, and a row once, when its spin goes. 32 bytes an entry.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "base/pair_table.hpp"
#include "qpsbgd/cancellation.hpp"
#include "qpsbgd/problem.hpp"

namespace qpsbgd {

class CouplingGraph {
public:
    // Of a problem of one row of fields and sparse couplings. Nothing when the budget runs out before it is made, or where
    // coefficients are so large or so small that sums of them leave float64.
    static std::optional<CouplingGraph> make(const IsingBatch& batch, Budget& budget);

    std::size_t n() const { return field_.size(); }
    bool has(std::size_t spin) const { return !gone_[spin]; }
    double field(std::size_t spin) const { return field_[spin]; }
    std::size_t degree(std::size_t spin) const { return degree_[spin]; }

    // By how much the field of a spin outweighs all its couplings, negative where it does not.
    double excess(std::size_t spin) const { return std::fabs(field_[spin]) - reach_[spin]; }
    // What rounding may have changed that by.
    double error_of_excess(std::size_t spin) const { return reach_error_[spin]; }

    // Visits every coupling (j, w) of a spin.
    template <class Visit>
    void for_each_neighbour(std::size_t spin, const Visit& visit) const;

    void add_field(std::size_t spin, double value);
    void couple(std::size_t i, std::size_t j, double value);
    // Takes a spin and its couplings away.
    void remove(std::size_t spin);

    // a + b. Its rounding error is added up.
    double sum(double a, double b);

    // No energy differs by more from what exact arithmetic would have made of the problem.
    double rounding() const { return rounding_; }
    void add_rounding(double value) { rounding_ += value; }
    // Sum of the absolute values of the problem's coefficients.
    double size() const { return size_; }

private:
    struct Entry {
        std::int32_t column;
        double value;
    };
    // A coupling that the caller's problem does not have.
    struct Created {
        std::array<std::int32_t, 2> ends;
        std::array<std::int64_t, 2> next;  // in the list of each end
        double value;
    };
    static constexpr std::int64_t kEnd = -1;

    template <class Real>
    bool fill(const SparseView<Real>& view, double scale, Budget& budget);
    bool merge_rows(Budget& budget);
    double* stored(std::size_t i, std::size_t j);
    double& value_of(std::size_t i, std::size_t j);
    void change_reach(std::size_t spin, double change);

    std::vector<std::size_t> start_, end_;  // row i is entries [start_[i], end_[i]), columns ascending
    std::vector<Entry> entries_;            // of value 0 where there is no coupling
    std::vector<Created> created_;
    std::vector<std::int64_t> first_created_;  // 2 * index + the end that is the spin
    PairTable created_at_;
    std::vector<double> field_, reach_, reach_error_;  // reach: sum of |w_ij|
    std::vector<std::uint32_t> degree_;
    std::vector<bool> gone_;
    double rounding_ = 0.0;
    double size_ = 0.0;
};

template <class Visit>
void CouplingGraph::for_each_neighbour(std::size_t spin, const Visit& visit) const {
    for (std::size_t k = start_[spin]; k < end_[spin]; ++k) {
        const auto other = static_cast<std::size_t>(entries_[k].column);
        if (entries_[k].value != 0.0 && !gone_[other]) {
            visit(other, entries_[k].value);
        }
    }
    for (std::int64_t at = first_created_[spin]; at != kEnd;) {
        const Created& created = created_[static_cast<std::size_t>(at) / 2];
        const auto end = static_cast<std::size_t>(at) % 2;
        const auto other = static_cast<std::size_t>(created.ends[1 - end]);
        if (created.value != 0.0 && !gone_[other]) {
            visit(other, created.value);
        }
        at = created.next[end];
    }
}

}  // namespace qpsbgd
