// The features that the including file is compiled for. A macro that the compiler does not define is its own name.
#define QPSBGD_AS_TEXT_OF(text) #text
#define QPSBGD_AS_TEXT(macro) QPSBGD_AS_TEXT_OF(macro)
#define QPSBGD_BIT_IF_DEFINED(name, option, macro, ask) \
    | (QPSBGD_AS_TEXT(macro)[0] == '1' ? bit_of(Feature::name) : FeatureSet{0})
constexpr FeatureSet kCompiledFeatures = FeatureSet{0} QPSBGD_FEATURES(QPSBGD_BIT_IF_DEFINED);
#undef QPSBGD_BIT_IF_DEFINED
#undef QPSBGD_AS_TEXT
#undef QPSBGD_AS_TEXT_OF
