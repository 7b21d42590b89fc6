// NumPy arrays as views: shapes are checked, memory is neither copied nor owned.
#pragma once

#include <pybind11/numpy.h>

#include <cstddef>
#include <functional>
#include <initializer_list>
#include <span>
#include <stdexcept>
#include <string>

#include "qpsbgd/cancellation.hpp"

namespace qpsbgd::python {

namespace py = pybind11;

template <class T>
using Array = py::array_t<T, py::array::c_style>;

template <class T>
std::span<const T> view(const Array<T>& array) {
    return {array.data(), static_cast<std::size_t>(array.size())};
}

template <class T>
std::span<T> mutable_view(Array<T>& array) {
    return {array.mutable_data(), static_cast<std::size_t>(array.size())};
}

template <class T>
std::size_t extent(const Array<T>& array, py::ssize_t axis) {
    return static_cast<std::size_t>(array.shape(axis));
}

inline void require(bool condition, const std::string& message) {
    if (!condition) {
        throw py::value_error(message);
    }
}

// Pending signals (Ctrl-C) make the solver stop; the exception that Python's handler raised is passed on later.
inline bool signals_pending() {
    const py::gil_scoped_acquire gil;
    return PyErr_CheckSignals() != 0;
}

// Runs `work` without the GIL. An interrupt leaves Python's own exception set, which is rethrown as it is.
template <class Work>
auto without_gil(const Work& work) {
    try {
        const py::gil_scoped_release release;
        return work();
    } catch (const Interrupted&) {
        throw py::error_already_set();
    }
}

}  // namespace qpsbgd::python
