// Batches of Ising problems.
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "arrays.hpp"
#include "qpsbgd/interactions.hpp"
#include "qpsbgd/progress.hpp"
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

Presolve presolve_named(const std::string& name) {
    if (name == "auto") {
        return Presolve::automatic;
    }
    require(name == "on" || name == "off", "presolve must be 'auto', 'on' or 'off', but is '" + name + "'");
    return name == "on" ? Presolve::on : Presolve::off;
}

// How to solve: what Python calls SolveOptions.
struct PythonOptions {
    SolveOptions options;
    std::optional<py::function> interrupt_function;
    std::optional<py::function> progress;
    std::vector<double> targets;
    std::size_t num_best = 0;
};

PythonOptions make_options(const std::string& method, std::size_t reads, std::optional<std::size_t> sweeps,
                           std::optional<std::pair<double, double>> beta_range,
                           std::optional<double> time_limit, std::uint64_t seed, std::size_t threads,
                           std::uint64_t first_problem, std::optional<py::function> interrupt_function,
                           std::vector<double> target_energies, std::size_t num_best,
                           std::optional<py::function> progress, std::optional<std::vector<double>> betas,
                           bool gibbs, bool random_order, bool keep_last, const std::string& presolve) {
    require(reads > 0, "num_reads must be positive");
    PythonOptions result;
    result.options.method = method_named(method);
    result.options.reads = reads;
    result.options.sweeps = sweeps;
    if (beta_range) {
        result.options.beta_range = BetaRange{beta_range->first, beta_range->second};
    }
    result.options.time_limit = time_limit;
    result.options.seed = seed;
    result.options.threads = threads;
    result.options.first_problem = first_problem;
    result.options.presolve = presolve_named(presolve);
    result.interrupt_function = std::move(interrupt_function);
    result.targets = std::move(target_energies);
    result.num_best = num_best;
    result.progress = std::move(progress);
    if (betas) {
        result.options.sampling = Sampling{std::move(*betas), gibbs, random_order, keep_last};
    }
    return result;
}

// The caller's own function: true ends the solve with what it has found. An exception ends it too, and is kept.
class InterruptFunction {
public:
    explicit InterruptFunction(py::function function) : function_(std::move(function)) {}

    bool operator()() {
        const WithGil gil;
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

// Tells the caller now and then what has been found. False once that raised: the exception is Python's current one.
class ProgressFunction {
public:
    ProgressFunction(py::function function, const Progress& progress, std::size_t problems)
        : function_(std::move(function)), progress_(progress), problems_(problems) {}

    bool operator()() {
        const auto now = Clock::now();
        if (now < next_) {
            return true;
        }
        const WithGil gil;
        try {
            Array<double> energies(static_cast<py::ssize_t>(problems_));
            for (std::size_t problem = 0; problem < problems_; ++problem) {
                energies.mutable_at(problem) = progress_.best_energy(problem);
            }
            function_(std::chrono::duration<double>(now - begin_).count(), energies);
        } catch (py::error_already_set& error) {
            error.restore();
            return false;
        }
        next_ = Clock::now() + kInterval;
        return true;
    }

private:
    static constexpr auto kInterval = std::chrono::milliseconds(100);

    py::function function_;
    const Progress& progress_;
    std::size_t problems_;
    Clock::time_point begin_ = Clock::now();
    Clock::time_point next_ = begin_ + kInterval;
};

// (seconds, energy) of every new best, a list a problem.
py::list trace_of(const Progress& progress, std::size_t problems) {
    py::list traces;
    for (std::size_t problem = 0; problem < problems; ++problem) {
        py::list trace;
        for (const NewBest& best : progress.trace(problem)) {
            trace.append(py::make_tuple(best.seconds, best.energy));
        }
        traces.append(trace);
    }
    return traces;
}

// The best different states, as many of each problem as every one has: samples (b, k, n) and energies (b, k).
py::tuple kept_of(const Progress& progress, const IsingBatch& batch, std::size_t num_best) {
    std::size_t rows = num_best;
    for (std::size_t problem = 0; problem < batch.problems; ++problem) {
        rows = std::min(rows, progress.kept(problem));
    }
    Array<std::int8_t> samples({batch.problems, rows, batch.n});
    Array<double> energies({batch.problems, rows});
    const auto all_samples = mutable_view(samples);
    const auto all_energies = mutable_view(energies);
    for (std::size_t problem = 0; problem < batch.problems; ++problem) {
        progress.copy_kept(problem, all_samples.subspan(problem * rows * batch.n, rows * batch.n),
                           all_energies.subspan(problem * rows, rows));
    }
    return py::make_tuple(samples, energies);
}

py::dict info_of(const SolveReport& report) {
    py::dict timing;
    timing["preparation_ns"] = report.preparation_ns;
    timing["solve_ns"] = report.solve_ns;
    py::dict info;
    info["method"] = report.method;
    info["num_reads"] = report.reads;
    info["sweeps"] = report.sweeps;
    info["proven_optimal"] = report.proven;
    info["beta_range"] = report.beta_range
                             ? py::object(py::make_tuple(report.beta_range->hot, report.beta_range->cold))
                             : py::object(py::none());
    info["timing"] = timing;
    info["presolve"] = py::none();
    if (report.presolve) {
        py::dict presolve;
        presolve["decided"] = report.presolve->decided;
        presolve["degree_1"] = report.presolve->degree_one;
        presolve["degree_2"] = report.presolve->degree_two;
        presolve["remaining"] = report.presolve->remaining;
        presolve["components"] = report.presolve->components;
        info["presolve"] = presolve;
    }
    return info;
}

py::tuple run(const IsingBatch& batch, const PythonOptions& asked) {
    SolveOptions options = asked.options;
    options.interrupt_check = signals_pending;
    std::optional<InterruptFunction> interrupt;
    if (asked.interrupt_function) {
        interrupt.emplace(*asked.interrupt_function);
        options.finish_check = [&] { return (*interrupt)(); };
    }
    require(asked.targets.empty() || asked.targets.size() == batch.problems,
            "target_energies must have shape (b,)");
    std::optional<Progress> progress;
    std::optional<ProgressFunction> report_progress;
    if (!asked.targets.empty() || asked.num_best != 0 || asked.progress || options.time_limit) {
        progress.emplace(batch.problems, asked.targets, asked.num_best);
        options.progress = &*progress;
    }
    if (asked.progress) {
        report_progress.emplace(*asked.progress, *progress, batch.problems);
        options.interrupt_check = [&] { return signals_pending() || !(*report_progress)(); };
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
    py::dict info = info_of(report);
    if (progress) {
        info["trace"] = trace_of(*progress, batch.problems);
        if (asked.num_best != 0) {
            const py::tuple kept = kept_of(*progress, batch, asked.num_best);
            return py::make_tuple(kept[0], kept[1], info);
        }
    }
    // The reads that every problem has had; the memory of the others was never touched.
    const auto first = [](std::size_t count) { return py::slice(0, static_cast<py::ssize_t>(count), 1); };
    const auto answers = py::make_tuple(first(batch.problems), first(report.reads));
    return py::make_tuple(samples[answers], energies[answers], info);
}

// The batch's arrays but for its couplings.
IsingBatch batch_of(const Input<double>& fields, const Input<double>& offset, double coupling_scale,
                    const std::optional<Input<std::int8_t>>& initial_states, std::size_t most_reads) {
    require(fields.ndim() == 2 && fields.size() > 0, "h must have shape (b, n)");
    IsingBatch batch;
    batch.problems = fields.extent(0);
    batch.n = fields.extent(1);
    batch.fields = fields.view();
    batch.offset = offset.view();
    batch.coupling_scale = coupling_scale;
    require(batch.offset.size() == batch.problems, "offset must have shape (b,)");
    if (initial_states) {
        batch.initial_states = initial_states->view();
        require(initial_states->ndim() == 3, "initial_states must have shape (b, reads, n)");
        batch.initial_reads = initial_states->extent(1);
        require((batch.initial_reads == 1 || batch.initial_reads == most_reads) &&
                    batch.initial_states.size() == batch.problems * batch.initial_reads * batch.n,
                "initial_states must have shape (b, reads, n) or (b, 1, n)");
    }
    return batch;
}

template <class Real>
py::tuple solve_dense(const Input<double>& fields, const Input<Real>& couplings, const Input<double>& offset,
                      double coupling_scale, const std::optional<Input<std::int8_t>>& initial_states,
                      const PythonOptions& options) {
    require(couplings.ndim() == 2 || couplings.ndim() == 3, "J must have shape (n, n) or (b, n, n)");
    DenseView<Real> dense;
    dense.values = couplings.view();
    dense.n = couplings.extent(couplings.ndim() - 1);
    dense.count = couplings.ndim() == 3 ? couplings.extent(0) : 1;
    require(fields.ndim() == 2 && fields.extent(1) == dense.n &&
                couplings.extent(couplings.ndim() - 2) == dense.n &&
                (dense.count == 1 || dense.count == fields.extent(0)),
            "h of shape (b, n) needs J of shape (n, n) or (b, n, n)");
    IsingBatch batch = batch_of(fields, offset, coupling_scale, initial_states, options.options.reads);
    batch.couplings = dense;
    return run(batch, options);
}

template <class Real>
py::tuple solve_sparse(const Input<double>& fields, const Input<std::int64_t>& indptr,
                       const Input<std::int32_t>& indices, const Input<Real>& data,
                       const Input<double>& offset, double coupling_scale,
                       const std::optional<Input<std::int8_t>>& initial_states,
                       const PythonOptions& options) {
    IsingBatch batch = batch_of(fields, offset, coupling_scale, initial_states, options.options.reads);
    // They are checked once and used as indices until the end.
    const auto row_start = indptr.copy();
    const auto column = indices.copy();
    batch.couplings = SparseView<Real>{row_start, column, data.view(), batch.n};
    return run(batch, options);
}

// Fills a matrix of zeros; see dense_couplings.
template <class Real>
void fill_couplings(Array<Real>& couplings, const Input<std::int32_t>& first,
                    const Input<std::int32_t>& second, const Input<Real>& value) {
    require(couplings.ndim() == 2 && couplings.shape(0) == couplings.shape(1), "J must have shape (n, n)");
    require(first.ndim() == 1 && second.size() == first.size() && value.size() == first.size(),
            "rows, columns and values must have the same length");
    const auto matrix = written_view(couplings, "J");
    const auto n = static_cast<std::size_t>(couplings.shape(0));
    without_gil([&] {
        StopToken token(std::nullopt, signals_pending);
        dense_couplings<Real>({first.view(), second.view(), value.view()}, n, matrix, token);
    });
}

template <class Real>
void register_for(py::module_& module) {
    using py::arg;
    module.def("solve_dense", &solve_dense<Real>, arg("h"), arg("J"), arg("offset"), arg("coupling_scale"),
               arg("initial_states"), arg("options"));
    module.def("solve_sparse", &solve_sparse<Real>, arg("h"), arg("indptr"), arg("indices"), arg("data"),
               arg("offset"), arg("coupling_scale"), arg("initial_states"), arg("options"));
    module.def("fill_couplings", &fill_couplings<Real>, arg("J").noconvert(), arg("rows"), arg("columns"),
               arg("values"));
}

}  // namespace

void register_solve(py::module_& module) {
    using py::arg;
    py::class_<PythonOptions>(module, "SolveOptions", "How a batch is solved; what is left out is chosen.")
        .def(py::init(&make_options), py::kw_only(), arg("method") = "auto", arg("num_reads") = 1,
             arg("num_sweeps") = py::none(), arg("beta_range") = py::none(), arg("time_limit") = py::none(),
             arg("seed") = 0, arg("num_threads") = 1, arg("first_problem") = 0,
             arg("interrupt_function") = py::none(), arg("target_energies") = std::vector<double>(),
             arg("num_best") = 0, arg("progress") = py::none(), arg("betas") = py::none(),
             arg("gibbs") = false, arg("random_order") = false, arg("keep_last") = false, arg("presolve") = "off");
    register_for<float>(module);
    register_for<double>(module);
}

}  // namespace qpsbgd::python
