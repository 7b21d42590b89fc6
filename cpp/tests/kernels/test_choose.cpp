// The choice of kernels: no unit runs on a processor that lacks a feature which the unit is compiled for.
#include <gtest/gtest.h>

#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/isa/tables.hpp"
#include "kernels/kernel_table.hpp"

namespace {

using namespace qpsbgd;

TEST(Choose, scalar_kernels_run_everywhere_and_come_first) {
    const auto tables = available_kernels();
    EXPECT_EQ(tables.front(), &scalar_kernels());
    EXPECT_EQ(tables, kernels_for(processor_features()));
}

#if defined(__x86_64__)

struct Unit {
    std::string_view name;
    FeatureSet features;
    std::string_view options;  // of its compiler, from CMakeLists.txt
};

std::vector<Unit> units() {
    std::vector<Unit> all{{"avx2", kAvx2Features, QPSBGD_AVX2_OPTIONS},
                          {"avx512", kAvx512Features, QPSBGD_AVX512_OPTIONS}};
#if defined(QPSBGD_AMX_OPTIONS)
    all.push_back({"amx", kAmxFeatures, QPSBGD_AMX_OPTIONS});
#endif
    return all;
}

bool runs(FeatureSet processor, std::string_view name) {
    for (const KernelTable* table : kernels_for(processor)) {
        if (table->name == name) {
            return true;
        }
    }
    return false;
}

TEST(Choose, a_unit_is_left_out_where_any_of_its_features_is_missing) {
    constexpr FeatureSet kAll = ~FeatureSet{0};
    EXPECT_EQ(kernels_for(0).size(), 1U);
    for (const Unit& unit : units()) {
        EXPECT_NE(unit.features, 0U) << unit.name;
        for (FeatureSet left = unit.features; left != 0; left &= left - 1) {
            const FeatureSet one = left & (~left + 1);
            EXPECT_FALSE(runs(kAll & ~one, unit.name)) << unit.name << " without feature " << one;
        }
        // Linux may refuse tiles, whatever the processor has.
        EXPECT_TRUE(unit.name == "amx" || runs(unit.features, unit.name)) << unit.name;
    }
}

// What a unit is compiled for follows from options. One that no feature stands for would never be asked for.
TEST(Choose, every_option_of_a_unit_is_a_feature_that_is_asked_for) {
    for (const Unit& unit : units()) {
        std::istringstream options{std::string(unit.options)};
        for (std::string option; options >> option;) {
            bool is_known = option.starts_with("-mprefer-vector-width=");  // no feature, but a habit
#define QPSBGD_COMPARE(name, its_option, macro, ask) \
    is_known = is_known || (option == "-m" its_option && includes(unit.features, bit_of(Feature::name)));
            QPSBGD_FEATURES(QPSBGD_COMPARE)
#undef QPSBGD_COMPARE
            EXPECT_TRUE(is_known) << unit.name << " is compiled with " << option;
        }
    }
}

// AMX's table takes over most of AVX-512's.
TEST(Choose, kernels_of_tiles_need_all_that_AVX_512_needs) {
    for (const Unit& unit : units()) {
        EXPECT_TRUE(unit.name != "amx" || includes(unit.features, kAvx512Features));
    }
}

#endif

}  // namespace
