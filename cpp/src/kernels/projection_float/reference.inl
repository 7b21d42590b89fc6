// What the kernels of this family compute, coordinate by coordinate: tests compare every instruction set with it.
//
// Identity: that of projection_float/table.hpp. Sums over a row are 32 partial sums, one for every coordinate modulo 32,
// added as a binary tree; products with signs are added four rows at a time; a flip is one fused multiply-add per field.
// That order makes results equal to the last bit.
// Alignment: none. Cost: one operation per coordinate, or per coupling of a flipped coordinate.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "kernels/projection_float/table.hpp"

namespace qpsbgd::reference::projection_float {

// Parts first, first + step, first + 2 step, ... as a tree whose halves are its even and its odd leaves.
inline double sum_of_parts(const std::array<double, 32>& part, std::size_t first = 0, std::size_t step = 1) {
    if (step == part.size()) {
        return part[first];
    }
    return sum_of_parts(part, first, 2 * step) + sum_of_parts(part, first + step, 2 * step);
}

// Sum of terms, with partial sums of type Sum.
template <class Sum, class Term>
double sum_of(const std::vector<Term>& terms) {
    std::array<Sum, 32> part{};
    for (std::size_t i = 0; i < terms.size(); ++i) {
        part[i % 32] += static_cast<Sum>(terms[i]);
    }
    std::array<double, 32> wide{};
    std::ranges::copy(part, wide.begin());
    return sum_of_parts(wide);
}

// The same with partial sums of the terms' own type, or of float64 where those leave its range.
template <class Real>
double sum_or_wider_sum(const std::vector<Real>& terms) {
    const double sum = sum_of<Real>(terms);
    return std::isfinite(sum) ? sum : sum_of<double>(terms);
}

template <class Real>
int sign_of(Real value) {
    return value < Real{0} ? -1 : 1;
}

template <class Real>
double magnitude(const Real* a, std::size_t d) {
    std::vector<Real> sizes(d);
    std::transform(a, a + d, sizes.begin(), [](Real value) { return std::fabs(value); });
    return sum_or_wider_sum(sizes);
}

template <class Real>
double signed_sum(const Real* p, const Real* a, std::size_t d) {
    std::vector<double> terms(d);
    for (std::size_t i = 0; i < d; ++i) {
        terms[i] = sign_of(p[i]) * static_cast<double>(a[i]);
    }
    return sum_of<double>(terms);
}

template <class Real>
double take_signs(const Real* gradient, const Real* residual, std::size_t d, Real* p, std::uint64_t* signs,
                  std::size_t signs_stride) {
    std::vector<Real> values(gradient, gradient + d);
    for (std::size_t word = 0; word * kSignsOfWord < d; ++word) {
        signs[word * signs_stride] = 0;
    }
    for (std::size_t i = 0; i < d; ++i) {
        if (residual != nullptr) {
            values[i] += residual[i];
            p[i] = values[i];
        }
        if (sign_of(values[i]) < 0) {
            signs[i / kSignsOfWord * signs_stride] |= std::uint64_t{1} << (i % kSignsOfWord);
        }
    }
    return magnitude(values.data(), d);
}

// Coordinate j of A h for one row of the layer.
template <class Real>
Real sign_product(const SignProducts<Real>& what, std::size_t row, std::size_t j) {
    Real sum = 0;
    for (std::size_t i = 0; i < what.d; i += 4) {
        Real term[4] = {};
        for (std::size_t k = 0; k < 4 && i + k < what.d; ++k) {
            const std::uint64_t word = what.signs[(i + k) / kSignsOfWord * what.signs_stride + row];
            const Real entry = what.matrix[(i + k) * what.matrix_stride + j];
            term[k] = (word >> ((i + k) % kSignsOfWord) & 1U) != 0 ? -entry : entry;
        }
        sum += (term[0] + term[1]) + (term[2] + term[3]);
    }
    return sum;
}

template <class Real>
void start(const Real* p, const Real* product, const Real* own, double inverse_scale, std::size_t d,
           Real* spins, Real* fields) {
    for (std::size_t i = 0; i < d; ++i) {
        spins[i] = static_cast<Real>(sign_of(p[i]));
        const auto pull = static_cast<Real>(inverse_scale * static_cast<double>(p[i]));
        const Real of_others = product[i] - (spins[i] < Real{0} ? -own[i] : own[i]);
        fields[i] = of_others - pull;
    }
}

template <class Real>
void flip(const Descent<Real>& row, std::size_t i) {
    for (std::size_t j = 0; j < row.d; ++j) {
        if (j != i) {
            const Real change = -row.factor * row.spins[i];
            row.fields[j] = std::fma(change, row.couplings[i * row.stride + j], row.fields[j]);
        }
    }
    row.spins[i] = -row.spins[i];
}

template <class Real>
bool descend(Descent<Real>& row, std::size_t most_flips) {
    const auto gain = [&](std::size_t i) { return row.fields[i] * row.spins[i]; };
    const std::size_t most = row.flips + most_flips;
    while (row.flips <= most) {
        // Of the coordinates that are the same modulo kFlipSlots, the first one with the largest gain.
        std::vector<std::size_t> best;
        for (std::size_t slot = 0; slot < std::min(row.d, kFlipSlots); ++slot) {
            std::size_t of_slot = slot;
            for (std::size_t i = slot; i < row.d; i += kFlipSlots) {
                of_slot = gain(i) > gain(of_slot) ? i : of_slot;
            }
            best.push_back(of_slot);
        }
        Real largest = 0;
        for (const std::size_t i : best) {
            largest = std::max(largest, gain(i));
        }
        if (!(largest > Real{0})) {
            return true;
        }
        const Real least = largest / 2;
        std::erase_if(best, [&](std::size_t i) { return !(gain(i) > least); });
        for (const std::size_t i : best) {
            const Real now = gain(i);
            if (now > least) {
                flip(row, i);
                const double lowered = row.units[i] * static_cast<double>(now);
                const double error = row.errors[i] * (row.first_error + static_cast<double>(row.flips));
                row.lowered += lowered;
                row.certain += lowered - error;
                ++row.flips;
            }
        }
    }
    return false;
}

// x_i'X G: kInputLanes sums of every so many samples, whose halves are added.
template <class Real>
Real product_of_samples(const InputDescent<Real>& row, std::size_t i) {
    std::vector<Real> part(kInputLanes);
    for (std::size_t k = 0; k < row.stride; ++k) {
        Real& sum = part[k % kInputLanes];
        sum = std::fma(row.inputs[i * row.stride + k], row.outputs[k], sum);
    }
    for (; part.size() > 1; part.resize(part.size() / 2)) {
        for (std::size_t k = 0; k < part.size() / 2; ++k) {
            part[k] += part[k + part.size() / 2];
        }
    }
    return part[0];
}

template <class Real>
Real gain_of(const InputDescent<Real>& row, Real product, std::size_t i) {
    return row.spins[i] * (product - row.pulls[i]) - row.own[i];
}

template <class Real>
std::vector<Gain<Real>> find_gains(const InputDescent<Real>& row, const std::vector<Real>& products,
                                   std::size_t first) {
    std::vector<Gain<Real>> found;
    for (std::size_t k = 0; k < products.size(); ++k) {
        const Real gain = gain_of(row, products[k], first + k);
        if (gain > row.slack * row.slacks[first + k]) {
            found.push_back({static_cast<std::uint32_t>(first + k), gain});
        }
    }
    return found;
}

template <class Real>
void flip_of_samples(const InputDescent<Real>& row, std::size_t i) {
    for (std::size_t k = 0; k < row.stride; ++k) {
        const Real change = -row.factor * row.spins[i];
        row.outputs[k] = std::fma(change, row.inputs[i * row.stride + k], row.outputs[k]);
    }
    row.spins[i] = -row.spins[i];
}

template <class Real>
std::size_t flip_gains(const InputDescent<Real>& row, const std::vector<Gain<Real>>& found) {
    std::size_t flips = 0;
    for (const auto& [i, before] : found) {
        const Real gain = gain_of(row, product_of_samples(row, i), i);
        if (gain > row.slack * row.slacks[i] && 4 * gain > before) {
            flip_of_samples(row, i);
            ++flips;
        }
    }
    return flips;
}

template <class Real>
std::size_t follow(const InputDescent<Real>& row, const Real* spins, std::size_t d) {
    std::size_t changes = 0;
    for (std::size_t i = 0; i < d; ++i) {
        if (row.spins[i] != spins[i]) {
            flip_of_samples(row, i);
            ++changes;
        }
    }
    return changes;
}

template <class Real>
double write_step(const Real* p, const Real* spins, const Real* own, bool mask, std::size_t d,
                  std::int8_t* step) {
    std::vector<double> terms(d);
    for (std::size_t i = 0; i < d; ++i) {
        const int sign = sign_of(p[i]);
        const int spin = spins == nullptr ? sign : sign_of(spins[i]);
        const bool is_unknown = p[i] == Real{0} && own[i] == Real{0};
        step[i] = static_cast<std::int8_t>(is_unknown ? 0 : (mask ? (sign + spin) / 2 : spin));
        terms[i] = static_cast<double>(p[i]) * step[i];
    }
    return sum_of<double>(terms);
}

template <class Real>
void subtract_step(const Real* p, const std::int8_t* step, Real size, std::size_t d, Real* out) {
    for (std::size_t i = 0; i < d; ++i) {
        out[i] = p[i] - static_cast<Real>(step[i]) * size;
    }
}

template <class Real>
void move_weights(Real* weights, const std::int8_t* step, Real lr, Real clip, std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) {
        weights[i] = std::clamp(weights[i] - static_cast<Real>(step[i]) * lr, -clip, clip);
    }
}

}  // namespace qpsbgd::reference::projection_float
