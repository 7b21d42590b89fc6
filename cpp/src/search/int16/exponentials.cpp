#include "search/int16/exponentials.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <utility>

#include "base/rng.hpp"
#include "base/schedule.hpp"
#include "kernels/dense_int16/table.hpp"

namespace qpsbgd {

const std::uint16_t* exponentials_int16() {
    static const auto table = [] {
        std::array<std::uint16_t, kExponentials + kBlock> values{};
        const auto quantiles = exponential_quantiles();
        for (std::size_t k = 0; k < kExponentials; ++k) {
            values[k] =
                static_cast<std::uint16_t>(static_cast<double>(quantiles[k]) * 65535.0 / kLargestExponential);
        }
        Random random(0, 0, 0);
        for (std::size_t k = kExponentials - 1; k > 0; --k) {
            std::swap(values[k], values[random.below(static_cast<std::uint32_t>(k + 1))]);
        }
        std::copy_n(values.begin(), kBlock, values.begin() + kExponentials);
        return values;
    }();
    return table.data();
}

}  // namespace qpsbgd
