// Any layer: Gram matrix, gradient and projection of its rows, by the matrix and by the inputs. No crash, and steps whose
// objective is not above that of the signs.
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <stdexcept>
#include <vector>

#include "bytes.hpp"
#include "qpsbgd/layer.hpp"

namespace qpsbgd::fuzz {
namespace {

template <class Real>
struct Layer {
    std::size_t samples;
    std::size_t d;
    std::size_t m;
    std::vector<Real> inputs;
    std::vector<Real> gradients;
};

// s^2 G'AG - 2 s p'G for s = kappa |p|_1 / (sigma'A sigma), and the size of its terms.
struct Objective {
    long double value = 0.0L;
    long double size = 0.0L;
};

template <class Real>
Objective objective(Rows<const Real> gram, const Real* p, const std::int8_t* G, std::size_t d, double kappa) {
    long double norm = 0.0L;
    long double curvature = 0.0L;
    long double square = 0.0L;
    long double product = 0.0L;
    const auto sign = [&](std::size_t i) { return p[i] >= 0 ? 1 : -1; };
    for (std::size_t i = 0; i < d; ++i) {
        norm += std::fabs(static_cast<long double>(p[i]));
        product += static_cast<long double>(p[i]) * G[i];
        for (std::size_t j = 0; j < d; ++j) {
            curvature += static_cast<long double>(gram[i][j]) * sign(i) * sign(j);
            square += static_cast<long double>(gram[i][j]) * G[i] * G[j];
        }
    }
    if (!(curvature > 0.0L)) {
        return {};
    }
    const long double s = kappa * norm / curvature;
    return {s * s * square - 2.0L * s * product, s * s * std::fabs(square) + s * norm + s * s * curvature};
}

template <class Real>
void check_steps(const std::vector<std::int8_t>& steps, Rows<const Real> gram, const std::vector<Real>& p,
                 const Layer<Real>& layer, double kappa) {
    for (std::size_t row = 0; row < layer.m; ++row) {
        const std::int8_t* G = steps.data() + row * layer.d;
        const Real* fields = p.data() + row * layer.d;
        std::vector<std::int8_t> signs(layer.d);
        for (std::size_t i = 0; i < layer.d; ++i) {
            require(G[i] >= -1 && G[i] <= 1, "steps are -1, 0 or 1");
            signs[i] = G[i] == 0 ? std::int8_t{0} : (fields[i] >= 0 ? std::int8_t{1} : std::int8_t{-1});
        }
        const Objective found = objective(gram, fields, G, layer.d, kappa);
        const Objective least = objective(gram, fields, signs.data(), layer.d, kappa);
        const long double rounding = std::is_same_v<Real, float> ? 1e-4L : 1e-10L;
        const bool comparable =
            std::isfinite(found.value) && std::isfinite(least.value) && found.size < 1e30L;
        require(!comparable || found.value <= least.value + rounding * (found.size + least.size),
                "no objective is above that of the signs");
    }
}

template <class Real>
void project_once(Bytes& bytes) {
    Layer<Real> layer{
        bytes.between(1, 12), bytes.between(1, bytes.flag() ? 12 : 70), bytes.between(1, 5), {}, {}};
    layer.inputs = bytes.flag() ? std::vector<Real>(layer.samples * layer.d, Real{1})
                                : bytes.numbers<Real>(layer.samples * layer.d);
    if (bytes.flag()) {
        for (Real& input : layer.inputs) {
            input = bytes.flag() ? Real{1} : Real{-1};
        }
    }
    layer.gradients = bytes.numbers<Real>(layer.samples * layer.m);
    StopToken token(std::nullopt, {});
    const std::size_t threads = bytes.between(1, 2);
    auto gram_matrix = allocate_matrix<Real>(layer.d, layer.d);
    auto fields = allocate_matrix<Real>(layer.m, layer.d);
    const double scale = 1.0 / static_cast<double>(layer.samples);
    gram_and_weight_gradient<Real>(layer.inputs, layer.gradients, layer.samples, layer.d, layer.m, scale,
                                   scale, gram_matrix.rows(), fields.rows(), threads, token);
    std::vector<Real> p(layer.m * layer.d);
    for (std::size_t row = 0; row < layer.m; ++row) {
        std::copy_n(fields.rows()[row], layer.d, p.begin() + static_cast<std::ptrdiff_t>(row * layer.d));
    }
    std::vector<std::int8_t> steps(layer.m * layer.d);
    std::vector<Real> residual(bytes.flag() ? p.size() : 0);
    ProjectionOptions options;
    options.rule = bytes.flag() ? ScaleRule::automatic : ScaleRule::relative;
    options.kappa = static_cast<double>(bytes.between(0, 8)) / 2.0;
    options.mask = bytes.flag();
    options.threads = threads;
    const LayerRows<Real> rows{p, {}, layer.m, layer.d, steps, residual};
    const auto matrix = gram_matrix.rows();
    const Rows<const Real> gram{matrix.data, matrix.stride};
    const bool plain = options.rule == ScaleRule::relative && !options.mask;
    const std::size_t way = bytes.between(0, 2);
    try {
        const bool finite =
            way == 0 ? project_rows<Real>(gram, rows, options, token)
            : way == 1
                ? project_rows_by_inputs<Real>(layer.inputs, layer.samples, scale, rows, options, token)
                : project_rows_by_both<Real>(gram, layer.inputs, layer.samples, scale, rows, options, token);
        if (finite && plain) {
            check_steps(steps, gram, p, layer, options.kappa);
        }
    } catch (const std::domain_error&) {  // the next residual overflows
    }
}

}  // namespace
}  // namespace qpsbgd::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    qpsbgd::fuzz::Bytes bytes(data, size);
    if (bytes.flag()) {
        qpsbgd::fuzz::project_once<float>(bytes);
    } else {
        qpsbgd::fuzz::project_once<double>(bytes);
    }
    return 0;
}
