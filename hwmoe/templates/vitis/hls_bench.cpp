// C simulation under Vitis: a program on images, compared with the integer reference. The argument
// is the file of a case (written by `hwmoe build`): "hwmoecas", then int64 number of parts, then
// for each part int64 bytes and the bytes.
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <vector>

#include "hwmoe_top.hpp"

using namespace hwmoe;

typedef std::vector<char> bytes_t;

// Results are those expected, COUNT is the number of images; then the weights of each port.
enum { PROGRAM, PARAMS, IMAGES, RESULTS, COUNT, WEIGHTS };

static bool read_case(const char* path, std::vector<bytes_t>& parts) {
    std::FILE* file = std::fopen(path, "rb");
    if (file == nullptr) {
        std::printf("hwmoe: cannot open %s\n", path);
        return false;
    }
    char magic[8];
    int64_t count = 0;
    bool good = std::fread(magic, 1, 8, file) == 8 && std::memcmp(magic, "hwmoecas", 8) == 0 &&
                std::fread(&count, 8, 1, file) == 1;
    for (int64_t i = 0; good && i < count; ++i) {
        int64_t size = 0;
        good = std::fread(&size, 8, 1, file) == 1;
        if (good) {
            // Whole beats: the machine reads no part of one.
            const int64_t beats = (size + PORT_BYTES - 1) / PORT_BYTES;
            bytes_t part(static_cast<std::size_t>(beats * PORT_BYTES));
            const std::size_t bytes = static_cast<std::size_t>(size);
            good = std::fread(part.data(), 1, bytes, file) == bytes;
            parts.push_back(part);
        }
    }
    std::fclose(file);
    return good;
}

static const port_beat_t* beats_of(const bytes_t& part) {
    return reinterpret_cast<const port_beat_t*>(part.data());
}

static int weight_ports() {
    int ports = 0;
#define HWMOE_COUNT(p) ++ports
    HWMOE_FOR_WEIGHT_PORTS(HWMOE_COUNT);
#undef HWMOE_COUNT
    return ports;
}

int main(int argc, char** argv) {
    std::vector<bytes_t> parts;
    const char* path = argc > 1 ? argv[1] : "hls_case.bin";
    if (!read_case(path, parts) || static_cast<int>(parts.size()) != WEIGHTS + weight_ports()) {
        std::printf("hwmoe: %s is not a case of this accelerator\n", path);
        return 2;
    }
    int32_t images = 0;
    std::memcpy(&images, parts[COUNT].data(), 4);
    bytes_t results(parts[RESULTS].size());
    static uint32_t saturations[MAX_STEPS];
#define HWMOE_WEIGHTS_OF(p) beats_of(parts[WEIGHTS + p])
    hwmoe_top(
        beats_of(parts[PROGRAM]), beats_of(parts[PARAMS]), beats_of(parts[IMAGES]),
        reinterpret_cast<port_beat_t*>(results.data()), HWMOE_FOR_WEIGHT_PORTS(HWMOE_WEIGHTS_OF),
        images, saturations
    );
#undef HWMOE_WEIGHTS_OF
    int wrong = 0;
    for (std::size_t i = 0; i < results.size(); ++i) {
        if (results[i] != parts[RESULTS][i] && wrong++ == 0) {
            std::printf("hwmoe: byte %u of the results differs\n", static_cast<unsigned>(i));
        }
    }
    std::printf(
        "hwmoe: C simulation %s, %d images, %u bytes of results\n",
        wrong == 0 ? "bit-exact" : "DIFFERS", images, static_cast<unsigned>(results.size())
    );
    return wrong == 0 ? 0 : 1;
}
