// The kernels table: one entry per instruction set, the same kernels and the same results in each.
#pragma once

#include <string_view>
#include <vector>

#include "qpsbgd/kernels/assembly.hpp"
#include "qpsbgd/kernels/dense.hpp"
#include "qpsbgd/kernels/dense16.hpp"
#include "qpsbgd/kernels/exact.hpp"
#include "qpsbgd/kernels/finish.hpp"
#include "qpsbgd/kernels/lanes16.hpp"
#include "qpsbgd/kernels/prepare.hpp"
#include "qpsbgd/kernels/projection.hpp"
#include "qpsbgd/kernels/sparse8.hpp"

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
