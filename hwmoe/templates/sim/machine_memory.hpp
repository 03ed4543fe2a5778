// Off-chip memory of the machine's bench: what exists, what may be written, how fast it is.
#pragma once
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <string>
#include <vector>

#include "machine_state.hpp"

// Shared with Python (hwmoe.sim.machine_library): same order, same types.
struct Config {
    double bytes_per_cycle;  // all channels together
    double stall;            // probability, each channel and cycle
    uint64_t seed;
    uint64_t fault_address;  // SLVERR for beats that hold this byte; ~0: none
    int32_t latency, jitter, write_latency;  // cycles; jitter: 0..jitter more
    int32_t outstanding;                     // bursts a channel accepts ahead
    int32_t capture_delay;
    int32_t power_up_seed;  // 0: registers and RAM are 0 at power-up, else random
};
struct Region {
    uint64_t address, size;
    int64_t writable;
};
struct AccessError {
    int64_t cycle;
    uint64_t address, bytes;
    int32_t channel;  // as the channels are counted by the harness
    int32_t beyond;   // 1: outside every region, 0: the region is read only
};

// What a master may not do. The simulation ends there.
struct Breach : std::runtime_error {
    using std::runtime_error::runtime_error;
};

constexpr int OKAY = 0, SLVERR = 2, DECERR = 3;
constexpr int POISON = 0xA5;  // on data that must not be used

// SplitMix64: one for each use, so that no use shifts the numbers of another.
class Random {
public:
    Random(uint64_t seed, uint64_t stream) : state(seed * 0x9E3779B97F4A7C15u + stream) {
        next();
        state ^= stream << 32;
    }
    bool chance(double probability) {
        return probability > 0 && (next() >> 11) * 0x1p-53 < probability;
    }
    int upto(int highest) { return highest > 0 ? int(next() % (uint64_t(highest) + 1)) : 0; }

private:
    uint64_t state;
    uint64_t next() {
        uint64_t z = state += 0x9E3779B97F4A7C15u;
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
        z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
        return z ^ (z >> 31);
    }
};

// Tokens of bytes: so many a cycle, kept for one beat of every channel at most.
class Bandwidth {
public:
    void configure(double bytes_per_cycle, double spare) {
        rate = bytes_per_cycle;
        most = rate + spare;
    }
    void tick() { credit = std::min(credit + rate, most); }
    bool take(double bytes) {
        if (credit < bytes) return false;
        credit -= bytes;
        return true;
    }
    void persist(Archive& archive) { archive(credit); }

private:
    double rate = 0, most = 0, credit = 0;
};

class Memory {
public:
    std::vector<AccessError> errors;  // the first MOST_ERRORS
    int64_t error_count = 0;

    void configure(uint8_t* data, uint64_t base, const Region* first, int count, uint64_t fault) {
        bytes = data;
        origin = base;
        regions.assign(first, first + count);
        fault_address = fault;
    }
    void map(const Region& region) { regions.push_back(region); }
    // Bursts that are under way in it get an error from now on.
    void unmap(uint64_t address) {
        for (Region& region : regions)
            if (region.address == address) region.size = 0;
    }
    // The region a burst lies in; a burst that leaves it, or writes what is read only, is noted.
    int open(uint64_t address, uint64_t size, bool write, int channel, int64_t cycle) {
        int found = NOWHERE;
        for (size_t i = 0; i < regions.size(); i++)
            if (address >= regions[i].address && address - regions[i].address < regions[i].size)
                found = int(i);
        const bool exists = found != NOWHERE;
        const bool inside = exists && fits(regions[found], address, size);
        const bool refused = exists && write && !regions[found].writable;
        if (!inside || refused) {
            error_count++;
            if (errors.size() < MOST_ERRORS)
                errors.push_back({cycle, address, size, channel, inside ? 0 : 1});
        }
        return refused ? NOWHERE : found;
    }
    // Response to one beat of a burst opened with `region`.
    int response(int region, uint64_t address, uint64_t size) const {
        if (region == NOWHERE || !fits(regions[region], address, size)) return DECERR;
        return fault_address >= address && fault_address - address < size ? SLVERR : OKAY;
    }
    void read(uint64_t address, uint8_t* to, size_t size) const {
        std::memcpy(to, bytes + (address - origin), size);
    }
    void write(uint64_t address, const uint8_t* from, const uint8_t* strobe, size_t size) {
        uint8_t* const to = bytes + (address - origin);
        for (size_t i = 0; i < size; i++)
            if (strobe[i >> 3] >> (i & 7) & 1) to[i] = from[i];
    }
    void persist(Archive& archive) { archive(regions, errors, error_count); }

private:
    static constexpr size_t MOST_ERRORS = 64;
    static constexpr int NOWHERE = -1;
    uint8_t* bytes = nullptr;
    uint64_t origin = 0, fault_address = ~uint64_t(0);
    std::vector<Region> regions;  // bursts know theirs by its index: none is ever taken out

    static bool fits(const Region& region, uint64_t address, uint64_t size) {
        return address - region.address + size <= region.size;
    }
};
