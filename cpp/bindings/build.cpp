// How the module was built and what it runs on.
#include <pybind11/pybind11.h>

#include <string>
#include <string_view>
#include <thread>

#include "qpsbgd/build.hpp"

namespace qpsbgd::python {

namespace py = pybind11;

void register_build(py::module_& module) {
    module.def("build_info", [] {
        py::dict info;
        info["version"] = QPSBGD_VERSION;
#if defined(__clang__)
        info["compiler"] = std::string("clang ") + __clang_version__;
#elif defined(__GNUC__)
        info["compiler"] = std::string("gcc ") + __VERSION__;
#else
        info["compiler"] = "unknown";
#endif
        info["hardware_threads"] = std::thread::hardware_concurrency();
        info["instruction_set"] = instruction_set();
        py::list available;
        for (const std::string_view name : available_instruction_sets()) {
            available.append(name);
        }
        info["available_instruction_sets"] = available;
        return info;
    });
}

}  // namespace qpsbgd::python
