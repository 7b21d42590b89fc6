// One read after the other in float32.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>

#include "base/units.hpp"
#include "batch/run.hpp"
#include "search/float32/population.hpp"

namespace qpsbgd {
namespace {

template <class Matrix>
void prepare(BatchRun& run, const Matrix& matrix, ReadState& state, std::size_t problem, std::size_t read,
             Random& random) {
    state.resize(run.batch.n);
    const auto fields = run.batch.field(problem);
    std::ranges::transform(fields, state.fields.begin(),
                           [&](double field) { return field_in_units(field, matrix.unit()); });
    const auto start = run.initial_state(problem, read);
    if (start.empty()) {
        state.randomise(random);
    } else {
        std::ranges::copy(start, state.spins.begin());
    }
    state.refresh(matrix);
    state.forget_best();
    state.keep_if_best();
}

// Without a given range the read first descends to a local minimum, whose fields set the scale.
template <class Matrix>
BetaRange beta_range_of(BatchRun& run, const Matrix& matrix, ReadState& state, std::size_t problem,
                        std::size_t read, Budget& budget) {
    BetaRange range{};
    if (run.options.beta_range) {
        range = *run.options.beta_range;
    } else {
        descend(matrix, state, std::numeric_limits<std::size_t>::max(), budget);
        double sum = 0.0;
        for (const float local : state.local) {
            sum += std::fabs(static_cast<double>(local));
        }
        range = default_beta_range(sum / static_cast<double>(run.batch.n) * matrix.unit());
    }
    if (problem == 0 && read == 0) {
        run.first_beta_range = range;
    }
    return range;
}

template <class Matrix>
void search(BatchRun& run, const Matrix& matrix, ReadState& state, std::size_t problem, std::size_t read,
            Random& random, Budget& budget) {
    if (run.options.method == Method::descent) {
        descend(matrix, state, run.options.sweeps.value_or(std::numeric_limits<std::size_t>::max()), budget);
        return;
    }
    if (run.options.method == Method::tabu) {
        const auto unlimited = std::numeric_limits<std::size_t>::max();
        tabu(matrix, state,
             run.options.sweeps.value_or(budget.has_deadline() ? unlimited : kDefaultTabuSweeps), random,
             budget);
        return;
    }
    if (run.options.sampling) {
        const Sampling& sampling = *run.options.sampling;
        sample(matrix, state, sampling, random, budget);
        if (problem == 0 && read == 0 && !sampling.betas.empty()) {
            run.first_beta_range = BetaRange{sampling.betas.front(), sampling.betas.back()};
        }
        return;
    }
    const BetaRange range = beta_range_of(run, matrix, state, problem, read, budget);
    if (run.options.sweeps || !budget.has_deadline()) {
        anneal(matrix, state, range, run.options.sweeps.value_or(kDefaultAnnealSweeps), random, budget);
        return;
    }
    // Until the time is up: ever longer runs from new states.
    for (std::size_t sweeps = kFirstRoundSweeps; !budget.exhausted(); sweeps *= 2) {
        anneal(matrix, state, range, sweeps, random, budget);
        state.randomise(random);
        state.refresh(matrix);
    }
}

void copy_spins(std::span<const float> from, std::span<std::int8_t> to) {
    std::ranges::transform(from, to.begin(), [](float spin) { return static_cast<std::int8_t>(spin); });
}

// Shows the progress the read's best state at every poll, and its local minima.
template <class Matrix>
class ReadWatch {
public:
    ReadWatch(BatchRun& run, const Matrix& matrix, Worker& worker, std::size_t problem, Budget& budget)
        : state_(worker.state), problem_(problem), unit_(matrix.unit()) {
        if (run.options.progress != nullptr) {
            constant_ = constant_of(run.batch, problem);
            watch_.emplace(*run.options.progress, run.token, worker.evaluate, run.batch.n, 1);
            budget.watch(
                [this] { look(); },
                [this] { watch_->minimum(problem_, [&](auto spins) { copy_spins(state_.spins, spins); }); });
        }
    }

    void look() {
        if (watch_) {
            watch_->look(0, problem_, state_.best_energy * unit_ + constant_,
                         [&](auto spins) { copy_spins(state_.best_spins, spins); });
        }
    }

private:
    const ReadState& state_;
    std::size_t problem_;
    double unit_;
    double constant_ = 0.0;
    std::optional<Watch> watch_;
};

}  // namespace

template <class Matrix>
void solve_read(BatchRun& run, const Matrix& matrix, Worker& worker, std::size_t problem, std::size_t read) {
    Random random(run.options.seed, run.options.first_problem + problem, read);
    // A descent ends by itself: only the time of all reads cuts it short.
    const bool shares = run.options.method != Method::descent;
    Budget budget(run.token, shares ? run.time.share(1) : run.token.deadline());
    run.time.begin(1);
    ReadState& state = worker.state;
    prepare(run, matrix, state, problem, read, random);
    ReadWatch watch(run, matrix, worker, problem, budget);
    search(run, matrix, state, problem, read, random, budget);
    watch.look();
    worker.sweeps += state.sweeps_done;
    copy_spins(state.best_spins, run.sample(problem, read));
}

std::size_t solve_population(BatchRun& run, const SparseMatrix& matrix, Worker& worker, std::size_t problem,
                             std::size_t first, std::size_t count) {
    Random random(run.options.seed, run.options.first_problem + problem, first);
    Budget budget(run.token, run.time.share(count));
    run.time.begin(count);
    ReadState& state = worker.state;
    prepare(run, matrix, state, problem, first, random);
    ReadWatch watch(run, matrix, worker, problem, budget);
    const BetaRange range = beta_range_of(run, matrix, state, problem, first, budget);
    SparsePopulation population(matrix, state, random, count);
    population.evolve(range, budget);
    worker.sweeps += state.sweeps_done;
    const auto best = population.best();
    for (std::size_t k = 0; k < best.size(); ++k) {
        std::ranges::copy(best[k].spins, run.sample(problem, first + k).begin());
    }
    return best.size();
}

template void solve_read(BatchRun&, const DenseMatrix&, Worker&, std::size_t, std::size_t);
template void solve_read(BatchRun&, const SparseMatrix&, Worker&, std::size_t, std::size_t);

}  // namespace qpsbgd
