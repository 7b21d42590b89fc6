// Spins as bits, set for -1, and as bytes, eight at a time in plain integers: on every machine some ten times as fast as one
// by one. Byte k of a word is its bits 8 k to 8 k + 7, as memory has them on the little-endian machines we build for.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

namespace qpsbgd {

static_assert(std::endian::native == std::endian::little);

// Eight bytes that are 0 or 1 as eight bits, the first one lowest.
inline std::uint32_t packed_flags(const std::uint8_t* flags) {
    constexpr std::uint64_t kBitOfByte = 0x0102040810204080ULL;  // moves byte k to bit 56 + k
    std::uint64_t bytes = 0;
    std::memcpy(&bytes, flags, sizeof(bytes));
    return static_cast<std::uint32_t>((bytes * kBitOfByte) >> 56);
}

// Eight spins from the lowest eight bits, set for -1.
inline void unpack_spins(std::uint32_t bits, std::int8_t* spins) {
    constexpr std::uint64_t kOnes = 0x0101010101010101ULL;
    constexpr std::uint64_t kOwnBit = 0x8040201008040201ULL;  // bit k in byte k
    constexpr std::uint64_t kToTopBit =
        0x00406070787C7E7FULL;  // which bit k of byte k carries into its bit 7
    const std::uint64_t own = (std::uint64_t{bits & 0xFFU} * kOnes) & kOwnBit;
    const std::uint64_t negative = ((own + kToTopBit) >> 7) & kOnes;
    const std::uint64_t bytes = kOnes ^ (negative * 0xFE);
    std::memcpy(spins, &bytes, sizeof(bytes));
}

// As many bytes that are 0 or 1 as a word has bits.
template <class Word>
Word packed_word(const std::uint8_t* flags) {
    std::uint32_t bits = 0;
    for (std::size_t k = 0; k < 8 * sizeof(Word); k += 8) {
        bits |= packed_flags(flags + k) << k;
    }
    return static_cast<Word>(bits);
}

// Bits of spins, as many to a word as it has room for, from the lowest; the rest of the last word is clear.
template <class Word>
void pack_spins(std::span<const std::int8_t> spins, std::span<Word> words) {
    constexpr std::size_t kBits = 8 * sizeof(Word);
    for (std::size_t word = 0; word * kBits < spins.size(); ++word) {
        std::uint8_t flags[kBits] = {};
        const auto part = spins.subspan(word * kBits);
        const std::size_t count = part.size() < kBits ? part.size() : kBits;
        for (std::size_t k = 0; k < count; ++k) {
            flags[k] = static_cast<std::uint8_t>(part[k] < 0);
        }
        words[word] = packed_word<Word>(flags);
    }
}

}  // namespace qpsbgd
