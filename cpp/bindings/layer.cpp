// Gram matrices, weight gradients and the training step's projection.
#include <pybind11/stl.h>

#include <algorithm>
#include <optional>
#include <string>

#include "arrays.hpp"
#include "qpsbgd/layer.hpp"

namespace qpsbgd::python {
namespace {

// A new matrix with rows that the kernels read well: a NumPy array whose rows are apart.
template <class Real>
struct SpreadMatrix {
    Rows<Real> rows;
    py::array_t<Real> array;
};

template <class Real>
SpreadMatrix<Real> spread_matrix(std::size_t m, std::size_t d) {
    auto matrix = allocate_matrix<Real>(m, d);
    const Rows<Real> rows = matrix.rows();
    const py::capsule owner(rows.data, [](void* memory) { FreeMatrix()(memory); });
    static_cast<void>(matrix.memory.release());
    const auto row_bytes = static_cast<py::ssize_t>(rows.stride * sizeof(Real));
    return {rows,
            py::array_t<Real>({m, d}, {row_bytes, static_cast<py::ssize_t>(sizeof(Real))}, rows.data, owner)};
}

template <class Real>
py::array_t<Real> gram_of(const Input<Real>& inputs, double scale, std::size_t threads) {
    require(inputs.ndim() == 2 && inputs.size() > 0, "X must have shape (samples, d)");
    const std::size_t d = inputs.extent(1);
    auto matrix = spread_matrix<Real>(d, d);
    without_gil([&] {
        StopToken token(std::nullopt, signals_pending);
        gram<Real>(inputs.view(), inputs.extent(0), d, scale, matrix.rows, threads, token);
    });
    return matrix.array;
}

// Shapes of X (samples, d) and V (samples, m).
struct FactorShapes {
    std::size_t samples;
    std::size_t d;
    std::size_t m;
};

template <class Real>
FactorShapes factor_shapes(const Input<Real>& inputs, const Input<Real>& output_gradients) {
    require(inputs.ndim() == 2 && inputs.size() > 0, "X must have shape (samples, d)");
    require(output_gradients.ndim() == 2 && output_gradients.size() > 0 &&
                output_gradients.extent(0) == inputs.extent(0),
            "V must have shape (samples, m) with as many samples as X");
    return {.samples = inputs.extent(0), .d = inputs.extent(1), .m = output_gradients.extent(1)};
}

template <class Real>
Array<Real> weight_gradient_of(const Input<Real>& inputs, const Input<Real>& output_gradients, double scale,
                               std::size_t threads) {
    const auto [samples, d, m] = factor_shapes(inputs, output_gradients);
    Array<Real> out({m, d});
    const Rows<Real> rows{out.mutable_data(), d};
    without_gil([&, samples = samples, d = d, m = m] {
        StopToken token(std::nullopt, signals_pending);
        weight_gradient<Real>(inputs.view(), output_gradients.view(), samples, d, m, scale, rows, threads,
                              token);
    });
    return out;
}

template <class Real>
py::tuple gram_and_weight_gradient_of(const Input<Real>& inputs, const Input<Real>& output_gradients,
                                      double gram_scale, double gradient_scale, std::size_t threads) {
    const auto [samples, d, m] = factor_shapes(inputs, output_gradients);
    auto matrix = spread_matrix<Real>(d, d);
    Array<Real> gradient({m, d});
    const Rows<Real> gradient_rows{gradient.mutable_data(), d};
    without_gil([&, samples = samples, d = d, m = m] {
        StopToken token(std::nullopt, signals_pending);
        gram_and_weight_gradient<Real>(inputs.view(), output_gradients.view(), samples, d, m, gram_scale,
                                       gradient_scale, matrix.rows, gradient_rows, threads, token);
    });
    return py::make_tuple(matrix.array, gradient);
}

ScaleRule scale_rule(const std::string& name) {
    if (name == "relative") {
        return ScaleRule::relative;
    }
    if (name == "auto") {
        return ScaleRule::automatic;
    }
    require(name == "fixed", "scale must be 'relative', 'auto' or 'fixed', but is '" + name + "'");
    return ScaleRule::fixed;
}

// A matrix whose rows are contiguous and may be apart. An aligned copy is made where it is not aligned.
template <class Real>
py::array_t<Real> aligned_rows(const py::array_t<Real>& matrix, const std::string& name) {
    constexpr auto size = static_cast<py::ssize_t>(sizeof(Real));
    const py::ssize_t rows = matrix.shape(0);
    const py::ssize_t d = matrix.shape(1);
    require((matrix.strides(1) == size || d == 1) && (matrix.strides(0) >= d * size || rows == 1),
            name + " must have contiguous rows");
    if (is_aligned(matrix) && matrix.strides(0) % size == 0) {
        return matrix;
    }
    Array<Real> copy({rows, d});
    for (py::ssize_t row = 0; row < rows; ++row) {
        std::memcpy(copy.mutable_data(row, 0), matrix.data(row, 0),
                    static_cast<std::size_t>(d) * sizeof(Real));
    }
    return copy;
}

// A of shape (d, d), as aligned_rows.
template <class Real>
py::array_t<Real> square_matrix(const py::array_t<Real>& matrix, std::size_t d) {
    const auto extent = static_cast<py::ssize_t>(d);
    require(matrix.ndim() == 2 && matrix.shape(0) == extent && matrix.shape(1) == extent,
            "A must have shape (d, d) for P of shape (m, d)");
    return aligned_rows(matrix, "A");
}

// The rows of what aligned_rows returns.
template <class Real>
Rows<const Real> rows_of(const py::array_t<Real>& matrix) {
    constexpr auto size = static_cast<py::ssize_t>(sizeof(Real));
    const auto d = static_cast<std::size_t>(matrix.shape(1));
    return {matrix.data(), std::max(d, static_cast<std::size_t>(matrix.strides(0) / size))};
}

// (state, mean), which are one array where nothing is corrected.
template <class Real>
py::tuple running_mean_of(const py::array_t<Real>& values, const std::optional<Input<Real>>& past,
                          double weight, double correction, std::size_t threads) {
    require(values.ndim() == 2, "values must have shape (m, d)");
    const py::array_t<Real> matrix = aligned_rows(values, "values");
    const auto m = static_cast<std::size_t>(matrix.shape(0));
    const auto d = static_cast<std::size_t>(matrix.shape(1));
    require(!past || (past->ndim() == 2 && past->extent(0) == m && past->extent(1) == d),
            "past must have the shape of values");
    Array<Real> state({m, d});
    const auto by = static_cast<Real>(correction);
    Array<Real> mean = correction == 1.0 ? state : Array<Real>({m, d});
    const RunningMean<Real> what{.values = rows_of(matrix),
                                 .m = m,
                                 .d = d,
                                 .past = past ? past->view() : std::span<const Real>{},
                                 .weight = static_cast<Real>(weight),
                                 .correction = by,
                                 .state = mutable_view(state),
                                 .mean = correction == 1.0 ? std::span<Real>{} : mutable_view(mean)};
    without_gil([&] {
        StopToken token(std::nullopt, signals_pending);
        update_mean<Real>(what, threads, token);
    });
    return py::make_tuple(state, mean);
}

ProjectionOptions projection_options(const std::string& scale, double kappa, const std::string& domain,
                                     std::size_t threads) {
    require(domain == "spin" || domain == "mask", "domain must be 'spin' or 'mask', but is '" + domain + "'");
    return {scale_rule(scale), kappa, domain == "mask", threads};
}

// What a projection reads and writes.
template <class Real>
struct StepArrays {
    StepArrays(const Input<Real>& gradient, const std::optional<Input<Real>>& residual, bool keep_residual)
        : steps({gradient.extent(0), gradient.extent(1)}) {
        const std::size_t m = gradient.extent(0);
        const std::size_t d = gradient.extent(1);
        require(!residual || (residual->ndim() == 2 && residual->extent(0) == m && residual->extent(1) == d),
                "residual must have the shape of P");
        rows = {.gradient = gradient.view(),
                .residual = residual ? residual->view() : std::span<const Real>{},
                .m = m,
                .d = d,
                .steps = mutable_view(steps),
                .next_residual = {}};
        if (keep_residual) {
            next_residual.emplace(Array<Real>({m, d}));
            rows.next_residual = mutable_view(*next_residual);
        }
    }

    Array<std::int8_t> steps;
    std::optional<Array<Real>> next_residual;
    LayerRows<Real> rows;
};

// (G, next residual or None, whether all of P + residual and A was finite)
template <class Real>
py::tuple project_rows_of(const py::array_t<Real>& given_matrix, const Input<Real>& gradient,
                          const std::optional<Input<Real>>& residual, bool keep_residual,
                          const std::string& scale, double kappa, const std::string& domain,
                          std::size_t threads) {
    require(gradient.ndim() == 2 && gradient.size() > 0, "P must have shape (m, d)");
    const std::size_t d = gradient.extent(1);
    const py::array_t<Real> matrix = square_matrix(given_matrix, d);
    StepArrays<Real> arrays(gradient, residual, keep_residual);
    const ProjectionOptions options = projection_options(scale, kappa, domain, threads);
    const Rows<const Real> couplings = rows_of(matrix);
    const bool finite = without_gil([&] {
        StopToken token(std::nullopt, signals_pending);
        return project_rows<Real>(couplings, arrays.rows, options, token);
    });
    return py::make_tuple(arrays.steps, arrays.next_residual, finite);
}

// As project_rows_of, for A = gram_scale X'X: by X alone, or by X and the matrix.
template <class Real>
py::tuple project_rows_by_inputs_of(const Input<Real>& inputs, const Input<Real>& gradient,
                                    const std::optional<py::array_t<Real>>& given_matrix,
                                    const std::optional<Input<Real>>& residual, bool keep_residual,
                                    double gram_scale, const std::string& scale, double kappa,
                                    const std::string& domain, std::size_t threads) {
    require(gradient.ndim() == 2 && gradient.size() > 0, "P must have shape (m, d)");
    require(inputs.ndim() == 2 && inputs.size() > 0 && inputs.extent(1) == gradient.extent(1),
            "X must have shape (samples, d) for P of shape (m, d)");
    std::optional<py::array_t<Real>> matrix;
    if (given_matrix) {
        matrix = square_matrix(*given_matrix, gradient.extent(1));
    }
    StepArrays<Real> arrays(gradient, residual, keep_residual);
    const ProjectionOptions options = projection_options(scale, kappa, domain, threads);
    const bool finite = without_gil([&] {
        StopToken token(std::nullopt, signals_pending);
        if (matrix) {
            return project_rows_by_both<Real>(rows_of(*matrix), inputs.view(), inputs.extent(0), gram_scale,
                                              arrays.rows, options, token);
        }
        return project_rows_by_inputs<Real>(inputs.view(), inputs.extent(0), gram_scale, arrays.rows, options,
                                            token);
    });
    return py::make_tuple(arrays.steps, arrays.next_residual, finite);
}

template <class Real>
void move_weights_of(Array<Real> weights, const Input<std::int8_t>& steps, Real lr, Real clip,
                     std::size_t threads) {
    require(static_cast<std::size_t>(weights.size()) == steps.size(),
            "W and G must have the same number of entries");
    const std::span<Real> values = written_view(weights, "W");
    without_gil([&] {
        StopToken token(std::nullopt, nullptr);  // all weights or none
        move_weights<Real>(values, steps.view(), lr, clip, threads, token);
    });
}

template <class Real>
void register_for(py::module_& module) {
    using py::arg;
    module.def("gram", &gram_of<Real>, arg("X"), arg("scale"), arg("num_threads"));
    module.def("weight_gradient", &weight_gradient_of<Real>, arg("X"), arg("V"), arg("scale"),
               arg("num_threads"));
    module.def("gram_and_weight_gradient", &gram_and_weight_gradient_of<Real>, arg("X"), arg("V"),
               arg("gram_scale"), arg("gradient_scale"), arg("num_threads"));
    module.def("running_mean", &running_mean_of<Real>, arg("values").noconvert(), arg("past") = py::none(),
               py::kw_only(), arg("weight"), arg("correction"), arg("num_threads"));
    module.def("project_rows", &project_rows_of<Real>, arg("A").noconvert(), arg("P"), py::kw_only(),
               arg("residual") = py::none(), arg("keep_residual") = false, arg("scale"), arg("kappa"),
               arg("domain"), arg("num_threads"));
    module.def("project_rows_by_inputs", &project_rows_by_inputs_of<Real>, arg("X"), arg("P"), py::kw_only(),
               arg("A").noconvert() = py::none(), arg("residual") = py::none(), arg("keep_residual") = false,
               arg("gram_scale"), arg("scale"), arg("kappa"), arg("domain"), arg("num_threads"));
    module.def("move_weights", &move_weights_of<Real>, arg("W").noconvert(), arg("G"), arg("lr"), arg("clip"),
               arg("num_threads"));
}

}  // namespace

void register_layer(py::module_& module) {
    register_for<float>(module);
    register_for<double>(module);
}

}  // namespace qpsbgd::python
