// Compiled for the machine that builds it, fused multiply-adds included.
#include "machine.hpp"

#include <algorithm>
#include <array>
#include <map>
#include <type_traits>
#include <utility>

#include "base/aligned.hpp"
#include "timing.hpp"

namespace qpsbgd::limits {
namespace {

// The widest vectors of the processor that this file is compiled for.
#if defined(__AVX512F__)
constexpr std::size_t kWidestBytes = 64;
#elif defined(__AVX__)
constexpr std::size_t kWidestBytes = 32;
#else
constexpr std::size_t kWidestBytes = 16;
#endif
using Floats [[gnu::vector_size(kWidestBytes)]] = float;
using Doubles [[gnu::vector_size(kWidestBytes)]] = double;
using Shorts [[gnu::vector_size(kWidestBytes)]] = std::int16_t;

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
    constexpr std::size_t kStep = kStreams * kWidestBytes / sizeof(float);
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

constexpr std::size_t kL1 = std::size_t{24}
                            << 10;  // sizes that surely fit; the bandwidths are measured at them
constexpr std::size_t kL2 = std::size_t{384} << 10;
constexpr std::size_t kMemory = std::size_t{1} << 30;  // larger than any share of a last-level cache

}  // namespace

const std::size_t kVectorBytes = kWidestBytes;

Machine Machine::measured() {
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

double Machine::rate(Unit unit) const {
    switch (unit) {
        case Unit::float32: return float32;
        case Unit::float64: return float64;
        default: return int16;
    }
}

double rate_of(double footprint) {
    static std::map<double, double> known;
    const auto [place, is_new] = known.try_emplace(footprint, 0.0);
    if (is_new) {
        place->second = bytes_per_second(static_cast<std::size_t>(footprint));
    }
    return place->second;
}

}  // namespace qpsbgd::limits
