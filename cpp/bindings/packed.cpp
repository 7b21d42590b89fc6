// Products with weights of one bit each.
#include <pybind11/pybind11.h>

#include <cstddef>
#include <cstdint>
#include <optional>

#include "arrays.hpp"
#include "qpsbgd/packed.hpp"

namespace qpsbgd::python {
namespace {

Array<float> packed_product_of(const Input<std::uint32_t>& bits, const Input<float>& inputs,
                               std::size_t num_threads) {
    require(bits.ndim() == 2 && inputs.ndim() == 2, "bits and inputs must have two axes");
    const PackedSigns signs{bits.view(), bits.extent(0), inputs.extent(1)};
    require(bits.extent(1) == signs.words(), "bits must have one word for every 32 columns of inputs");
    Array<float> out({static_cast<py::ssize_t>(inputs.extent(0)), static_cast<py::ssize_t>(bits.extent(0))});
    const std::span<float> result = mutable_view(out);
    without_gil([&] {
        StopToken token(std::nullopt, signals_pending);
        packed_product(signs, inputs.view(), inputs.extent(0), result, num_threads, token);
    });
    return out;
}

}  // namespace

void register_packed(py::module_& module) {
    using py::arg;
    module.def("packed_product", &packed_product_of, arg("bits"), arg("inputs"), arg("num_threads"),
               "Inputs (n, d) times signs (m, d), which are bits, set for -1, 32 to a word.");
}

}  // namespace qpsbgd::python
