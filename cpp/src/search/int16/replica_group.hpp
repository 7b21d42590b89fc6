// Annealing of up to 32 reads with the same couplings, side by side: see kernels/replicas_int16/table.hpp.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/aligned.hpp"
#include "kernels/replicas_int16/table.hpp"
#include "qpsbgd/cancellation.hpp"

namespace qpsbgd {

// Couplings as the kernel reads them.
class Int16ReplicaCouplings {
public:
    // W of n spins, rows `stride` elements apart.
    Int16ReplicaCouplings(std::span<const std::int16_t> couplings, std::size_t n, std::size_t stride);

    // Fewer reads are faster four at a time.
    static std::size_t least_reads();
    // Does this machine have the kernel, and is it faster for so many spins?
    static bool serve(std::size_t n);

    std::size_t n() const { return n_; }
    std::size_t stride() const { return stride_; }
    const void* packed() const { return packed_.data(); }
    const std::int32_t* pairs() const { return pairs_.data(); }

private:
    std::size_t n_;
    std::size_t stride_;
    AlignedVector<std::uint8_t> packed_;
    std::vector<std::int32_t> pairs_;
};

// 32 reads at work.
class Int16ReplicaGroup {
public:
    // Takes over the state of the replicas, which share the couplings. The caller has made sure that no local field can
    // leave the range of int16.
    void load(const Int16ReplicaCouplings& couplings, std::span<const Int16Replica> replicas);
    // Gives it back, but for `local`.
    void store(std::span<Int16Replica> replicas) const;

    // Sweeps of all reads by their own temperatures, from the first of these. Returns how many the budget allowed.
    std::size_t anneal(std::size_t sweeps, Budget& budget);

    void set_temperatures(std::size_t read, const std::uint32_t* temperatures) {
        replicas_.temperature[read] = temperatures;
    }
    std::int64_t gain(std::size_t read) const { return replicas_.gain[read]; }
    // Of a read's best state so far; `negative` gets its spins as bits.
    std::int64_t best_gain(std::size_t read) const { return replicas_.best_gain[read]; }
    void best_bits(std::size_t read, std::span<std::uint32_t> negative) const;
    // Of a read's present state.
    void spins(std::size_t read, std::span<std::int8_t> spins) const;
    // The read goes on from these spins, whose gain the caller knows.
    void move(std::size_t read, std::span<const std::int8_t> spins, std::int64_t gain);

private:
    Int16Replicas replicas_;
    AlignedVector<std::int16_t> fields_;
    AlignedVector<std::uint8_t> workspace_;
    std::vector<std::uint32_t> negative_;
    std::vector<std::uint32_t> best_negative_;
};

}  // namespace qpsbgd
