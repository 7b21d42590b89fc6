// Dense float32 kernels: plain loops that the compiler vectorises for the instruction set of the including file.
// No reduction is reordered and nothing is contracted, so every instruction set computes the same bits. One multiplication
// and one addition per coupling.

void local_fields(const float* couplings, std::size_t stride, std::size_t n, const float* fields,
                  const float* spins, float* local) {
    for (std::size_t j = 0; j < n; ++j) {
        local[j] = 0.0F;
    }
    for (std::size_t i = 0; i < n; ++i) {
        const float* row = couplings + i * stride;
        const float spin = spins[i];
        for (std::size_t j = 0; j < n; ++j) {
            local[j] += spin * row[j];
        }
    }
    for (std::size_t j = 0; j < n; ++j) {
        local[j] = fields[j] + 0.5F * local[j];
    }
}

void flip(const float* row, std::size_t n, std::size_t spin, float* spins, float* local) {
    const float before = spins[spin];
    spins[spin] = -before;
    for (std::size_t j = 0; j < n; ++j) {
        local[j] -= before * row[j];
    }
}

double metropolis(const float* couplings, std::size_t stride, std::size_t n, std::size_t begin,
                  std::size_t end, const float* thresholds, float* spins, float* local) {
    double gain = 0.0;
    for (std::size_t i = begin; i < end; ++i) {
        const float step = spins[i] * local[i];
        if (step + thresholds[i] >= 0.0F) {
            gain += static_cast<double>(step);
            flip(couplings + i * stride, n, i, spins, local);
        }
    }
    return gain;
}

double greedy(const float* couplings, std::size_t stride, std::size_t n, std::size_t begin, std::size_t end,
              float* spins, float* local) {
    double gain = 0.0;
    for (std::size_t i = begin; i < end; ++i) {
        const float step = spins[i] * local[i];
        if (step > 0.0F) {
            gain += static_cast<double>(step);
            flip(couplings + i * stride, n, i, spins, local);
        }
    }
    return gain;
}

Move best_move(std::size_t n, const float* spins, const float* local, const std::int32_t* tabu_until,
               std::int32_t now, float aspiration) {
    Move best{0, false};
    float best_step = 0.0F;
    for (std::size_t i = 0; i < n; ++i) {
        const float step = spins[i] * local[i];
        const bool allowed = tabu_until[i] <= now || step > aspiration;
        if (allowed && (!best.found || step > best_step)) {
            best = {i, true};
            best_step = step;
        }
    }
    return best;
}

constexpr DenseFloat32Kernels kDenseFloat32{local_fields, flip, metropolis, greedy, best_move};
