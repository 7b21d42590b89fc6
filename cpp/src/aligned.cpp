#include "qpsbgd/aligned.hpp"

#include <cstdlib>
#include <new>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace qpsbgd {

#if defined(__linux__)

// Matrices of a megabyte and more ask for huge pages. Their rows are read in random order: that misses the small table of
// pages, and pages of 4 KiB fall into the second cache by chance, which made the same call take up to 15 % longer in one
// process than in the next.
void* allocate_aligned(std::size_t bytes) {
    constexpr std::size_t kHugePage = std::size_t{1} << 21U;
    const bool huge = bytes >= kHugePage / 2;
    const std::size_t unit = huge ? kHugePage : kCacheLine;
    const std::size_t size = (bytes / unit + 1) * unit;
    void* memory = size > bytes ? std::aligned_alloc(unit, size) : nullptr;
    if (memory == nullptr) {
        throw std::bad_alloc();
    }
    if (huge) {
        madvise(memory, size, MADV_HUGEPAGE);  // a wish: nothing depends on its being granted
    }
    return memory;
}

// NOLINTNEXTLINE(cppcoreguidelines-no-malloc): nothing else takes back what aligned_alloc gives.
void free_aligned(void* memory) { std::free(memory); }

#else

void* allocate_aligned(std::size_t bytes) { return ::operator new(bytes, std::align_val_t{kCacheLine}); }

void free_aligned(void* memory) { ::operator delete(memory, std::align_val_t{kCacheLine}); }

#endif

}  // namespace qpsbgd
