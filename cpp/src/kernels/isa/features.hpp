// Features of x86-64 processors beyond the base: what a unit of kernels is compiled for, and what the processor has.
//
// A compiler may use a feature anywhere in a unit that it compiles for it, so the processor has to have them all. Each unit
// tells which ones the compiler knows there (compiled_features.inl), and choose.cpp asks for exactly these. A new feature
// of a unit is one more line of this list; a test compares it with the flags of CMakeLists.txt.
#pragma once

#include <cstdint>

namespace qpsbgd {

// FEATURE(name, the compiler's option and its macro, how to ask the processor). The first question is answered with the
// operating system's part in it; the second is a bit of a register of a leaf of cpuid, for features that compilers learned
// to ask for late.
#define QPSBGD_FEATURES(FEATURE)                                                                  \
    FEATURE(sse3, "sse3", __SSE3__, SUPPORTS("sse3"))                                             \
    FEATURE(ssse3, "ssse3", __SSSE3__, SUPPORTS("ssse3"))                                         \
    FEATURE(sse4_1, "sse4.1", __SSE4_1__, SUPPORTS("sse4.1"))                                     \
    FEATURE(sse4_2, "sse4.2", __SSE4_2__, SUPPORTS("sse4.2"))                                     \
    FEATURE(crc32, "crc32", __CRC32__, SUPPORTS("sse4.2"))                                        \
    FEATURE(popcnt, "popcnt", __POPCNT__, SUPPORTS("popcnt"))                                     \
    FEATURE(xsave, "xsave", __XSAVE__, CPUID(1, ecx, 26))                                         \
    FEATURE(avx, "avx", __AVX__, SUPPORTS("avx"))                                                 \
    FEATURE(f16c, "f16c", __F16C__, CPUID(1, ecx, 29))                                            \
    FEATURE(avx2, "avx2", __AVX2__, SUPPORTS("avx2"))                                             \
    FEATURE(fma, "fma", __FMA__, SUPPORTS("fma"))                                                 \
    FEATURE(bmi, "bmi", __BMI__, SUPPORTS("bmi"))                                                 \
    FEATURE(bmi2, "bmi2", __BMI2__, SUPPORTS("bmi2"))                                             \
    FEATURE(lzcnt, "lzcnt", __LZCNT__, CPUID(0x80000001U, ecx, 5))                                \
    FEATURE(avx512f, "avx512f", __AVX512F__, SUPPORTS("avx512f"))                                 \
    FEATURE(avx512cd, "avx512cd", __AVX512CD__, SUPPORTS("avx512cd"))                             \
    FEATURE(avx512bw, "avx512bw", __AVX512BW__, SUPPORTS("avx512bw"))                             \
    FEATURE(avx512dq, "avx512dq", __AVX512DQ__, SUPPORTS("avx512dq"))                             \
    FEATURE(avx512vl, "avx512vl", __AVX512VL__, SUPPORTS("avx512vl"))                             \
    FEATURE(avx512vpopcntdq, "avx512vpopcntdq", __AVX512VPOPCNTDQ__, SUPPORTS("avx512vpopcntdq")) \
    FEATURE(amx_tile, "amx-tile", __AMX_TILE__, CPUID(7, edx, 24))                                \
    FEATURE(amx_int8, "amx-int8", __AMX_INT8__, CPUID(7, edx, 25))

enum class Feature : std::uint8_t {
#define QPSBGD_ENUMERATE(name, option, macro, ask) name,
    QPSBGD_FEATURES(QPSBGD_ENUMERATE)
#undef QPSBGD_ENUMERATE
};

// One bit for each feature.
using FeatureSet = std::uint32_t;

constexpr FeatureSet bit_of(Feature feature) { return FeatureSet{1} << static_cast<unsigned>(feature); }

// Is every one of `wanted` among `given`?
constexpr bool includes(FeatureSet given, FeatureSet wanted) { return (wanted & ~given) == 0; }

}  // namespace qpsbgd
