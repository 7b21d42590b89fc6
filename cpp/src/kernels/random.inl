// xoshiro256++ as in base/rng.hpp, on the plain state that kernels share.
inline std::uint64_t rotated(std::uint64_t value, int by) { return (value << by) | (value >> (64 - by)); }

inline std::uint64_t next_random(RandomState& state) {
    const std::uint64_t result = rotated(state.word[0] + state.word[3], 23) + state.word[0];
    const std::uint64_t shifted = state.word[1] << 17;
    state.word[2] ^= state.word[0];
    state.word[3] ^= state.word[1];
    state.word[1] ^= state.word[2];
    state.word[0] ^= state.word[3];
    state.word[2] ^= shifted;
    state.word[3] = rotated(state.word[3], 45);
    return result;
}
