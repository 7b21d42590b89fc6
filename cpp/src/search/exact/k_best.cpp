// Exhaustive search for the k lowest states: all 2^n in Gray code order, local fields in float64, and a heap of the k
// lowest so far. Energies follow the flips by additions; they are made anew every few thousand states, and a state that
// comes close to the heap is evaluated by the definition, so rounding decides only between states that it cannot tell apart.
// Cost: n additions a state, and n^2 / 2 for each that is evaluated.
#include "search/exact/k_best.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <utility>

namespace qpsbgd {
namespace {

constexpr std::uint64_t kStatesBetweenRefreshes = 1U << 12U;

bool lower(const SmallState& a, const SmallState& b) {
    return std::pair(a.energy, a.up) < std::pair(b.energy, b.up);
}

class Enumeration {
public:
    Enumeration(const SmallIsing& problem, std::size_t count, std::vector<SmallState>& heap)
        : problem_(problem), count_(count), heap_(heap), local_(problem.n) {
        double sum = 0.0;
        for (const double value : problem.coupling) {
            sum += std::fabs(value);
        }
        for (const double value : problem.field) {
            sum += std::fabs(value);
        }
        margin_ = sum * std::numeric_limits<double>::epsilon() * static_cast<double>(kStatesBetweenRefreshes);
    }

    bool run(Budget& budget) {
        const std::uint64_t states = std::uint64_t{1} << problem_.n;
        for (std::uint64_t step = 0; step < states; ++step) {
            if (step % kStatesBetweenRefreshes == 0) {
                if (step != 0 && budget.exhausted()) {
                    return false;
                }
                refresh();
            }
            offer();
            const auto spin = static_cast<std::size_t>(std::countr_zero(step + 1));
            if (spin < problem_.n) {
                flip(spin);
            }
        }
        return true;
    }

private:
    double sign(std::size_t spin) const { return (up_ >> spin & 1U) != 0 ? 1.0 : -1.0; }

    void refresh() {
        energy_ = energy();
        for (std::size_t i = 0; i < problem_.n; ++i) {
            local_[i] = problem_.field[i];
            for (std::size_t j = 0; j < problem_.n; ++j) {
                local_[i] += i == j ? 0.0 : problem_.coupling[i * problem_.n + j] * sign(j);
            }
        }
    }

    // By the definition.
    double energy() const {
        double sum = problem_.constant;
        for (std::size_t i = 0; i < problem_.n; ++i) {
            double local = problem_.field[i];
            for (std::size_t j = 0; j < i; ++j) {
                local += problem_.coupling[i * problem_.n + j] * sign(j);
            }
            sum += sign(i) * local;
        }
        return sum;
    }

    void flip(std::size_t spin) {
        const double change = -2.0 * sign(spin);
        energy_ += change * local_[spin];
        const double* row = &problem_.coupling[spin * problem_.n];
        const double own = local_[spin];
        for (std::size_t j = 0; j < problem_.n; ++j) {
            local_[j] += change * row[j];
        }
        local_[spin] = own;
        up_ ^= std::uint64_t{1} << spin;
    }

    void offer() {
        const bool full = heap_.size() == count_;
        if (full && !(energy_ < heap_.front().energy + margin_)) {
            return;
        }
        const SmallState state{energy(), up_};
        if (full && !lower(state, heap_.front())) {
            return;
        }
        if (full) {
            std::ranges::pop_heap(heap_, lower);
            heap_.pop_back();
        }
        heap_.push_back(state);
        std::ranges::push_heap(heap_, lower);
    }

    const SmallIsing& problem_;
    std::size_t count_;
    std::vector<SmallState>& heap_;
    std::vector<double> local_;
    std::uint64_t up_ = 0;
    double energy_ = 0.0;
    double margin_ = 0.0;
};

}  // namespace

bool find_k_best(const SmallIsing& problem, std::size_t count, Budget& budget,
                 std::vector<SmallState>& best) {
    best.clear();
    const bool all = Enumeration(problem, count, best).run(budget);
    std::ranges::sort(best, lower);
    return all;
}

}  // namespace qpsbgd
