// Runs a fuzz target over files, each folder's in order of their names: the kept inputs, with any compiler.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace {

std::vector<std::filesystem::path> files_of(const std::filesystem::path& folder) {
    std::vector<std::filesystem::path> files;
    for (const auto& entry : std::filesystem::directory_iterator(folder)) {
        if (entry.is_regular_file()) {
            files.push_back(entry.path());
        }
    }
    std::ranges::sort(files);
    return files;
}

}  // namespace

int main(int count, char** arguments) {
    std::size_t inputs = 0;
    for (int index = 1; index < count; ++index) {
        for (const auto& file : files_of(arguments[index])) {
            std::ifstream stream(file, std::ios::binary);
            const std::vector<char> content(std::istreambuf_iterator<char>(stream), {});
            const std::vector<std::uint8_t> bytes(content.begin(), content.end());
            static_cast<void>(LLVMFuzzerTestOneInput(bytes.data(), bytes.size()));
            ++inputs;
        }
    }
    std::printf("%zu inputs\n", inputs);
    return inputs == 0 ? 1 : 0;
}
