// A temperature as a factor of 16 bits and a shift; thresholds above `most` << shift, all of int16, mean the same.
struct Int16Heat {
    std::uint32_t factor;
    std::uint32_t most;
    int shift;
};

inline Int16Heat heat_of(std::uint32_t temperature) {
    int shift = 0;
    while (temperature > 65535) {
        temperature >>= 1;
        ++shift;
    }
    return {temperature, 32767U >> (shift < 15 ? shift : 15), shift < 15 ? shift : 15};
}
