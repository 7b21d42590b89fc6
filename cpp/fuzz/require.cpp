#include <cstdio>
#include <cstdlib>

#include "bytes.hpp"

namespace qpsbgd::fuzz {

void require(bool holds, const char* what) {
    if (!holds) {
        std::fprintf(stderr, "does not hold: %s\n", what);
        std::abort();
    }
}

}  // namespace qpsbgd::fuzz
