// Kernels for x86-64 with AVX-512 F, BW, DQ, VL.
//
// Only kernels belong here: whatever this file instantiates from a header is compiled for this instruction set, and
// the linker may take it for the whole program.
#if defined(__GNUC__) && !defined(__clang__)
// GCC 12 takes the undefined operands inside its own intrinsics for mistakes.
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include <immintrin.h>

#include "kernels/kernel_table.hpp"
#include "kernels/isa/tables.hpp"

namespace qpsbgd {
namespace {

#include "kernels/dense_float32/generic.inl"
#include "kernels/exact/generic.inl"
#include "kernels/finish/generic.inl"
#include "kernels/prepare/generic.inl"
#include "kernels/random.inl"

#include "kernels/dense_int16/avx512.inl"

constexpr Dense16Kernels kDense16{local_fields16, flip16, anneal16, tabu16};

// clang-format off: the registers come first.
#include "kernels/registers/avx512.inl"
#include "kernels/gram/generic.inl"
#include "kernels/projection_float/generic.inl"
#include "kernels/projection_int16/generic.inl"
// clang-format on

#include "kernels/gram/avx512.inl"

template <class Real>
constexpr AssemblyKernels<Real> kAssembly = assembly_kernels<Real>(multiply_signs<Real>);

#include "kernels/replicas_int16/anneal_avx512.inl"

#include "kernels/replicas_int16/avx512.inl"

constexpr Lanes16Kernels kLanes16Kernels{
    anneal_lanes16<TabledFields>, packed_bytes_lanes16, pack_lanes16,
    workspace_bytes_lanes16,      kMostSpinsOfTables,   kLeastReadsOfTables};

#include "kernels/sparse_int8/avx512.inl"

#include "kernels/sparse_bits/generic.inl"

}  // namespace

const KernelTable& avx512_kernels() {
    static constexpr KernelTable kTable{"avx512",
                                        kDense,
                                        kDense16,
                                        kFinish,
                                        kExact,
                                        kSparse8,
                                        kAssembly<float>,
                                        kAssembly<double>,
                                        kProjection<float>,
                                        kProjection<double>,
                                        kPrepare<float>,
                                        kPrepare<double>,
                                        kProjection16,
                                        kLanes16Kernels};
    return kTable;
}

}  // namespace qpsbgd
