// What the tests of int8 replicas share: sparse problems and their energies by the definition.
#pragma once

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <optional>
#include <utility>
#include <vector>

#include "base/rng.hpp"
#include "qpsbgd/problem.hpp"
#include "search/int8/couplings.hpp"

namespace qpsbgd::int8_tests {

// A batch over one sparse matrix.
struct Sparse {
    std::size_t n;
    std::size_t problems;
    std::vector<std::int64_t> row_start;
    std::vector<std::int32_t> column;
    std::vector<double> value;
    std::vector<double> field;
    std::vector<double> offset;

    Sparse(std::size_t spins, std::size_t count)
        : n(spins), problems(count), row_start(spins + 1), field(spins * count), offset(count) {}

    // Entries (i, j) in any order of i.
    void set(std::vector<std::pair<std::size_t, std::size_t>> pairs, const std::vector<double>& values) {
        std::vector<std::size_t> order(pairs.size());
        std::iota(order.begin(), order.end(), std::size_t{0});
        std::ranges::sort(order, {}, [&](std::size_t k) { return std::pair(pairs[k].first, k); });
        for (const std::size_t k : order) {
            ++row_start[pairs[k].first + 1];
            column.push_back(static_cast<std::int32_t>(pairs[k].second));
            value.push_back(values[k]);
        }
        std::partial_sum(row_start.begin(), row_start.end(), row_start.begin());
    }

    SparseView<double> view() const { return {row_start, column, value, n}; }

    IsingBatch batch() const {
        IsingBatch result;
        result.problems = problems;
        result.n = n;
        result.fields = field;
        result.offset = offset;
        result.couplings = view();
        return result;
    }

    double energy(std::size_t problem, const std::vector<int>& spins) const {
        double total = 0.0;
        for (std::size_t i = 0; i < n; ++i) {
            total += field[problem * n + i] * spins[i];
            for (auto k = row_start[i]; k < row_start[i + 1]; ++k) {
                const auto at = static_cast<std::size_t>(k);
                total += value[at] * spins[i] * spins[static_cast<std::size_t>(column[at])];
            }
        }
        return total;
    }
};

// +-`size` couplings on a cubic lattice of the given sides, periodic in all directions longer than 2.
inline Sparse lattice(std::size_t x, std::size_t y, std::size_t z, double size, std::uint64_t seed) {
    Sparse problem(x * y * z, 1);
    std::vector<std::pair<std::size_t, std::size_t>> pairs;
    const auto at = [&](std::size_t i, std::size_t j, std::size_t k) {
        return (i % x * y + j % y) * z + k % z;
    };
    for (std::size_t i = 0; i < x; ++i) {
        for (std::size_t j = 0; j < y; ++j) {
            for (std::size_t k = 0; k < z; ++k) {
                if (x > 2) pairs.emplace_back(at(i, j, k), at(i + 1, j, k));
                if (y > 2) pairs.emplace_back(at(i, j, k), at(i, j + 1, k));
                if (z > 2) pairs.emplace_back(at(i, j, k), at(i, j, k + 1));
            }
        }
    }
    Random random(seed, 0, 0);
    std::vector<double> values(pairs.size());
    std::ranges::generate(values, [&] { return random.below(2) == 0 ? size : -size; });
    problem.set(pairs, values);
    return problem;
}

// A ring with a chord from every spin to the opposite one: degree 3.
inline Sparse moebius(std::size_t n, std::uint64_t seed) {
    Sparse problem(n, 1);
    std::vector<std::pair<std::size_t, std::size_t>> pairs;
    for (std::size_t i = 0; i < n; ++i) {
        pairs.emplace_back(i, (i + 1) % n);
        if (i < n / 2) {
            pairs.emplace_back(i, i + n / 2);
        }
    }
    Random random(seed, 0, 0);
    std::vector<double> values(pairs.size());
    std::ranges::generate(values, [&] { return random.below(2) == 0 ? 1.0 : -1.0; });
    problem.set(pairs, values);
    return problem;
}

// A random graph with two hubs of degree beyond 127 and an isolated spin.
inline Sparse hubs(std::size_t problems, std::uint64_t seed) {
    constexpr std::size_t kSpins = 240;
    Sparse problem(kSpins, problems);
    Random random(seed, 0, 0);
    std::vector<std::pair<std::size_t, std::size_t>> pairs;
    for (std::size_t i = 2; i + 1 < kSpins; ++i) {
        pairs.emplace_back(0, i);
        if (i % 5 != 0) {
            pairs.emplace_back(i, 1);
        }
        pairs.emplace_back(i, 2 + random.below(kSpins - 3));
    }
    std::erase_if(pairs, [](const auto& pair) { return pair.first == pair.second; });
    std::vector<double> values(pairs.size());
    std::ranges::generate(values, [&] { return random.below(4) == 0 ? -1.0 : 1.0; });
    problem.set(pairs, values);
    return problem;
}

// Random integers up to 3 as couplings, random integer fields.
inline Sparse integers(std::size_t n, std::size_t problems, std::uint64_t seed) {
    Sparse problem(n, problems);
    Random random(seed, 0, 0);
    std::vector<std::pair<std::size_t, std::size_t>> pairs;
    std::vector<double> values;
    for (std::size_t i = 0; i < n; ++i) {
        for (int k = 0; k < 4; ++k) {
            pairs.emplace_back(i, random.below(static_cast<std::uint32_t>(n)));
            values.push_back(static_cast<double>(random.below(7)) - 3.0);
        }
    }
    problem.set(pairs, values);
    std::ranges::generate(problem.field, [&] { return static_cast<double>(random.below(9)) - 4.0; });
    return problem;
}

inline std::optional<Int8ReplicaCouplings> couplings_of(const Sparse& problem, bool by_bits = true,
                                                        bool pin = false) {
    StopToken token(std::nullopt, nullptr);
    const SparseMatrix matrix(problem.view(), 1.0);
    return Int8ReplicaCouplings::make(matrix, problem.batch(), token, by_bits, pin);
}

}  // namespace qpsbgd::int8_tests
