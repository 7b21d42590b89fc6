// A vector whose memory starts on a cache line, as the wide loads of the kernels want it.
#pragma once

#include <cstddef>
#include <memory>
#include <new>
#include <vector>

namespace qpsbgd {

inline constexpr std::size_t kCacheLine = 64;

template <class T>
struct AlignedAllocator {
    using value_type = T;

    AlignedAllocator() = default;
    template <class U>
    explicit AlignedAllocator(const AlignedAllocator<U>& /*other*/) {}

    T* allocate(std::size_t count) {
        return static_cast<T*>(::operator new(count * sizeof(T), std::align_val_t{kCacheLine}));
    }
    void deallocate(T* memory, std::size_t /*count*/) {
        ::operator delete(memory, std::align_val_t{kCacheLine});
    }
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
