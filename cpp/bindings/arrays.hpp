// NumPy arrays as views: dtypes, order and alignment are checked, memory is not owned. Copied is only what no processor
// reads well: arrays whose numbers do not lie on multiples of their size.
#pragma once

#include <pybind11/numpy.h>

#include <cstddef>
#include <cstring>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "gil.hpp"
#include "qpsbgd/cancellation.hpp"

namespace qpsbgd::python {

namespace py = pybind11;

// New arrays for results.
template <class T>
using Array = py::array_t<T, py::array::c_style>;

template <class T>
std::span<T> mutable_view(Array<T>& array) {
    return {array.mutable_data(), static_cast<std::size_t>(array.size())};
}

inline void require(bool condition, const std::string& message) {
    if (!condition) {
        throw py::value_error(message);
    }
}

inline bool is_aligned(const py::array& array) {
    return (array.flags() & py::detail::npy_api::NPY_ARRAY_ALIGNED_) != 0;
}

// An argument that is read only: an array of T in C order, of which an aligned copy is made where it is not aligned.
template <class T>
class Input {
public:
    Input() : array_(py::reinterpret_steal<Array<T>>(py::handle())) {}
    explicit Input(Array<T> array) : array_(is_aligned(array) ? std::move(array) : aligned(array)) {}

    py::ssize_t ndim() const { return array_.ndim(); }
    std::size_t size() const { return static_cast<std::size_t>(array_.size()); }
    std::size_t extent(py::ssize_t axis) const { return static_cast<std::size_t>(array_.shape(axis)); }
    std::span<const T> view() const { return {array_.data(), size()}; }

    // The numbers as they are now, for those that are used as indices: another thread may change the caller's.
    std::vector<T> copy() const { return std::vector<T>(array_.data(), array_.data() + size()); }

private:
    static Array<T> aligned(const Array<T>& array) {
        Array<T> copy(std::vector<py::ssize_t>(array.shape(), array.shape() + array.ndim()));
        std::memcpy(copy.mutable_data(), array.data(), static_cast<std::size_t>(array.nbytes()));
        return copy;
    }

    Array<T> array_;
};

// An argument that is written to in place. `name` is for the message.
template <class T>
std::span<T> written_view(Array<T>& array, const std::string& name) {
    require(is_aligned(array), name + " must be aligned, since it is written to in place");
    return mutable_view(array);  // throws if it may not be written to
}

// Pending signals (Ctrl-C) make the solver stop; the exception that Python's handler raised is passed on later.
inline bool signals_pending() {
    const WithGil gil;
    return PyErr_CheckSignals() != 0;
}

// Runs `work` without the GIL. An interrupt leaves Python's own exception set, which is rethrown as it is.
template <class Work>
auto without_gil(const Work& work) {
    try {
        const WithoutGil released;
        return work();
    } catch (const Interrupted&) {
        throw py::error_already_set();
    }
}

}  // namespace qpsbgd::python

namespace pybind11::detail {

template <class T>
struct type_caster<qpsbgd::python::Input<T>> {
    PYBIND11_TYPE_CASTER(qpsbgd::python::Input<T>, handle_type_name<array_t<T>>::name);

    // Never converts: an array of another dtype or order is an error, or belongs to another overload.
    bool load(handle source, bool /*convert*/) {
        if (!qpsbgd::python::Array<T>::check_(source)) {
            return false;
        }
        value = qpsbgd::python::Input<T>(reinterpret_borrow<qpsbgd::python::Array<T>>(source));
        return true;
    }
};

}  // namespace pybind11::detail
