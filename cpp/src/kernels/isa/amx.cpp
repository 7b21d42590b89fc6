// Kernels for x86-64 with AVX-512 and tiles of int8 (AMX), on Linux: those of AVX-512, but for what multiplies much.
//
// Only kernels belong here, as in avx512.cpp.
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

#include "kernels/random.inl"

inline __m512i load16(const std::int16_t* from) { return _mm512_load_si512(from); }

#include "kernels/registers/amx.inl"

#include "kernels/replicas_int16/anneal_avx512.inl"

#include "kernels/projection_int16/amx.inl"
#include "kernels/replicas_int16/amx.inl"

}  // namespace

constinit const FeatureSet kAmxFeatures = kCompiledFeatures;

const KernelTable& amx_kernels() {
    static const KernelTable table = [] {
        KernelTable with_tiles = avx512_kernels();
        with_tiles.name = "amx";
        with_tiles.replicas_int16 = {
            anneal_replicas_int16<TiledFields>, packed_bytes_int16, pack_int16,
            replica_workspace_bytes_int16,      kMostSpinsOfTiles,  kLeastReadsOfTiles};
        with_tiles.projection_int16.workspace_bytes = workspace_bytes_amx;
        with_tiles.projection_int16.sign_products = sign_products_amx;
        return with_tiles;
    }();
    return table;
}

}  // namespace qpsbgd
