// Presolve: spins whose best value follows from others are taken from a sparse problem before it is searched.
//
//   a spin with |h_i| >= sum_j |w_ij|   is decided by its field
//   a spin with one coupling a          leaves min_s s (h + a s_1) = -|h + a s_1|, a field of its neighbour
//   a spin with couplings a and b       leaves -|h + a s_1 + b s_2|, fields of both and a coupling between them
//
// Any function of two spins is c0 + c1 s_1 + c2 s_2 + c12 s_1 s_2, so nothing is lost: the least energy of the smaller
// problem is that of the larger one, and the spins taken out are put back in the reverse order. Trees, chains, cycles and
// cacti vanish entirely. This is the elimination of Hammer and Rudeanu's basic algorithm (Crama, Hansen and Jaumard 1990),
// as far as it makes no problem denser, with the first persistency of Boros, Hammer and Tavares (2006).
// Cost: O(entries touched): a spin is looked at again only when a neighbour went.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "batch/coupling_graph.hpp"
#include "qpsbgd/cancellation.hpp"
#include "qpsbgd/problem.hpp"

namespace qpsbgd {

// A part of what is left that is coupled to no other part, as a problem of its own.
struct Component {
    std::vector<double> fields;
    std::vector<std::int64_t> row_start;
    std::vector<std::int32_t> column;  // of each coupling, once
    std::vector<double> value;

    IsingBatch batch() const;
};

// A cheap look, one pass over the entries: can any spin go, or is there no component of more than half of the spins? A
// false no is possible where entries of the same two spins cancel or stand twice in a row, and where some couplings of a
// spin stand in both triangles and others in one.
bool presolve_may_pay(const IsingBatch& batch, Budget& budget);

class Reduction {
public:
    // Takes out what can be taken out within the budget. Nothing where the graph cannot be made within its own.
    static std::optional<Reduction> make(const IsingBatch& batch, Budget& to_make, Budget& to_reduce);

    std::size_t n() const { return graph_.n(); }
    std::size_t decided() const { return decided_; }
    std::size_t degree_one() const { return degree_one_; }
    std::size_t degree_two() const { return degree_two_; }
    std::size_t remaining() const { return spins_.size(); }

    // The spins of each component of what is left, ascending.
    std::size_t components() const { return component_start_.size() - 1; }
    std::span<const std::int32_t> spins_of(std::size_t component) const {
        return std::span(spins_).subspan(component_start_[component],
                                         component_start_[component + 1] - component_start_[component]);
    }
    Component component(std::size_t index) const;

    // Sets the spins that were taken out to the best values, given those that are left.
    void put_back(std::span<std::int8_t> spins) const;

    // No energy of the smaller problem differs by more from what exact arithmetic makes of the larger one.
    double rounding() const { return graph_.rounding(); }
    // Are the least energies of both problems equal to twelve digits of what their coefficients add up to? With integers
    // there is no rounding at all.
    bool is_precise() const { return 2.0 * rounding() <= 1e-12 * graph_.size(); }

private:
    // The best value of `spin` is -sign(field + sum of coupling * spin of neighbour).
    struct Step {
        double field = 0.0;
        double coupling[2] = {};
        std::int32_t spin = 0;
        std::int32_t neighbour[2] = {};
        std::int32_t degree = 0;
    };

    explicit Reduction(CouplingGraph graph) : graph_(std::move(graph)) {}

    void reduce(Budget& budget);
    void look_again(std::size_t spin);
    void take(std::size_t spin);
    void decide(std::size_t spin);
    void eliminate(std::size_t spin);
    void find_components();

    CouplingGraph graph_;
    std::vector<Step> steps_;
    std::vector<std::int32_t> easy_;  // to look at: decided, or of degree 1
    std::vector<std::int32_t>
        chain_;  // of degree 2, while there are no easy ones: those leave no new couplings
    std::vector<std::int32_t> spins_;  // left, by component
    std::vector<std::size_t> component_start_;
    std::vector<std::int32_t> place_;  // of each spin in its component
    std::size_t decided_ = 0;
    std::size_t degree_one_ = 0;
    std::size_t degree_two_ = 0;
};

}  // namespace qpsbgd
