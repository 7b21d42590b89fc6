// Kernels that search for a problem's best state: on data without couplings and fields, so that a run may be repeated for
// ever.
#include <algorithm>
#include <array>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/aligned.hpp"
#include "entries.hpp"
#include "kernels/kernel_table.hpp"
#include "qpsbgd/cancellation.hpp"
#include "search/int16/replica_group.hpp"
#include "timing.hpp"

namespace qpsbgd::limits {
namespace {

// One dense float32 problem whose couplings change nothing, so that a run may be repeated for ever.
struct DenseProblem {
    explicit DenseProblem(std::size_t size)
        : n(size),
          stride(padded<float>(size)),
          couplings(size * stride, 0.0F),
          fields(stride, 0.0F),
          spins(stride, 1.0F),
          local(stride, 0.0F),
          never(stride, -1.0F),
          always(stride, 1.0F),
          free(stride, 0) {}

    std::size_t n;
    std::size_t stride;
    AlignedVector<float> couplings;
    AlignedVector<float> fields;
    AlignedVector<float> spins;
    AlignedVector<float> local;
    AlignedVector<float> never;   // thresholds: no spin flips
    AlignedVector<float> always;  // all do
    AlignedVector<std::int32_t> free;
};

void add_dense(std::vector<Entry>& entries, std::size_t size) {
    const auto problem = std::make_shared<DenseProblem>(size);
    const auto& kernel = kernels().dense_float32;
    const auto n = static_cast<double>(size);
    const double matrix = 4.0 * n * n;
    const std::string name = "n=" + std::to_string(size);
    const auto metropolis = [problem, &kernel](const AlignedVector<float>& thresholds) {
        kernel.metropolis(problem->couplings.data(), problem->stride, problem->n, 0, problem->n,
                          thresholds.data(), problem->spins.data(), problem->local.data());
    };
    entries.push_back({"dense_float32.local_fields",
                       name,
                       {Unit::float32, n * n, 8.0 * n * n, matrix, matrix},
                       [=, &kernel] {
                           kernel.local_fields(problem->couplings.data(), problem->stride, problem->n,
                                               problem->fields.data(), problem->spins.data(),
                                               problem->local.data());
                       }});
    entries.push_back({"dense_float32.flip, all rows",
                       name,
                       {Unit::float32, n * n, 8.0 * n * n, matrix, matrix},
                       [=, &kernel] {
                           for (std::size_t i = 0; i < problem->n; ++i) {
                               kernel.flip(problem->couplings.data() + i * problem->stride, problem->n, i,
                                           problem->spins.data(), problem->local.data());
                           }
                       }});
    entries.push_back(
        {"dense_float32.metropolis, none flips", name, {Unit::float32, 2.0 * n, 12.0 * n, 0.0, 0.0}, [=] {
             metropolis(problem->never);
         }});
    entries.push_back({"dense_float32.metropolis, all flip",
                       name,
                       {Unit::float32, n * n, 8.0 * n * n, matrix, matrix},
                       [=] { metropolis(problem->always); }});
    entries.push_back(
        {"dense_float32.greedy, none flips", name, {Unit::float32, n, 8.0 * n, 0.0, 0.0}, [=, &kernel] {
             kernel.greedy(problem->couplings.data(), problem->stride, problem->n, 0, problem->n,
                           problem->spins.data(), problem->local.data());
         }});
    entries.push_back(
        {"dense_float32.best_move", name, {Unit::float32, 3.0 * n, 12.0 * n, 0.0, 0.0}, [=, &kernel] {
             auto move = kernel.best_move(problem->n, problem->spins.data(), problem->local.data(),
                                          problem->free.data(), 0, std::numeric_limits<float>::infinity());
             touch(&move);
         }});
}

// A group of four reads of one dense int16 problem, without couplings and fields as above.
struct DenseInt16Problem {
    explicit DenseInt16Problem(std::size_t size)
        : n(size),
          stride(padded<std::int16_t>(size)),
          couplings((size + 1) * stride, 0),
          exponentials(kExponentials + kBlock, 32767) {
        for (std::size_t read = 0; read < kReplicaGroup; ++read) {
            local[read].assign(stride + kBlock, 0);
            scratch[read].assign(stride, 0);
            negative[read].assign(stride / kBlock, 0);
            best[read].assign(stride / kBlock, 0);
            auto& replica = replicas[read];
            replica.couplings = couplings.data();
            replica.fields = local[read].data();
            replica.local = local[read].data();
            replica.scratch = scratch[read].data();
            replica.negative = negative[read].data();
            replica.best_negative = best[read].data();
            replica.random = {{1, 2, 3, 4 + read}};
            // Without fields the lowest spin that does not rest is flipped: spins 0 .. n / 2 in turn.
            replica.least_tenure = static_cast<std::uint32_t>(size / 2);
            replica.tenure_spread = 1;
        }
    }

    // `sweeps` sweeps of some reads at one temperature: zero flips nothing, any other everything.
    void anneal(std::uint32_t temperature, std::size_t sweeps, std::size_t reads = kReplicaGroup) {
        temperatures.assign(sweeps, temperature);
        for (auto& replica : replicas) {
            replica.temperature = temperatures.data();
            replica.sweep = 0;
            replica.block = 0;
            replica.drawn = false;
        }
        while (!kernels().dense_int16.anneal(replicas.data(), reads, n, stride, exponentials.data(), sweeps,
                                             1U << 30U)) {
        }
    }

    std::size_t n;
    std::size_t stride;
    AlignedVector<std::int16_t> couplings;
    AlignedVector<std::uint16_t> exponentials;
    std::array<AlignedVector<std::int16_t>, kReplicaGroup> local;
    std::array<AlignedVector<std::int16_t>, kReplicaGroup> scratch;
    std::array<std::vector<std::uint32_t>, kReplicaGroup> negative;
    std::array<std::vector<std::uint32_t>, kReplicaGroup> best;
    std::array<Int16Replica, kReplicaGroup> replicas{};
    std::vector<std::uint32_t> temperatures;
};

// What the kernels for AVX2 and AVX-512 issue for every 16 or 32 spins; nothing is known of the others.
struct PerRegister {
    double operations;
    double maxima;
};
Issue issue_of(double spins, const PerRegister& avx2, const PerRegister& avx512) {
    switch (register_bytes()) {
        case 32: return {spins * avx2.operations, spins * avx2.maxima};
        case 64: return {spins * avx512.operations, spins * avx512.maxima};
        default: return {};
    }
}

void add_dense_int16(std::vector<Entry>& entries, std::size_t size, const Latencies& latencies) {
    constexpr std::size_t kSweeps = 16;
    constexpr std::size_t kFlips = 1024;
    const auto problem = std::make_shared<DenseInt16Problem>(size);
    const auto n = static_cast<double>(size);
    const auto row = static_cast<double>(problem->stride);
    const auto reads = static_cast<double>(kReplicaGroup);
    const double matrix = 2.0 * row * row;
    const double attempts = reads * static_cast<double>(kSweeps) * n;
    const double flips = reads * static_cast<double>(kFlips);
    const std::string name = "n=" + std::to_string(size);
    // The four reads flip the same spins here, so that each row comes once from beyond L1 and three times from L1.
    const auto flipping = [&](double count, double operations, double bytes, double footprint) {
        const double far = count / reads * 2.0 * row;
        return Work{Unit::int16, count * operations, count * bytes - far, far, footprint};
    };
    // An attempt reads its field and an exponential, multiplies it, writes and reads the threshold, applies the sign
    // and compares.
    Work decide{Unit::int16, 3.0 * attempts, 8.0 * attempts, 0.0, 0.0};
    decide.issue = issue_of(attempts, {7.0, 3.0}, {5.0, 3.0});
    entries.push_back({"dense_int16.anneal, none flips", name, decide, [=] { problem->anneal(0, kSweeps); }});
    // A flip adds a row to the local fields.
    Work all_flip = flipping(attempts, row + 3.0, 6.0 * row + 8.0, matrix);
    all_flip.issue = issue_of(attempts * row, {2.0, 1.0}, {2.0, 1.0});
    all_flip.chain_seconds = attempts / reads * latencies.anneal;
    entries.push_back(
        {"dense_int16.anneal, all flip", name, all_flip, [=] { problem->anneal(60000, kSweeps); }});
    // So does one of tabu search; then every spin's rest is counted down, and the best of those that do not rest kept.
    Work search = flipping(flips, 5.0 * row, 10.0 * row, 0.5 * matrix);
    // Registers of few rows have a number each, of long ones four have one.
    search.issue = size <= 128 ? issue_of(flips * row, {12.0, 7.0}, {7.0, 5.0})
                               : issue_of(flips * row, {10.0, 5.5}, {9.0, 6.0});
    search.chain_seconds = flips / reads * latencies.tabu;
    entries.push_back({"dense_int16.tabu", name, search, [=] {
                           kernels().dense_int16.tabu(problem->replicas.data(), problem->replicas.size(),
                                                      problem->n, problem->stride, kFlips);
                       }});
}

void add_exact(std::vector<Entry>& entries, std::size_t size) {
    const auto tables = std::make_shared<ExactTables>();
    const std::uint64_t steps = std::uint64_t{1} << (size - kInnerSpins);
    const auto states = static_cast<double>(kInnerStates);
    // A step adds one of the tables `change`, which stay in L1, to the energies, which stay in registers, and compares.
    const auto count = static_cast<double>(steps);
    entries.push_back({"exact.advance",
                       "n=" + std::to_string(size),
                       {Unit::int16, count * 2.0 * states, count * 2.0 * states, 0.0, 0.0},
                       [=] {
                           const auto& kernel = kernels().exact;
                           kernel.prepare(*tables, size);
                           auto step = kernel.advance(*tables, 0, steps, -32768);
                           touch(&step);
                       }});
}

void add_finish(std::vector<Entry>& entries, std::size_t size) {
    struct Data {
        AlignedVector<float> matrix;
        std::vector<std::uint16_t> signs;
        AlignedVector<double> out;
    };
    constexpr std::size_t kReads = kProductReads;
    const std::size_t stride = (size + kProductColumns - 1) / kProductColumns * kProductColumns;
    const auto data =
        std::make_shared<Data>(Data{AlignedVector<float>(size * size, 1.0F),
                                    std::vector<std::uint16_t>(kReads * (size / kSignsOfProduct + 1), 0x5A3C),
                                    AlignedVector<double>(kReads * stride, 0.0)});
    const auto n = static_cast<double>(size);
    // Four products are one tabulated sum.
    const double sums = static_cast<double>(kProductReads) * n * n / 4.0;
    Work work{Unit::float64, sums, 8.0 * sums, 4.0 * n * n, 4.0 * n * n};
    // Twelve additions make the eight sums of four rows that all reads share.
    work.issue.operations = sums * (1.0 + 12.0 / static_cast<double>(kReads));
    entries.push_back({"finish.products_float", "n=" + std::to_string(size), work, [=] {
                           kernels().finish.products_float(data->matrix.data(), size, 0, stride,
                                                           data->signs.data(), kReads, stride,
                                                           data->out.data());
                       }});
}

// 32 reads in step, without couplings and fields: the kernel does the same work for any.
void add_replicas_int16(std::vector<Entry>& entries, std::size_t size) {
    constexpr std::size_t kSweeps = 16;
    struct Data {
        DenseInt16Problem problem;
        Int16ReplicaCouplings couplings;
        Int16ReplicaGroup reads;
    };
    DenseInt16Problem problem(size);
    Int16ReplicaCouplings couplings(problem.couplings, size, problem.stride);
    const auto data = std::make_shared<Data>(Data{std::move(problem), std::move(couplings), {}});
    data->problem.temperatures.assign(kSweeps, 60000);
    data->problem.replicas[0].temperature = data->problem.temperatures.data();
    data->reads.load(data->couplings, std::span(data->problem.replicas).first(1));
    const auto reads = static_cast<double>(kInt16Replicas);
    const double attempts = reads * static_cast<double>(kSweeps * size);
    // A flip adds to the fields of the spins of its group that follow, 7.5 in the mean, from registers. The threshold, the
    // field and the decision take seven operations more. The couplings come as tiles, for all reads together.
    const double tiles = 2.0 * static_cast<double>(size * size * kSweeps);
    entries.push_back({"replicas_int16.anneal",
                       "n=" + std::to_string(size),
                       {Unit::int16, 14.5 * attempts, 4.0 * attempts + tiles, 0.0, 0.0},
                       [=] {
                           StopToken token(std::nullopt, {});
                           Budget budget(token);
                           data->reads.anneal(kSweeps, budget);
                       }});
}

}  // namespace

std::size_t register_bytes() {
    const std::string_view name = kernels().name;
    if (name == "avx512" || name == "amx") {
        return 64;
    }
    return name == "avx2" ? 32 : 16;
}

Latencies Latencies::measured() {
    constexpr std::size_t kSweeps = 32;
    constexpr std::size_t kFlips = 1024;
    DenseInt16Problem problem(kBlock);
    const double tabu = seconds_of(
        [&] { kernels().dense_int16.tabu(problem.replicas.data(), 1, problem.n, problem.stride, kFlips); });
    const double anneal = seconds_of([&] { problem.anneal(60000, kSweeps, 1); });
    return {tabu / static_cast<double>(kFlips), anneal / static_cast<double>(kSweeps * kBlock)};
}

void add_search_kernels(std::vector<Entry>& entries, const Latencies& latencies) {
    for (const std::size_t n : {128U, 784U, 4096U}) {
        add_dense(entries, n);
        add_dense_int16(entries, n, latencies);
    }
    add_replicas_int16(entries, 128);
    add_replicas_int16(entries, 784);
    add_exact(entries, 20);
    add_finish(entries, 128);
    add_finish(entries, 784);
}

}  // namespace qpsbgd::limits
