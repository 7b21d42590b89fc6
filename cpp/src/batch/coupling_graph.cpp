#include "batch/coupling_graph.hpp"

#include <utility>
#include <variant>

namespace qpsbgd {
namespace {

constexpr std::size_t kEntriesBetweenPolls = std::size_t{1} << 16;
constexpr std::size_t kRowsBetweenPolls = 1024;

// Sums of coefficients within these bounds stay in float64, and what is lost below them is negligible.
constexpr double kSmallest = 1e-280;
constexpr double kLargest = 1e300;

// A coupling of this part of the two that make it is what rounding left of none.
constexpr double kNothing = 0x1p-50;

// The rounding error of sum = a + b, which is exact.
double error_of_sum(double a, double b, double sum) {
    const double b_in_sum = sum - a;
    return (a - (sum - b_in_sum)) + (b - b_in_sum);
}

// Visits every entry (i, j, J_ij). False when the budget ran out before the end.
template <class Real, class Visit>
bool for_each_polled(const SparseView<Real>& view, Budget& budget, const Visit& visit) {
    std::size_t next_poll = kEntriesBetweenPolls;
    for (std::size_t i = 0; i < view.n; ++i) {
        const auto end = static_cast<std::size_t>(view.row_start[i + 1]);
        for (auto k = static_cast<std::size_t>(view.row_start[i]); k < end; ++k) {
            visit(i, static_cast<std::size_t>(view.column[k]), static_cast<double>(view.value[k]));
        }
        if (end + i >= next_poll) {
            next_poll = end + i + kEntriesBetweenPolls;
            if (budget.exhausted()) {
                return false;
            }
        }
    }
    return true;
}

}  // namespace

std::optional<CouplingGraph> CouplingGraph::make(const IsingBatch& batch, Budget& budget) {
    CouplingGraph graph;
    const auto fields = batch.field(0);
    graph.field_.assign(fields.begin(), fields.end());
    const bool filled = std::visit(
        [&](const auto& view) {
            if constexpr (requires { view.row_start; }) {
                return graph.fill(view, batch.coupling_scale, budget);
            } else {
                return false;
            }
        },
        batch.couplings);
    if (!filled || !graph.merge_rows(budget)) {
        return std::nullopt;
    }
    for (const double field : fields) {
        graph.size_ += std::fabs(field);
    }
    const bool in_range = graph.size_ > kSmallest && graph.size_ < kLargest;
    if (graph.size_ != 0.0 && !in_range) {
        return std::nullopt;
    }
    return graph;
}

// Every coupling into the rows of both of its spins.
template <class Real>
bool CouplingGraph::fill(const SparseView<Real>& view, double scale, Budget& budget) {
    start_.assign(view.n + 1, 0);
    if (!for_each_polled(view, budget, [&](std::size_t i, std::size_t j, double /*value*/) {
            start_[i + 1] += i != j ? 1 : 0;
            start_[j + 1] += i != j ? 1 : 0;
        })) {
        return false;
    }
    for (std::size_t i = 0; i < view.n; ++i) {
        start_[i + 1] += start_[i];
    }
    entries_.resize(start_[view.n]);
    end_.assign(start_.begin(), start_.end() - 1);
    return for_each_polled(view, budget, [&](std::size_t i, std::size_t j, double value) {
        if (i != j) {
            entries_[end_[i]++] = {static_cast<std::int32_t>(j), scale * value};
            entries_[end_[j]++] = {static_cast<std::int32_t>(i), scale * value};
        }
    });
}

// Sorts rows, and makes one entry of those of the same two spins.
bool CouplingGraph::merge_rows(Budget& budget) {
    const std::size_t n = field_.size();
    first_created_.assign(n, kEnd);
    reach_.assign(n, 0.0);
    reach_error_.assign(n, 0.0);
    degree_.assign(n, 0);
    gone_.assign(n, false);
    // In a fixed order, so that both rows of a coupling come to the same sum.
    const auto key = [](const Entry& entry) { return std::pair(entry.column, entry.value); };
    for (std::size_t i = 0; i < n; ++i) {
        if (i % kRowsBetweenPolls == 0 && budget.exhausted()) {
            return false;
        }
        const auto row = std::span(entries_).subspan(start_[i], end_[i] - start_[i]);
        if (!std::ranges::is_sorted(row, {}, key)) {
            std::ranges::sort(row, {}, key);
        }
        std::size_t last = start_[i];
        for (std::size_t k = start_[i]; k < end_[i];) {
            Entry merged = entries_[k];
            for (++k; k < end_[i] && entries_[k].column == merged.column; ++k) {
                merged.value = sum(merged.value, entries_[k].value);
            }
            if (merged.value != 0.0) {
                entries_[last++] = merged;
                ++degree_[i];
                change_reach(i, std::fabs(merged.value));
            }
        }
        end_[i] = last;
        size_ += reach_[i] / 2;
    }
    return true;
}

double CouplingGraph::sum(double a, double b) {
    const double result = a + b;
    rounding_ += std::fabs(error_of_sum(a, b, result));
    return result;
}

void CouplingGraph::change_reach(std::size_t spin, double change) {
    const double before = reach_[spin];
    reach_[spin] = before + change;
    reach_error_[spin] += std::fabs(error_of_sum(before, change, reach_[spin]));
}

void CouplingGraph::add_field(std::size_t spin, double value) { field_[spin] = sum(field_[spin], value); }

// The entry of j in row i, or nothing.
double* CouplingGraph::stored(std::size_t i, std::size_t j) {
    const auto row = std::span(entries_).subspan(start_[i], end_[i] - start_[i]);
    const auto at = std::ranges::lower_bound(row, static_cast<std::int32_t>(j), {}, &Entry::column);
    return at != row.end() && std::cmp_equal(at->column, j) ? &at->value : nullptr;
}

// The one place of a coupling between spins whose rows do not hold it; made where there is none.
double& CouplingGraph::value_of(std::size_t i, std::size_t j) {
    const auto first = static_cast<std::uint32_t>(i);
    const auto second = static_cast<std::uint32_t>(j);
    std::uint64_t at = created_at_.find(first, second);
    if (at == PairTable::kAbsent) {
        at = created_.size();
        created_at_.insert(first, second, at);
        created_.push_back({{static_cast<std::int32_t>(i), static_cast<std::int32_t>(j)},
                            {first_created_[i], first_created_[j]},
                            0.0});
        first_created_[i] = static_cast<std::int64_t>(2 * at);
        first_created_[j] = static_cast<std::int64_t>(2 * at + 1);
    }
    return created_[at].value;
}

void CouplingGraph::couple(std::size_t i, std::size_t j, double value) {
    if (value == 0.0) {
        return;
    }
    double* mirrored = stored(j, i);
    double& place = mirrored != nullptr ? *stored(i, j) : value_of(i, j);
    const double before = place;
    double after = sum(before, value);
    if (std::fabs(after) <= kNothing * std::max(std::fabs(before), std::fabs(value))) {
        rounding_ += std::fabs(after);
        after = 0.0;
    }
    place = after;
    if (mirrored != nullptr) {
        *mirrored = after;
    }
    for (const std::size_t spin : {i, j}) {
        change_reach(spin, -std::fabs(before));
        change_reach(spin, std::fabs(after));
        degree_[spin] = degree_[spin] + (after != 0.0 ? 1 : 0) - (before != 0.0 ? 1 : 0);
    }
}

void CouplingGraph::remove(std::size_t spin) {
    for_each_neighbour(spin, [&](std::size_t other, double value) {
        --degree_[other];
        change_reach(other, -std::fabs(value));
    });
    gone_[spin] = true;
}

}  // namespace qpsbgd
