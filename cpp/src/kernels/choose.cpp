// Which kernels this machine runs, decided once.
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

std::vector<const KernelTable*> available_kernels() {
    std::vector<const KernelTable*> tables{&scalar_kernels()};
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi") &&
        __builtin_cpu_supports("bmi2") && __builtin_cpu_supports("popcnt")) {
        tables.push_back(&avx2_kernels());
        if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
            __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")) {
            tables.push_back(&avx512_kernels());
#if defined(QPSBGD_AMX)
            if (amx_usable()) {
                tables.push_back(&amx_kernels());
            }
#endif
        }
    }
#elif defined(__aarch64__)
    tables.push_back(&neon_kernels());
#endif
    return tables;
}

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
