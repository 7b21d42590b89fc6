// A list of interactions as a symmetric matrix: one pass over the list, in whose order the matrix is written, then one
// over the matrix in tiles, so that a tile and its mirror image stay in the innermost cache.
#include "qpsbgd/interactions.hpp"

#include <algorithm>
#include <stdexcept>
#include <string>

namespace qpsbgd {
namespace {

constexpr std::size_t kTile = 32;
constexpr std::size_t kInteractionsOfACall = std::size_t{1} << 20;

// Both triangles become their sum.
template <class Real>
void add_mirror_image(std::size_t n, std::span<Real> matrix, StopToken& token) {
    for (std::size_t row = 0; row < n; row += kTile) {
        token.throw_if_interrupted();
        for (std::size_t column = 0; column <= row; column += kTile) {
            for (std::size_t i = row; i < std::min(row + kTile, n); ++i) {
                for (std::size_t j = column; j < std::min(column + kTile, i); ++j) {
                    const Real sum = matrix[i * n + j] + matrix[j * n + i];
                    matrix[i * n + j] = sum;
                    matrix[j * n + i] = sum;
                }
            }
        }
    }
}

}  // namespace

template <class Real>
void dense_couplings(const Interactions<Real>& interactions, std::size_t n, std::span<Real> couplings,
                     StopToken& token) {
    for (std::size_t k = 0; k < interactions.value.size(); ++k) {
        if (k % kInteractionsOfACall == 0) {
            token.throw_if_interrupted();
        }
        // A negative number becomes one that no n reaches.
        const auto i = static_cast<std::uint32_t>(interactions.first[k]);
        const auto j = static_cast<std::uint32_t>(interactions.second[k]);
        if (i >= n || j >= n || i == j) {
            throw std::invalid_argument("interaction " + std::to_string(k) + " of spins " +
                                        std::to_string(interactions.first[k]) + " and " +
                                        std::to_string(interactions.second[k]) +
                                        " is not between two of the " + std::to_string(n) + " spins");
        }
        couplings[std::size_t{i} * n + j] += interactions.value[k];
    }
    add_mirror_image(n, couplings, token);
}

template void dense_couplings(const Interactions<float>&, std::size_t, std::span<float>, StopToken&);
template void dense_couplings(const Interactions<double>&, std::size_t, std::span<double>, StopToken&);

}  // namespace qpsbgd
