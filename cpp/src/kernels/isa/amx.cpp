// Kernels for x86-64 with AVX-512 and tiles of int8 (AMX), on Linux: those of AVX-512, but for what multiplies much.
//
// Only kernels belong here, as in avx512.cpp.
#if defined(__GNUC__) && !defined(__clang__)
// GCC 12 takes the undefined operands inside its own intrinsics for mistakes.
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include <cpuid.h>
#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "kernels/isa/tables.hpp"
#include "kernels/kernel_table.hpp"

namespace qpsbgd {
namespace {

#include "kernels/random.inl"

inline __m512i load16(const std::int16_t* from) { return _mm512_load_si512(from); }

#include "kernels/registers/amx.inl"

#include "kernels/replicas_int16/anneal_avx512.inl"

#include "kernels/projection_int16/amx.inl"
#include "kernels/replicas_int16/amx.inl"

}  // namespace

bool amx_usable() {
    static const bool usable = [] {
        constexpr unsigned kFeatures = 7;                       // leaf of cpuid
        constexpr unsigned kTiles = (1U << 24U) | (1U << 25U);  // AMX-TILE and AMX-INT8 in EDX
        constexpr long kRequestPermission = 0x1023;             // ARCH_REQ_XCOMP_PERM
        constexpr long kTileData = 18;                          // the registers asked for
        unsigned eax = 0;
        unsigned ebx = 0;
        unsigned ecx = 0;
        unsigned edx = 0;
        return __get_cpuid_count(kFeatures, 0, &eax, &ebx, &ecx, &edx) != 0 && (edx & kTiles) == kTiles &&
               syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
    }();
    return usable;
}

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
