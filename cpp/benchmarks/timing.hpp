// How long a call takes.
#pragma once

#include <functional>

namespace qpsbgd::limits {

// Makes the compiler believe that the memory is read and written here.
inline void touch(void* memory) { asm volatile("" : : "r"(memory) : "memory"); }

// Seconds of one call: the fastest of several repetitions, everything else is disturbance.
double seconds_of(const std::function<void()>& run);

}  // namespace qpsbgd::limits
