#include "base/units.hpp"

#include <algorithm>
#include <cmath>

namespace qpsbgd {

double power_of_two_unit(double largest) {
    if (!(largest > 0.0)) {
        return 1.0;
    }
    int exponent = 0;
    std::frexp(largest, &exponent);
    return std::ldexp(1.0, std::clamp(exponent, -1000, 1000));
}

}  // namespace qpsbgd
