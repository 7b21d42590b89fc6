#include "batch/remainder.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "base/threads.hpp"
#include "batch/presolve.hpp"
#include "batch/rules.hpp"
#include "batch/run.hpp"
#include "search/exact/search.hpp"

namespace qpsbgd {
namespace {

// What a search of one component needs, and what it finds.
struct Part {
    std::size_t component = 0;
    Component problem;
    std::unique_ptr<std::int8_t[]> samples;  // reads x spins of the component
    std::vector<double> energies;
    SolveReport report;

    double work() const { return static_cast<double>(problem.fields.size() + problem.value.size()); }
};

// The time left, shared between parts by their work, of which `lanes` are searched at once.
class PartsTime {
public:
    PartsTime(std::optional<Clock::time_point> end, std::size_t lanes, std::span<const Part> parts)
        : end_(end), lanes_(static_cast<double>(lanes)) {
        for (const Part& part : parts) {
            work_ += part.work();
        }
    }

    // When a part has to end that begins now.
    std::optional<Clock::time_point> begin(const Part& part) {
        const std::scoped_lock lock(mutex_);
        const double share = std::min(1.0, lanes_ * part.work() / work_);
        work_ -= part.work();
        if (!end_) {
            return end_;
        }
        const auto now = Clock::now();
        return now + std::chrono::duration_cast<Clock::duration>(share * (*end_ - now));
    }

private:
    std::mutex mutex_;
    std::optional<Clock::time_point> end_;
    double lanes_;
    double work_ = 0.0;
};

class Remainder {
public:
    Remainder(const Reduction& reduction, const IsingBatch& batch, const SolveOptions& options,
              std::span<std::int8_t> samples, std::span<double> energies, StopToken& token)
        : reduction_(reduction), run_(batch, options, samples, energies, token), known_(batch.n) {
        std::ranges::fill(energies, kLeftOut);
        run_.start(0, 0, known_);
    }

    void solve() {
        solve_small_components();
        if (!parts_.empty()) {
            search_parts();
        }
        complete_reads();
    }

    SolveReport report();

private:
    void solve_small_components();
    void search_parts();
    void search(Part& part, std::size_t threads, std::optional<Clock::time_point> deadline);
    void put_into(std::span<std::int8_t> spins, std::size_t component,
                  std::span<const std::int8_t> found) const;
    void note_known();
    void complete(std::size_t worker, std::size_t read);
    void complete_reads();

    const Reduction& reduction_;
    BatchRun run_;
    std::vector<Part> parts_;  // components to be searched, the largest first
    bool proven_ = true;       // of the components that are not

    // The best state known, once spins taken out are put back: any thread may improve a component's.
    std::mutex mutex_;
    std::vector<std::int8_t> known_;
    std::vector<std::int8_t> whole_;
    FinishSpace space_;
    Clock::time_point next_note_;
    Clock::duration time_to_complete_ = Clock::duration::zero();
};

void Remainder::put_into(std::span<std::int8_t> spins, std::size_t component,
                         std::span<const std::int8_t> found) const {
    const auto members = reduction_.spins_of(component);
    for (std::size_t i = 0; i < members.size(); ++i) {
        spins[static_cast<std::size_t>(members[i])] = found[i];
    }
}

void Remainder::solve_small_components() {
    const std::size_t most = run_.options.method == Method::exact ? kExactLimit : kAutoExactLimit;
    std::vector<std::size_t> small;
    for (std::size_t index = 0; index < reduction_.components(); ++index) {
        const std::size_t size = reduction_.spins_of(index).size();
        if (size <= most) {
            small.push_back(index);
        } else if (run_.options.method == Method::exact) {
            throw std::invalid_argument("method 'exact' takes at most " + std::to_string(kExactLimit) +
                                        " spins, but presolve leaves a component of " + std::to_string(size));
        } else {
            parts_.push_back({index, reduction_.component(index), {}, {}, {}});
        }
    }
    std::ranges::sort(parts_, {}, [](const Part& part) { return std::pair(-part.work(), part.component); });
    std::vector<ExactSearch> searches(run_.workers.size());
    std::atomic<bool> proven{true};
    parallel_for(small.size(), run_.options.threads, run_.token, [&](std::size_t worker, std::size_t at) {
        const Component component = reduction_.component(small[at]);
        std::vector<std::int8_t> spins(component.fields.size());
        Budget budget(run_.token, run_.token.deadline());
        if (!searches[worker].run(component.batch(), 0, spins, budget)) {
            proven = false;
        }
        put_into(known_, small[at], spins);  // no two components share a spin
    });
    proven_ = proven;
}

// Shows the progress the best state known: a pass over the problem, so it is not done too often.
void Remainder::note_known() {
    constexpr int kRest = 20;
    const auto begin = Clock::now();
    if (begin < next_note_) {
        return;
    }
    whole_ = known_;
    reduction_.put_back(whole_);
    double energy = 0.0;
    run_.sparse_finish.finish({0, whole_, &energy}, space_, run_.token);
    if (Progress* progress = run_.options.progress; progress != nullptr) {
        progress->record(0, energy, whole_);
        if (progress->reached()) {
            run_.token.finish();
        }
    }
    time_to_complete_ = Clock::now() - begin;
    next_note_ = begin + kRest * time_to_complete_;
}

void Remainder::search_parts() {
    const std::size_t threads = run_.options.threads;
    auto end = run_.token.deadline();
    if (end || run_.options.progress != nullptr) {
        note_known();
    }
    if (end) {
        const auto rounds = 1 + run_.options.reads / threads;
        const auto left = *end - Clock::now();
        *end -= std::clamp(time_to_complete_ * static_cast<Clock::rep>(rounds), Clock::duration::zero(),
                           std::max(left / 2, Clock::duration::zero()));
    }
    // Many components: each on a thread of its own. No answer depends on it.
    const bool side_by_side = parts_.size() >= 2 * threads;
    const std::size_t lanes = side_by_side ? threads : 1;
    PartsTime time(end, lanes, parts_);
    parallel_for(parts_.size(), lanes, run_.token, [&](std::size_t /*worker*/, std::size_t index) {
        search(parts_[index], side_by_side ? 1 : threads, time.begin(parts_[index]));
    });
}

void Remainder::search(Part& part, std::size_t threads, std::optional<Clock::time_point> deadline) {
    SolveOptions options = run_.options;
    options.presolve = Presolve::off;
    options.threads = threads;
    options.first_problem += part.component;
    Progress progress(1, {}, 0);
    if (run_.options.progress != nullptr) {
        progress.tell([&](std::span<const std::int8_t> spins) {
            const std::scoped_lock lock(mutex_);
            put_into(known_, part.component, spins);
            note_known();
        });
        options.progress = &progress;
    }
    StopToken token(
        deadline, [&] { return run_.token.interrupted(); }, [&] { return run_.token.finishing(); });
    if (token.out_of_time()) {
        options.reads = 1;  // the one that every problem gets
    }
    const std::size_t spins = options.reads * part.problem.fields.size();
    part.samples = std::make_unique_for_overwrite<std::int8_t[]>(spins);
    part.energies.resize(options.reads);
    part.report = solve_batch(part.problem.batch(), options, std::span(part.samples.get(), spins),
                              part.energies, token);
}

void Remainder::complete(std::size_t worker, std::size_t read) {
    const auto spins = run_.sample(0, read);
    std::ranges::copy(known_, spins.begin());
    for (const Part& part : parts_) {
        const std::size_t n = part.problem.fields.size();
        put_into(spins, part.component, std::span(part.samples.get() + read * n, n));
    }
    reduction_.put_back(spins);
    run_.sparse_finish.finish({0, spins, &run_.energies[read]}, run_.workers[worker].finish, run_.token);
    run_.note(0, read);
}

void Remainder::complete_reads() {
    std::size_t reads = run_.options.reads;
    for (const Part& part : parts_) {
        reads = std::min(reads, part.report.reads);
    }
    complete(0, 0);
    parallel_for(reads - 1, run_.options.threads, run_.token, [&](std::size_t worker, std::size_t index) {
        const std::size_t read = index + 1;
        if (run_.token.out_of_time(kGrace)) {
            return;
        }
        if (parts_.empty()) {  // one answer for all reads
            std::ranges::copy(run_.sample(0, 0), run_.sample(0, read).begin());
            run_.energies[read] = run_.energies[0];
        } else {
            complete(worker, read);
        }
    });
}

SolveReport Remainder::report() {
    SolveReport report;
    report.method = "exact";
    report.proven = parts_.empty() && proven_ && reduction_.is_precise();
    if (!parts_.empty()) {
        report.method = parts_.front().report.method;
        report.beta_range = parts_.front().report.beta_range;
    }
    for (const Part& part : parts_) {
        report.sweeps += part.report.sweeps;
    }
    report.reads = sort_reads(run_);
    take_best_known(run_);
    report.presolve = PresolveReport{reduction_.decided(), reduction_.degree_one(), reduction_.degree_two(),
                                     reduction_.remaining(), reduction_.components()};
    return report;
}

bool may_serve(const IsingBatch& batch, const SolveOptions& options) {
    const bool sparse = batch.couplings.index() >= 2;
    const bool several = options.progress != nullptr && options.progress->wanted() != 0;
    const bool possible =
        sparse && batch.problems == 1 && batch.initial_states.empty() && !options.sampling && !several;
    if (options.presolve == Presolve::on && !possible) {
        throw std::invalid_argument(
            "presolve serves one sparse problem at a time, without initial states, several best states or a "
            "sampling");
    }
    return options.presolve == Presolve::on ||
           (options.presolve == Presolve::automatic && possible && options.method == Method::automatic &&
            !options.beta_range && batch.n > kAutoExactLimit);
}

// Does presolve make the problem small enough to act unasked?
bool pays(const Reduction& reduction) {
    std::size_t largest = 0;
    for (std::size_t index = 0; index < reduction.components(); ++index) {
        largest = std::max(largest, reduction.spins_of(index).size());
    }
    return 2 * largest <= reduction.n();
}

bool acts(const Reduction& reduction, const SolveOptions& options) {
    if (options.presolve == Presolve::automatic) {
        return pays(reduction);
    }
    return reduction.remaining() < reduction.n() || reduction.components() > 1;
}

}  // namespace

std::optional<SolveReport> solve_presolved(const IsingBatch& batch, const SolveOptions& options,
                                           std::span<std::int8_t> samples, std::span<double> energies,
                                           StopToken& token) {
    if (!may_serve(batch, options)) {
        return std::nullopt;
    }
    const auto start = Clock::now();
    // A smaller problem is worth most of the time, but whether there is one is not known before the graph is made.
    const auto after = [&](int eighths) {
        auto end = token.deadline();
        if (end) {
            *end = start + (*end - start) / 8 * eighths;
        }
        return end;
    };
    Budget to_make(token, after(3));
    Budget to_reduce(token, after(6));
    if (options.presolve == Presolve::automatic && !presolve_may_pay(batch, to_make)) {
        return std::nullopt;
    }
    const auto reduction = Reduction::make(batch, to_make, to_reduce);
    if (!reduction || !acts(*reduction, options)) {
        return std::nullopt;
    }
    const auto preparation = nanoseconds_since(start);
    Remainder remainder(*reduction, batch, options, samples, energies, token);
    remainder.solve();
    SolveReport report = remainder.report();
    report.preparation_ns = preparation;
    report.solve_ns = nanoseconds_since(start) - preparation;
    return report;
}

}  // namespace qpsbgd
