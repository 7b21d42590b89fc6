// Dense couplings in int16 and the searches over them. What a read's answer is does not depend on the group of reads
// that it is worked on with.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "base/aligned.hpp"
#include "qpsbgd/cancellation.hpp"
#include "kernels/dense_int16/table.hpp"
#include "search/int16/replica_group.hpp"
#include "qpsbgd/problem.hpp"
#include "base/rng.hpp"
#include "base/schedule.hpp"

namespace qpsbgd {

class SymmetricRows;

// May local fields far above those of random states saturate, in favour of finer units?
enum class Saturation { allowed, avoided };

class Dense16Matrix {
public:
    // Nothing when int16 does not hold the couplings well enough. The rule: rows whose root-mean-square differs by more
    // than a factor of 32 need more digits than int16 has, unless all couplings are exact multiples of the unit.
    // The unit is the finest power of two in which every sum of couplings fits, where it divides every coupling; else
    // such that local fields of five times the largest row's root-mean-square fit; where saturation is to be avoided and
    // that enlarges the unit no more than five times, those of any state. 2 n^2 bytes.
    static std::optional<Dense16Matrix> make(const SymmetricRows& rows, double scale, Saturation saturation,
                                             StopToken& token);

    // Do these fields leave room for the couplings? |h_i| of 28000 units is the most.
    bool holds(std::span<const double> fields) const;

    std::size_t n() const { return n_; }
    std::size_t stride() const { return stride_; }
    double unit() const { return unit_; }
    // Of the rows' sums of S_ij s_j over random spins, in units.
    double root_mean_square() const { return root_mean_square_; }
    // At least what the |S_ij| of any row add up to, in units.
    double largest_sum() const { return largest_sum_; }
    const std::int16_t* couplings() const { return values_.data(); }

    // What groups of more than kReplicaGroup reads are annealed with, where the machine has kernels for it and a row's
    // couplings never saturate.
    void prepare_lanes();
    const LaneCouplings* lanes() const { return lanes_ ? &*lanes_ : nullptr; }

private:
    Dense16Matrix(std::size_t n, double unit);

    std::size_t n_;
    std::size_t stride_;
    double unit_;
    double root_mean_square_ = 0.0;
    double largest_sum_ = 0.0;
    AlignedVector<std::int16_t> values_;
    std::optional<LaneCouplings> lanes_;
};

// One read of a group.
struct Read16 {
    const Dense16Matrix* matrix = nullptr;
    std::span<const double> fields;
    std::span<const std::int8_t> start;  // spins, or empty for random ones
    std::span<std::int8_t> best;         // the answer
    Random random{0, 0, 0};
    BetaRange beta_range;  // of an annealing run, as used
    std::uint64_t sweeps_done = 0;
};

// The quantiles of the exponential distribution in a fixed random order, in units of kLargestExponential / 65535; the
// first block is repeated behind the end, so that a block may be read from any place.
const std::uint16_t* exponentials16();

// Searches up to kLanes16 reads; its memory is reused from group to group. Only reads that share couplings with lanes
// should come in more than kReplicaGroup: what they were made for goes on in step, all else four at a time.
class Group16 {
public:
    // Without `sweeps`: a default, or with a deadline replica exchange between the reads of one problem where these are
    // in lanes, else ever longer runs from new states, until the time is up.
    void anneal(std::span<Read16> reads, std::optional<BetaRange> range, std::optional<std::size_t> sweeps,
                Budget& budget);
    void tabu(std::span<Read16> reads, std::optional<std::size_t> sweeps, Budget& budget);

private:
    // The memory of one replica.
    struct Space {
        AlignedVector<std::int16_t> fields;
        AlignedVector<std::int16_t> local;
        AlignedVector<std::int16_t> scratch;
        std::vector<std::uint32_t> negative;
        std::vector<std::uint32_t> best;
        std::vector<std::uint32_t> temperatures;
        double typical_field = 0.0;  // mean |L| of a local minimum, in units
    };

    // Where a read without spins of its own starts: anywhere, or where its fields point.
    enum class Start { random, leaning };

    void begin(std::span<Read16> reads, Start start);
    void end(std::span<Read16> reads);
    void run_schedule(std::span<Read16> reads, std::size_t sweeps, Budget& budget);
    void add_local_fields();
    bool run_sweeps(std::size_t last, Budget& budget);
    bool run_lanes(std::size_t sweeps, Budget& budget);
    void leave_lanes();
    bool fits_lanes() const;
    void temper(std::span<Read16> reads, Budget& budget);
    bool can_temper(std::span<const Read16> reads) const;
    void descend(Budget& budget);
    void move_to(std::size_t index, std::span<const std::uint32_t> target);
    void perturb_best(std::size_t index, Random& random);
    void set_tenure(std::size_t index, std::uint32_t factor);
    double mean_field(std::size_t index) const;

    std::size_t n_ = 0;
    std::size_t stride_ = 0;
    std::size_t count_ = 0;
    std::vector<Space> space_;
    std::vector<Replica16> replicas_;
    std::vector<const Dense16Matrix*> matrices_;
    LaneReads lanes_;
    std::vector<std::uint32_t> target_;
};

}  // namespace qpsbgd
