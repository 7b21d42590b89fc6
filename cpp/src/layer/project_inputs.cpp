// Rows of a layer that descend by its inputs X (samples x d) themselves, without A = scale X'X.
//
// A row keeps o = X G, one number a sample. A pass computes X'o for a group of rows by one blocked product, notes the
// coordinates whose flip would help, and tries them from the largest gain to the smallest: the gain is computed anew from o,
// and the coordinate is flipped if a quarter of the gain is left. Passes go on until none is noted.
//
// Cost: samples * d multiply-adds a row and pass, some 15 to 30 passes; samples for each coordinate that is tried. All is in
// units of A / scale. Memory: X twice, and a few numbers a coordinate for the rows at work.
// Promises: never above sign(p), as float64 sees it; the same bits on every instruction set and number of threads.
#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <type_traits>
#include <vector>

#include "base/aligned.hpp"
#include "base/rounding.hpp"
#include "base/threads.hpp"
#include "layer/group_rows.hpp"
#include "layer/input_gains.hpp"
#include "layer/layer_inputs.hpp"
#include "layer/rounded_descent.hpp"
#include "qpsbgd/layer.hpp"

namespace qpsbgd {
namespace {

constexpr std::size_t kFirstPasses = 3;    // before single flips by the matrix, if there is one
constexpr std::size_t kMostPasses = 1000;  // rounding could let undecided coordinates alternate for ever

// One group of rows after the other.
template <class Real>
class InputProjection {
public:
    InputProjection(const LayerInputs<Real>& x, const AlignedRows<Real>* couplings,
                    const RoundedCouplings* rounded, const LayerRows<Real>& layer,
                    const ProjectionOptions& options)
        : kernels_(projection_kernels<Real>()),
          x_(x),
          couplings_(couplings),
          rows_(layer, options, x.table.width),
          left_(std::max(x.samples, kChunk) * x.table.width),
          right_(kChunk * x.table.width),
          block_(x.table.width * x.table.width),
          states_(x.table.width) {
        if (rounded != nullptr) {
            rounded_.emplace(*rounded, x.table.width);
        }
        next_.resize(rounded_up(x.d, kFlipSlots));
        for (State& state : states_) {
            state.pulls.resize(x.d);
            state.spins.resize(rounded_up(x.d, kFlipSlots));
            state.fields.resize(couplings == nullptr ? 0 : rounded_up(x.d, kFlipSlots));
            state.first.assign(x.stride, Real{0});
            state.outputs.assign(x.stride, Real{0});
            state.found.resize(x.d + 1);
        }
    }

    // Projects rows [first, first + count) of the layer. Returns false if a sum over p leaves the range of numbers.
    bool run(std::size_t first, std::size_t count, StopToken& token) {
        rows_.begin(first, count);
        bool in_range = true;
        for (std::size_t row = 0; row < count; ++row) {
            State& state = states_[row];
            const Real* p = rows_.p(row);
            std::transform(p, p + x_.d, state.spins.begin(),
                           [](Real value) { return value < Real{0} ? Real{-1} : Real{1}; });
        }
        multiply_spins(count, &State::first);
        for (std::size_t row = 0; row < count; ++row) {
            in_range = start(row) && in_range;
        }
        descend(count, token);
        if (rows_.options().rule == ScaleRule::automatic) {
            for (std::size_t row = 0; row < count; ++row) {
                refit(row);
            }
            descend(count, token);
        }
        if (couplings_ == nullptr) {
            multiply_spins(count, &State::outputs);  // X h afresh, for there were many flips
        }
        for (std::size_t row = 0; row < count; ++row) {
            finish(row);
        }
        return in_range;
    }

private:
    struct State {
        std::vector<Real> pulls;    // p / s
        std::vector<Real> spins;    // padded with zeros, as the fields are
        std::vector<Real> fields;   // of the descent by the matrix
        std::vector<Real> first;    // X sigma
        std::vector<Real> outputs;  // X G, at last X h
        std::vector<Gain<Real>> found;
        std::vector<Gain<Real>> sorted;
        std::size_t size = 0;     // of found
        std::size_t changes = 0;  // spins that outputs followed one by one
        double scale = 0.0;       // s, or 0 where the sign is the answer
    };

    // X h of all rows, h their spins. Sums of kChunk coordinates are added, so that their errors stay small.
    void multiply_spins(std::size_t count, std::vector<Real> State::* product) {
        for (std::size_t row = 0; row < count; ++row) {
            std::ranges::fill(states_[row].*product, Real{0});
        }
        const std::size_t width = x_.table.width;
        const Destination<Real> nowhere{.rows = block_.data(), .mirrored = nullptr, .stride = 0};
        for (std::size_t begin = 0; begin < x_.d; begin += kChunk) {
            const std::size_t size = std::min(kChunk, x_.d - begin);
            for (std::size_t row = 0; row < width; ++row) {
                const Real* spins = states_[std::min(row, count - 1)].spins.data() + begin;
                for (std::size_t i = 0; i < size; ++i) {
                    left_.data()[i * width + row] = spins[i];  // beyond the last row again that one
                }
            }
            for (std::size_t k = 0; k < x_.samples; k += width) {
                const std::size_t columns = std::min(width, x_.samples - k);
                x_.table.pack(x_.column(begin) + k, x_.stride, size, columns, right_.data());
                x_.table.multiply(left_.data(), right_.data(), size, count, columns, false, nowhere,
                                  block_.data());
                for (std::size_t row = 0; row < count; ++row) {
                    for (std::size_t j = 0; j < columns; ++j) {
                        (states_[row].*product)[k + j] += block_.data()[row * width + j];
                    }
                }
            }
        }
    }

    double squared(const std::vector<Real>& outputs) const {
        double sum = 0.0;
        for (const Real value : outputs) {
            sum += static_cast<double>(value) * static_cast<double>(value);
        }
        return sum;
    }

    bool start(std::size_t row) {
        State& state = states_[row];
        state.outputs = state.first;
        state.changes = 0;
        const double curvature = x_.scale * squared(state.first);
        state.scale = rows_.first_scale(row, curvature);
        set_pulls(row);
        return leaves_room(rows_.norm(row)) && leaves_room(curvature);
    }

    void set_pulls(std::size_t row) {
        State& state = states_[row];
        const Real* p = rows_.p(row);
        const double inverse = state.scale > 0.0 ? 1.0 / state.scale / x_.scale : 0.0;
        std::transform(p, p + x_.d, state.pulls.begin(),
                       [&](Real value) { return static_cast<Real>(inverse * static_cast<double>(value)); });
    }

    // The step length that fits X G best to v: s = p'G / G'AG.
    void refit(std::size_t row) {
        State& state = states_[row];
        if (!(state.scale > 0.0)) {
            return;
        }
        const double slope = write_step(row, state.spins.data());
        const double scale = slope / (x_.scale * squared(state.outputs));
        if (slope > 0.0 && scale > 0.0 && std::isfinite(scale) && std::isfinite(1.0 / scale)) {
            state.scale = scale;
            set_pulls(row);
        }
    }

    double write_step(std::size_t row, const Real* spins) {
        return kernels_.write_step(rows_.p(row), spins, x_.own.data(), rows_.options().mask, x_.d,
                                   rows_.step(row));
    }

    InputDescent<Real> descent(State& state) const {
        return {.inputs = x_.columns.data(),
                .stride = x_.stride,
                .factor = x_.factor,
                .own = x_.own.data(),
                .slacks = x_.slacks.data(),
                .slack = static_cast<Real>(std::sqrt(squared(state.outputs))),
                .pulls = state.pulls.data(),
                .spins = state.spins.data(),
                .outputs = state.outputs.data()};
    }

    // Passes over the first `count` rows until no flip helps any of them, or until few do and the matrix takes over.
    void descend(std::size_t count, StopToken& token) {
        std::vector<std::size_t> at_work;
        for (std::size_t row = 0; row < count; ++row) {
            if (states_[row].scale > 0.0) {
                at_work.push_back(row);
            }
        }
        if (rounded_) {
            descend_rounded(*rounded_, at_work, token);
            descend_by_matrix(at_work, token);
            return;
        }
        const std::size_t most_passes = couplings_ == nullptr ? kMostPasses : kFirstPasses;
        for (std::size_t pass = 0; pass < most_passes && !at_work.empty(); ++pass) {
            look(at_work, token);
            std::erase_if(at_work, [&](std::size_t row) {
                State& state = states_[row];
                sort_gains(state.found, state.size, state.sorted);
                const std::size_t flips =
                    kernels_.flip_gains(descent(state), state.sorted.data(), state.size);
                state.changes += flips;
                return flips == 0;
            });
        }
        if (couplings_ != nullptr && !at_work.empty()) {
            descend_by_matrix(at_work, token);
        }
    }

    // X'(X G) of these rows, panel by panel: take(r, products, first coordinate, number of them) for every row and panel.
    template <class Take>
    void multiply_outputs(const std::vector<std::size_t>& at_work, StopToken& token, const Take& take) {
        const std::size_t width = x_.table.width;
        for (std::size_t r = 0; r < width; ++r) {
            for (std::size_t k = 0; k < x_.samples; ++k) {
                left_.data()[k * width + r] = r < at_work.size() ? states_[at_work[r]].outputs[k] : Real{0};
            }
        }
        const Destination<Real> nowhere{.rows = block_.data(), .mirrored = nullptr, .stride = 0};
        const std::size_t panels_of_look = 1 + (std::size_t{1} << 22U) / (width * width * x_.samples);
        for (std::size_t panel = 0; panel < x_.panels.count(); ++panel) {
            if (panel % panels_of_look == 0) {
                token.throw_if_interrupted();
            }
            x_.table.multiply(left_.data(), x_.panels.panel(panel), x_.samples, at_work.size(),
                              x_.panels.width(panel), false, nowhere, block_.data());
            for (std::size_t r = 0; r < at_work.size(); ++r) {
                take(r, block_.data() + r * width, panel * width, x_.panels.width(panel));
            }
        }
    }

    // Notes the gains of these rows.
    void look(const std::vector<std::size_t>& at_work, StopToken& token) {
        std::array<InputDescent<Real>, kMostPanelColumns> rows{};
        for (std::size_t r = 0; r < at_work.size(); ++r) {
            rows[r] = descent(states_[at_work[r]]);
            states_[at_work[r]].size = 0;
        }
        multiply_outputs(
            at_work, token, [&](std::size_t r, const Real* products, std::size_t first, std::size_t count) {
                State& state = states_[at_work[r]];
                state.size +=
                    kernels_.find_gains(rows[r], products, first, count, state.found.data() + state.size);
            });
    }

    // Fields of these rows, from X'(X G).
    void set_fields(const std::vector<std::size_t>& at_work, StopToken& token) {
        const auto scale = static_cast<Real>(x_.scale);
        multiply_outputs(at_work, token,
                         [&](std::size_t r, const Real* products, std::size_t first, std::size_t count) {
                             State& state = states_[at_work[r]];
                             for (std::size_t k = 0; k < count; ++k) {
                                 const std::size_t i = first + k;
                                 const Real own = state.spins[i] * x_.own[i];
                                 state.fields[i] = scale * (products[k] - state.pulls[i] - own);
                             }
                         });
    }

    // All but the last flips, by rounded couplings.
    void descend_rounded(RoundedDescent& rounded, const std::vector<std::size_t>& at_work, StopToken& token) {
        if constexpr (std::is_same_v<Real, float>) {
            set_fields(at_work, token);
            for (std::size_t k = 0; k < at_work.size(); ++k) {
                const State& state = states_[at_work[k]];
                rounded.take(k, state.spins.data(), state.fields.data());
            }
            rounded.run(at_work.size());
            for (std::size_t k = 0; k < at_work.size(); ++k) {
                const std::int16_t* spins = rounded.spins(k);
                std::copy_n(spins, x_.d, next_.begin());
                follow(states_[at_work[k]]);
            }
        }
    }

    // The last flips, one by one, each with its row of A.
    void descend_by_matrix(const std::vector<std::size_t>& at_work, StopToken& token) {
        set_fields(at_work, token);
        for (const std::size_t row : at_work) {
            State& state = states_[row];
            next_ = state.spins;
            Descent<Real> by_matrix{.couplings = couplings_->rows().data,
                                    .stride = couplings_->rows().stride,
                                    .d = x_.d,
                                    .factor = x_.factor,
                                    .units = x_.ones.data(),
                                    .errors = x_.zeros.data(),
                                    .first_error = static_cast<double>(x_.d),
                                    .spins = next_.data(),
                                    .fields = state.fields.data()};
            while (!kernels_.descend(by_matrix, rows_.flips_of_look()) &&
                   by_matrix.flips < rows_.most_flips()) {
                token.throw_if_interrupted();
            }
            follow(state);
        }
    }

    // The row takes the spins of next_.
    void follow(State& state) { state.changes += kernels_.follow(descent(state), next_.data(), x_.d); }

    // Is F(G) < F(sigma)? With D = G - sigma the difference is s scale (X D)'(2 X sigma + X D) - 2 p'D. It is computed from
    // products in Real, and by float64 throughout where their errors could decide. `outputs` is X h.
    bool is_better(std::size_t row) {
        const State& state = states_[row];
        const double part = rows_.options().mask ? 0.5 : 1.0;  // D = part (h - sigma)
        const Real* p = rows_.p(row);
        const double pulled = pull_of_changes(p, state.spins.data(), x_.d);
        double curved = 0.0;
        double error = 0.0;
        // X G where it followed the spins, and that many roundings more.
        const double of_moved = couplings_ == nullptr ? part : 1.0;
        const double roundings =
            1.0 + 0.25 * static_cast<double>(state.changes) / static_cast<double>(kChunk);
        for (std::size_t k = 0; k < x_.samples; ++k) {
            const auto first = static_cast<double>(state.first[k]);
            const double moved = of_moved * (static_cast<double>(state.outputs[k]) - first);
            const double of_output = roundings * x_.errors[k];
            curved += moved * (2.0 * first + moved);
            error += 4.0 * of_output * (std::fabs(moved) + std::fabs(first) + of_output);
        }
        const double factor = state.scale * x_.scale;
        return factor * (curved + error) - 2.0 * part * pulled < 0.0 || exact_change(row) < 0.0;
    }

    double exact_change(std::size_t row) {
        const State& state = states_[row];
        const Real* p = rows_.p(row);
        std::vector<double> moved(x_.samples);
        std::vector<double> first(x_.samples);
        double pulled = 0.0;
        for (std::size_t i = 0; i < x_.d; ++i) {
            const double sign = p[i] < Real{0} ? -1.0 : 1.0;
            const auto spin = static_cast<double>(state.spins[i]);
            const double difference = (rows_.options().mask ? 0.5 * (sign + spin) : spin) - sign;
            pulled += difference * static_cast<double>(p[i]);
            for (std::size_t k = 0; k < x_.samples; ++k) {
                const auto value = static_cast<double>(x_.column(i)[k]);
                moved[k] += difference * value;
                first[k] += sign * value;
            }
        }
        double curved = 0.0;
        for (std::size_t k = 0; k < x_.samples; ++k) {
            curved += moved[k] * (2.0 * first[k] + moved[k]);
        }
        return state.scale * x_.scale * curved - 2.0 * pulled;
    }

    void finish(std::size_t row) {
        const bool better = states_[row].scale > 0.0 && is_better(row);
        rows_.finish(row, [&](std::int8_t* /*step*/) {
            return write_step(row, better ? states_[row].spins.data() : nullptr);
        });
    }

    const ProjectionKernels<Real>& kernels_;
    const LayerInputs<Real>& x_;
    const AlignedRows<Real>* couplings_;  // A, or null
    GroupRows<Real> rows_;
    std::optional<RoundedDescent> rounded_;
    AlignedBuffer<Real> left_;
    AlignedBuffer<Real> right_;
    AlignedBuffer<Real> block_;
    std::vector<State> states_;
    std::vector<Real> next_;  // spins that a row is about to take
};

// Returns false where sums leave the range of numbers: then the results mean nothing.
template <class Real>
bool project_groups(const LayerInputs<Real>& x, const AlignedRows<Real>* couplings,
                    const RoundedCouplings* rounded, const LayerRows<Real>& rows,
                    const ProjectionOptions& options, std::size_t threads, StopToken& token) {
    const std::size_t width = x.table.width;
    const std::size_t groups = (rows.m + width - 1) / width;
    std::vector<std::optional<InputProjection<Real>>> workers(
        std::max<std::size_t>(1, std::min(threads, groups)));
    std::atomic<bool> in_range = true;
    parallel_for(groups, threads, token, [&](std::size_t worker, std::size_t index) {
        if (!workers[worker]) {
            workers[worker].emplace(x, couplings, rounded, rows, options);
        }
        const std::size_t first = index * width;
        if (!workers[worker]->run(first, std::min(width, rows.m - first), token)) {
            in_range.store(false, std::memory_order_relaxed);
        }
    });
    return in_range;
}

double work_of(std::size_t samples, std::size_t d, std::size_t m) {
    return 8.0 * static_cast<double>(samples) * static_cast<double>(d) * static_cast<double>(m);
}

}  // namespace

template <class Real>
bool project_rows_by_inputs(std::span<const Real> inputs, std::size_t samples, double scale,
                            const LayerRows<Real>& rows, const ProjectionOptions& options, StopToken& token) {
    const std::size_t threads =
        useful_threads(options.threads, work_of(samples, rows.d, rows.m), kWorkOfThread);
    {
        const LayerInputs<Real> x(inputs, samples, rows.d, scale, options.mask, threads, token);
        if (x.in_range() && x.is_exact() &&
            project_groups<Real>(x, nullptr, nullptr, rows, options, threads, token)) {
            return true;
        }
    }
    // Numbers at the ends of their range: by the matrix, whose solver knows what to do with them.
    const OwnedMatrix<Real> matrix = allocate_matrix<Real>(rows.d, rows.d);
    gram<Real>(inputs, samples, rows.d, scale, matrix.rows(), threads, token);
    return project_rows<Real>({matrix.memory.get(), matrix.stride}, rows, options, token);
}

template <class Real>
bool project_rows_by_both(Rows<const Real> gram, std::span<const Real> inputs, std::size_t samples,
                          double scale, const LayerRows<Real>& rows, const ProjectionOptions& options,
                          StopToken& token) {
    const std::size_t threads =
        useful_threads(options.threads, work_of(samples, rows.d, rows.m), kWorkOfThread);
    if (options.rule != ScaleRule::automatic) {
        const AlignedRows<Real> couplings(gram, rows.d);
        const LayerInputs<Real> x(inputs, samples, rows.d, scale, options.mask, threads, token);
        std::optional<RoundedCouplings> rounded;
        if constexpr (std::is_same_v<Real, float>) {
            rounded.emplace(couplings.rows(), rows.d, options, token);
        }
        if (x.in_range() && x.is_exact() &&
            project_groups<Real>(x, &couplings, rounded ? &*rounded : nullptr, rows, options, threads,
                                 token)) {
            return true;
        }
    }
    return project_rows<Real>(gram, rows, options, token);
}

#define QPSBGD_INSTANTIATE(Real)                                                                             \
    template bool project_rows_by_inputs(std::span<const Real>, std::size_t, double, const LayerRows<Real>&, \
                                         const ProjectionOptions&, StopToken&);                              \
    template bool project_rows_by_both(Rows<const Real>, std::span<const Real>, std::size_t, double,         \
                                       const LayerRows<Real>&, const ProjectionOptions&, StopToken&);
QPSBGD_INSTANTIATE(float)
QPSBGD_INSTANTIATE(double)
#undef QPSBGD_INSTANTIATE

}  // namespace qpsbgd
