// Random numbers. Every read of every problem owns a stream, so results depend neither on the number of
// threads nor on how a batch is split.
//
// xoshiro256++ (Blackman and Vigna, 2019) seeded by SplitMix64 from (seed, problem, read).
#pragma once

#include <array>
#include <bit>
#include <cstdint>

#include "base/random_state.hpp"

namespace qpsbgd {

class SplitMix64 {
public:
    explicit SplitMix64(std::uint64_t state) : state_(state) {}

    std::uint64_t next() {
        state_ += 0x9E3779B97F4A7C15ULL;
        return mix(state_);
    }

    static std::uint64_t mix(std::uint64_t z) {
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ULL;
        z = (z ^ (z >> 27)) * 0x94D049BB133111EBULL;
        return z ^ (z >> 31);
    }

private:
    std::uint64_t state_;
};

class Random {
public:
    Random(std::uint64_t seed, std::uint64_t problem, std::uint64_t read) {
        SplitMix64 seeder(SplitMix64::mix(SplitMix64::mix(seed) + problem) + read);
        for (auto& word : state_) {
            word = seeder.next();
        }
    }

    std::uint64_t next() {
        const std::uint64_t result = std::rotl(state_[0] + state_[3], 23) + state_[0];
        const std::uint64_t shifted = state_[1] << 17;
        state_[2] ^= state_[0];
        state_[3] ^= state_[1];
        state_[1] ^= state_[2];
        state_[0] ^= state_[3];
        state_[2] ^= shifted;
        state_[3] = std::rotl(state_[3], 45);
        return result;
    }

    // Uniform in [0, bound), bound < 2^32, by Lemire's multiplication (bias below 2^-32).
    std::uint32_t below(std::uint32_t bound) {
        return static_cast<std::uint32_t>(((next() >> 32) * bound) >> 32);
    }

    // For kernels, which go on with the stream by themselves.
    RandomState state() const { return {{state_[0], state_[1], state_[2], state_[3]}}; }
    void set_state(const RandomState& state) {
        state_ = {state.word[0], state.word[1], state.word[2], state.word[3]};
    }

private:
    std::array<std::uint64_t, 4> state_{};
};

}  // namespace qpsbgd
