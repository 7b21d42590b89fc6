#include "batch/presolve.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include "batch/entries.hpp"

namespace qpsbgd {
namespace {

constexpr std::size_t kSpinsBetweenPolls = 1024;
constexpr double kNoOffset[1] = {0.0};

// (|x + y| - |x - y|) / 2, without rounding.
double half_difference(double x, double y) {
    const double size = std::min(std::fabs(x), std::fabs(y));
    return std::signbit(x) == std::signbit(y) ? size : -size;
}

// Components, while couplings are seen one after the other.
class UnionFind {
public:
    explicit UnionFind(std::size_t n) : parent_(n), size_(n, 1) {
        std::iota(parent_.begin(), parent_.end(), 0);
    }

    std::size_t largest() const { return largest_; }

    void join(std::size_t i, std::size_t j) {
        auto [small, large] = std::pair(root(i), root(j));
        if (small == large) {
            return;
        }
        if (size_[small] > size_[large]) {
            std::swap(small, large);
        }
        parent_[small] = static_cast<std::int32_t>(large);
        size_[large] += size_[small];
        largest_ = std::max(largest_, static_cast<std::size_t>(size_[large]));
    }

private:
    std::size_t root(std::size_t i) {
        while (std::cmp_not_equal(parent_[i], i)) {
            parent_[i] = parent_[static_cast<std::size_t>(parent_[i])];
            i = static_cast<std::size_t>(parent_[i]);
        }
        return i;
    }

    std::vector<std::int32_t> parent_, size_;
    std::size_t largest_ = 1;
};

// Entries of one spin's row and column. A coupling stands above the diagonal, below it, or in both places.
struct Entries {
    std::uint32_t in_row = 0, in_column = 0;
    std::uint64_t difference = 0;  // of hashes of the spins in the row and in the column
    double reach = 0.0;

    std::uint32_t degree() const { return difference == 0 ? in_row : in_row + in_column; }
};

std::uint64_t hash(std::uint64_t i) {
    i = (i + 1) * 0x9E3779B97F4A7C15U;
    return (i ^ i >> 32U) * 0xD6E8FEB86659FD93U;
}

std::int8_t against(double field) { return field > 0.0 ? std::int8_t{-1} : std::int8_t{1}; }

}  // namespace

bool presolve_may_pay(const IsingBatch& batch, Budget& budget) {
    constexpr std::size_t kEntriesBetweenPolls = std::size_t{1} << 16;
    std::vector<Entries> spins(batch.n);
    UnionFind components(batch.n);
    std::size_t entries = 0;
    bool in_time = true;
    for_each_entry(batch, 0, [&](std::size_t i, std::size_t j, double value) {
        if (++entries % kEntriesBetweenPolls == 0) {
            in_time = in_time && !budget.exhausted();
        }
        if (i == j || value == 0.0 || !in_time) {
            return;
        }
        ++spins[i].in_row;
        ++spins[j].in_column;
        spins[i].difference += hash(j);
        spins[j].difference -= hash(i);
        const double size = std::fabs(batch.coupling_scale * value);
        spins[i].reach += size;
        spins[j].reach += size;
        if (2 * components.largest() <= batch.n) {
            components.join(i, j);
        }
    });
    const auto fields = batch.field(0);
    for (std::size_t i = 0; i < batch.n && in_time; ++i) {
        if (spins[i].degree() <= 2 || std::fabs(fields[i]) >= spins[i].reach) {
            return true;
        }
    }
    return in_time && 2 * components.largest() <= batch.n;
}

IsingBatch Component::batch() const {
    IsingBatch result;
    result.problems = 1;
    result.n = fields.size();
    result.fields = fields;
    result.offset = kNoOffset;
    result.couplings = SparseView<double>{row_start, column, value, fields.size()};
    return result;
}

std::optional<Reduction> Reduction::make(const IsingBatch& batch, Budget& to_make, Budget& to_reduce) {
    auto graph = CouplingGraph::make(batch, to_make);
    if (!graph) {
        return std::nullopt;
    }
    Reduction reduction(std::move(*graph));
    reduction.reduce(to_reduce);
    reduction.find_components();
    return reduction;
}

void Reduction::reduce(Budget& budget) {
    for (std::size_t spin = n(); spin-- > 0;) {
        look_again(spin);
    }
    for (std::size_t looks = 1; !easy_.empty() || !chain_.empty(); ++looks) {
        std::vector<std::int32_t>& queue = easy_.empty() ? chain_ : easy_;
        const auto spin = static_cast<std::size_t>(queue.back());
        queue.pop_back();
        if (graph_.has(spin)) {
            take(spin);
        }
        if (looks % kSpinsBetweenPolls == 0 && budget.exhausted()) {
            break;  // what is left is a problem, too
        }
    }
    easy_ = {};
    chain_ = {};
}

// A spin whose field or couplings have changed: it may go now. It may stand in a queue several times.
void Reduction::look_again(std::size_t spin) {
    if (graph_.degree(spin) < 2 || graph_.excess(spin) >= 0.0) {
        easy_.push_back(static_cast<std::int32_t>(spin));
    } else if (graph_.degree(spin) == 2) {
        chain_.push_back(static_cast<std::int32_t>(spin));
    }
}

void Reduction::take(std::size_t spin) {
    const std::size_t degree = graph_.degree(spin);
    const bool by_field = degree == 0 || graph_.excess(spin) >= 0.0;
    if (by_field) {
        decide(spin);
        ++decided_;
    } else if (degree <= 2) {
        eliminate(spin);
        ++(degree == 1 ? degree_one_ : degree_two_);
    }
}

void Reduction::decide(std::size_t spin) {
    const double field = graph_.field(spin);
    if (graph_.degree(spin) != 0 && graph_.excess(spin) < graph_.error_of_excess(spin)) {
        graph_.add_rounding(2.0 * graph_.error_of_excess(spin));  // the most that a wrong decision costs
    }
    Step step;
    step.field = field;
    step.spin = static_cast<std::int32_t>(spin);
    steps_.push_back(step);
    const double value = against(field);
    graph_.remove(spin);
    graph_.for_each_neighbour(spin, [&](std::size_t other, double coupling) {
        graph_.add_field(other, value * coupling);
        look_again(other);
    });
}

void Reduction::eliminate(std::size_t spin) {
    const double h = graph_.field(spin);
    Step step;
    step.field = h;
    step.spin = static_cast<std::int32_t>(spin);
    graph_.for_each_neighbour(spin, [&](std::size_t other, double coupling) {
        step.neighbour[step.degree] = static_cast<std::int32_t>(other);
        step.coupling[step.degree] = coupling;
        ++step.degree;
    });
    steps_.push_back(step);
    graph_.remove(spin);
    const auto first = static_cast<std::size_t>(step.neighbour[0]);
    const double a = step.coupling[0];
    if (step.degree == 1) {
        graph_.add_field(first, -half_difference(h, a));
    } else {
        // -|h + a s_1 + b s_2|: each coefficient is a mean over the four states of the two spins.
        const auto second = static_cast<std::size_t>(step.neighbour[1]);
        const double b = step.coupling[1];
        const auto mean = [&](double x, double y) { return -0.5 * graph_.sum(x, y); };
        graph_.add_field(first,
                         mean(half_difference(a, graph_.sum(h, b)), half_difference(a, graph_.sum(h, -b))));
        graph_.add_field(second,
                         mean(half_difference(b, graph_.sum(h, a)), half_difference(b, graph_.sum(h, -a))));
        graph_.couple(first, second,
                      mean(half_difference(b, graph_.sum(h, a)), -half_difference(b, graph_.sum(h, -a))));
        look_again(second);
    }
    look_again(first);
}

void Reduction::find_components() {
    constexpr std::int32_t kNone = -1;
    std::vector<std::int32_t> component(n(), kNone);
    std::vector<std::int32_t> open;
    std::vector<std::size_t> size;
    for (std::size_t root = 0; root < n(); ++root) {
        if (!graph_.has(root) || component[root] != kNone) {
            continue;
        }
        const auto index = static_cast<std::int32_t>(size.size());
        size.push_back(0);
        component[root] = index;
        open.push_back(static_cast<std::int32_t>(root));
        while (!open.empty()) {
            const auto spin = static_cast<std::size_t>(open.back());
            open.pop_back();
            ++size.back();
            graph_.for_each_neighbour(spin, [&](std::size_t other, double /*coupling*/) {
                if (component[other] == kNone) {
                    component[other] = index;
                    open.push_back(static_cast<std::int32_t>(other));
                }
            });
        }
    }
    component_start_.assign(size.size() + 1, 0);
    std::partial_sum(size.begin(), size.end(), component_start_.begin() + 1);
    spins_.resize(component_start_.back());
    place_.assign(n(), kNone);
    std::vector<std::size_t> next(component_start_.begin(), component_start_.end() - 1);
    for (std::size_t spin = 0; spin < n(); ++spin) {
        if (component[spin] != kNone) {
            const auto index = static_cast<std::size_t>(component[spin]);
            place_[spin] = static_cast<std::int32_t>(next[index] - component_start_[index]);
            spins_[next[index]++] = static_cast<std::int32_t>(spin);
        }
    }
}

Component Reduction::component(std::size_t index) const {
    Component result;
    result.row_start.push_back(0);
    for (const std::int32_t spin : spins_of(index)) {
        const auto i = static_cast<std::size_t>(spin);
        result.fields.push_back(graph_.field(i));
        graph_.for_each_neighbour(i, [&](std::size_t other, double coupling) {
            if (other > i) {
                result.column.push_back(place_[other]);
                result.value.push_back(coupling);
            }
        });
        result.row_start.push_back(static_cast<std::int64_t>(result.column.size()));
    }
    return result;
}

void Reduction::put_back(std::span<std::int8_t> spins) const {
    for (std::size_t at = steps_.size(); at-- > 0;) {
        const Step& step = steps_[at];
        double field = step.field;
        for (std::int32_t k = 0; k < step.degree; ++k) {
            field +=
                step.coupling[k] * static_cast<double>(spins[static_cast<std::size_t>(step.neighbour[k])]);
        }
        spins[static_cast<std::size_t>(step.spin)] = against(field);
    }
}

}  // namespace qpsbgd
