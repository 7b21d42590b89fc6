// Running means of gradients and Gram matrices, in one pass: a matrix is read once, and state and mean are written.
//
// Cost: three operations an entry, which memory binds. Every entry is rounded alike, whatever the threads and the
// instruction set.
#include <algorithm>
#include <cstddef>

#include "base/threads.hpp"
#include "layer/couplings.hpp"
#include "layer/panels.hpp"
#include "qpsbgd/layer.hpp"

namespace qpsbgd {

template <class Real>
void update_mean(const RunningMean<Real>& what, std::size_t threads, StopToken& token) {
    constexpr std::size_t kPart = std::size_t{1} << 16U;  // entries
    const std::size_t rows_of_part = std::max<std::size_t>(1, kPart / std::max<std::size_t>(1, what.d));
    const std::size_t parts = (what.m + rows_of_part - 1) / rows_of_part;
    threads =
        useful_threads(threads, static_cast<double>(what.m) * static_cast<double>(what.d), kWorkOfThread);
    parallel_for(parts, threads, token, [&](std::size_t /*worker*/, std::size_t part) {
        const std::size_t last = std::min(what.m, (part + 1) * rows_of_part);
        for (std::size_t row = part * rows_of_part; row < last; ++row) {
            const std::size_t begin = row * what.d;
            gram_kernels<Real>().average(what.values[row],
                                         what.past.empty() ? nullptr : what.past.data() + begin, what.weight,
                                         what.correction, what.d, what.state.data() + begin,
                                         what.mean.empty() ? nullptr : what.mean.data() + begin);
        }
    });
}

template void update_mean(const RunningMean<float>&, std::size_t, StopToken&);
template void update_mean(const RunningMean<double>&, std::size_t, StopToken&);

}  // namespace qpsbgd
