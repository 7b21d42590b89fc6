// Which kernels this machine runs, decided once.
#if defined(__x86_64__)
#include <cpuid.h>
#endif
#if defined(QPSBGD_AMX)
#include <sys/syscall.h>
#include <unistd.h>
#endif

#include <cstdlib>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/isa/tables.hpp"
#include "kernels/kernel_table.hpp"
#include "qpsbgd/build.hpp"

namespace qpsbgd {
namespace {

#if defined(__x86_64__)
struct Cpuid {
    unsigned eax = 0;
    unsigned ebx = 0;
    unsigned ecx = 0;
    unsigned edx = 0;
};

// Zeros for leaves that the processor does not have.
Cpuid cpuid_of(unsigned leaf) {
    Cpuid found;
    if (__get_cpuid_count(leaf, 0, &found.eax, &found.ebx, &found.ecx, &found.edx) == 0) {
        return {};
    }
    return found;
}
#endif

#if defined(QPSBGD_AMX)
// Linux lends the registers of tiles to a process that asks for them. Asked once.
bool tiles_are_lent() {
    static const bool lent = [] {
        constexpr long kRequestPermission = 0x1023;  // ARCH_REQ_XCOMP_PERM
        constexpr long kTileData = 18;
        return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
    }();
    return lent;
}
#endif

const KernelTable& choose() {
    const auto tables = available_kernels();
    const char* wanted = std::getenv("QPSBGD_ISA");
    if (wanted == nullptr || *wanted == '\0') {
        return *tables.back();
    }
    std::string names;
    for (const KernelTable* table : tables) {
        if (std::string_view(table->name) == wanted) {
            return *table;
        }
        names += std::string(names.empty() ? "" : ", ") + table->name;
    }
    throw std::invalid_argument("QPSBGD_ISA is '" + std::string(wanted) + "', but this machine has " + names);
}

}  // namespace

FeatureSet processor_features() {
    FeatureSet features = 0;
#if defined(__x86_64__)
    __builtin_cpu_init();
#define SUPPORTS(feature) (__builtin_cpu_supports(feature) != 0)
#define CPUID(leaf, register, bit) ((cpuid_of(leaf).register >> (bit) & 1U) != 0)
#define QPSBGD_ASK(name, option, macro, ask) features |= (ask) ? bit_of(Feature::name) : FeatureSet{0};
    QPSBGD_FEATURES(QPSBGD_ASK)
#undef QPSBGD_ASK
#undef CPUID
#undef SUPPORTS
#endif
    return features;
}

std::vector<const KernelTable*> kernels_for(FeatureSet processor) {
    std::vector<const KernelTable*> tables{&scalar_kernels()};
#if defined(__x86_64__)
    if (includes(processor, kAvx2Features)) {
        tables.push_back(&avx2_kernels());
    }
    if (includes(processor, kAvx512Features)) {
        tables.push_back(&avx512_kernels());
    }
#if defined(QPSBGD_AMX)
    // Its table takes over most of AVX-512's.
    if (includes(processor, kAmxFeatures | kAvx512Features) && tiles_are_lent()) {
        tables.push_back(&amx_kernels());
    }
#endif
#elif defined(__aarch64__)
    static_cast<void>(processor);  // NEON belongs to the base
    tables.push_back(&neon_kernels());
#endif
    return tables;
}

std::vector<const KernelTable*> available_kernels() { return kernels_for(processor_features()); }

const KernelTable& kernels() {
    static const KernelTable& table = choose();
    return table;
}

std::string_view instruction_set() { return kernels().name; }

std::vector<std::string_view> available_instruction_sets() {
    std::vector<std::string_view> names;
    for (const KernelTable* table : available_kernels()) {
        names.emplace_back(table->name);
    }
    return names;
}

}  // namespace qpsbgd
