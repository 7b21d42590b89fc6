// A batch of sparse problems as groups of 64 replicas, shared between threads.
#include "batch/replicas.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <memory>
#include <mutex>
#include <numeric>
#include <utility>
#include <variant>
#include <vector>

#include "base/schedule.hpp"
#include "base/spin_bits.hpp"
#include "base/threads.hpp"
#include "batch/replicas_watch.hpp"
#include "batch/share_time.hpp"
#include "search/int8/acceptance.hpp"
#include "search/int8/population.hpp"
#include "search/int8/replica_group.hpp"

namespace qpsbgd {

// Time of a sweep over the whole group, in sweeps over one read in float32 (n = 2000, mean of a whole run):
//                          degree 4, by bits    degree 48, by bytes
//     AVX-512                   1.6                  2.5 to 5, the more reads the more flips
//     AVX2                      2.9                  3.5 to 7
//     128-bit vectors          10                   10 to 20
// The same rule for every machine, since a replica's random numbers are not those of a single read.
bool replicas_pay(const IsingBatch& batch, const SolveOptions& options) {
    constexpr std::size_t kLeastReplicas = 4;
    if (options.time_limit && !options.sweeps) {
        // With time to fill, idle lanes are filled with further replicas. All of them descend to local minima before the
        // answer, which takes as long as some fifteen sweeps where there was no time to anneal.
        constexpr double kSecondsPerEntry = 4e-9;
        constexpr double kLeastSweeps = 40.0;
        constexpr double kDescent = 15.0;
        constexpr double kMostDelay = 0.03;  // seconds
        const double entries = std::visit(
            [](const auto& view) {
                if constexpr (requires { view.row_start; }) {
                    return 4.0 * static_cast<double>(view.n) + 2.0 * static_cast<double>(view.value.size());
                } else {
                    return 0.0;
                }
            },
            batch.couplings);
        const double sweep = kSecondsPerEntry * entries;
        return kDescent * sweep <= kMostDelay || kLeastSweeps * sweep <= *options.time_limit;
    }
    return batch.problems * options.reads >= kLeastReplicas;
}

namespace {

// The best states of every problem, where more are found than wanted.
class BestReplicas {
public:
    BestReplicas(std::size_t problems, std::size_t wanted) : wanted_(wanted), found_(problems) {}

    // Keeps the state if it is among the best of its problem.
    void offer(ReplicaId id, std::int32_t gain, std::span<const std::uint64_t> words) {
        const std::scoped_lock lock(mutex_);  // groups of several threads may hold replicas of one problem
        auto& found = found_[id.problem];
        const auto better = [](const Found& a, const Found& b) {
            return std::pair(-std::int64_t{a.gain}, a.read) < std::pair(-std::int64_t{b.gain}, b.read);
        };
        Found candidate{gain, id.read, {}};
        const auto place = std::ranges::lower_bound(found, candidate, better);
        if (place == found.end() && found.size() == wanted_) {
            return;
        }
        candidate.words.assign(words.begin(), words.end());
        found.insert(place, std::move(candidate));
        if (found.size() > wanted_) {
            found.pop_back();
        }
    }

    std::size_t count(std::size_t problem) const { return found_[problem].size(); }

    // Spins as bits, the best of the problem first.
    std::span<const std::uint64_t> words(std::size_t problem, std::size_t rank) const {
        return found_[problem][rank].words;
    }

private:
    struct Found {
        std::int32_t gain;
        std::size_t read;
        std::vector<std::uint64_t> words;
    };

    std::size_t wanted_;
    std::vector<std::vector<Found>> found_;
    std::mutex mutex_;
};

class ReplicaBatch {
public:
    ReplicaBatch(const Int8ReplicaCouplings& couplings, const IsingBatch& batch, const SolveOptions& options,
                 std::size_t sweeps, std::span<std::int8_t> samples, const FinishReplicas& finish,
                 const EvaluateOf& evaluate, StopToken& token)
        : couplings_(couplings),
          batch_(batch),
          options_(options),
          sweeps_(sweeps),
          timed_(options.time_limit && !options.sweeps),
          samples_(samples),
          finish_(finish),
          evaluate_(evaluate),
          token_(token),
          workers_(std::max<std::size_t>(1, options.threads)),
          ranges_(batch.problems),
          found_(batch.problems, options.reads) {}

    std::optional<ReplicaReport> run() {
        choose_ranges();
        if (!std::ranges::all_of(ranges_, [&](const BetaRange& range) { return tables_serve(range); })) {
            return std::nullopt;
        }
        form_groups();
        TimeShare time(token_, groups_.size(), options_.threads);
        parallel_for(groups_.size(), options_.threads, token_, [&](std::size_t worker, std::size_t group) {
            solve_group(workers_[worker], worker, groups_[group], time);
        });
        if (replicas_per_problem_ > options_.reads) {
            parallel_for(batch_.problems, options_.threads, token_,
                         [&](std::size_t worker, std::size_t problem) { write_best(worker, problem); });
        }
        ReplicaReport report;
        report.beta_range = ranges_.front();
        for (const Worker& worker : workers_) {
            report.sweeps += worker.sweeps;
        }
        return report;
    }

private:
    struct Worker {
        std::unique_ptr<Int8ReplicaGroup> group;
        std::unique_ptr<PartitionCrossover> own_crossover;
        std::vector<std::uint64_t> words;
        std::uint64_t sweeps = 0;

        PartitionCrossover& crossover(const Int8ReplicaCouplings& couplings) {
            if (!own_crossover) {
                own_crossover = std::make_unique<PartitionCrossover>(couplings);
            }
            return *own_crossover;
        }
    };

    Int8ReplicaGroup& group_of(Worker& worker) {
        if (!worker.group) {
            worker.group = std::make_unique<Int8ReplicaGroup>(couplings_);
        }
        return *worker.group;
    }

    // The default range of a problem comes from the local minimum below its first read's initial state. The field is
    // rounded to three binary digits, so that problems alike get the same range and can share a group.
    void choose_ranges() {
        if (options_.beta_range) {
            std::ranges::fill(ranges_, *options_.beta_range);
            return;
        }
        const std::size_t groups = (batch_.problems + kInt8Replicas - 1) / kInt8Replicas;
        parallel_for(groups, options_.threads, token_, [&](std::size_t worker, std::size_t index) {
            const std::size_t first = index * kInt8Replicas;
            const std::size_t count = std::min(kInt8Replicas, batch_.problems - first);
            std::vector<ReplicaId> ids(count);
            for (std::size_t lane = 0; lane < count; ++lane) {
                ids[lane] = {first + lane, 0};
            }
            Budget budget(token_, token_.deadline());
            Int8ReplicaGroup& group = group_of(workers_[worker]);
            group.assign(ids, options_.seed, options_.first_problem);
            group.start(batch_);
            group.descend(budget);
            for (std::size_t lane = 0; lane < count; ++lane) {
                int exponent = 0;
                const double fraction = std::frexp(group.mean_field(lane), &exponent);
                ranges_[first + lane] =
                    default_beta_range(std::ldexp(std::nearbyint(fraction * 8.0), exponent - 3));
            }
            workers_[worker].sweeps += group.sweeps_done();
        });
    }

    // Are the tables of acceptance long enough for the hottest sweep?
    bool tables_serve(const BetaRange& range) const {
        const double beta = geometric_beta(range, 0, timed_ ? kFirstRoundSweeps : sweeps_);
        return Int8AcceptanceTable::serves(Int8AcceptanceTable::ratio(beta, couplings_.unit()),
                                           couplings_.hub_reach());
    }

    // Replicas with the same range, 64 to a group.
    void form_groups() {
        replicas_per_problem_ = options_.reads;
        if (timed_) {
            replicas_per_problem_ =
                std::max(replicas_per_problem_,
                         kInt8Replicas * std::max<std::size_t>(1, options_.threads) / batch_.problems);
        }
        std::vector<std::size_t> problems(batch_.problems);
        std::iota(problems.begin(), problems.end(), std::size_t{0});
        std::ranges::sort(problems, {},
                          [&](std::size_t problem) { return std::pair(ranges_[problem].hot, problem); });
        double hot = -1.0;
        for (const std::size_t problem : problems) {
            for (std::size_t read = 0; read < replicas_per_problem_; ++read) {
                if (groups_.empty() || groups_.back().size() == kInt8Replicas ||
                    ranges_[problem].hot != hot) {
                    groups_.emplace_back();
                    hot = ranges_[problem].hot;
                }
                groups_.back().push_back({problem, read});
            }
        }
    }

    void solve_group(Worker& worker, std::size_t number, const std::vector<ReplicaId>& ids, TimeShare& time) {
        const bool left_out =
            token_.out_of_time() && std::ranges::none_of(ids, [](ReplicaId id) { return id.read == 0; });
        if (left_out) {
            time.begin(1);
            return;
        }
        Budget budget(token_, time.share(1, time_to_write(ids.size())));
        time.begin(1);
        Int8ReplicaGroup& group = group_of(worker);
        const BetaRange range = ranges_[ids.front().problem];
        group.assign(ids, options_.seed, options_.first_problem);
        ReplicasWatch watch(group, couplings_, batch_, options_, evaluate_(number), budget);
        group.start(batch_);
        if (!options_.beta_range) {
            group.descend(budget);  // as a single read does to choose its range: worth it when sweeps are few
        }
        group.anneal(range, timed_ ? kFirstRoundSweeps : sweeps_, budget);
        if (timed_ && !budget.exhausted()) {
            evolve(worker, number, budget);
            return;
        }
        worker.sweeps += group.sweeps_done();
        watch.look();
        group.best_bits(worker.words);
        answer_all(number, group);
    }

    // Some replicas together, between looks at the time.
    void answer_all(std::size_t number, const Int8ReplicaGroup& group) {
        constexpr std::size_t kTogether = 16;
        const std::span<const ReplicaId> ids = group.replicas();
        const std::size_t count = words_of(batch_.n);
        std::array<ReplicaId, kTogether> ready{};
        for (std::size_t first = 0; first < ids.size(); first += kTogether) {
            std::size_t answered = 0;
            for (std::size_t lane = first; lane < std::min(first + kTogether, ids.size()); ++lane) {
                const auto words = std::span(workers_[number].words).subspan(lane * count, count);
                if (take(ids[lane], group.best_gain(lane), words)) {
                    ready[answered++] = ids[lane];
                }
            }
            finish_(number, std::span(ready).first(answered));
        }
    }

    // Until the time is up.
    void evolve(Worker& worker, std::size_t number, Budget& budget) {
        Int8ReplicaGroup& group = *worker.group;
        const ReplicaId first = group.replicas().front();
        // Other numbers than those of the replicas' initial states.
        Int8Population population(
            group, worker.crossover(couplings_),
            Random(SplitMix64::mix(options_.seed), options_.first_problem + first.problem, first.read));
        population.evolve(ranges_[first.problem], budget);
        worker.sweeps += group.sweeps_done();
        worker.words.resize(words_of(batch_.n));
        for (std::size_t lane = 0; lane < group.replicas().size(); ++lane) {
            std::ranges::fill(worker.words, std::uint64_t{0});
            const auto state = population.best(lane);
            for (std::size_t at = 0; at < batch_.n; ++at) {
                const std::size_t spin = couplings_.order()[at];
                worker.words[spin / kWordBits] |= (state[at / kWordBits] >> (at % kWordBits) & 1U)
                                                  << (spin % kWordBits);
            }
            const ReplicaId id = group.replicas()[lane];
            if (take(id, static_cast<std::int32_t>(population.best_gain(lane)), worker.words)) {
                finish_(number, std::span(&id, 1));
            }
        }
    }

    // Is the state an answer, which is to be completed?
    bool take(ReplicaId id, std::int32_t gain, std::span<const std::uint64_t> words) {
        if (replicas_per_problem_ > options_.reads) {
            found_.offer(id, gain, words);
            return false;
        }
        if (id.read != 0 && token_.out_of_time(kGrace)) {
            return false;
        }
        write(id, words);
        return true;
    }

    // What it takes to complete so many answers, roughly.
    Clock::duration time_to_write(std::size_t replicas) const {
        constexpr std::chrono::duration<double, std::nano> kOfOperation(1.0);
        const std::size_t answers =
            replicas_per_problem_ > options_.reads ? batch_.problems * options_.reads : replicas;
        return std::chrono::duration_cast<Clock::duration>(kOfOperation *
                                                           static_cast<double>(couplings_.work() * answers));
    }

    void write_best(std::size_t worker, std::size_t problem) {
        const std::size_t found = std::min(options_.reads, found_.count(problem));
        for (std::size_t read = 0; read < found && (read == 0 || !token_.out_of_time(kGrace)); ++read) {
            const ReplicaId id{problem, read};
            write(id, found_.words(problem, read));
            finish_(worker, std::span(&id, 1));
        }
    }

    void write(ReplicaId id, std::span<const std::uint64_t> words) {
        const auto spins = samples_.subspan((id.problem * options_.reads + id.read) * batch_.n, batch_.n);
        std::array<std::int8_t, 8> eight{};
        for (std::size_t i = 0; i < spins.size(); i += eight.size()) {
            const std::uint64_t up = words[i / kWordBits] >> (i % kWordBits);
            unpack_spins(static_cast<std::uint32_t>(~up), eight.data());
            std::copy_n(eight.begin(), std::min(eight.size(), spins.size() - i), &spins[i]);
        }
    }

    const Int8ReplicaCouplings& couplings_;
    const IsingBatch& batch_;
    const SolveOptions& options_;
    std::size_t sweeps_;
    bool timed_;
    std::span<std::int8_t> samples_;
    const FinishReplicas& finish_;
    const EvaluateOf& evaluate_;
    StopToken& token_;
    std::vector<Worker> workers_;
    std::vector<BetaRange> ranges_;
    std::vector<std::vector<ReplicaId>> groups_;
    std::size_t replicas_per_problem_ = 1;
    BestReplicas found_;
};

}  // namespace

std::optional<ReplicaReport> anneal_replicas(const Int8ReplicaCouplings& couplings, const IsingBatch& batch,
                                             const SolveOptions& options, std::size_t sweeps,
                                             std::span<std::int8_t> samples, const FinishReplicas& finish,
                                             const EvaluateOf& evaluate, StopToken& token) {
    return ReplicaBatch(couplings, batch, options, sweeps, samples, finish, evaluate, token).run();
}

}  // namespace qpsbgd
