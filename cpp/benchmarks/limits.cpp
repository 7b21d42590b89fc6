// How far each native kernel is from what this machine can do: measures the peaks, then the kernels, and prints both
// as JSON. benchmarks/limits.py builds and runs it and makes a table of its output.
//
// A kernel's bound is the largest of three times: its operations at the peak of their kind, all its bytes at the rate
// of L1, and the bytes of a large matrix at the rate at which that much memory can be read again and again. What keeps it
// from that bound is the largest of these and of two more: the operations that it issues with this instruction set, and
// the chain of decisions, each of which waits for the one before. A decision's latency is measured: one read of one block.
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

Bound bound_of(const Work& work, const Machine& machine) {
    std::vector<Bound> bounds{{work.operations / machine.rate(work.unit), "arithmetic"},
                              {(work.near_bytes + work.far_bytes) / machine.l1, "L1"}};
    if (work.far_bytes > 0.0) {
        bounds.push_back({work.far_bytes / rate_of(work.far_footprint),
                          std::to_string(std::lround(work.far_footprint / 1024.0)) + " KiB"});
    }
    return *std::ranges::max_element(bounds, {}, &Bound::seconds);
}

// What takes most of the time.
Bound reason_of(const Work& work, const Machine& machine) {
    const double issued =
        std::max(work.issue.operations / machine.rate(work.unit), work.issue.maxima / machine.int16_maxima);
    const std::vector<Bound> reasons{
        bound_of(work, machine), {issued, "own operations"}, {work.chain_seconds, "decision chain"}};
    return *std::ranges::max_element(reasons, {}, &Bound::seconds);
}

}  // namespace
}  // namespace qpsbgd::limits

int main(int count, const char** arguments) {
    using namespace qpsbgd::limits;
    const std::string_view wanted = count > 1 ? arguments[1] : "";
    const Machine machine = Machine::measured(register_bytes());
    std::printf("{\"instruction_set\": \"%s\", \"vector_bytes\": %zu,\n", qpsbgd::kernels().name,
                machine.vector_bytes);
    std::printf(
        " \"clock\": %.6g,\n \"peaks\": {\"float32\": %.6g, \"float64\": %.6g, \"int16\": %.6g, "
        "\"int16 maxima\": %.6g, \"L1\": %.6g, \"L2\": %.6g, \"memory\": %.6g},\n",
        machine.clock, machine.float32, machine.float64, machine.int16, machine.int16_maxima, machine.l1,
        machine.l2, machine.memory);
    std::vector<Entry> entries;
    const Latencies latencies = Latencies::measured();
    std::printf(" \"decisions\": {\"tabu search\": %.6g, \"annealing\": %.6g},\n \"kernels\": [",
                latencies.tabu, latencies.anneal);
    add_search_kernels(entries, latencies);
    add_layer_kernels(entries);
    const char* separator = "";
    for (const Entry& entry : entries) {
        if (entry.name.find(wanted) == std::string::npos) {
            continue;
        }
        const Bound bound = bound_of(entry.work, machine);
        const Bound reason = reason_of(entry.work, machine);
        std::printf(R"(%s
  {"name": "%s", "size": "%s", "seconds": %.6g, "bound_seconds": %.6g, "bound": "%s",
   "reason_seconds": %.6g, "reason": "%s"})",
                    separator, entry.name.c_str(), entry.size.c_str(), seconds_of(entry.run), bound.seconds,
                    bound.by.c_str(), reason.seconds, reason.by.c_str());
        separator = ",";
    }
    std::printf("\n ]}\n");
    return 0;
}
