// Batches of Ising problems.
#include <optional>
#include <string>
#include <utility>

#include "arrays.hpp"
#include "qpsbgd/interactions.hpp"
#include "qpsbgd/solve.hpp"

#include <pybind11/stl.h>

namespace qpsbgd::python {
namespace {

Method method_named(const std::string& name) {
    if (name == "auto") {
        return Method::automatic;
    }
    if (name == "exact") {
        return Method::exact;
    }
    if (name == "descent") {
        return Method::descent;
    }
    if (name == "anneal") {
        return Method::anneal;
    }
    require(name == "tabu",
            "method must be 'auto', 'exact', 'descent', 'anneal' or 'tabu', but is '" + name + "'");
    return Method::tabu;
}

struct Arguments {
    Array<double> fields;
    Array<double> offset;
    double coupling_scale;
    std::optional<Array<std::int8_t>> initial_states;
    std::string method;
    std::size_t reads;
    std::optional<std::size_t> sweeps;
    std::optional<std::pair<double, double>> beta_range;
    std::optional<double> time_limit;
    std::uint64_t seed;
    std::size_t threads;
    std::uint64_t first_problem;
    std::optional<py::function> interrupt_function;
};

// The caller's own function: true ends the solve with what it has found. An exception ends it too, and is kept.
class InterruptFunction {
public:
    explicit InterruptFunction(py::function function) : function_(std::move(function)) {}

    bool operator()() {
        const py::gil_scoped_acquire gil;
        try {
            return py::cast<bool>(py::bool_(function_()));
        } catch (py::error_already_set& error) {
            failure_ = std::move(error);
            return true;
        }
    }

    void rethrow() {
        if (failure_) {
            throw *failure_;
        }
    }

private:
    py::function function_;
    std::optional<py::error_already_set> failure_;
};

py::dict info_of(const SolveReport& report) {
    py::dict timing;
    timing["preparation_ns"] = report.preparation_ns;
    timing["solve_ns"] = report.solve_ns;
    py::dict info;
    info["method"] = report.method;
    info["sweeps"] = report.sweeps;
    info["proven_optimal"] = report.proven;
    info["beta_range"] = report.beta_range
                             ? py::object(py::make_tuple(report.beta_range->hot, report.beta_range->cold))
                             : py::object(py::none());
    info["timing"] = timing;
    return info;
}

py::tuple run(const CouplingsView& couplings, const Arguments& arguments) {
    require(arguments.fields.ndim() == 2 && arguments.fields.size() > 0, "h must have shape (b, n)");
    IsingBatch batch;
    batch.problems = extent(arguments.fields, 0);
    batch.n = extent(arguments.fields, 1);
    batch.fields = view(arguments.fields);
    batch.offset = view(arguments.offset);
    batch.couplings = couplings;
    batch.coupling_scale = arguments.coupling_scale;
    require(batch.offset.size() == batch.problems, "offset must have shape (b,)");
    require(arguments.reads > 0, "num_reads must be positive");
    if (arguments.initial_states) {
        batch.initial_states = view(*arguments.initial_states);
        batch.initial_reads = arguments.reads;
        require(batch.initial_states.size() == batch.problems * arguments.reads * batch.n,
                "initial_states must have shape (b, reads, n)");
    }

    SolveOptions options;
    options.method = method_named(arguments.method);
    options.reads = arguments.reads;
    options.sweeps = arguments.sweeps;
    if (arguments.beta_range) {
        options.beta_range = BetaRange{arguments.beta_range->first, arguments.beta_range->second};
    }
    options.time_limit = arguments.time_limit;
    options.seed = arguments.seed;
    options.threads = arguments.threads;
    options.first_problem = arguments.first_problem;
    options.interrupt_check = signals_pending;
    std::optional<InterruptFunction> interrupt;
    if (arguments.interrupt_function) {
        interrupt.emplace(*arguments.interrupt_function);
        options.finish_check = [&] { return (*interrupt)(); };
    }

    Array<std::int8_t> samples({batch.problems, options.reads, batch.n});
    Array<double> energies({batch.problems, options.reads});
    auto samples_view = mutable_view(samples);
    auto energies_view = mutable_view(energies);
    const SolveReport report =
        without_gil([&] { return solve(batch, options, samples_view, energies_view); });
    if (interrupt) {
        interrupt->rethrow();
    }
    return py::make_tuple(samples, energies, info_of(report));
}

template <class Real>
py::tuple solve_dense(const Array<double>& fields, const Array<Real>& couplings, const Array<double>& offset,
                      double coupling_scale, std::optional<Array<std::int8_t>> initial_states,
                      std::string method, std::size_t reads, std::optional<std::size_t> sweeps,
                      std::optional<std::pair<double, double>> beta_range, std::optional<double> time_limit,
                      std::uint64_t seed, std::size_t threads, std::uint64_t first_problem,
                      std::optional<py::function> interrupt_function) {
    require(couplings.ndim() == 2 || couplings.ndim() == 3, "J must have shape (n, n) or (b, n, n)");
    DenseView<Real> dense;
    dense.values = view(couplings);
    dense.n = extent(couplings, couplings.ndim() - 1);
    dense.count = couplings.ndim() == 3 ? extent(couplings, 0) : 1;
    require(fields.ndim() == 2 && extent(fields, 1) == dense.n &&
                extent(couplings, couplings.ndim() - 2) == dense.n &&
                (dense.count == 1 || dense.count == extent(fields, 0)),
            "h of shape (b, n) needs J of shape (n, n) or (b, n, n)");
    return run(dense,
               {fields, offset, coupling_scale, std::move(initial_states), std::move(method), reads, sweeps,
                beta_range, time_limit, seed, threads, first_problem, std::move(interrupt_function)});
}

template <class Real>
py::tuple solve_sparse(const Array<double>& fields, const Array<std::int64_t>& indptr,
                       const Array<std::int32_t>& indices, const Array<Real>& data,
                       const Array<double>& offset, double coupling_scale,
                       std::optional<Array<std::int8_t>> initial_states, std::string method,
                       std::size_t reads, std::optional<std::size_t> sweeps,
                       std::optional<std::pair<double, double>> beta_range, std::optional<double> time_limit,
                       std::uint64_t seed, std::size_t threads, std::uint64_t first_problem,
                       std::optional<py::function> interrupt_function) {
    require(fields.ndim() == 2, "h must have shape (b, n)");
    const SparseView<Real> sparse{view(indptr), view(indices), view(data), extent(fields, 1)};
    return run(sparse,
               {fields, offset, coupling_scale, std::move(initial_states), std::move(method), reads, sweeps,
                beta_range, time_limit, seed, threads, first_problem, std::move(interrupt_function)});
}

// Fills a matrix of zeros; see dense_couplings.
template <class Real>
void fill_couplings(Array<Real>& couplings, const Array<std::int32_t>& first,
                    const Array<std::int32_t>& second, const Array<Real>& value) {
    require(couplings.ndim() == 2 && couplings.shape(0) == couplings.shape(1), "J must have shape (n, n)");
    require(first.ndim() == 1 && second.size() == first.size() && value.size() == first.size(),
            "rows, columns and values must have the same length");
    auto matrix = mutable_view(couplings);
    without_gil([&] {
        StopToken token(std::nullopt, signals_pending);
        dense_couplings<Real>({view(first), view(second), view(value)}, extent(couplings, 0), matrix, token);
    });
}

template <class Real>
void register_for(py::module_& module) {
    using py::arg;
    module.def("solve_dense", &solve_dense<Real>, arg("h").noconvert(), arg("J").noconvert(),
               arg("offset").noconvert(), arg("coupling_scale"), arg("initial_states").noconvert(),
               arg("method"), arg("num_reads"), arg("num_sweeps"), arg("beta_range"), arg("time_limit"),
               arg("seed"), arg("num_threads"), arg("first_problem"), arg("interrupt_function") = py::none());
    module.def("solve_sparse", &solve_sparse<Real>, arg("h").noconvert(), arg("indptr").noconvert(),
               arg("indices").noconvert(), arg("data").noconvert(), arg("offset").noconvert(),
               arg("coupling_scale"), arg("initial_states").noconvert(), arg("method"), arg("num_reads"),
               arg("num_sweeps"), arg("beta_range"), arg("time_limit"), arg("seed"), arg("num_threads"),
               arg("first_problem"), arg("interrupt_function") = py::none());
    module.def("fill_couplings", &fill_couplings<Real>, arg("J").noconvert(), arg("rows").noconvert(),
               arg("columns").noconvert(), arg("values").noconvert());
}

}  // namespace

void register_solve(py::module_& module) {
    register_for<float>(module);
    register_for<double>(module);
}

}  // namespace qpsbgd::python
