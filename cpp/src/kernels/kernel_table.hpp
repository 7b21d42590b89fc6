// The kernels table: one entry per instruction set, the same kernels and the same results in each.
//
// A family of kernels is a folder: table.hpp says what each kernel computes, reference.inl computes it in plain loops for
// the tests, generic.inl and avx2.inl, avx512.inl, amx.inl are what runs.
#pragma once

#include <string_view>
#include <vector>

#include "kernels/dense_float32/table.hpp"
#include "kernels/dense_int16/table.hpp"
#include "kernels/exact/table.hpp"
#include "kernels/finish/table.hpp"
#include "kernels/gram/table.hpp"
#include "kernels/packed/table.hpp"
#include "kernels/prepare/table.hpp"
#include "kernels/projection_float/table.hpp"
#include "kernels/projection_int16/table.hpp"
#include "kernels/projection_int8/table.hpp"
#include "kernels/replicas_int16/table.hpp"
#include "kernels/sparse_bits/table.hpp"
#include "kernels/sparse_int8/table.hpp"

namespace qpsbgd {

struct KernelTable {
    const char* name;
    DenseFloat32Kernels dense_float32;
    DenseInt16Kernels dense_int16;
    FinishKernels finish;
    ExactKernels exact;
    SparseInt8Kernels sparse_int8;
    SparseBitsKernels sparse_bits;
    GramKernels<float> gram_float32;
    GramKernels<double> gram_float64;
    ProjectionKernels<float> projection_float32;
    ProjectionKernels<double> projection_float64;
    PrepareKernels<float> prepare_float32;
    PrepareKernels<double> prepare_float64;
    ProjectionInt16Kernels projection_int16;
    ProjectionInt8Kernels projection_int8;
    PackedKernels packed;
    ReplicasInt16Kernels replicas_int16;
};

// The kernels for this machine: the widest instruction set it has, or the one that the environment variable
// QPSBGD_ISA names. Throws std::invalid_argument when it names none that this machine has.
const KernelTable& kernels();

// Every table that this machine can run, scalar first.
std::vector<const KernelTable*> available_kernels();

}  // namespace qpsbgd
