// Prints a digest of what every kernel helped to compute, one line a workload. Run with each instruction set in
// QPSBGD_ISA the lines have to be the same: see same_numbers.cmake.
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/aligned.hpp"
#include "base/rng.hpp"
#include "layer/matrix.hpp"
#include "qpsbgd/build.hpp"
#include "qpsbgd/layer.hpp"
#include "qpsbgd/solve.hpp"

namespace {

using namespace qpsbgd;

// FNV-1a over bytes.
class Digest {
public:
    template <class T>
    void add(std::span<const T> values) {
        for (const std::byte byte : std::as_bytes(values)) {
            hash_ = (hash_ ^ static_cast<std::uint64_t>(byte)) * 0x100000001b3U;
        }
    }

    void print(const std::string& name) const {
        std::printf("%016llx %s\n", static_cast<unsigned long long>(hash_), name.c_str());
    }

private:
    std::uint64_t hash_ = 0xcbf29ce484222325U;
};

template <class Real>
std::vector<Real> draw(Random& random, std::size_t count, std::uint32_t levels) {
    std::vector<Real> values(count);
    for (Real& value : values) {
        value = static_cast<Real>(static_cast<double>(random.below(2 * levels + 1)) - levels) /
                static_cast<Real>(levels > 100 ? levels : 1);
    }
    return values;
}

void add_answer(Digest& digest, const IsingBatch& batch, Method method, std::size_t reads) {
    SolveOptions options;
    options.method = method;
    options.reads = reads;
    options.sweeps = 7;
    options.seed = 1;
    options.threads = 2;
    std::vector<std::int8_t> samples(batch.problems * reads * batch.n);
    std::vector<double> energies(batch.problems * reads);
    solve(batch, options, samples, energies);
    digest.add(std::span<const std::int8_t>(samples));
    digest.add(std::span<const double>(energies));
}

constexpr std::size_t kSizes[] = {1, 2, 5, 31, 32, 33, 70, 128, 200, 300};
constexpr std::size_t kProblems = 3;

template <class Real>
void dense(const std::string& name, Method method, std::uint32_t levels, std::size_t matrices,
           std::size_t reads = 5) {
    Digest digest;
    Random random(levels, 0, 0);
    for (const std::size_t n : kSizes) {
        const auto couplings = draw<Real>(random, matrices * n * n, levels);
        const auto fields = draw<double>(random, kProblems * n, levels);
        const std::vector<double> offset(kProblems, 0.0);
        IsingBatch batch;
        batch.problems = kProblems;
        batch.n = n;
        batch.fields = fields;
        batch.offset = offset;
        batch.couplings = DenseView<Real>{couplings, n, matrices};
        add_answer(digest, batch, method, reads);
    }
    digest.print(name);
}

void sparse(const std::string& name, Method method, std::size_t reads) {
    Digest digest;
    Random random(5, 0, 0);
    for (const std::size_t n : kSizes) {
        std::vector<std::int64_t> start{0};
        std::vector<std::int32_t> column;
        std::vector<float> value;
        for (std::size_t i = 0; i < n; ++i) {
            for (std::size_t k = 0; k < 3; ++k) {
                column.push_back(static_cast<std::int32_t>(random.below(static_cast<std::uint32_t>(n))));
                value.push_back(random.below(2) == 0 ? 1.0F : -1.0F);
            }
            start.push_back(static_cast<std::int64_t>(column.size()));
        }
        const std::vector<double> fields(n, 0.0);
        const std::vector<double> offset(1, 0.0);
        IsingBatch batch;
        batch.problems = 1;
        batch.n = n;
        batch.fields = fields;
        batch.offset = offset;
        batch.couplings = SparseView<float>{start, column, value, n};
        add_answer(digest, batch, method, reads);
    }
    digest.print(name);
}

template <class Real>
void layers(const std::string& name, std::uint32_t levels) {
    Digest digest;
    Random random(7, 0, 0);
    for (const std::size_t d : kSizes) {
        const std::size_t samples = 40;
        const std::size_t m = 9;
        auto inputs = draw<Real>(random, samples * d, levels);
        if (levels == 1) {
            for (Real& input : inputs) {
                input = input < 0 ? Real{-1} : Real{1};
            }
        }
        const auto output_gradients = draw<Real>(random, samples * m, 1000);
        const std::size_t stride = spread<Real>(d);
        std::vector<Real, AlignedAllocator<Real>> gram(d * stride);
        std::vector<Real> gradient(m * d);
        StopToken token(std::nullopt, nullptr);
        gram_and_weight_gradient<Real>(inputs, output_gradients, samples, d, m, 1.0 / static_cast<double>(d),
                                       0.01, {gram.data(), stride}, {gradient.data(), d}, 2, token);
        digest.add(std::span<const Real>(gradient));
        for (std::size_t i = 0; i < d; ++i) {
            digest.add(std::span<const Real>(gram.data() + i * stride, d));
        }
        for (const ScaleRule rule : {ScaleRule::relative, ScaleRule::automatic}) {
            std::vector<std::int8_t> steps(m * d);
            std::vector<Real> residual(m * d);
            const LayerRows<Real> rows{gradient, {}, m, d, steps, residual};
            project_rows<Real>({gram.data(), stride}, rows, {.rule = rule, .threads = 2}, token);
            digest.add(std::span<const std::int8_t>(steps));
            digest.add(std::span<const Real>(residual));
        }
    }
    digest.print(name);
}

void print_answers() {
    const std::pair<Method, const char*> methods[] = {
        {Method::descent, "descent"}, {Method::anneal, "anneal"}, {Method::tabu, "tabu"}};
    for (const auto& [method, name] : methods) {
        dense<double>(std::string("dense, real numbers, ") + name, method, 100000, 1);
        dense<float>(std::string("dense, integers, ") + name, method, 5, 1);
        dense<float>(std::string("dense, a matrix a problem, ") + name, method, 5, kProblems);
        sparse(std::string("sparse, ") + name, method, 3);
    }
    dense<double>("dense, auto", Method::automatic, 1000, 1);
    dense<float>("dense, one matrix, 43 annealed reads", Method::anneal, 1000, 1, 43);
    sparse("sparse, 70 replicas", Method::anneal, 70);
    layers<float>("layers of float32", 1000);
    layers<double>("layers of float64", 1000);
    layers<float>("layers of -1 and +1", 1);
}

}  // namespace

int main(int count, char** arguments) {
    try {
        if (count > 1 && std::string(arguments[1]) == "--list") {
            for (const std::string_view name : available_instruction_sets()) {
                std::printf("%.*s\n", static_cast<int>(name.size()), name.data());
            }
            return EXIT_SUCCESS;
        }
        print_answers();
    } catch (const std::exception& error) {
        std::fputs(error.what(), stderr);
        return EXIT_FAILURE;
    }
    return EXIT_SUCCESS;
}
