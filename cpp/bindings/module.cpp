// The Python module: one register function per concept.
#include <pybind11/pybind11.h>

#include <exception>

namespace py = pybind11;

namespace qpsbgd::python {

void register_solve(py::module_& module);
void register_layer(py::module_& module);
void register_build(py::module_& module);
void register_packed(py::module_& module);
void register_text(py::module_& module);

}  // namespace qpsbgd::python

PYBIND11_MODULE(_core, module) {
    // The importing thread, mostly the main one, takes the memory that its first exception needs.
    static_cast<void>(std::uncaught_exceptions());
    module.doc() = "Native core of qpsbgd: checks arrays, releases the GIL, calls one C++ function.";
    qpsbgd::python::register_solve(module);
    qpsbgd::python::register_layer(module);
    qpsbgd::python::register_build(module);
    qpsbgd::python::register_packed(module);
    qpsbgd::python::register_text(module);
}
