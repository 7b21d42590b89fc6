// Any batch of Ising problems, solved by any method: no crash, no errors but the documented ones, and answers that are
// what they say: spins, their energies by the definition, local minima.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <stdexcept>
#include <vector>

#include "bytes.hpp"
#include "qpsbgd/problem.hpp"
#include "qpsbgd/progress.hpp"
#include "qpsbgd/solve.hpp"

namespace qpsbgd::fuzz {
namespace {

// A batch and the arrays that it looks at.
template <class Real>
struct Problem {
    std::vector<double> fields;
    std::vector<double> offset;
    std::vector<Real> values;
    std::vector<std::int64_t> row_start;
    std::vector<std::int32_t> column;
    std::vector<std::int8_t> starts;
    std::vector<long double> symmetric;  // count x n x n, diagonal as given, scale included
    IsingBatch batch;
};

template <class Real>
void add_couplings(Bytes& bytes, Problem<Real>& problem) {
    const std::size_t n = problem.batch.n;
    const bool sparse = bytes.flag();
    const std::size_t count = sparse || bytes.flag() ? 1 : problem.batch.problems;
    problem.symmetric.assign(count * n * n, 0.0L);
    const auto add = [&](std::size_t matrix, std::size_t i, std::size_t j, Real value) {
        const long double scaled = static_cast<long double>(problem.batch.coupling_scale) * value;
        problem.symmetric[(matrix * n + i) * n + j] += scaled;
        if (i != j) {
            problem.symmetric[(matrix * n + j) * n + i] += scaled;
        }
    };
    if (!sparse) {
        problem.values = bytes.numbers<Real>(count * n * n);
        for (std::size_t k = 0; k < problem.values.size(); ++k) {
            add(k / (n * n), k / n % n, k % n, problem.values[k]);
        }
        problem.batch.couplings = DenseView<Real>{problem.values, n, count};
        return;
    }
    const bool broken = bytes.byte() == 77;
    problem.row_start.push_back(0);
    for (std::size_t i = 0; i < n; ++i) {
        const std::size_t entries = bytes.between(0, std::min<std::size_t>(n, 6));
        for (std::size_t k = 0; k < entries; ++k) {
            const std::size_t j = broken ? bytes.byte() : bytes.between(0, n - 1);
            const Real value = bytes.numbers<Real>(1)[0];
            problem.column.push_back(static_cast<std::int32_t>(j));
            problem.values.push_back(value);
            if (j < n) {
                add(0, i, j, value);
            }
        }
        problem.row_start.push_back(static_cast<std::int64_t>(problem.values.size()));
    }
    if (broken) {
        problem.row_start[bytes.between(0, n)] += static_cast<std::int8_t>(bytes.byte());
    }
    problem.batch.couplings = SparseView<Real>{problem.row_start, problem.column, problem.values, n};
}

template <class Real>
void fill(Bytes& bytes, Problem<Real>& problem) {
    IsingBatch& batch = problem.batch;
    batch.n = bytes.between(1, bytes.flag() ? 8 : 40);
    batch.problems = bytes.between(1, 3);
    batch.coupling_scale = bytes.flag() ? 0.25 : 1.0;
    problem.fields = bytes.numbers<double>(batch.problems * batch.n);
    problem.offset = bytes.numbers<double>(batch.problems);
    add_couplings(bytes, problem);
    batch.fields = problem.fields;
    batch.offset = problem.offset;
}

SolveOptions options_of(Bytes& bytes) {
    SolveOptions options;
    options.method = static_cast<Method>(bytes.between(0, 4));
    options.reads = bytes.between(1, 5);
    if (bytes.flag()) {
        options.sweeps = bytes.between(1, 20);
    }
    if (!options.sweeps || bytes.flag()) {
        options.time_limit = 1e-4 * static_cast<double>(bytes.between(1, 20));
    }
    if (bytes.flag()) {
        const double hot = std::fabs(bytes.number());
        const double cold = std::fabs(bytes.number());
        if (hot > 0.0 && hot <= cold && std::isfinite(cold)) {
            options.beta_range = BetaRange{hot, cold};
        }
    }
    options.seed = bytes.byte();
    options.threads = bytes.between(1, 2);
    return options;
}

template <class Real>
void check_answers(const Problem<Real>& problem, std::size_t reads, std::size_t found,
                   const std::vector<std::int8_t>& samples, const std::vector<double>& energies) {
    const std::size_t n = problem.batch.n;
    const std::size_t count = problem.symmetric.size() / (n * n);
    // A quarter of a number near the smallest of double loses its last bits.
    const long double subnormals = 1e-322L * static_cast<long double>(n * n);
    for (std::size_t p = 0; p < problem.batch.problems; ++p) {
        const long double* S = problem.symmetric.data() + (count == 1 ? 0 : p) * n * n;
        for (std::size_t read = 0; read < found; ++read) {
            const std::int8_t* s = samples.data() + (p * reads + read) * n;
            long double energy = problem.offset[p];
            long double size = std::fabs(energy);
            long double most = 0.0L;
            std::vector<long double> local(n);
            for (std::size_t i = 0; i < n; ++i) {
                require(s[i] == 1 || s[i] == -1, "samples are spins");
                local[i] = problem.fields[p * n + i];
                long double terms = std::fabs(local[i]);
                for (std::size_t j = 0; j < n; ++j) {
                    local[i] += i == j ? 0.0L : S[i * n + j] * s[j];
                    terms += std::fabs(S[i * n + j]);
                }
                energy += 0.5L * s[i] * (problem.fields[p * n + i] + local[i]) + S[i * n + i];
                size += terms;
                most = std::max(most, terms);
            }
            const double told = energies[p * reads + read];
            require(std::isfinite(told), "energies are finite");
            require(std::fabs(told - energy) <= 1e-12L * size + subnormals,
                    "energies are those of the samples");
            for (std::size_t i = 0; i < n; ++i) {
                require(s[i] * local[i] <= 1e-11L * most + subnormals, "answers are local minima");
            }
            require(read == 0 || energies[p * reads + read - 1] <= told, "the best read comes first");
        }
    }
}

template <class Real>
void solve_once(Bytes& bytes) {
    Problem<Real> problem;
    fill(bytes, problem);
    SolveOptions options = options_of(bytes);
    if (bytes.flag()) {
        problem.batch.initial_reads = options.reads;
        problem.starts.resize(problem.batch.problems * options.reads * problem.batch.n);
        std::ranges::generate(problem.starts,
                              [&] { return bytes.flag() ? std::int8_t{1} : std::int8_t{-1}; });
        problem.batch.initial_states = problem.starts;
    }
    // The bindings refuse numbers that are not finite.
    const auto finite = [](const auto& values) {
        return std::ranges::all_of(values, [](auto value) { return std::isfinite(value); });
    };
    if (!finite(problem.fields) || !finite(problem.offset) || !finite(problem.values)) {
        return;
    }
    std::optional<Progress> progress;
    if (bytes.flag()) {
        progress.emplace(problem.batch.problems, std::vector<double>{}, bytes.between(0, 3));
        options.progress = &*progress;
    }
    const bool several = progress && progress->wanted() != 0;
    const bool presolves = problem.batch.couplings.index() >= 2 && problem.batch.problems == 1 &&
                           problem.starts.empty() && !several;
    options.presolve = presolves && bytes.flag() ? Presolve::on : Presolve::automatic;
    std::vector<std::int8_t> samples(problem.batch.problems * options.reads * problem.batch.n);
    std::vector<double> energies(problem.batch.problems * options.reads);
    try {
        const SolveReport report = solve(problem.batch, options, samples, energies);
        require(report.reads >= 1 && report.reads <= options.reads, "every problem has an answer");
        check_answers(problem, options.reads, report.reads, samples, energies);
    } catch (const std::invalid_argument&) {  // broken rows, exact search of too many spins
    } catch (const std::domain_error&) {      // energies beyond float64
    }
}

}  // namespace
}  // namespace qpsbgd::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const auto begin = std::chrono::steady_clock::now();
    qpsbgd::fuzz::Bytes bytes(data, size);
    if (bytes.flag()) {
        qpsbgd::fuzz::solve_once<float>(bytes);
    } else {
        qpsbgd::fuzz::solve_once<double>(bytes);
    }
    const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - begin;
    qpsbgd::fuzz::require(taken.count() < 5.0, "few sweeps over few spins take little time");
    return 0;
}
