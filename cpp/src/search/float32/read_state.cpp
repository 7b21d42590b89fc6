#include "search/float32/read_state.hpp"

namespace qpsbgd {

void ReadState::resize(std::size_t n) {
    fields.resize(n);
    spins.resize(n);
    local.resize(n);
    thresholds.resize(n);
    best_spins.resize(n);
    tabu_until.resize(n);
    sweeps_done = 0;
}

void ReadState::randomise(Random& random) {
    std::uint64_t bits = 0;
    for (std::size_t i = 0; i < spins.size(); ++i) {
        bits = i % 64 == 0 ? random.next() : bits >> 1;
        spins[i] = (bits & 1) != 0 ? 1.0F : -1.0F;
    }
}

}  // namespace qpsbgd
