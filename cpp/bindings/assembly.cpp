// Gram matrices, fields and the training step's projection.
#include <string>

#include "arrays.hpp"
#include "qpsbgd/assembly.hpp"

namespace qpsbgd::python {
namespace {

template <class Real>
Array<Real> gram_of(const Array<Real>& inputs, double scale, std::size_t threads) {
    require(inputs.ndim() == 2 && inputs.size() > 0, "X must have shape (samples, d)");
    const std::size_t d = extent(inputs, 1);
    Array<Real> out({d, d});
    auto out_view = mutable_view(out);
    without_gil([&] {
        StopToken token(std::nullopt, signals_pending);
        gram<Real>(view(inputs), extent(inputs, 0), d, scale, out_view, threads, token);
    });
    return out;
}

template <class Real>
py::tuple gram_and_fields_of(const Array<Real>& inputs, const Array<Real>& output_gradients,
                             double gram_scale, double field_scale, std::size_t threads) {
    require(inputs.ndim() == 2 && inputs.size() > 0, "X must have shape (samples, d)");
    require(output_gradients.ndim() == 2 && output_gradients.size() > 0 &&
                output_gradients.shape(0) == inputs.shape(0),
            "V must have shape (samples, m) with as many samples as X");
    const std::size_t samples = extent(inputs, 0);
    const std::size_t d = extent(inputs, 1);
    const std::size_t m = extent(output_gradients, 1);
    Array<Real> matrix({d, d});
    Array<Real> fields({m, d});
    auto matrix_view = mutable_view(matrix);
    auto fields_view = mutable_view(fields);
    without_gil([&] {
        StopToken token(std::nullopt, signals_pending);
        gram<Real>(view(inputs), samples, d, gram_scale, matrix_view, threads, token);
        layer_fields<Real>(view(output_gradients), view(inputs), samples, m, d, field_scale, fields_view,
                           threads, token);
    });
    return py::make_tuple(matrix, fields);
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

template <class Real>
Array<std::int8_t> project_rows_of(const Array<Real>& matrix, const Array<Real>& gradient,
                                   const std::string& scale, double kappa, const std::string& domain,
                                   std::size_t threads) {
    require(gradient.ndim() == 2 && gradient.size() > 0, "P must have shape (m, d)");
    const std::size_t m = extent(gradient, 0);
    const std::size_t d = extent(gradient, 1);
    require(matrix.ndim() == 2 && extent(matrix, 0) == d && extent(matrix, 1) == d,
            "A must have shape (d, d) for P of shape (m, d)");
    require(domain == "spin" || domain == "mask", "domain must be 'spin' or 'mask', but is '" + domain + "'");
    Array<std::int8_t> out({m, d});
    const ProjectionOptions options{scale_rule(scale), kappa, domain == "mask", threads};
    auto out_view = mutable_view(out);
    without_gil([&] {
        StopToken token(std::nullopt, signals_pending);
        project_rows<Real>(view(matrix), view(gradient), m, d, options, out_view, token);
    });
    return out;
}

template <class Real>
void register_for(py::module_& module) {
    using py::arg;
    module.def("gram", &gram_of<Real>, arg("X").noconvert(), arg("scale"), arg("num_threads"));
    module.def("gram_and_fields", &gram_and_fields_of<Real>, arg("X").noconvert(), arg("V").noconvert(),
               arg("gram_scale"), arg("field_scale"), arg("num_threads"));
    module.def("project_rows", &project_rows_of<Real>, arg("A").noconvert(), arg("P").noconvert(),
               py::kw_only(), arg("scale"), arg("kappa"), arg("domain"), arg("num_threads"));
}

}  // namespace

void register_assembly(py::module_& module) {
    register_for<float>(module);
    register_for<double>(module);
}

}  // namespace qpsbgd::python
