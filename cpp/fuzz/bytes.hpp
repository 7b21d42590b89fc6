// A fuzzer's bytes as the numbers of a problem. Where the bytes end, zeros follow.
#pragma once

#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <span>
#include <vector>

namespace qpsbgd::fuzz {

class Bytes {
public:
    Bytes(const std::uint8_t* data, std::size_t size) : left_(data, size) {}

    std::uint8_t byte() {
        if (left_.empty()) {
            return 0;
        }
        const std::uint8_t first = left_.front();
        left_ = left_.subspan(1);
        return first;
    }

    // From `least` to `most`, which are at most 256 apart.
    std::size_t between(std::size_t least, std::size_t most) { return least + byte() % (most - least + 1); }

    bool flag() { return (byte() & 1U) != 0; }

    // Small integers mostly, and now and then any number that there is.
    double number() {
        constexpr double kExtremes[] = {0.0,
                                        -0.0,
                                        std::numeric_limits<double>::infinity(),
                                        std::numeric_limits<double>::quiet_NaN(),
                                        1e308,
                                        -1e308,
                                        5e-324,
                                        1e-30,
                                        1e30,
                                        3.4e38,
                                        0.1,
                                        -32768.0,
                                        32767.5,
                                        1e15,
                                        1e-300,
                                        255.0};
        const std::uint8_t kind = byte();
        if (kind < 192) {
            return static_cast<double>(static_cast<std::int8_t>(byte()));
        }
        if (kind < 224) {
            return kExtremes[byte() % std::size(kExtremes)];
        }
        std::uint64_t bits = 0;
        for (int k = 0; k < 8; ++k) {
            bits = bits << 8U | byte();
        }
        return kind < 240 ? std::bit_cast<double>(bits) : static_cast<double>(bits >> 11U) * 0x1p-50 - 4.0;
    }

    template <class Real>
    std::vector<Real> numbers(std::size_t count) {
        std::vector<Real> values(count);
        for (Real& value : values) {
            const double wide = number();
            // Beyond float a conversion is undefined.
            value =
                std::fabs(wide) > static_cast<double>(std::numeric_limits<Real>::max()) && std::isfinite(wide)
                    ? std::numeric_limits<Real>::max()
                    : static_cast<Real>(wide);
        }
        return values;
    }

private:
    std::span<const std::uint8_t> left_;
};

// Says what does not hold and ends the process, so that the fuzzer keeps the input.
void require(bool holds, const char* what);

}  // namespace qpsbgd::fuzz
