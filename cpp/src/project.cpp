// The training step's solver: every row of a layer from sign(p), greedy passes until no change helps.
//
// With q = A G, a change of coordinate i by delta changes  F(G) = s G'AG - 2 p'G  by
//   s (2 delta q_i + delta^2 A_ii) - 2 delta p_i,
// where delta = -2 G_i for spins and delta = sigma_i - G_i or -G_i for a mask. q follows with delta times row i of A.
// n comparisons a pass and d additions a change; A is read once to find q. The objective never rises; rows are
// independent of each other.
#include <cmath>
#include <vector>

#include "qpsbgd/aligned.hpp"
#include "qpsbgd/assembly.hpp"
#include "qpsbgd/threads.hpp"

namespace qpsbgd {
namespace {

template <class Real>
class RowProjection {
public:
    RowProjection(const Real* gram, std::size_t d, const ProjectionOptions& options)
        : gram_(gram), d_(d), options_(options), sign_(d), state_(d), product_(d), sign_product_(d) {}

    void run(const Real* p, std::int8_t* out, StopToken& token) {
        double norm = 0.0;
        for (std::size_t i = 0; i < d_; ++i) {
            sign_[i] = p[i] < Real{0} ? Real{-1} : Real{1};
            norm += std::fabs(static_cast<double>(p[i]));
        }
        multiply(sign_, sign_product_);
        state_ = sign_;
        product_ = sign_product_;
        const double curvature = dot(sign_, sign_product_);
        double scale = options_.kappa;
        if (options_.rule != ScaleRule::fixed) {
            const double kappa = options_.rule == ScaleRule::relative ? options_.kappa : 1.0;
            scale = curvature > 0.0 ? kappa * norm / curvature
                                    : 0.0;  // no curvature: the sign is best at any step
        }
        if (norm > 0.0) {
            descend(p, scale, token);
            if (options_.rule == ScaleRule::automatic) {
                scale = line_search(p, scale);
                descend(p, scale, token);
            }
            if (!(objective_change(p, scale) < 0.0)) {  // also when an overflow made it no number
                state_ = sign_;
            }
        }
        for (std::size_t i = 0; i < d_; ++i) {
            const bool nothing_to_move_for = norm == 0.0 || (p[i] == Real{0} && gram_[i * d_ + i] == Real{0});
            out[i] = nothing_to_move_for ? std::int8_t{0} : static_cast<std::int8_t>(state_[i]);
        }
    }

private:
    using Vector = AlignedVector<Real>;

    static double dot(const Vector& a, const Vector& b) {
        double sum = 0.0;
        for (std::size_t i = 0; i < a.size(); ++i) {
            sum += static_cast<double>(a[i]) * static_cast<double>(b[i]);
        }
        return sum;
    }

    void add_row(std::size_t row, Real factor, Vector& out) const {
        const Real* values = gram_ + row * d_;
        for (std::size_t j = 0; j < d_; ++j) {
            out[j] += factor * values[j];
        }
    }

    void multiply(const Vector& spins, Vector& out) const {
        std::ranges::fill(out, Real{0});
        for (std::size_t i = 0; i < d_; ++i) {
            add_row(i, spins[i], out);
        }
    }

    Real change(std::size_t i) const {
        if (!options_.mask) {
            return Real{-2} * state_[i];
        }
        return state_[i] == Real{0} ? sign_[i] : -state_[i];
    }

    void descend(const Real* p, double scale, StopToken& token) {
        const auto s = static_cast<Real>(scale);
        // Rounding could let undecided coordinates alternate for ever; real descents end within some ten passes.
        constexpr std::size_t kMostPasses = 1000;
        bool changed = true;
        for (std::size_t pass = 0; changed && pass < kMostPasses; ++pass) {
            changed = false;
            token.throw_if_interrupted();
            for (std::size_t i = 0; i < d_; ++i) {
                const Real delta = change(i);
                const Real curvature = Real{2} * product_[i] + delta * gram_[i * d_ + i];
                if (delta * (s * curvature - Real{2} * p[i]) < Real{0}) {
                    state_[i] += delta;
                    add_row(i, delta, product_);
                    changed = true;
                }
            }
        }
    }

    // The step length that fits X G best to v: s = p'G / G'AG.
    double line_search(const Real* p, double before) const {
        double slope = 0.0;
        for (std::size_t i = 0; i < d_; ++i) {
            slope += static_cast<double>(p[i]) * static_cast<double>(state_[i]);
        }
        const double curvature = dot(state_, product_);
        return slope > 0.0 && curvature > 0.0 ? slope / curvature : before;
    }

    // F(G) - F(sigma) in float64, from the changed coordinates D = G - sigma alone: s (2 D'A sigma + D'AD) - 2 p'D.
    double objective_change(const Real* p, double scale) {
        changed_.clear();
        for (std::size_t i = 0; i < d_; ++i) {
            if (state_[i] != sign_[i]) {
                changed_.push_back(i);
            }
        }
        double total = 0.0;
        for (const std::size_t i : changed_) {
            const double difference = static_cast<double>(state_[i]) - static_cast<double>(sign_[i]);
            double product = 2.0 * static_cast<double>(sign_product_[i]);
            for (const std::size_t j : changed_) {
                product += static_cast<double>(gram_[i * d_ + j]) *
                           (static_cast<double>(state_[j]) - static_cast<double>(sign_[j]));
            }
            total += difference * (scale * product - 2.0 * static_cast<double>(p[i]));
        }
        return total;
    }

    const Real* gram_;
    std::size_t d_;
    const ProjectionOptions& options_;
    Vector sign_;
    Vector state_;         // G
    Vector product_;       // A G
    Vector sign_product_;  // A sigma
    std::vector<std::size_t> changed_;
};

}  // namespace

template <class Real>
void project_rows(std::span<const Real> gram, std::span<const Real> gradient, std::size_t m, std::size_t d,
                  const ProjectionOptions& options, std::span<std::int8_t> out, StopToken& token) {
    // A few rows a piece: enough work to pay for the counter, few enough to share a small layer.
    constexpr std::size_t kRows = 4;
    std::vector<RowProjection<Real>> workers(std::max<std::size_t>(1, options.threads),
                                             RowProjection<Real>(gram.data(), d, options));
    parallel_for((m + kRows - 1) / kRows, options.threads, token, [&](std::size_t worker, std::size_t piece) {
        for (std::size_t row = piece * kRows; row < std::min(m, (piece + 1) * kRows); ++row) {
            workers[worker].run(gradient.data() + row * d, out.data() + row * d, token);
        }
    });
}

template void project_rows(std::span<const float>, std::span<const float>, std::size_t, std::size_t,
                           const ProjectionOptions&, std::span<std::int8_t>, StopToken&);
template void project_rows(std::span<const double>, std::span<const double>, std::size_t, std::size_t,
                           const ProjectionOptions&, std::span<std::int8_t>, StopToken&);

}  // namespace qpsbgd
