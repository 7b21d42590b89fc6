// The kernels that are measured, with what one call of each cannot avoid.
//
// Every run has data for which operations and bytes are known exactly: either no spin flips, or all do. Loads and stores
// count alike. A new kernel is one more entry.
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <vector>

#include "machine.hpp"

namespace qpsbgd::limits {

// What a kernel itself issues: more than it cannot avoid. Zeros where it is not known.
struct Issue {
    double operations = 0.0;  // of one lane, in the unit of the work
    double maxima = 0.0;      // those of them that are comparisons, maxima or saturating sums of int16
};

// What one call cannot avoid.
struct Work {
    Unit unit;
    double operations;  // additions, comparisons or multiply-adds of one lane
    double near_bytes;  // loaded and stored in L1
    double far_bytes;   // loaded from a matrix of `far_footprint` bytes
    double far_footprint;
    Issue issue{};
    double chain_seconds =
        0.0;  // of decisions that wait for one another, of one of the reads that go side by side
};

struct Entry {
    std::string name;
    std::string size;
    Work work;
    std::function<void()> run;
};

// Bytes of the registers that this instruction set's kernels use: a fraction says how good they are, not how much wider
// the processor's registers may be.
std::size_t register_bytes();

// Seconds from one decision of a read to the next, where nothing else takes time: one block of spins. search_kernels.cpp
struct Latencies {
    double tabu;
    double anneal;

    static Latencies measured();
};

void add_search_kernels(std::vector<Entry>& entries, const Latencies& latencies);  // search_kernels.cpp
void add_layer_kernels(std::vector<Entry>& entries);                               // layer_kernels.cpp

}  // namespace qpsbgd::limits
