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

#include "qpsbgd/kernels.hpp"
#include "tables.hpp"

namespace qpsbgd {
namespace {

#include "dense.inl"
#include "exact.inl"
#include "finish.inl"
#include "prepare.inl"
#include "random.inl"

#include "dense16_avx512.inl"

constexpr Dense16Kernels kDense16{local_fields16, flip16, anneal16, tabu16};

// clang-format off: the registers come first.
#include "lanes_avx512.inl"
#include "assembly.inl"
#include "projection.inl"
#include "projection16.inl"
// clang-format on

#include "assembly_avx512.inl"

template <class Real>
constexpr AssemblyKernels<Real> kAssembly = assembly_kernels<Real>(multiply_signs<Real>);

#include "lanes16_avx512.inl"

#include "lanes16_permuted.inl"

constexpr Lanes16Kernels kLanes16Kernels{
    anneal_lanes16<TabledFields>, packed_bytes_lanes16, pack_lanes16,
    workspace_bytes_lanes16,      kMostSpinsOfTables,   kLeastReadsOfTables};

#include "sparse8_avx512.inl"

#include "sparse1.inl"

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
