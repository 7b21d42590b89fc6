// The step of the weights themselves.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>

#include "base/threads.hpp"
#include "layer/couplings.hpp"
#include "qpsbgd/layer.hpp"

namespace qpsbgd {

template <class Real>
void move_weights(std::span<Real> weights, std::span<const std::int8_t> steps, Real lr, Real clip,
                  std::size_t threads, StopToken& token) {
    constexpr std::size_t kPart = std::size_t{1} << 16U;
    parallel_for((weights.size() + kPart - 1) / kPart,
                 useful_threads(threads, static_cast<double>(weights.size()), kWorkOfThread), token,
                 [&](std::size_t /*worker*/, std::size_t part) {
                     const std::size_t first = part * kPart;
                     projection_kernels<Real>().move_weights(weights.data() + first, steps.data() + first, lr,
                                                             clip, std::min(kPart, weights.size() - first));
                 });
}

template void move_weights(std::span<float>, std::span<const std::int8_t>, float, float, std::size_t,
                           StopToken&);
template void move_weights(std::span<double>, std::span<const std::int8_t>, double, double, std::size_t,
                           StopToken&);

}  // namespace qpsbgd
