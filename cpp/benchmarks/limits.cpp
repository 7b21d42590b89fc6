// How far each native kernel is from what this machine can do: measures the peaks, then the kernels, and prints both
// as JSON. benchmarks/limits.py builds and runs it and makes a table of its output.
//
// A kernel's bound is the largest of three times: its operations at the peak of their kind, all its bytes at the rate
// of L1, and the bytes of a large matrix at the rate at which that much memory can be read again and again. Loads and
// stores count alike. Every run has data for which operations and bytes are known exactly: either no spin flips, or all do.
//
// A new kernel is one more entry in all_entries().
#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "base/aligned.hpp"
#include "base/rng.hpp"
#include "kernels/kernel_table.hpp"
#include "layer/matrix.hpp"
#include "qpsbgd/cancellation.hpp"
#include "qpsbgd/layer.hpp"
#include "search/int16/replica_group.hpp"

namespace {

using qpsbgd::AlignedVector;
using qpsbgd::padded;

constexpr double kShortestRun = 0.02;  // seconds of one repetition
constexpr int kRepetitions = 5;        // the fastest counts: everything else is disturbance

// Makes the compiler believe that the memory is read and written here.
void touch(void* memory) { asm volatile("" : : "r"(memory) : "memory"); }

// Seconds of one call.
double seconds_of(const std::function<void()>& run) {
    using Clock = std::chrono::steady_clock;
    const auto time_of = [&](std::size_t calls) {
        const auto start = Clock::now();
        for (std::size_t call = 0; call < calls; ++call) {
            run();
        }
        return std::chrono::duration<double>(Clock::now() - start).count();
    };
    std::size_t calls = 1;
    while (time_of(calls) < kShortestRun) {
        calls *= 2;
    }
    double best = std::numeric_limits<double>::infinity();
    for (int repetition = 0; repetition < kRepetitions; ++repetition) {
        best = std::min(best, time_of(calls) / static_cast<double>(calls));
    }
    return best;
}

// ---- What the machine can do, on one core -------------------------------------------------------------------------

// The widest vectors of the processor that this file is compiled for.
#if defined(__AVX512F__)
constexpr std::size_t kVectorBytes = 64;
#elif defined(__AVX__)
constexpr std::size_t kVectorBytes = 32;
#else
constexpr std::size_t kVectorBytes = 16;
#endif
using Floats [[gnu::vector_size(kVectorBytes)]] = float;
using Doubles [[gnu::vector_size(kVectorBytes)]] = double;
using Shorts [[gnu::vector_size(kVectorBytes)]] = std::int16_t;

// The same vector, in a register, of a value that the compiler does not know.
template <class Vector>
Vector hidden(Vector vector) {
#if defined(__AVX512F__)
    asm volatile("" : "+v"(vector));
#elif defined(__x86_64__)
    asm volatile("" : "+x"(vector));
#elif defined(__aarch64__)
    asm volatile("" : "+w"(vector));
#else
    asm volatile("" : "+m"(vector));
#endif
    return vector;
}

// Calls action(std::integral_constant<std::size_t, k>) for k = 0 .. Count - 1: what a loop that must be unrolled does.
template <std::size_t Count, class Action>
void unrolled(const Action& action) {
    [&]<std::size_t... k>(std::index_sequence<k...>) {
        (action(std::integral_constant<std::size_t, k>{}), ...);
    }(std::make_index_sequence<Count>{});
}

// Additions or multiply-adds a second, one for every lane; as many chains as hide the latency and fit the registers.
template <class Vector, class Step>
double operations_per_second(const Step& step) {
    constexpr std::size_t kChains = 12;
    constexpr std::size_t kRounds = 4096;
    const double seconds = seconds_of([&] {
        std::array<Vector, kChains> chains{};
        for (std::size_t round = 0; round < kRounds; ++round) {
            unrolled<kChains>([&](auto chain) { chains[chain] = hidden(step(chains[chain])); });
        }
        unrolled<kChains>([&](auto chain) { hidden(chains[chain]); });
    });
    constexpr std::size_t kLanes = sizeof(Vector) / sizeof(Vector{}[0]);
    return static_cast<double>(kRounds * kChains * kLanes) / seconds;
}

// Bytes a second that a loop over `bytes` of memory loads.
double bytes_per_second(std::size_t bytes) {
    constexpr std::size_t kStreams = 8;
    constexpr std::size_t kStep = kStreams * kVectorBytes / sizeof(float);
    const AlignedVector<float> memory(std::max(bytes / sizeof(float) / kStep, std::size_t{1}) * kStep, 1.0F);
    const double seconds = seconds_of([&] {
        std::array<Shorts, kStreams> sums{};
        for (std::size_t at = 0; at < memory.size(); at += kStep) {
            const auto* vectors = reinterpret_cast<const Shorts*>(memory.data() + at);
            unrolled<kStreams>([&](auto stream) { sums[stream] = hidden(sums[stream] | vectors[stream]); });
        }
    });
    return static_cast<double>(memory.size() * sizeof(float)) / seconds;
}

enum class Unit : std::uint8_t { float32, float64, int16 };

constexpr std::size_t kL1 = std::size_t{24}
                            << 10;  // sizes that surely fit; the bandwidths are measured at them
constexpr std::size_t kL2 = std::size_t{384} << 10;
constexpr std::size_t kMemory = std::size_t{1} << 30;  // larger than any share of a last-level cache

struct Machine {
    double float32;  // operations a second
    double float64;
    double int16;
    double l1;  // bytes a second
    double l2;
    double memory;

    static Machine measured() {
        const Floats factor = hidden(Floats{});
        const Doubles factor64 = hidden(Doubles{});
        const Shorts addend = hidden(Shorts{});
        return {operations_per_second<Floats>([&](Floats x) { return x * factor + factor; }),
                operations_per_second<Doubles>([&](Doubles x) { return x * factor64 + factor64; }),
                operations_per_second<Shorts>([&](Shorts x) { return x + addend; }),
                bytes_per_second(kL1),
                bytes_per_second(kL2),
                bytes_per_second(kMemory)};
    }

    double rate(Unit unit) const {
        switch (unit) {
            case Unit::float32: return float32;
            case Unit::float64: return float64;
            default: return int16;
        }
    }
};

// ---- The kernels --------------------------------------------------------------------------------------------------

// What one call cannot avoid.
struct Work {
    Unit unit;
    double operations;  // additions, comparisons or multiply-adds of one lane
    double near_bytes;  // loaded and stored in L1
    double far_bytes;   // loaded from a matrix of `far_footprint` bytes
    double far_footprint;
};

struct Entry {
    std::string name;
    std::string size;
    Work work;
    std::function<void()> run;
};

struct Bound {
    double seconds;
    std::string by;
};

// Rate at which a footprint of memory can be read again and again, from whatever holds it. Measured once each.
double rate_of(double footprint) {
    static std::map<double, double> known;
    const auto [place, is_new] = known.try_emplace(footprint, 0.0);
    if (is_new) {
        place->second = bytes_per_second(static_cast<std::size_t>(footprint));
    }
    return place->second;
}

Bound bound_of(const Work& work, const Machine& machine) {
    std::vector<Bound> bounds{{work.operations / machine.rate(work.unit), "arithmetic"},
                              {(work.near_bytes + work.far_bytes) / machine.l1, "L1"}};
    if (work.far_bytes > 0.0) {
        bounds.push_back({work.far_bytes / rate_of(work.far_footprint),
                          std::to_string(std::lround(work.far_footprint / 1024.0)) + " KiB"});
    }
    return *std::ranges::max_element(bounds, {}, &Bound::seconds);
}

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
    const auto& kernel = qpsbgd::kernels().dense_float32;
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
          exponentials(qpsbgd::kExponentials + qpsbgd::kBlock, 32767) {
        for (std::size_t read = 0; read < qpsbgd::kReplicaGroup; ++read) {
            local[read].assign(stride + qpsbgd::kBlock, 0);
            scratch[read].assign(stride, 0);
            negative[read].assign(stride / qpsbgd::kBlock, 0);
            best[read].assign(stride / qpsbgd::kBlock, 0);
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

    // `sweeps` sweeps at one temperature: zero flips nothing, any other everything.
    void anneal(std::uint32_t temperature, std::size_t sweeps) {
        temperatures.assign(sweeps, temperature);
        for (auto& replica : replicas) {
            replica.temperature = temperatures.data();
            replica.sweep = 0;
            replica.block = 0;
            replica.drawn = false;
        }
        while (!qpsbgd::kernels().dense_int16.anneal(replicas.data(), replicas.size(), n, stride,
                                                     exponentials.data(), sweeps, 1U << 30U)) {
        }
    }

    std::size_t n;
    std::size_t stride;
    AlignedVector<std::int16_t> couplings;
    AlignedVector<std::uint16_t> exponentials;
    std::array<AlignedVector<std::int16_t>, qpsbgd::kReplicaGroup> local;
    std::array<AlignedVector<std::int16_t>, qpsbgd::kReplicaGroup> scratch;
    std::array<std::vector<std::uint32_t>, qpsbgd::kReplicaGroup> negative;
    std::array<std::vector<std::uint32_t>, qpsbgd::kReplicaGroup> best;
    std::array<qpsbgd::Int16Replica, qpsbgd::kReplicaGroup> replicas{};
    std::vector<std::uint32_t> temperatures;
};

void add_dense_int16(std::vector<Entry>& entries, std::size_t size) {
    constexpr std::size_t kSweeps = 16;
    constexpr std::size_t kFlips = 1024;
    const auto problem = std::make_shared<DenseInt16Problem>(size);
    const auto n = static_cast<double>(size);
    const auto row = static_cast<double>(problem->stride);
    const auto reads = static_cast<double>(qpsbgd::kReplicaGroup);
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
    const Work decide{Unit::int16, 3.0 * attempts, 8.0 * attempts, 0.0, 0.0};
    entries.push_back({"dense_int16.anneal, none flips", name, decide, [=] { problem->anneal(0, kSweeps); }});
    // A flip adds a row to the local fields.
    const Work all_flip = flipping(attempts, row + 3.0, 6.0 * row + 8.0, matrix);
    entries.push_back(
        {"dense_int16.anneal, all flip", name, all_flip, [=] { problem->anneal(60000, kSweeps); }});
    // So does one of tabu search; then every spin's rest is counted down, and the best of those that do not rest kept.
    const Work search = flipping(flips, 5.0 * row, 10.0 * row, 0.5 * matrix);
    entries.push_back({"dense_int16.tabu", name, search, [=] {
                           qpsbgd::kernels().dense_int16.tabu(problem->replicas.data(),
                                                              problem->replicas.size(), problem->n,
                                                              problem->stride, kFlips);
                       }});
}

void add_exact(std::vector<Entry>& entries, std::size_t size) {
    const auto tables = std::make_shared<qpsbgd::ExactTables>();
    const std::uint64_t steps = std::uint64_t{1} << (size - qpsbgd::kInnerSpins);
    const auto states = static_cast<double>(qpsbgd::kInnerStates);
    // A step adds one of the tables `change`, which stay in L1, to the energies, which stay in registers, and compares.
    const auto count = static_cast<double>(steps);
    entries.push_back({"exact.advance",
                       "n=" + std::to_string(size),
                       {Unit::int16, count * 2.0 * states, count * 2.0 * states, 0.0, 0.0},
                       [=] {
                           const auto& kernel = qpsbgd::kernels().exact;
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
    constexpr std::size_t kReads = qpsbgd::kProductReads;
    const std::size_t stride =
        (size + qpsbgd::kProductColumns - 1) / qpsbgd::kProductColumns * qpsbgd::kProductColumns;
    const auto data = std::make_shared<Data>(
        Data{AlignedVector<float>(size * size, 1.0F),
             std::vector<std::uint16_t>(kReads * (size / qpsbgd::kSignsOfProduct + 1), 0x5A3C),
             AlignedVector<double>(kReads * stride, 0.0)});
    const auto n = static_cast<double>(size);
    // Four products are one tabulated sum.
    const double sums = static_cast<double>(qpsbgd::kProductReads) * n * n / 4.0;
    entries.push_back({"finish.products_float",
                       "n=" + std::to_string(size),
                       {Unit::float64, sums, 8.0 * sums, 4.0 * n * n, 4.0 * n * n},
                       [=] {
                           qpsbgd::kernels().finish.products_float(data->matrix.data(), size, 0, stride,
                                                                   data->signs.data(), kReads, stride,
                                                                   data->out.data());
                       }});
}

void add_gram(std::vector<Entry>& entries, std::size_t samples, std::size_t d, bool signs) {
    struct Data {
        AlignedVector<float> inputs;
        AlignedVector<float> out;
    };
    const auto data =
        std::make_shared<Data>(Data{AlignedVector<float>(samples * d), AlignedVector<float>(d * d)});
    qpsbgd::Random random(0, 0, 0);
    for (auto& value : data->inputs) {
        value = static_cast<float>(random.below(1U << 16U)) / 32768.0F - 1.0F;
        value = signs ? std::copysign(1.0F, value) : value;
    }
    const auto width = static_cast<double>(d);
    const double products = 0.5 * static_cast<double>(samples) * width * (width + 1.0);
    const std::string size = std::to_string(d) + "x" + std::to_string(samples);
    // Inputs of ±1 are bits: an exclusive or, a count and an addition for 32 products, each on two lanes of int16.
    const Work of_bits{Unit::int16, 3.0 * 2.0 * products / 32.0, 4.0 * width * width, 0.0, 0.0};
    const Work of_floats{Unit::float32, products, 4.0 * width * width, 0.0, 0.0};
    entries.push_back({signs ? "gram of ±1" : "gram", size, signs ? of_bits : of_floats, [=] {
                           qpsbgd::StopToken token(std::nullopt, nullptr);
                           qpsbgd::gram<float>(data->inputs, samples, d, 1.0, {data->out.data(), d}, 1,
                                               token);
                       }});
}

// Rows of a layer without couplings.
struct LayerProblem {
    LayerProblem(std::size_t size, std::size_t count)
        : d(size),
          rows(count),
          stride((size + 63) / 64 * 64 + 16),
          matrix(size * qpsbgd::spread<float>(size), 0.0F),
          products(count * stride, 0.0F),
          signs((size + qpsbgd::kSignsOfWord - 1) / qpsbgd::kSignsOfWord * count, 0x5555555555555555U),
          stride_int16(padded<std::int16_t>(size)),
          couplings_int16((size + 1) * stride_int16 + qpsbgd::kInt16Slots, 0),
          spins_int16((size + qpsbgd::kInt16Slots - 1) / qpsbgd::kInt16Slots * qpsbgd::kInt16Slots, 0),
          fields_int16(spins_int16.size(), qpsbgd::kInt16NoGain),
          workspace(qpsbgd::kernels().projection_int16.workspace_bytes(count, size)),
          products_int16(count * ((size + qpsbgd::kProductsTile - 1) / qpsbgd::kProductsTile) *
                         qpsbgd::kProductsTile) {}

    // Flips all spins that want to.
    bool descend(std::int16_t field) {
        std::fill_n(spins_int16.begin(), d, std::int16_t{1});
        std::fill_n(fields_int16.begin(), d, field);
        qpsbgd::Int16Descent row{.couplings = couplings_int16.data(),
                                 .stride = stride_int16,
                                 .zero_row = d,
                                 .d = stride_int16,
                                 .spins = spins_int16.data(),
                                 .fields = fields_int16.data()};
        qpsbgd::kernels().projection_int16.descend(&row, 1, d);
        return row.settled;
    }

    std::size_t d;
    std::size_t rows;
    std::size_t stride;
    AlignedVector<float> matrix;
    AlignedVector<float> products;
    std::vector<std::uint64_t> signs;
    std::size_t stride_int16;
    AlignedVector<std::int16_t> couplings_int16;
    AlignedVector<std::int16_t> spins_int16;
    AlignedVector<std::int16_t> fields_int16;
    AlignedVector<std::byte> workspace;
    AlignedVector<std::int16_t> products_int16;
};

void add_projection(std::vector<Entry>& entries, std::size_t size, std::size_t rows) {
    const auto problem = std::make_shared<LayerProblem>(size, rows);
    const auto d = static_cast<double>(size);
    const auto m = static_cast<double>(rows);
    const std::string name = std::to_string(size) + "x" + std::to_string(rows);
    // Some rows are all signed sums of them, which are stored; one of those is added for every row of the layer. Four of A,
    // and five of its int16 couplings.
    const double sums = (16.0 / 4.0 + m / 4.0) * d * d;
    const double int16_sums = (32.0 / 5.0 + m / 5.0) * d * d;
    const Work products{Unit::float32, sums, 4.0 * sums, 4.0 * d * d, 4.0 * d * d};
    const Work products_int16{Unit::int16, int16_sums, 2.0 * int16_sums, 2.0 * d * d, 2.0 * d * d};
    entries.push_back({"projection_int16.sign_products", name, products_int16, [=] {
                           qpsbgd::kernels().projection_int16.sign_products(
                               {.couplings = problem->couplings_int16.data(),
                                .couplings_stride = problem->stride_int16,
                                .d = size,
                                .signs = problem->signs.data(),
                                .signs_stride = rows,
                                .workspace = problem->workspace.data(),
                                .products = problem->products_int16.data(),
                                .tile_stride = rows * qpsbgd::kProductsTile},
                               rows);
                       }});
    entries.push_back({"projection_float.sign_products", name, products, [=] {
                           qpsbgd::kernels().projection_float32.sign_products(
                               {.matrix = problem->matrix.data(),
                                .matrix_stride = qpsbgd::spread<float>(size),
                                .d = size,
                                .signs = problem->signs.data(),
                                .signs_stride = rows,
                                .products = problem->products.data(),
                                .stride = problem->stride},
                               rows);
                       }});
    // A look multiplies fields and spins and keeps the larger gain.
    const std::string one_row = "d=" + std::to_string(size);
    const Work look{Unit::int16, 2.0 * d, 4.0 * d, 0.0, 0.0};
    entries.push_back({"projection_int16.descend, none flips", one_row, look, [=] { problem->descend(-1); }});
    // A flip takes a row of couplings times a spin from the fields; four flips need a look at them times their spins.
    const Work all_flip{Unit::int16, 3.0 * d * d, 2.0 * d * d, 2.0 * d * d, 2.0 * d * d};
    entries.push_back({"projection_int16.descend, all flip", one_row, all_flip,
                       [=] { problem->descend(static_cast<std::int16_t>(problem->d)); }});
}

// 32 reads in step, without couplings and fields: the kernel does the same work for any.
void add_replicas_int16(std::vector<Entry>& entries, std::size_t size) {
    if (qpsbgd::kernels().replicas_int16.anneal == nullptr) {
        return;
    }
    constexpr std::size_t kSweeps = 16;
    struct Data {
        DenseInt16Problem problem;
        qpsbgd::Int16ReplicaCouplings couplings;
        qpsbgd::Int16ReplicaGroup reads;
    };
    DenseInt16Problem problem(size);
    qpsbgd::Int16ReplicaCouplings couplings(problem.couplings, size, problem.stride);
    const auto data = std::make_shared<Data>(Data{std::move(problem), std::move(couplings), {}});
    data->problem.temperatures.assign(kSweeps, 60000);
    data->problem.replicas[0].temperature = data->problem.temperatures.data();
    data->reads.load(data->couplings, std::span(data->problem.replicas).first(1));
    const auto reads = static_cast<double>(qpsbgd::kInt16Replicas);
    const double attempts = reads * static_cast<double>(kSweeps * size);
    // A flip adds to the fields of the spins of its group that follow, 7.5 in the mean, from registers. The threshold, the
    // field and the decision take seven operations more. The couplings come as tiles, for all reads together.
    const double tiles = 2.0 * static_cast<double>(size * size * kSweeps);
    entries.push_back({"replicas_int16.anneal",
                       "n=" + std::to_string(size),
                       {Unit::int16, 14.5 * attempts, 4.0 * attempts + tiles, 0.0, 0.0},
                       [=] {
                           qpsbgd::StopToken token(std::nullopt, {});
                           qpsbgd::Budget budget(token);
                           data->reads.anneal(kSweeps, budget);
                       }});
}

std::vector<Entry> all_entries() {
    std::vector<Entry> entries;
    for (const std::size_t n : {128U, 784U, 4096U}) {
        add_dense(entries, n);
        add_dense_int16(entries, n);
    }
    add_replicas_int16(entries, 128);
    add_replicas_int16(entries, 784);
    add_exact(entries, 20);
    add_finish(entries, 128);
    add_finish(entries, 784);
    add_gram(entries, 128, 784, false);
    add_gram(entries, 512, 784, true);
    add_projection(entries, 512, 128);
    add_projection(entries, 784, 128);
    return entries;
}

}  // namespace

int main() {
    const Machine machine = Machine::measured();
    std::printf("{\"instruction_set\": \"%s\", \"vector_bytes\": %zu,\n", qpsbgd::kernels().name,
                kVectorBytes);
    std::printf(
        " \"peaks\": {\"float32\": %.6g, \"float64\": %.6g, \"int16\": %.6g, \"L1\": %.6g, \"L2\": %.6g, "
        "\"memory\": "
        "%.6g},\n \"kernels\": [",
        machine.float32, machine.float64, machine.int16, machine.l1, machine.l2, machine.memory);
    const char* separator = "";
    for (const Entry& entry : all_entries()) {
        const Bound bound = bound_of(entry.work, machine);
        std::printf(R"(%s
  {"name": "%s", "size": "%s", "seconds": %.6g, "bound_seconds": %.6g, "bound": "%s"})",
                    separator, entry.name.c_str(), entry.size.c_str(), seconds_of(entry.run), bound.seconds,
                    bound.by.c_str());
        separator = ",";
    }
    std::printf("\n ]}\n");
    return 0;
}
