// Projection of a group of float32 rows in int16, where A fits.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/aligned.hpp"
#include "base/rounding.hpp"
#include "layer/group_rows.hpp"

namespace qpsbgd {

class Int16Projection {
public:
    Int16Projection(const LayerCouplings<float>& problem, const LayerRows<float>& layer,
                    const ProjectionOptions& options, std::size_t most_rows);

    // Projects rows [first, first + count) of the layer. Returns false if a sum over p or A leaves the range of numbers.
    bool run(std::size_t first, std::size_t count, StopToken& token);

private:
    static constexpr std::size_t kTogether = 32;  // rows whose p, spins and fields stay in the second cache

    // Spins and fields of rows that descend together, and the fields that they began with.
    class States {
    public:
        explicit States(std::size_t d)
            : stride_(rounded_up(d, kInt16Slots)),
              spins_(kTogether * stride_, std::int16_t{1}),
              fields_(kTogether * stride_, kInt16NoGain),
              first_fields_(kTogether * stride_, kInt16NoGain) {}

        std::int16_t* spins(std::size_t row) { return spins_.data() + row * stride_; }
        std::int16_t* fields(std::size_t row) { return fields_.data() + row * stride_; }
        std::int16_t* first_fields(std::size_t row) { return first_fields_.data() + row * stride_; }

        std::array<Int16Descent, kTogether> descents{};
        std::array<double, kTogether> scales{};  // s, or 0 where the sign is the answer

    private:
        std::size_t stride_;
        AlignedVector<std::int16_t> spins_;
        AlignedVector<std::int16_t> fields_;
        AlignedVector<std::int16_t> first_fields_;
    };

    void multiply(std::size_t count);
    void copy_product(std::size_t row, std::int16_t* product) const;
    bool start(std::size_t row, std::size_t i);
    void descend(std::size_t count, StopToken& token);
    bool is_better(std::size_t row, std::size_t i);
    bool project(std::size_t first, std::size_t count, StopToken& token);

    const ProjectionInt16Kernels& kernels_;
    const LayerCouplings<float>& problem_;
    GroupRows<float> rows_;
    AlignedBuffer<std::int16_t> products_;  // W sigma
    AlignedBuffer<std::byte> workspace_;
    States states_;
};

}  // namespace qpsbgd
