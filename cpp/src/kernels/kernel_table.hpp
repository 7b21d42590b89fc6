// The kernels table: one entry per instruction set, the same kernels and the same results in each.
#pragma once

#include <string_view>
#include <vector>

#include "kernels/gram/table.hpp"
#include "kernels/dense_float32/table.hpp"
#include "kernels/dense_int16/table.hpp"
#include "kernels/exact/table.hpp"
#include "kernels/finish/table.hpp"
#include "kernels/replicas_int16/table.hpp"
#include "kernels/prepare/table.hpp"
#include "kernels/projection_float/table.hpp"
#include "kernels/sparse_int8/table.hpp"

namespace qpsbgd {

struct KernelTable {
    const char* name;
    DenseKernels dense;
    Dense16Kernels dense16;
    FinishKernels finish;
    ExactKernels exact;
    Sparse8Kernels sparse8;
    AssemblyKernels<float> assembly_float;
    AssemblyKernels<double> assembly_double;
    ProjectionKernels<float> projection_float;
    ProjectionKernels<double> projection_double;
    PrepareKernels<float> prepare_float;
    PrepareKernels<double> prepare_double;
    Projection16Kernels projection16;
    Lanes16Kernels lanes16;  // null without AVX-512
};

// The kernels for this machine: the widest instruction set it has, or the one that the environment variable
// QPSBGD_ISA names. Throws std::invalid_argument when it names none that this machine has.
const KernelTable& kernels();

// Every table that this machine can run, scalar first.
std::vector<const KernelTable*> available_kernels();

}  // namespace qpsbgd
