// Registers of AMX: tiles of int8.

constexpr std::size_t kTileDepth = 64;    // spins that one tile multiplies
constexpr std::size_t kTileBytes = 1024;  // of a tile of int8

// Eight tiles of sixteen rows of 64 bytes, the largest there are.
struct alignas(64) TileShapes {
    std::uint8_t palette = 1;
    std::uint8_t first_row = 0;
    std::uint8_t reserved[14] = {};
    std::uint16_t bytes_of_row[16] = {64, 64, 64, 64, 64, 64, 64, 64};
    std::uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};
