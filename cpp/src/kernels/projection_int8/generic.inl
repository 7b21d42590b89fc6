// First flips of the training step with couplings in int8, written once over the registers of registers/*.inl. A pass over a
// row of d coordinates applies up to four flips and looks for the next ones: 3 d operations a flip, 5 d besides.

inline float largest_int8(const float* a, std::size_t d) {
    constexpr std::size_t lanes = kLanes<float>;
    Floats most{};
    std::size_t i = 0;
    for (; i + lanes <= d; i += lanes) {
        const auto value = load<Floats>(a + i);
        most = larger(value, larger(-value, most));
    }
    float result = 0.0F;
    for (std::size_t lane = 0; lane < lanes; ++lane) {
        result = most[lane] > result ? most[lane] : result;
    }
    for (; i < d; ++i) {
        const float size = a[i] < 0.0F ? -a[i] : a[i];
        result = size > result ? size : result;
    }
    return result;
}

inline void quantise_int8(const float* row, const float* inverse_units, float factor, std::size_t d,
                          std::int8_t* couplings) {
    for (std::size_t i = 0; i < d; ++i) {
        couplings[i] = static_cast<std::int8_t>(rounded_int16(factor * row[i] * inverse_units[i]));
    }
}

inline Floats between(Floats value, Floats most) { return larger(-most, -larger(-most, -value)); }

inline void start_int8(const float* spins, const float* fields, const float* inverse_units, std::size_t d,
                       std::int16_t* int16_spins, std::int16_t* int16_fields) {
    constexpr std::size_t lanes = kLanes<float>;
    const Floats most = broadcast(kMostFirstField);
    for (std::size_t begin = 0; begin < d; begin += kInt8Slots) {
        const std::size_t count = d - begin < kInt8Slots ? d - begin : kInt8Slots;
        float units[kInt8Slots] = {};
        float cut[kInt8Slots];
        for (std::size_t i = 0; i < count; ++i) {
            units[i] = fields[begin + i] * inverse_units[begin + i];
        }
        for (std::size_t i = 0; i < kInt8Slots; i += lanes) {
            save(cut + i, between(load<Floats>(units + i), most));
        }
        for (std::size_t i = 0; i < count; ++i) {
            int16_fields[begin + i] = rounded_int16(cut[i]);
        }
    }
    for (std::size_t i = 0; i < d; ++i) {
        int16_spins[i] = static_cast<std::int16_t>(spins[i]);
    }
}

// The largest gain of every slot, and which of the slot's coordinates it belongs to: i / kInt8Slots.
struct Int8Slots {
    static constexpr std::size_t kRegisters = kInt8Slots / kLanes<std::int16_t>;
    Shorts best[kRegisters];
    Shorts group[kRegisters];
};
// The best flip of a quarter of the slots, which is some registers or half of one.
inline Int16Candidate best_of_int8(const Int8Slots& slots, std::size_t quarter) {
    constexpr std::size_t lanes = kLanes<std::int16_t>;
    constexpr std::size_t of_quarter = kInt8Slots / kFlipsOfPass;
    const std::size_t first = quarter * of_quarter;
    std::uint64_t below = 0;
    std::int16_t most = 0;
    if constexpr (lanes <= of_quarter) {
        const Shorts* best = slots.best + first / lanes;
        Shorts largest = best[0];
#pragma GCC unroll 8
        for (std::size_t r = 1; r < of_quarter / lanes; ++r) {
            largest = larger(best[r], largest);
        }
        most = largest_of(largest);
#pragma GCC unroll 8
        for (std::size_t r = 0; r < of_quarter / lanes; ++r) {
            below |= std::uint64_t{above(Shorts{} + most, best[r])} << (r * lanes);
        }
    } else {
        std::int16_t others[lanes];
        for (std::size_t lane = 0; lane < lanes; ++lane) {
            others[lane] = lane / of_quarter == quarter % (lanes / of_quarter) ? 0 : -1;
        }
        const auto is_other = load<Shorts>(others);
        const Shorts best = slots.best[first / lanes];
        // The others' gains become the least that there is.
        const Shorts of_these = (best & ~is_other) | (is_other & (Shorts{} + std::int16_t{-32768}));
        most = largest_of(of_these);
        below = (std::uint64_t{above(Shorts{} + most, of_these)} >> (first % lanes)) &
                ((std::uint64_t{1} << of_quarter) - 1);
    }
    // Bits beyond the quarter are not set: there is always one that is not below.
    const auto slot = first + static_cast<std::size_t>(__builtin_ctzll(~below));
    const auto group = static_cast<std::size_t>(slots.group[slot / lanes][slot % lanes]);
    return {most, group * kInt8Slots + slot};
}

// Takes flips off the fields, if there are any, and keeps the largest gains that they leave.
template <class... Flips>
inline Int8Slots flip_and_look_int8(const Int8Descent& row, const Flips&... flips) {
    constexpr std::size_t lanes = kLanes<std::int16_t>;
    Int8Slots slots{};
#pragma GCC unroll 8
    for (Shorts& best : slots.best) {
        best = Shorts{} + std::int16_t{-32768};
    }
    const std::int16_t* spins = row.spins;
    std::int16_t* fields = row.fields;
    Shorts number{};
    for (std::size_t begin = 0; begin < row.d; begin += kInt8Slots) {
#pragma GCC unroll 8
        for (std::size_t r = 0; r < Int8Slots::kRegisters; ++r) {
            const std::size_t i = begin + r * lanes;
            auto field = load<Shorts>(fields + i);
            if constexpr (sizeof...(flips) > 0) {
                ((field = subtract_saturated(field, widened(flips.couplings + i) * (Shorts{} + flips.spin))),
                 ...);
                save(fields + i, field);
            }
            const Shorts gain = field * load<Shorts>(spins + i);
            slots.group[r] = gain > slots.best[r] ? number : slots.group[r];
            slots.best[r] = larger(gain, slots.best[r]);
        }
        number += 1;
    }
    return slots;
}

template <>
struct Looks<Int8Descent> {
    using Slots = Int8Slots;

    template <class... Flips>
    static Slots look(const Int8Descent& row, const Flips&... flips) {
        return flip_and_look_int8(row, flips...);
    }
    static Int16Candidate best(const Int8Descent& /*row*/, const Slots& slots, std::size_t quarter) {
        return best_of_int8(slots, quarter);
    }
};

constexpr ProjectionInt8Kernels kProjectionInt8{largest_int8, quantise_int8, start_int8,
                                                descend_rows<Int8Descent>};
