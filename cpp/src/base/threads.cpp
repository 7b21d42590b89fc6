#include "base/threads.hpp"

#include <cstdlib>
#include <exception>

namespace qpsbgd {

// glibc gives a library that was loaded late, as C++ in Python is, its thread-local memory when a thread first uses it, and
// ends the process where there is none. So the thread uses that of the exceptions while there is some. A few small blocks
// are taken and given back first: glibc keeps those for the thread that gave them, so that no other thread takes them in
// between. (Not by operator new: the one that does not throw does so inside.)
bool prepare_for_exceptions() {
    constexpr std::size_t kUnit = 16;
    constexpr std::size_t kBlocks = 32;  // of 16, 32, ... bytes: more than is needed
    void* volatile blocks[kBlocks] = {};
    bool all = true;
    for (std::size_t k = 0; k < kBlocks; ++k) {
        blocks[k] = std::malloc((k + 1) * kUnit);  // NOLINT(cppcoreguidelines-no-malloc)
        all = all && blocks[k] != nullptr;
    }
    for (void* block : blocks) {
        std::free(block);  // NOLINT(cppcoreguidelines-no-malloc)
    }
    if (all) {
        static_cast<void>(std::uncaught_exceptions());
    }
    return all;
}

}  // namespace qpsbgd
