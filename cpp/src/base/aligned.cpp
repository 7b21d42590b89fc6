#include "base/aligned.hpp"

#include <array>
#include <cstdlib>
#include <mutex>
#include <new>
#include <utility>

#if defined(__linux__)
#include <malloc.h>
#include <sys/mman.h>
#endif

namespace qpsbgd {

#if defined(__linux__)

namespace {

constexpr std::size_t kHugePage = std::size_t{1} << 21U;

#if defined(__SANITIZE_ADDRESS__)
constexpr bool kKeepsBlocks = false;  // so that late uses are seen
#else
constexpr bool kKeepsBlocks = true;
#endif

// A few blocks of huge pages that were given back, for the next call: otherwise each step of a training and each call for
// one large problem would have the kernel clear new ones, .1 ms a page. Nobody waits here: who finds it in use goes to
// the system instead.
class KeptBlocks {
public:
    // A block of at least `size` bytes and not much more, or null.
    void* take(std::size_t size) {
        const std::unique_lock lock(mutex_, std::try_to_lock);
        if (lock.owns_lock()) {
            for (void*& block : blocks_) {
                const std::size_t found = block == nullptr ? 0 : malloc_usable_size(block);
                if (found >= size && found < size + kHugePage) {
                    return std::exchange(block, nullptr);
                }
            }
        }
        return nullptr;
    }

    // Returns what the system should have back instead: `block`, or the one whose place it takes, or null.
    void* keep(void* block) {
        const std::unique_lock lock(mutex_, std::try_to_lock);
        if (!lock.owns_lock() || !kKeepsBlocks || malloc_usable_size(block) > kMostKept) {
            return block;
        }
        next_ = (next_ + 1) % blocks_.size();
        for (void*& place : blocks_) {
            if (place == nullptr) {
                return std::exchange(place, block);
            }
        }
        return std::exchange(blocks_[next_], block);
    }

private:
    static constexpr std::size_t kMostKept = 5 * kHugePage;  // bytes of one block

    std::mutex mutex_;
    std::array<void*, 8> blocks_{};
    std::size_t next_ = 0;
};

KeptBlocks& kept_blocks() {
    static constinit KeptBlocks kept;  // without a destructor: arrays may be freed after all others have run
    return kept;
}

}  // namespace

// Matrices of a megabyte and more ask for huge pages. Their rows are read in random order: that misses the small table of
// pages, and pages of 4 KiB fall into the second cache by chance, which made the same call take up to 15 % longer in one
// process than in the next.
void* allocate_aligned(std::size_t bytes) {
    const bool huge = bytes >= kHugePage / 2;
    const std::size_t unit = huge ? kHugePage : kCacheLine;
    const std::size_t size = (bytes / unit + 1) * unit;
    void* memory = huge ? kept_blocks().take(size) : nullptr;
    if (memory != nullptr) {
        return memory;
    }
    memory = size > bytes ? std::aligned_alloc(unit, size) : nullptr;
    if (memory == nullptr) {
        throw std::bad_alloc();
    }
    if (huge) {
        madvise(memory, size, MADV_HUGEPAGE);  // a wish: nothing depends on its being granted
    }
    return memory;
}

void free_aligned(void* memory) {
    if (memory != nullptr && malloc_usable_size(memory) >= kHugePage) {
        memory = kept_blocks().keep(memory);
    }
    // NOLINTNEXTLINE(cppcoreguidelines-no-malloc): nothing else takes back what aligned_alloc gives.
    std::free(memory);
}

#else

void* allocate_aligned(std::size_t bytes) { return ::operator new(bytes, std::align_val_t{kCacheLine}); }

void free_aligned(void* memory) { ::operator delete(memory, std::align_val_t{kCacheLine}); }

#endif

}  // namespace qpsbgd
