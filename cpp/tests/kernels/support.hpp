// What the tests of kernels share: a test for every instruction set, inputs of every size, comparison by bits.
#pragma once

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

#include "base/rng.hpp"
#include "kernels/kernel_table.hpp"

namespace qpsbgd::kernel_tests {

// A test that runs with the kernels of every instruction set of this machine.
class OnEveryInstructionSet : public testing::TestWithParam<const KernelTable*> {
protected:
    static const KernelTable& table() { return *GetParam(); }
};

inline std::string name_of(const testing::TestParamInfo<const KernelTable*>& info) {
    return info.param->name;
}

// One test for each of them.
#define QPSBGD_ON_EVERY_INSTRUCTION_SET(suite)                                   \
    INSTANTIATE_TEST_SUITE_P(All, suite, testing::ValuesIn(available_kernels()), \
                             qpsbgd::kernel_tests::name_of)

// Around the sizes of vectors, blocks and tiles.
inline const std::vector<std::size_t>& sizes() {
    static const std::vector<std::size_t> around{1,  2,  3,  5,  7,  8,  15, 16,  17,  31,  32,
                                                 33, 47, 48, 63, 64, 65, 95, 100, 127, 129, 160};
    return around;
}

enum class Values : std::uint8_t {
    ordinary,  // in (-1, 1)
    few,       // -1, 0 or 1: many ties
    equal,     // all 1
    zero,      // 0 and -0
    denormal,  // below the smallest normal number
    huge,      // sums of them overflow
    spread,    // of any size: sixty orders of magnitude
};

inline const std::vector<Values>& all_values() {
    static const std::vector<Values> all{Values::ordinary, Values::few,  Values::equal, Values::zero,
                                         Values::denormal, Values::huge, Values::spread};
    return all;
}

class Draws {
public:
    explicit Draws(std::uint64_t seed) : random_(seed, 0, 0) {}

    // From low to high, both included.
    int integer(int low, int high) {
        return low + static_cast<int>(random_.below(static_cast<std::uint32_t>(high - low + 1)));
    }
    std::size_t index(std::size_t count) { return random_.below(static_cast<std::uint32_t>(count)); }
    std::uint64_t word() { return random_.next(); }
    RandomState state() {
        random_.next();
        return random_.state();
    }

    template <class Real>
    Real real(Values values) {
        using Limits = std::numeric_limits<Real>;
        const auto uniform = static_cast<Real>(integer(-32767, 32767)) / Real{32768};
        switch (values) {
            case Values::ordinary: return uniform;
            case Values::few: return static_cast<Real>(integer(-1, 1));
            case Values::equal: return Real{1};
            case Values::zero: return integer(0, 1) == 0 ? Real{0} : -Real{0};
            case Values::denormal: return uniform * Limits::min();
            case Values::huge: return uniform * Limits::max();
            default: return uniform * static_cast<Real>(std::pow(10.0, integer(-30, 30)));
        }
    }

    template <class Real>
    void fill(std::span<Real> to, Values values) {
        for (Real& value : to) {
            value = real<Real>(values);
        }
    }

    template <class Real>
    std::vector<Real> reals(std::size_t count, Values values) {
        std::vector<Real> result(count);
        fill(std::span<Real>(result), values);
        return result;
    }

private:
    Random random_;
};

// Equal to the last bit, the sign of zero included; one NaN is as good as another.
template <class T>
bool same_bits(T a, T b) {
    if constexpr (std::is_floating_point_v<T>) {
        using Bits = std::conditional_t<sizeof(T) == sizeof(float), std::uint32_t, std::uint64_t>;
        return std::bit_cast<Bits>(a) == std::bit_cast<Bits>(b) || (std::isnan(a) && std::isnan(b));
    } else {
        return a == b;
    }
}

template <class T>
testing::AssertionResult same(std::span<const T> result, std::span<const T> expected) {
    if (result.size() != expected.size()) {
        return testing::AssertionFailure() << result.size() << " values, expected " << expected.size();
    }
    for (std::size_t i = 0; i < result.size(); ++i) {
        if (!same_bits(result[i], expected[i])) {
            return testing::AssertionFailure()
                   << "value " << i << " is " << +result[i] << ", expected " << +expected[i];
        }
    }
    return testing::AssertionSuccess();
}

// The same of anything that lies in one piece.
template <class A, class B>
testing::AssertionResult same(const A& result, const B& expected) {
    using T = std::remove_cvref_t<decltype(*std::data(result))>;
    return same(std::span<const T>(result), std::span<const T>(expected));
}

}  // namespace qpsbgd::kernel_tests
