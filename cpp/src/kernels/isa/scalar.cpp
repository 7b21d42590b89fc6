// Kernels for any machine. Every other instruction set gives the same numbers.
//
// Only kernels belong here: whatever this file instantiates from a header is compiled for this instruction set, and
// the linker may take it for the whole program.
#include "kernels/isa/tables.hpp"
#include "kernels/kernel_table.hpp"

namespace qpsbgd {
namespace {

#include "kernels/dense_float32/generic.inl"
#include "kernels/exact/generic.inl"
#include "kernels/finish/generic.inl"
#include "kernels/prepare/generic.inl"
#include "kernels/random.inl"

#include "kernels/dense_int16/heat.inl"

#include "kernels/dense_int16/generic.inl"

constexpr DenseInt16Kernels kDenseInt16{local_fields_int16, flip_int16, anneal_int16, tabu_int16};

#include "kernels/registers/scalar.inl"

constexpr std::size_t kMostSpinsOfRows = 640;
constexpr std::size_t kLeastReadsOfRows = 8;
#include "kernels/replicas_int16/generic.inl"

#include "kernels/gram/generic.inl"
#include "kernels/packed/generic.inl"
#include "kernels/projection_float/generic.inl"
#include "kernels/projection_int16/walk.inl"
//
#include "kernels/projection_int16/generic.inl"
#include "kernels/projection_int8/generic.inl"

template <class Real>
constexpr GramKernels<Real> kGram = gram_kernels<Real>(multiply_sign_bytes<Real>);

#include "kernels/sparse_int8/generic.inl"

#include "kernels/sparse_bits/generic.inl"
//
#include "kernels/sparse_bits/draws_between.inl"

}  // namespace

const KernelTable& scalar_kernels() {
    static constexpr KernelTable kTable{
        "scalar",         kDenseFloat32,      kDenseInt16,         kFinish,
        kExact,           kSparseInt8,        kSparseBits,         kGram<float>,
        kGram<double>,    kProjection<float>, kProjection<double>, kPrepare<float>,
        kPrepare<double>, kProjectionInt16,   kProjectionInt8,     kPacked,
        kReplicasInt16};
    return kTable;
}

}  // namespace qpsbgd
