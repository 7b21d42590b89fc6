// How far each native kernel is from what this machine can do: measures the peaks, then the kernels, and prints both
// as JSON. benchmarks/limits.py builds and runs it and makes a table of its output.
//
// A kernel's bound is the largest of three times: its operations at the peak of their kind, all its bytes at the rate
// of L1, and the bytes of a large matrix at the rate at which that much memory can be read again and again.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <string>
#include <string_view>
#include <vector>

#include "entries.hpp"
#include "kernels/kernel_table.hpp"
#include "machine.hpp"
#include "timing.hpp"

namespace qpsbgd::limits {
namespace {

struct Bound {
    double seconds;
    std::string by;
};

// Bytes of the registers that the kernels of an instruction set use: a fraction says how good they are, not how much
// wider the processor's registers may be.
std::size_t register_bytes(std::string_view instruction_set) {
    if (instruction_set == "avx512" || instruction_set == "amx") {
        return 64;
    }
    return instruction_set == "avx2" ? 32 : 16;
}

Bound bound_of(const Work& work, const Machine& machine) {
    std::vector<Bound> bounds{{work.operations / machine.rate(work.unit), "arithmetic"},
                              {(work.near_bytes + work.far_bytes) / machine.l1, "L1"}};
    if (work.far_bytes > 0.0) {
        bounds.push_back({work.far_bytes / rate_of(work.far_footprint),
                          std::to_string(std::lround(work.far_footprint / 1024.0)) + " KiB"});
    }
    return *std::ranges::max_element(bounds, {}, &Bound::seconds);
}

}  // namespace
}  // namespace qpsbgd::limits

int main(int count, const char** arguments) {
    using namespace qpsbgd::limits;
    const std::string_view wanted = count > 1 ? arguments[1] : "";
    const std::string_view instruction_set = qpsbgd::kernels().name;
    const Machine machine = Machine::measured(register_bytes(instruction_set));
    std::printf("{\"instruction_set\": \"%s\", \"vector_bytes\": %zu,\n", qpsbgd::kernels().name,
                machine.vector_bytes);
    std::printf(
        " \"peaks\": {\"float32\": %.6g, \"float64\": %.6g, \"int16\": %.6g, \"L1\": %.6g, \"L2\": %.6g, "
        "\"memory\": "
        "%.6g},\n \"kernels\": [",
        machine.float32, machine.float64, machine.int16, machine.l1, machine.l2, machine.memory);
    std::vector<Entry> entries;
    add_search_kernels(entries);
    add_layer_kernels(entries);
    const char* separator = "";
    for (const Entry& entry : entries) {
        if (entry.name.find(wanted) == std::string::npos) {
            continue;
        }
        const Bound bound = bound_of(entry.work, machine);
        std::printf(R"(%s
  {"name": "%s", "size": "%s", "seconds": %.6g, "bound_seconds": %.6g, "bound": "%s"})",
                    separator, entry.name.c_str(), entry.size.c_str(), seconds_of(entry.run), bound.seconds,
                    bound.by.c_str());
        separator = ",";
    }
    std::printf("\n ]}\n");
    return 0;
}
