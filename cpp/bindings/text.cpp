// Text in, arrays out.
#include <pybind11/pybind11.h>

#include <algorithm>
#include <cstdint>
#include <string_view>
#include <vector>

#include "arrays.hpp"
#include "qpsbgd/number_lines.hpp"

namespace qpsbgd::python {
namespace {

template <class T>
Array<T> array_of(const std::vector<T>& values) {
    Array<T> array(static_cast<py::ssize_t>(values.size()));
    std::ranges::copy(values, array.mutable_data());
    return array;
}

py::tuple number_lines(const py::bytes& text) {
    const std::string_view view = text;
    const NumberLines result = without_gil([&] { return parse_number_lines(view); });
    return py::make_tuple(array_of(result.numbers), array_of(result.lengths), array_of(result.lines),
                          result.bad_line);
}

}  // namespace

void register_text(py::module_& module) {
    module.def(
        "parse_number_lines", &number_lines, py::arg("text"),
        "Numbers of a text (bytes), numbers of each line that is not blank, the lines' places, and the "
        "first line that holds something else, or -1.");
}

}  // namespace qpsbgd::python
