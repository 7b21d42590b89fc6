// 64 replicas of +-1 couplings, local fields counted from bits: words of 64 bits only, but for the random numbers, which
// come from the including file's drawn_above and what the file with its sweep_bits calls.

// Lanes in which at least k of the spin's couplings are satisfied.
template <std::size_t Degree>
struct AtLeast;

template <>
struct AtLeast<3> {
    static constexpr std::size_t kHalf =
        2;  // the least number of satisfied couplings at which a flip costs energy
    static constexpr std::size_t kRises = 2;
    std::uint64_t rising[kRises];  // at least kHalf, kHalf + 1, ...
    std::uint64_t not_falling;     // a flip does not gain energy

    static AtLeast of(const std::uint64_t* a) {
        const std::uint64_t both = a[0] & a[1];
        const std::uint64_t rising = both | (a[2] & (a[0] | a[1]));
        return {{rising, both & a[2]}, rising};
    }
};

template <>
struct AtLeast<4> {
    static constexpr std::size_t kHalf = 3;
    static constexpr std::size_t kRises = 2;
    std::uint64_t rising[kRises];
    std::uint64_t not_falling;

    static AtLeast of(const std::uint64_t* a) {
        const std::uint64_t both = a[0] & a[1];
        const std::uint64_t any = a[0] | a[1];
        const std::uint64_t other_both = a[2] & a[3];
        const std::uint64_t other_any = a[2] | a[3];
        const std::uint64_t rising = (both & other_any) | (other_both & any);
        return {{rising, both & other_both}, both | other_both | (any & other_any)};
    }
};

template <>
struct AtLeast<5> {
    static constexpr std::size_t kHalf = 3;
    static constexpr std::size_t kRises = 3;
    std::uint64_t rising[kRises];
    std::uint64_t not_falling;

    static AtLeast of(const std::uint64_t* a) {
        const std::uint64_t one = a[0] | a[1] | a[2];
        const std::uint64_t two = (a[0] & a[1]) | (a[2] & (a[0] | a[1]));
        const std::uint64_t three = a[0] & a[1] & a[2];
        const std::uint64_t any = a[3] | a[4];
        const std::uint64_t both = a[3] & a[4];
        const std::uint64_t rising = three | (two & any) | (one & both);
        return {{rising, (three & any) | (two & both), three & both}, rising};
    }
};

template <>
struct AtLeast<6> {
    static constexpr std::size_t kHalf = 4;
    static constexpr std::size_t kRises = 3;
    std::uint64_t rising[kRises];
    std::uint64_t not_falling;

    static AtLeast of(const std::uint64_t* a) {
        const std::uint64_t one = a[0] | a[1] | a[2];
        const std::uint64_t two = (a[0] & a[1]) | (a[2] & (a[0] | a[1]));
        const std::uint64_t three = a[0] & a[1] & a[2];
        const std::uint64_t other_one = a[3] | a[4] | a[5];
        const std::uint64_t other_two = (a[3] & a[4]) | (a[5] & (a[3] | a[4]));
        const std::uint64_t other_three = a[3] & a[4] & a[5];
        const std::uint64_t rising = (three & other_one) | (two & other_two) | (one & other_three);
        return {{rising, (three & other_two) | (two & other_three), three & other_three},
                three | other_three | (two & other_one) | (one & other_two)};
    }
};

inline std::uint64_t word_at(const std::uint64_t* words, std::uint32_t offset) {
    return *reinterpret_cast<const std::uint64_t*>(reinterpret_cast<const char*>(words) + offset);
}

// The same word, in a register of its own: GCC puts two words into one register of 16 bytes, only to take them out again.
inline std::uint64_t alone(std::uint64_t word) {
    __asm__("" : "+r"(word));
    return word;
}

template <std::size_t Degree>
inline AtLeast<Degree> count_satisfied(const BitReplicas& replicas, std::size_t i) {
    const std::uint32_t* edges = replicas.edges + i * Degree;
    const std::uint64_t up = replicas.words[2 * i];
    std::uint64_t satisfied[Degree];
    for (std::size_t e = 0; e < Degree; ++e) {
        satisfied[e] = alone(word_at(replicas.words, edges[e])) ^ up;
    }
    return AtLeast<Degree>::of(satisfied);
}

inline void set_spin(const BitReplicas& replicas, std::size_t i, std::uint64_t up) {
    replicas.words[2 * i] = up;
    replicas.words[2 * i + 1] = ~up;
}

// One visit, given the lanes that would accept each rise of the energy (0: none).
template <std::size_t Degree>
__attribute__((always_inline)) inline void visit_bits(const BitReplicas& replicas, std::size_t i,
                                                      const std::uint64_t* accepted) {
    const AtLeast<Degree> count = count_satisfied<Degree>(replicas, i);
    std::uint64_t flips = accepted[0] & ~count.rising[0];
    for (std::size_t rise = 1; rise < count.kRises; ++rise) {
        flips |= accepted[rise] & ~count.rising[rise];
    }
    flips |= accepted[count.kRises];
    set_spin(replicas, i, replicas.words[2 * i] ^ flips);
}

// Lanes that accept a rise of 0, and of each that can occur; those that accept one accept all below.
template <std::size_t Degree>
struct Accepted {
    static constexpr std::size_t kRises = AtLeast<Degree>::kRises;
    std::uint64_t lanes[kVisitsPerWord][kRises + 1];

    // NOLINTNEXTLINE(cppcoreguidelines-pro-type-member-init): the loops write every word.
    __attribute__((always_inline)) Accepted(const DrawnBytes& drawn, const std::uint8_t* table) {
#pragma GCC unroll 8
        for (std::size_t v = 0; v < kVisitsPerWord; ++v) {
            lanes[v][0] = drawn_above(drawn, v, 0);
            for (std::size_t rise = 0; rise < kRises; ++rise) {
                lanes[v][rise + 1] =
                    drawn_above(drawn, v, table[2 * (AtLeast<Degree>::kHalf + rise) - Degree]);
            }
        }
    }
};

// One sweep: of draws_between.inl or draws_before.inl.
template <std::size_t Degree>
void sweep_bits(const BitReplicas& group, std::size_t begin, std::size_t end,
                const Int8Acceptance& acceptance);

void metropolis_bits(const BitReplicas& replicas, std::size_t begin, std::size_t end,
                     const Int8Acceptance& acceptance) {
    switch (replicas.degree) {
        case 3: return sweep_bits<3>(replicas, begin, end, acceptance);
        case 4: return sweep_bits<4>(replicas, begin, end, acceptance);
        case 5: return sweep_bits<5>(replicas, begin, end, acceptance);
        default: return sweep_bits<6>(replicas, begin, end, acceptance);
    }
}

template <std::size_t Degree>
inline std::uint64_t descend_bits(const BitReplicas& group, std::size_t begin, std::size_t end) {
    const BitReplicas replicas = group;
    std::uint64_t flipped = 0;
    for (std::size_t i = begin; i < end; ++i) {
        const std::uint64_t flips = ~count_satisfied<Degree>(replicas, i).not_falling;
        flipped |= flips;
        set_spin(replicas, i, replicas.words[2 * i] ^ flips);
    }
    return flipped;
}

std::uint64_t greedy_bits(const BitReplicas& replicas, std::size_t begin, std::size_t end) {
    switch (replicas.degree) {
        case 3: return descend_bits<3>(replicas, begin, end);
        case 4: return descend_bits<4>(replicas, begin, end);
        case 5: return descend_bits<5>(replicas, begin, end);
        default: return descend_bits<6>(replicas, begin, end);
    }
}

// Adds three numbers of one bit per lane.
inline void add_bit_counts(std::uint64_t& high, std::uint64_t& low, std::uint64_t a, std::uint64_t b,
                           std::uint64_t c) {
    const std::uint64_t differ = a ^ b;
    high = (a & b) | (differ & c);
    low = differ ^ c;
}

void satisfied_bits(const BitReplicas& replicas, std::int32_t* count) {
    for (std::size_t lane = 0; lane < kInt8Replicas; ++lane) {
        count[lane] = 0;
    }
    const auto satisfied = [&](std::size_t bond) {
        const std::uint32_t* ends = replicas.bonds + 2 * bond;
        return word_at(replicas.words, ends[0]) ^ word_at(replicas.words, ends[1]);
    };
    const auto add = [&](std::uint64_t bits, std::int32_t weight) {
        for (std::size_t lane = 0; lane < kInt8Replicas; ++lane) {
            count[lane] += static_cast<std::int32_t>((bits >> lane) & 1U) * weight;
        }
    };
    // A binary number of every lane, one word a digit, which every 8 couplings add to; emptied in time.
    constexpr std::size_t kDigits = 12;
    std::uint64_t digits[kDigits] = {};
    std::size_t bond = 0;
    for (std::size_t since = 0; bond + 8 <= replicas.bond_count; bond += 8) {
        std::uint64_t two[4];
        std::uint64_t four[2];
        std::uint64_t carry = 0;
        add_bit_counts(two[0], digits[0], digits[0], satisfied(bond), satisfied(bond + 1));
        add_bit_counts(two[1], digits[0], digits[0], satisfied(bond + 2), satisfied(bond + 3));
        add_bit_counts(four[0], digits[1], digits[1], two[0], two[1]);
        add_bit_counts(two[2], digits[0], digits[0], satisfied(bond + 4), satisfied(bond + 5));
        add_bit_counts(two[3], digits[0], digits[0], satisfied(bond + 6), satisfied(bond + 7));
        add_bit_counts(four[1], digits[1], digits[1], two[2], two[3]);
        add_bit_counts(carry, digits[2], digits[2], four[0], four[1]);
        for (std::size_t digit = 3; digit < kDigits; ++digit) {
            const std::uint64_t next = digits[digit] & carry;
            digits[digit] ^= carry;
            carry = next;
        }
        since += 8;
        if (since + 8 >= std::size_t{1} << kDigits) {
            for (std::size_t digit = 0; digit < kDigits; ++digit) {
                add(digits[digit], std::int32_t{1} << digit);
                digits[digit] = 0;
            }
            since = 0;
        }
    }
    for (std::size_t digit = 0; digit < kDigits; ++digit) {
        add(digits[digit], std::int32_t{1} << digit);
    }
    for (; bond < replicas.bond_count; ++bond) {
        add(satisfied(bond), 1);
    }
}

void keep_bits(const std::uint64_t* up, std::size_t stride, std::uint64_t* kept, std::size_t n,
               std::uint64_t mask) {
    for (std::size_t i = 0; i < n; ++i) {
        kept[i] = (kept[i] & ~mask) | (up[i * stride] & mask);
    }
}

constexpr SparseBitsKernels kSparseBits{metropolis_bits, greedy_bits, satisfied_bits, keep_bits};
