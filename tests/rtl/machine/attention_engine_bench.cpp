// Drives hwmoe_attention_engine as its neighbours do: instructions from the front, the memory of
// heads (one read a cycle, granted in turn, answered 3 cycles after), masked writes to act8.
// A breach of a hand-shake ends the run with a message. Called with two files, in and out:
//   in   Job, heads, act8 (words of `lanes` bytes), instructions (64 bytes each)
//   out  for every instruction cycle of go, cycle of fin, clipped, words of q, words of k and v
//        (int32 each); then act8
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <vector>

#include "Vtop.h"
#include "verilated.h"

namespace {

struct Job {
    int32_t lanes, grain, heads_words, act8_words, commands, seed;
    int32_t read_open, write_open;  // grants, in percent of the cycles
    int32_t gap;                    // cycles between instructions, at most
    int32_t abort;                  // > 0: begins with the first one and resets after so many
};

struct Done {
    int32_t go, fin, clipped, q_words, kv_words;
};

constexpr int LATENCY = 3;
constexpr int64_t LIMIT = 200000;

[[noreturn]] void fail(int64_t cycle, const char* text) {
    std::fprintf(stderr, "cycle %lld: %s\n", static_cast<long long>(cycle), text);
    std::exit(1);
}

struct Request {  // stays as it is until it is granted
    bool waiting = false;
    uint16_t address = 0;

    void check(bool valid, bool ready, uint16_t now, int64_t cycle, const char* text) {
        if (waiting && (!valid || now != address)) fail(cycle, text);
        waiting = valid && !ready;
        address = now;
    }
};

struct Bench {
    Job job{};
    std::vector<uint8_t> heads, act8, instructions;
    std::mt19937 random;
    Vtop top;
    int64_t cycle = 0;
    Request q, kv, write;
    int reader[LATENCY + 1] = {};  // 1: q, 2: k and v
    uint16_t address[LATENCY + 1] = {};
    bool turn = false;
    int32_t words[3] = {};
    bool fin = false, taken = false;  // in the last cycle
    int32_t clipped = 0;

    bool open(int percent) { return static_cast<int>(random() % 100) < percent; }

    void noise(void* to, size_t bytes) {
        for (size_t i = 0; i < bytes; i++) static_cast<uint8_t*>(to)[i] = random() & 0xff;
    }

    // One clock. Inputs are set by now but for grants and data.
    void tick() {
        const size_t lanes = job.lanes;
        top.qr_dvalid = reader[LATENCY] == 1;
        top.kr_dvalid = reader[LATENCY] == 2;
        if (reader[LATENCY]) {
            std::memcpy(&top.h_data, &heads[lanes * address[LATENCY]], lanes);
        } else {
            noise(&top.h_data, lanes);
        }
        top.qr_ready = top.kr_ready = 0;
        top.a8_ready = open(job.write_open);
        top.clk = 0;
        top.eval();
        const bool granted = open(job.read_open) && (top.qr_valid || top.kr_valid);
        const bool to_kv = top.kr_valid && (!top.qr_valid || turn);
        top.qr_ready = granted && !to_kv;
        top.kr_ready = granted && to_kv;
        if (granted) turn = !to_kv;
        top.eval();
        if (top.rst_n) observe();
        for (int i = LATENCY; i > 1; i--) {
            reader[i] = reader[i - 1];
            address[i] = address[i - 1];
        }
        reader[1] = top.qr_ready ? 1 : top.kr_ready ? 2 : 0;
        address[1] = to_kv ? top.kr_addr : top.qr_addr;
        top.clk = 1;
        top.eval();
        cycle++;
    }

    void observe() {
        q.check(top.qr_valid, top.qr_ready, top.qr_addr, cycle, "a request of q changed");
        kv.check(top.kr_valid, top.kr_ready, top.kr_addr, cycle, "a request of k, v changed");
        write.check(top.a8_valid, top.a8_ready, top.a8_addr, cycle, "a write changed");
        if (top.qr_ready && top.qr_addr >= job.heads_words) fail(cycle, "q outside of heads");
        if (top.kr_ready && top.kr_addr >= job.heads_words) fail(cycle, "k, v outside of heads");
        words[1] += top.qr_ready;
        words[2] += top.kr_ready;
        if (top.a8_valid && top.a8_ready) store();
        if (top.core_stalled) fail(cycle, "stalled by off-chip memory");
        taken = top.go_valid && top.go_ready;
        fin = top.fin;
        if (fin && top.a8_valid) fail(cycle, "finished before all was written");
        if (fin && (top.qr_valid || top.kr_valid)) fail(cycle, "finished before all was read");
        clipped = static_cast<int32_t>(top.fin_clipped);
    }

    void store() {
        if (top.a8_addr >= job.act8_words) fail(cycle, "written outside of act8");
        uint8_t data[256];
        std::memcpy(data, &top.a8_data, job.lanes);
        const uint64_t mask = top.a8_mask;
        for (int lane = 0; lane < job.lanes; lane++) {
            if (mask >> (lane / job.grain) & 1) act8[top.a8_addr * job.lanes + lane] = data[lane];
        }
    }

    void reset() {
        top.rst_n = 0;
        top.go_valid = 0;
        for (int i = 0; i < 5; i++) {
            std::memset(reader, 0, sizeof reader);
            noise(&top.go_instr, 64);
            tick();
        }
        std::memset(reader, 0, sizeof reader);
        q = kv = write = Request();
        top.rst_n = 1;
    }

    void idle(int cycles) {
        top.go_valid = 0;
        for (int i = 0; i < cycles; i++) {
            noise(&top.go_instr, 64);
            tick();
            if (fin) fail(cycle, "finished what was not begun");
        }
    }

    void begin(const uint8_t* instruction) {
        std::memcpy(&top.go_instr, instruction, 64);
        top.go_valid = 1;
        const int64_t end = cycle + 100;
        do {
            tick();
            if (cycle > end) fail(cycle, "go is not taken");
        } while (!taken);
        top.go_valid = 0;
    }

    Done command(const uint8_t* instruction) {
        Done done{};
        words[1] = words[2] = 0;
        begin(instruction);
        done.go = static_cast<int32_t>(cycle);
        const int64_t end = cycle + LIMIT;
        do {
            tick();
            if (cycle > end) fail(cycle, "no end");
        } while (!fin);
        done.fin = static_cast<int32_t>(cycle);
        done.clipped = clipped;
        done.q_words = words[1];
        done.kv_words = words[2];
        return done;
    }
};

template <typename T>
void load(std::vector<T>& to, size_t size, FILE* file) {
    to.resize(size);
    if (std::fread(to.data(), sizeof(T), size, file) != size) fail(0, "the job is cut off");
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 3) return 2;
    Bench bench;
    FILE* in = std::fopen(argv[1], "rb");
    if (!in || std::fread(&bench.job, sizeof bench.job, 1, in) != 1) return 2;
    const Job& job = bench.job;
    load(bench.heads, static_cast<size_t>(job.lanes) * job.heads_words, in);
    load(bench.act8, static_cast<size_t>(job.lanes) * job.act8_words, in);
    load(bench.instructions, static_cast<size_t>(64) * job.commands, in);
    std::fclose(in);
    bench.random.seed(job.seed);

    bench.reset();
    bench.idle(4);
    if (job.abort) {
        const std::vector<uint8_t> before = bench.act8;
        bench.begin(bench.instructions.data());
        for (int i = 0; i < job.abort && !bench.fin; i++) bench.tick();
        bench.reset();
        bench.act8 = before;
        bench.idle(4);
    }
    std::vector<Done> done;
    for (int i = 0; i < job.commands; i++) {
        done.push_back(bench.command(&bench.instructions[64 * i]));
        bench.idle(job.gap ? bench.random() % (job.gap + 1) : 0);
    }
    bench.idle(100);
    FILE* out = std::fopen(argv[2], "wb");
    if (!out) return 2;
    std::fwrite(done.data(), sizeof(Done), done.size(), out);
    std::fwrite(bench.act8.data(), 1, bench.act8.size(), out);
    return std::fclose(out) ? 2 : 0;
}
