// One table per instruction set; those that the target processor family does not have are not compiled.
#pragma once

#include "qpsbgd/kernels.hpp"

namespace qpsbgd {

const KernelTable& scalar_kernels();
const KernelTable& avx2_kernels();
const KernelTable& avx512_kernels();
const KernelTable& neon_kernels();

}  // namespace qpsbgd
