// The training step's descent in int16, written once over the registers that lanes_*.inl defines.
//
// Couplings are half-integers w = W + 1/2, because -w = ~W + 1/2: the sign of a change costs an exclusive or. The
// halves that a flip takes off all gains are the same for all, so only their number is kept.

inline std::int16_t rounded16(float value) {
    return static_cast<std::int16_t>(__builtin_bit_cast(std::uint32_t, value + kRounding));
}

inline float largest16(const float* a, std::size_t d) {
    float most[kSums] = {};
    std::size_t i = 0;
    const auto look = [&](std::size_t lane) {
        const float size = a[i + lane] < 0.0F ? -a[i + lane] : a[i + lane];
        most[lane] = size > most[lane] ? size : most[lane];
    };
    for (; i + kSums <= d; i += kSums) {
        for (std::size_t lane = 0; lane < kSums; ++lane) {
            look(lane);
        }
    }
    for (std::size_t lane = 0; i + lane < d; ++lane) {
        look(lane);
    }
    float largest = 0.0F;
    for (const float of_lane : most) {
        largest = of_lane > largest ? of_lane : largest;
    }
    return largest;
}

inline void quantise16(const float* row, const float* inverse_units, float factor, std::size_t d,
                       std::int16_t* couplings) {
    for (std::size_t i = 0; i < d; ++i) {
        couplings[i] = rounded16(factor * row[i] * inverse_units[i] - 0.5F);
    }
}

inline void start16(const float* p, const std::int32_t* product, const Start16& of_layer,
                    double inverse_scale, std::size_t d, std::int16_t* signs, std::int16_t* gains) {
    const float* own = of_layer.own;
    const float* bounds = of_layer.bounds;
    const float* inverse_units = of_layer.inverse_units;
    const float* product_units = of_layer.product_units;
    const float* exclusions = of_layer.exclusions;
    for (std::size_t i = 0; i < d; ++i) {
        const float spin = p[i] < 0.0F ? -1.0F : 1.0F;
        auto pull = static_cast<float>(inverse_scale * static_cast<double>(p[i]));
        pull = pull < bounds[i] ? pull : bounds[i];
        pull = pull > -bounds[i] ? pull : -bounds[i];
        const float gain = spin * (product_units[i] * static_cast<float>(product[i]) - pull) - own[i];
        gains[i] = rounded16(gain * inverse_units[i] + exclusions[i]);
        signs[i] = static_cast<std::int16_t>(p[i] < 0.0F ? -1 : 0);
    }
}

// Rows of whole cache lines.
inline std::size_t packed_width(std::size_t d) { return (d + 15) / 16 * 16; }

inline std::size_t packed_bytes16(std::size_t d) { return d * packed_width(d) * sizeof(std::uint32_t); }

inline void pack16(const float* rows, std::size_t stride, std::size_t first, std::size_t count,
                   const float* inverse_units, std::size_t d, void* packed) {
    constexpr auto zero = __builtin_bit_cast(std::uint32_t, kRounding);
    const std::size_t width = packed_width(d);
    for (std::size_t i = 0; i < count; ++i) {
        std::uint32_t* row = static_cast<std::uint32_t*>(packed) + (first + i) * width;
        for (std::size_t j = 0; j < d; ++j) {
            const float value = rows[i * stride + j] * inverse_units[j];
            row[j] = __builtin_bit_cast(std::uint32_t, value + kRounding) - zero;
        }
        for (std::size_t j = d; j < width; ++j) {
            row[j] = 0;
        }
    }
}

inline std::size_t workspace_bytes16(std::size_t /*rows*/, std::size_t /*d*/) { return 0; }

inline void sign_products16(const SignProducts16& what, std::size_t rows) {
    sign_products<std::uint32_t>({.matrix = static_cast<const std::uint32_t*>(what.packed),
                                  .matrix_stride = packed_width(what.d),
                                  .d = what.d,
                                  .signs = what.signs,
                                  .signs_stride = what.signs_stride,
                                  .products = reinterpret_cast<std::uint32_t*>(what.products),
                                  .stride = what.stride},
                                 rows);
}

inline double signed_sum16(const float* p, const std::int32_t* products, const float* units, std::size_t d) {
    return sum_terms(d, [&](std::size_t i) {
        const double value = static_cast<double>(units[i]) * static_cast<double>(products[i]);
        return p[i] < 0.0F ? -value : value;
    });
}

// A flip that a pass applies. None is that of a row of zeros.
struct Flip16 {
    const std::int16_t* couplings;
    const std::int16_t* signs;
    std::int16_t change;  // the sign that turned
};

struct BestFlip16 {
    std::int16_t gain;
    std::size_t index;
};

// The best of coordinates whose number modulo kSlots16 is below, and not below, kSlots16 / 2.
struct BestFlips16 {
    BestFlip16 low;
    BestFlip16 high;
};

constexpr std::size_t kHalfSlots16 = kSlots16 / 2;

// The best flip of one half of the slots, from the largest gain of each. No branches: they could not be foretold.
inline BestFlip16 best_of(const Shorts* best, const std::int16_t* gains, std::size_t d, std::size_t first) {
    constexpr std::size_t lanes = kLanes<std::int16_t>;
    constexpr std::size_t registers = kHalfSlots16 / lanes;
    Shorts largest = best[0];
#pragma GCC unroll 16
    for (std::size_t r = 1; r < registers; ++r) {
        largest = larger(best[r], largest);
    }
    const std::int16_t most = largest_of(largest);
    const Shorts everywhere = Shorts{} + most;
    std::uint64_t below = 0;
#pragma GCC unroll 16
    for (std::size_t r = 0; r < registers; ++r) {
        below |= std::uint64_t{above(everywhere, best[r])} << (r * lanes);
    }
    const std::size_t slot = first + static_cast<std::size_t>(__builtin_ctzll(~below));
    std::size_t index = slot;
    for (std::size_t i = slot; i < d; i += kSlots16) {
        index = gains[i] == most ? i : index;
    }
    return {most, index};
}

// Takes flips off the gains, if there are any, and looks for the best of what they leave.
template <class... Flips>
inline BestFlips16 flip_and_look16(std::size_t d, std::int16_t* gains, const Flips&... flips) {
    constexpr std::size_t lanes = kLanes<std::int16_t>;
    constexpr std::size_t registers = kSlots16 / lanes;
    Shorts best[registers];
#pragma GCC unroll 16
    for (Shorts& of_slots : best) {
        of_slots = Shorts{} + kNoGain16;
    }
    const auto look = [&](std::size_t i, Shorts& of_slots) {
        auto gain = load<Shorts>(gains + i);
        if constexpr (sizeof...(flips) > 0) {
            ((gain -=
              load<Shorts>(flips.couplings + i) ^ load<Shorts>(flips.signs + i) ^ (Shorts{} + flips.change)),
             ...);
            save(gains + i, gain);
        }
        of_slots = larger(gain, of_slots);
    };
    std::size_t begin = 0;
    for (; begin + kSlots16 <= d; begin += kSlots16) {
#pragma GCC unroll 16
        for (std::size_t r = 0; r < registers; ++r) {
            look(begin + r * lanes, best[r]);
        }
    }
#pragma GCC unroll 16
    for (std::size_t r = 0; r < registers; ++r) {
        if (begin + r * lanes < d) {
            look(begin + r * lanes, best[r]);
        }
    }
    const std::size_t whole = (d + kSlots16 - 1) / kSlots16 * kSlots16;
    return {best_of(best, gains, whole, 0), best_of(best + registers / 2, gains, whole, kHalfSlots16)};
}

// Turns the sign of one coordinate and replaces its gain where `applies` is -1, and does nothing where it is 0: by whole
// registers, because loads of registers would have to wait for narrower stores.
inline void turn16(std::int16_t* signs, std::int16_t* gains, std::size_t i, int gain, std::int16_t applies) {
    constexpr std::size_t lanes = kLanes<std::int16_t>;
    struct Masks {
        std::int16_t values[2 * lanes];
    };
    static constexpr Masks kMasks = [] {
        Masks masks{};
        masks.values[lanes] = -1;
        return masks;
    }();
    const std::size_t block = i / lanes * lanes;
    const Shorts mask = load<Shorts>(kMasks.values + lanes - i % lanes) & (Shorts{} + applies);
    save(signs + block, load<Shorts>(signs + block) ^ mask);
    const auto before = load<Shorts>(gains + block);
    const Shorts after = Shorts{} + static_cast<std::int16_t>(gain);
    save(gains + block, before ^ ((before ^ after) & mask));
}

// One of the rows after another, and the flips that the next pass over it applies: the better of two, and the other if
// it is still good after that.
class Walk16 {
public:
    bool at_work() const { return row_ != nullptr; }

    // Returns false if there is no flip to begin with.
    bool take(Descent16& row, std::size_t most_flips) {
        row_ = &row;
        state_ = row;
        end_ = row.flips + most_flips;
        sources_[0] = row.couplings + row.zero_row * row.stride;
        sources_[1] = row.signs;
        return choose(flip_and_look16(state_.d, state_.gains));
    }

    // Makes the chosen flips. Returns false at the end of the row.
    bool advance() { return choose(flip_and_look16(state_.d, state_.gains, first_, second_)); }

private:
    // Selects by arithmetic: half of the branches would go the way that was not foretold.
    bool choose(const BestFlips16& best) {
        const int swap = best.high.gain > best.low.gain ? -1 : 0;
        const int gain = best.low.gain ^ ((best.low.gain ^ best.high.gain) & swap);
        const int other_gain = best.low.gain ^ best.high.gain ^ gain;
        const std::size_t differ = best.low.index ^ best.high.index;
        const std::size_t i = best.low.index ^ (differ & static_cast<std::size_t>(swap));
        const std::size_t other = i ^ differ;
        const auto flips = static_cast<int>(state_.flips);
        const int twice = 2 * gain - flips;  // the gain times two
        state_.settled = twice <= 0;
        if (state_.settled || state_.flips >= end_) {
            *row_ = state_;
            row_ = nullptr;
            return false;
        }
        first_ = {state_.couplings + i * state_.stride, state_.signs, state_.signs[i]};
        const std::int16_t sign = state_.signs[other];
        const int twice_other =
            2 * (other_gain - (first_.couplings[other] ^ sign ^ first_.change)) - flips - 1;
        const bool both = twice_other > 0;
        const int applies = -static_cast<int>(both);
        const std::size_t none = state_.zero_row;
        const std::size_t row = none ^ ((none ^ other) & static_cast<std::size_t>(applies));
        second_ = {state_.couplings + row * state_.stride, sources_[both ? 1 : 0],
                   static_cast<std::int16_t>(sign & applies)};
        // Where W is 0 or has turned, the pass adds 1.
        turn16(state_.signs, state_.gains, i, flips - gain - 1, -1);
        turn16(state_.signs, state_.gains, other, flips - other_gain - 1, static_cast<std::int16_t>(applies));
        count(i, twice);
        count(other, twice_other & applies);
        state_.flips += both ? 2 : 1;
        return true;
    }

    void count(std::size_t i, int twice) {
        const double lowered = state_.units[i] * (0.5 * twice);
        state_.lowered += lowered;
        state_.certain +=
            lowered - state_.units[i] * (state_.first_error + static_cast<double>(state_.flips));
    }

    Descent16* row_ = nullptr;
    Descent16 state_{};  // a copy that gains cannot alias
    std::size_t end_ = 0;
    Flip16 first_{};
    Flip16 second_{};
    const std::int16_t* sources_[2] = {};  // signs of a second flip: none, or the row's
};

constexpr std::size_t kInTurn = 2;  // rows: one is at work while the other waits for its best flip

inline void descend16(Descent16* rows, std::size_t count, std::size_t most_flips) {
    std::size_t next = 0;
    const auto take = [&](Walk16& walk) {
        while (next < count && !walk.at_work()) {
            Descent16& row = rows[next++];
            if (!row.settled) {
                walk.take(row, most_flips);
            }
        }
    };
    Walk16 walks[kInTurn];
    bool at_work = true;
    while (at_work) {
        at_work = false;
#pragma GCC unroll 4
        for (Walk16& walk : walks) {
            if (!walk.at_work() || !walk.advance()) {
                take(walk);
            }
            at_work = at_work || walk.at_work();
        }
    }
}

inline double write_step16(const float* p, const std::int16_t* signs, const float* own, bool mask,
                           std::size_t d, std::int8_t* step) {
    for (std::size_t i = 0; i < d; ++i) {
        const auto sign = static_cast<std::int8_t>(p[i] < 0.0F ? -1 : 1);
        const auto spin = signs == nullptr ? sign : static_cast<std::int8_t>(signs[i] | 1);
        const auto value = static_cast<std::int8_t>(mask ? (sign + spin) / 2 : spin);
        const bool unknown = p[i] == 0.0F && own[i] == 0.0F;
        step[i] = unknown ? std::int8_t{0} : value;
    }
    return sum_terms(d,
                     [&](std::size_t i) { return static_cast<double>(p[i]) * static_cast<double>(step[i]); });
}

constexpr Projection16Kernels kProjection16{largest16,       packed_bytes16, pack16,     workspace_bytes16,
                                            sign_products16, signed_sum16,   quantise16, start16,
                                            descend16,       write_step16};
