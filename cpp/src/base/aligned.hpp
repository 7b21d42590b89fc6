// A vector whose memory starts on a cache line, as the wide loads of the kernels want it.
#pragma once

#include <cstddef>
#include <limits>
#include <memory>
#include <new>
#include <vector>

namespace qpsbgd {

inline constexpr std::size_t kCacheLine = 64;

// Memory that starts on a cache line; throws std::bad_alloc where there is none.
void* allocate_aligned(std::size_t bytes);
void free_aligned(void* memory);

template <class T>
struct AlignedAllocator {
    using value_type = T;

    AlignedAllocator() = default;
    template <class U>
    explicit AlignedAllocator(const AlignedAllocator<U>& /*other*/) {}

    T* allocate(std::size_t count) {
        if (count > std::numeric_limits<std::size_t>::max() / sizeof(T)) {
            throw std::bad_array_new_length();
        }
        return static_cast<T*>(allocate_aligned(count * sizeof(T)));
    }
    void deallocate(T* memory, std::size_t /*count*/) { free_aligned(memory); }
    template <class U>
    bool operator==(const AlignedAllocator<U>& /*other*/) const {
        return true;
    }
};

template <class T>
using AlignedVector = std::vector<T, AlignedAllocator<T>>;

// Memory of one size that starts on a cache line and holds nothing yet.
template <class T>
class AlignedBuffer {
public:
    explicit AlignedBuffer(std::size_t count) : data_(AlignedAllocator<T>().allocate(count)) {}

    T* data() { return data_.get(); }
    const T* data() const { return data_.get(); }
    T* release() { return data_.release(); }

    static void free(T* memory) { AlignedAllocator<T>().deallocate(memory, 0); }

private:
    struct Free {
        void operator()(T* memory) const { free(memory); }
    };
    std::unique_ptr<T, Free> data_;
};

// Rows padded to whole cache lines keep every row aligned.
template <class T>
constexpr std::size_t padded(std::size_t count) {
    constexpr std::size_t lane = kCacheLine / sizeof(T);
    return (count + lane - 1) / lane * lane;
}

}  // namespace qpsbgd
