// One table per instruction set; those that the target processor family does not have are not compiled.
#pragma once

#include <vector>

#include "kernels/isa/features.hpp"
#include "kernels/kernel_table.hpp"

namespace qpsbgd {

const KernelTable& scalar_kernels();
const KernelTable& avx2_kernels();
const KernelTable& avx512_kernels();
const KernelTable& amx_kernels();  // AVX-512 and tiles of int8
const KernelTable& neon_kernels();

// What each unit is compiled for. Data: no function of a unit may be called before the processor was asked.
extern const FeatureSet kAvx2Features;
extern const FeatureSet kAvx512Features;
extern const FeatureSet kAmxFeatures;

// Features of this processor.
FeatureSet processor_features();

// The tables that a processor with these features can run, scalar first.
std::vector<const KernelTable*> kernels_for(FeatureSet processor);

}  // namespace qpsbgd
