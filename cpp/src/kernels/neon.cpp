// Kernels for aarch64.
//
// Only kernels belong here: whatever this file instantiates from a header is compiled for this instruction set, and
// the linker may take it for the whole program.
#include <arm_neon.h>

#include "qpsbgd/kernels.hpp"
#include "tables.hpp"

namespace qpsbgd {
namespace {

#include "dense.inl"
#include "exact.inl"
#include "finish.inl"
#include "prepare.inl"
#include "random.inl"

#include "dense16.inl"

constexpr Dense16Kernels kDense16{local_fields16, flip16, anneal16, tabu16};

// clang-format off: the registers come first.
#include "lanes_neon.inl"
#include "assembly.inl"
#include "projection.inl"
#include "projection16.inl"
// clang-format on

template <class Real>
constexpr AssemblyKernels<Real> kAssembly = assembly_kernels<Real>(multiply_sign_bytes<Real>);

#include "sparse8.inl"

#include "sparse1.inl"

}  // namespace

const KernelTable& neon_kernels() {
    static constexpr KernelTable kTable{"neon",
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
