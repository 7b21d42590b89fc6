// A sweep that makes the random numbers of 8 visits at once before them, as the kernels of sparse_int8 do. With AVX2 a visit
// of degree 4 takes about 52 vector operations, 38 of them for random bytes, and 40 others.

template <std::size_t Degree>
void sweep_bits(const BitReplicas& group, std::size_t begin, std::size_t end,
                const Int8Acceptance& acceptance) {
    const BitReplicas replicas = group;
    const std::uint8_t* tables = acceptance.table;
    const std::size_t phase = acceptance.phase;
    DrawnBytes drawn{};
    for (std::size_t block = begin; block < end; block += kVisitsPerWord) {
        draw_int8(replicas.random, drawn);
        const Accepted<Degree> accepted(drawn, tables + dither_at(block, phase) * kTableWidth);
        if (block + kVisitsPerWord < end) {
#pragma GCC unroll 8
            for (std::size_t v = 0; v < kVisitsPerWord; ++v) {
                visit_bits<Degree>(replicas, block + v, accepted.lanes[v]);
            }
        } else {
            for (std::size_t i = block; i < end; ++i) {
                visit_bits<Degree>(replicas, i, accepted.lanes[i - block]);
            }
        }
    }
}
