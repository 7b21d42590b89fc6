// The kernels that are measured, with what one call of each cannot avoid.
//
// Every run has data for which operations and bytes are known exactly: either no spin flips, or all do. Loads and stores
// count alike. A new kernel is one more entry.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "machine.hpp"

namespace qpsbgd::limits {

// What one call cannot avoid.
struct Work {
    Unit unit;
    double operations;  // additions, comparisons or multiply-adds of one lane
    double near_bytes;  // loaded and stored in L1
    double far_bytes;   // loaded from a matrix of `far_footprint` bytes
    double far_footprint;
};

struct Entry {
    std::string name;
    std::string size;
    Work work;
    std::function<void()> run;
};

void add_search_kernels(std::vector<Entry>& entries);  // search_kernels.cpp
void add_layer_kernels(std::vector<Entry>& entries);   // layer_kernels.cpp

}  // namespace qpsbgd::limits
