// First flips of rows of float32 whose last flips another descent makes: by couplings in int8 and fields in int16.
//
// Every coordinate j has units of its own, u_j: the largest coupling of a column is at most 127 units. What rounding does to
// fields, or a field beyond int16, is not made up for here: whoever calls looks at the exact fields afterwards.
// Algorithm and cost of the descent: kernels/projection_int8/table.hpp.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/aligned.hpp"
#include "base/rounding.hpp"
#include "kernels/kernel_table.hpp"
#include "layer/matrix.hpp"
#include "qpsbgd/cancellation.hpp"
#include "qpsbgd/layer.hpp"

namespace qpsbgd {

// t A_ij / u_j of a whole layer; 0 on the diagonal.
class RoundedCouplings {
public:
    RoundedCouplings(Rows<const float> gram, std::size_t d, const ProjectionOptions& options,
                     StopToken& token);

    std::size_t d() const { return d_; }
    std::size_t stride() const { return rounded_up(d_, kInt8Slots); }
    const std::int8_t* data() const { return couplings_.data(); }
    const float* inverse_units() const { return inverse_units_.data(); }

private:
    std::size_t d_;
    std::vector<float> inverse_units_;  // 1 / u_j, or 0 where A_jj is 0
    AlignedBuffer<std::int8_t> couplings_;
};

// Some rows that descend together.
class RoundedDescent {
public:
    RoundedDescent(const RoundedCouplings& couplings, std::size_t most_rows);

    // Descends with row number `index` too, from these spins and their fields.
    void take(std::size_t index, const float* spins, const float* fields);
    void run(std::size_t count);
    const std::int16_t* spins(std::size_t index) const { return rows_[index].spins; }

private:
    const RoundedCouplings& couplings_;
    std::vector<Int8Descent> rows_;
    AlignedVector<std::int16_t> spins_;
    AlignedVector<std::int16_t> fields_;
};

}  // namespace qpsbgd
