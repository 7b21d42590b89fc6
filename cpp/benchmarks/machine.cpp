// Compiled for the machine that builds it, fused multiply-adds included.
#include "machine.hpp"

#include <algorithm>
#include <array>
#include <bit>
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

// A register of kBytes bytes.
template <class Lane, std::size_t kBytes>
struct RegisterOf {
    using Type [[gnu::vector_size(kBytes)]] = Lane;
};
template <class Lane, std::size_t kBytes>
using Register = RegisterOf<Lane, kBytes>::Type;

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

// Bytes a second that a loop over `bytes` of memory loads, by registers of kBytes.
template <std::size_t kBytes>
double bytes_per_second(std::size_t bytes) {
    using Shorts = Register<std::int16_t, kBytes>;
    constexpr std::size_t kStreams = 8;
    constexpr std::size_t kStep = kStreams * kBytes / sizeof(float);
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

// Rotations of one register, each of which waits for the one before: the clock. Some processors add small numbers without
// waiting.
double rotations_per_second() {
    constexpr std::size_t kRounds = 4096;
    constexpr std::size_t kInARound = 16;
    const double seconds = seconds_of([&] {
        std::uint64_t word = 1;
        for (std::size_t round = 0; round < kRounds; ++round) {
            unrolled<kInARound>([&](auto) {
                word = std::rotr(word, 1);
                asm volatile("" : "+r"(word));
            });
        }
    });
    return static_cast<double>(kRounds * kInARound) / seconds;
}

constexpr std::size_t kL1 = std::size_t{24}
                            << 10;  // sizes that surely fit; the bandwidths are measured at them
constexpr std::size_t kL2 = std::size_t{384} << 10;
constexpr std::size_t kMemory = std::size_t{1} << 30;  // larger than any share of a last-level cache

template <std::size_t kBytes>
Machine measured_with() {
    using Floats = Register<float, kBytes>;
    using Doubles = Register<double, kBytes>;
    using Shorts = Register<std::int16_t, kBytes>;
    const auto factor = hidden(Floats{});
    const auto factor64 = hidden(Doubles{});
    const auto addend = hidden(Shorts{});
    return {kBytes,
            rotations_per_second(),
            operations_per_second<Floats>([&](Floats x) { return x * factor + factor; }),
            operations_per_second<Doubles>([&](Doubles x) { return x * factor64 + factor64; }),
            operations_per_second<Shorts>([&](Shorts x) { return x + addend; }),
            operations_per_second<Shorts>([&](Shorts x) { return x > addend ? x : addend; }),
            bytes_per_second<kBytes>(kL1),
            bytes_per_second<kBytes>(kL2),
            bytes_per_second<kBytes>(kMemory)};
}

}  // namespace

Machine Machine::measured(std::size_t vector_bytes) {
    if constexpr (kWidestBytes >= 64) {
        if (vector_bytes >= 64) {
            return measured_with<64>();
        }
    }
    if constexpr (kWidestBytes >= 32) {
        if (vector_bytes >= 32) {
            return measured_with<32>();
        }
    }
    return measured_with<16>();
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
        place->second = bytes_per_second<kWidestBytes>(static_cast<std::size_t>(footprint));
    }
    return place->second;
}

}  // namespace qpsbgd::limits
