// Kernels for x86-64 with AVX2, FMA, BMI.
//
// Only kernels belong here: whatever this file instantiates from a header is compiled for this instruction set, and
// the linker may take it for the whole program.
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

#include "kernels/dense_int16/avx2.inl"

constexpr Dense16Kernels kDense16{local_fields16, flip16, anneal16, tabu16};

// clang-format off: the registers come first.
#include "kernels/registers/avx2.inl"
#include "kernels/gram/generic.inl"
#include "kernels/projection_float/generic.inl"
#include "kernels/projection_int16/generic.inl"
// clang-format on

template <class Real>
constexpr AssemblyKernels<Real> kAssembly = assembly_kernels<Real>(multiply_sign_bytes<Real>);

#include "kernels/sparse_int8/avx2.inl"

#include "kernels/sparse_bits/generic.inl"

}  // namespace

const KernelTable& avx2_kernels() {
    static constexpr KernelTable kTable{"avx2",
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
                                        {}};
    return kTable;
}

}  // namespace qpsbgd
