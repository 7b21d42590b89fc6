// One table per instruction set; those that the target processor family does not have are not compiled.
#pragma once

#include "kernels/kernel_table.hpp"

namespace qpsbgd {

const KernelTable& scalar_kernels();
const KernelTable& avx2_kernels();
const KernelTable& avx512_kernels();
// AVX-512 and tiles of int8. Linux lends their registers to a process that asks: amx_usable asks, once.
const KernelTable& amx_kernels();
bool amx_usable();
const KernelTable& neon_kernels();

}  // namespace qpsbgd
