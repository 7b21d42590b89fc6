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

#include "kernels/isa/features.hpp"
#include "kernels/isa/tables.hpp"
#include "kernels/kernel_table.hpp"

namespace qpsbgd {
namespace {

#include "kernels/isa/compiled_features.inl"

#include "kernels/dense_float32/generic.inl"
#include "kernels/exact/generic.inl"
#include "kernels/finish/generic.inl"
#include "kernels/prepare/generic.inl"
#include "kernels/random.inl"

#include "kernels/dense_int16/heat.inl"

#include "kernels/dense_int16/avx512.inl"

constexpr DenseInt16Kernels kDenseInt16{local_fields_int16, flip_int16, anneal_int16, tabu_int16};

#include "kernels/registers/avx512.inl"

#include "kernels/gram/generic.inl"
#include "kernels/packed/generic.inl"
#include "kernels/projection_float/generic.inl"
#include "kernels/projection_int16/walk.inl"
//
#include "kernels/projection_int16/generic.inl"
#include "kernels/projection_int8/generic.inl"

#include "kernels/gram/avx512.inl"

template <class Real>
constexpr GramKernels<Real> kGram = gram_kernels<Real>(multiply_signs<Real>);

#include "kernels/replicas_int16/anneal_avx512.inl"

#include "kernels/replicas_int16/avx512.inl"

constexpr ReplicasInt16Kernels kReplicasInt16{
    anneal_replicas_int16<TabledFields>, packed_bytes_int16, pack_int16,
    replica_workspace_bytes_int16,       kMostSpinsOfTables, kLeastReadsOfTables};

#include "kernels/sparse_int8/avx512.inl"

#include "kernels/sparse_bits/generic.inl"
//
#include "kernels/sparse_bits/draws_between.inl"

}  // namespace

constinit const FeatureSet kAvx512Features = kCompiledFeatures;

const KernelTable& avx512_kernels() {
    static constexpr KernelTable kTable{
        "avx512",         kDenseFloat32,      kDenseInt16,         kFinish,
        kExact,           kSparseInt8,        kSparseBits,         kGram<float>,
        kGram<double>,    kProjection<float>, kProjection<double>, kPrepare<float>,
        kPrepare<double>, kProjectionInt16,   kProjectionInt8,     kPacked,
        kReplicasInt16};
    return kTable;
}

}  // namespace qpsbgd
