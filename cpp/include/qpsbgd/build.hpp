// Which kernels run.
#pragma once

#include <string_view>
#include <vector>

namespace qpsbgd {

// The instruction set whose kernels run: the widest one that this machine has, or the one that the environment variable
// QPSBGD_ISA names. Throws std::invalid_argument when it names none that this machine has.
std::string_view instruction_set();

// Every instruction set that this machine can run, scalar first.
std::vector<std::string_view> available_instruction_sets();

}  // namespace qpsbgd
