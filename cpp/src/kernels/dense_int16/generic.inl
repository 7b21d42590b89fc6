// Dense int16 kernels in plain loops, for every instruction set without a version of its own: one addition per coupling of
// a flipped spin, one comparison per attempt.

inline std::int16_t saturated(std::int32_t value) {
    return static_cast<std::int16_t>(value < -32768 ? -32768 : (value > 32767 ? 32767 : value));
}

inline std::int32_t spin_of(const std::uint32_t* negative, std::size_t i) {
    return (negative[i / kBlock] >> (i % kBlock) & 1U) != 0 ? -1 : 1;
}

// L -= s_i W_i, s_i = -s_i.
void flip_int16(Int16Replica& replica, std::size_t spin, std::size_t stride) {
    const std::int16_t* row = replica.couplings + spin * stride;
    const std::int32_t before = spin_of(replica.negative, spin);
    replica.negative[spin / kBlock] ^= std::uint32_t{1} << (spin % kBlock);
    for (std::size_t j = 0; j < stride; ++j) {
        replica.local[j] = saturated(replica.local[j] - before * row[j]);
    }
}

inline void keep_best_int16(Int16Replica& replica, std::size_t stride) {
    if (replica.gain > replica.best_gain) {
        replica.best_gain = replica.gain;
        replica.since_best = 0;
        for (std::size_t block = 0; block < stride / kBlock; ++block) {
            replica.best_negative[block] = replica.negative[block];
        }
    }
}

void local_fields_int16(const Int16Replica* replicas, std::size_t count, std::size_t n, std::size_t stride) {
    for (std::size_t r = 0; r < count; ++r) {
        const Int16Replica& replica = replicas[r];
        for (std::size_t i = 0; i < n; i += 2) {
            const std::int16_t* row = replica.couplings + i * stride;
            const std::int32_t first = spin_of(replica.negative, i);
            const std::int32_t second = i + 1 < n ? spin_of(replica.negative, i + 1) : 1;
            for (std::size_t j = 0; j < stride; ++j) {
                const std::int32_t pair = first * (row[j] / 2) + second * (row[stride + j] / 2);
                replica.local[j] = saturated(replica.local[j] + pair);
            }
        }
    }
}

// The thresholds of a sweep: 32 neighbours of the table of exponentials from a random place, times T, less one so
// that T = 0 accepts only gains. Padding never flips. One random word for five blocks.
inline void draw_thresholds_int16(Int16Replica& replica, std::size_t n, std::size_t stride,
                                  const std::uint16_t* exponentials, std::uint32_t temperature) {
    const Int16Heat heat = heat_of(temperature);
    std::uint64_t bits = 0;
    for (std::size_t block = 0; block < stride / kBlock; ++block) {
        bits = block % 5 == 0 ? next_random(replica.random) : bits >> 12;
        const std::uint16_t* entry = exponentials + (bits & (kExponentials - 1));
        for (std::size_t k = 0; k < kBlock; ++k) {
            const std::uint32_t scaled = (std::uint32_t{entry[k]} * heat.factor) >> 16;
            const std::uint32_t bounded = (scaled < heat.most ? scaled : heat.most) << heat.shift;
            const std::int32_t threshold = static_cast<std::int32_t>(bounded) - 1;
            replica.scratch[block * kBlock + k] = static_cast<std::int16_t>(threshold);
        }
    }
    for (std::size_t j = n; j < stride; ++j) {
        replica.scratch[j] = -32768;
    }
}

// sum of s_i (f_i + L_i).
inline std::int64_t energy_int16(const Int16Replica& replica, std::size_t n) {
    std::int64_t total = 0;
    for (std::size_t i = 0; i < n; ++i) {
        total += std::int64_t{spin_of(replica.negative, i)} * (replica.fields[i] + replica.local[i]);
    }
    return total;
}

bool anneal_int16(Int16Replica* replicas, std::size_t count, std::size_t n, std::size_t stride,
                  const std::uint16_t* exponentials, std::size_t last, std::size_t steps) {
    bool finished = true;
    for (std::size_t r = 0; r < count; ++r) {
        Int16Replica& replica = replicas[r];
        std::size_t left = steps;
        while (replica.sweep < last && left > 0) {
            if (!replica.drawn) {
                draw_thresholds_int16(replica, n, stride, exponentials, replica.temperature[replica.sweep]);
                replica.drawn = true;
            }
            for (; replica.block < stride / kBlock && left > 0; ++replica.block, --left) {
                const std::size_t end = (replica.block + 1) * kBlock < n ? (replica.block + 1) * kBlock : n;
                for (std::size_t i = replica.block * kBlock; i < end; ++i) {
                    const std::int32_t step = spin_of(replica.negative, i) * replica.local[i];
                    if (saturated(step) + replica.scratch[i] >= 0) {
                        flip_int16(replica, i, stride);
                        left -= left > 1 ? 1 : 0;
                    }
                }
            }
            if (replica.block == stride / kBlock) {
                replica.gain = (replica.start - energy_int16(replica, n)) / 4;
                keep_best_int16(replica, stride);
                replica.block = 0;
                replica.drawn = false;
                ++replica.sweep;
            }
        }
        finished = finished && replica.sweep >= last;
    }
    return finished;
}

void tabu_int16(Int16Replica* replicas, std::size_t count, std::size_t n, std::size_t stride,
                std::size_t flips) {
    for (std::size_t r = 0; r < count; ++r) {
        Int16Replica& replica = replicas[r];
        for (std::size_t now = 1; now <= flips; ++now) {
            ++replica.since_best;
            const std::int64_t missing = replica.best_gain - replica.gain;
            const std::int32_t aspiration = missing > 32767 ? 32767 : static_cast<std::int32_t>(missing);
            std::int32_t best = -32769;
            std::size_t spin = n;
            for (std::size_t i = 0; i < n; ++i) {
                const std::int32_t step = saturated(spin_of(replica.negative, i) * replica.local[i]);
                const bool allowed =
                    std::int32_t{replica.scratch[i]} <= static_cast<std::int32_t>(now) || step > aspiration;
                const std::int32_t value = allowed ? step : -32768;
                if (value > best && value > -32768) {
                    best = value;
                    spin = i;
                }
            }
            if (spin == n) {
                continue;  // every spin rests
            }
            replica.gain += std::int64_t{spin_of(replica.negative, spin)} * replica.local[spin];
            flip_int16(replica, spin, stride);
            const std::uint64_t draw = ((next_random(replica.random) >> 32) * replica.tenure_spread) >> 32;
            replica.scratch[spin] = static_cast<std::int16_t>(now + replica.least_tenure + 1 + draw);
            keep_best_int16(replica, stride);
        }
        for (std::size_t i = 0; i < n; ++i) {
            const std::int32_t left = replica.scratch[i] - static_cast<std::int32_t>(flips);
            replica.scratch[i] = static_cast<std::int16_t>(left < 0 ? 0 : left);
        }
    }
}
