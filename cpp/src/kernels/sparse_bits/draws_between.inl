// A sweep that makes the random numbers of the next 8 visits while the present 8 are worked on: for instruction sets with
// registers enough for both.

template <std::size_t Degree>
void sweep_bits(const BitReplicas& group, std::size_t begin, std::size_t end,
                const Int8Acceptance& acceptance) {
    const BitReplicas replicas = group;
    const std::uint8_t* tables = acceptance.table;
    const std::size_t phase = acceptance.phase;
    DrawnBytes drawn{};
#pragma GCC unroll 8
    for (std::size_t v = 0; v < kVisitsPerWord; ++v) {
        step_generators(replicas.random, v, drawn);
    }
    for (std::size_t block = begin; block < end; block += kVisitsPerWord) {
        transpose_drawn(drawn);
        const Accepted<Degree> accepted(drawn, tables + dither_at(block, phase) * kTableWidth);
        if (block + kVisitsPerWord < end) {
            // Written out: compilers leave a loop over v as it is, and the vectors in memory.
            const auto visit_and_draw = [&](std::size_t v) __attribute__((always_inline)) {
                step_generators(replicas.random, v, drawn);
                visit_bits<Degree>(replicas, block + v, accepted.lanes[v]);
            };
            visit_and_draw(0);
            visit_and_draw(1);
            visit_and_draw(2);
            visit_and_draw(3);
            visit_and_draw(4);
            visit_and_draw(5);
            visit_and_draw(6);
            visit_and_draw(7);
        } else {
            for (std::size_t i = block; i < end; ++i) {
                visit_bits<Degree>(replicas, i, accepted.lanes[i - block]);
            }
        }
    }
}
