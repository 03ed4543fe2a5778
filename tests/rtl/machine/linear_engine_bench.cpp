// Drives hwmoe_linear_engine with everything around it: queue, tokens, memories, lists and DMA.
// bench FOLDER SEED STALL LATENCY CYCLES [+ARGS]: reads script.txt, weights.bin and params.bin from
// FOLDER, writes events.txt there. STALL: share of cycles (percent) in which a port is held up.
// LATENCY: of the DMA channels. The script: `I null step w0 .. w15` is an instruction; the rest
// happens around it in this order: `E gap` cycles pass, `T engine` signals, `X addr bytes ..`
// appears in act8, `L slot expert rows ..` becomes a list.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <fstream>
#include <map>
#include <random>
#include <sstream>
#include <string>
#include <vector>

#include "Vtop.h"
#include "sizes.h"  // L, A8_MASK, PART_MASK, W_BYTES, P_BYTES

using Bytes = std::vector<uint8_t>;

static uint64_t cycle = 0;
static void fail(const std::string& text) {
    std::printf("cycle %llu: %s\n", static_cast<unsigned long long>(cycle), text.c_str());
    std::fflush(stdout);
    std::_Exit(1);
}

template <typename T>
static Bytes bytes_of(const T& port, size_t n) {
    Bytes out(n);
    std::memcpy(out.data(), &port, n);
    return out;
}

static Bytes read_file(const std::string& path) {
    std::ifstream in(path, std::ios::binary);
    return Bytes(std::istreambuf_iterator<char>(in), {});
}

// An offer may not change or go before it is taken.
struct Offer {
    const char* name;
    bool held = false;
    Bytes was;
    void check(bool valid, bool ready, const Bytes& now) {
        if (held && (!valid || now != was)) fail(std::string("offer withdrawn, changed: ") + name);
        held = valid && !ready;
        was = now;
    }
};

struct Dma {
    struct Command {
        uint64_t at, left, ready_at;
    };
    size_t beat, depth = 4;
    const Bytes& memory;
    std::deque<Command> queue;
    uint64_t asked = 0, sent = 0;
    Bytes head() const {
        const size_t from = queue.front().at * beat;
        if (from + beat > memory.size()) fail("DMA beyond the memory");
        return Bytes(memory.begin() + from, memory.begin() + from + beat);
    }
    bool has() const { return !queue.empty() && cycle >= queue.front().ready_at; }
    void pop() {
        ++sent;
        ++queue.front().at;
        if (--queue.front().left == 0) queue.pop_front();
    }
    void push(uint64_t at, uint64_t n, uint64_t latency) {
        if (n == 0) fail("DMA command of no beats");
        asked += n;
        queue.push_back({at, n, cycle + latency});
    }
};

struct Event {
    char kind;
    std::vector<uint64_t> args;
    Bytes data;
};

int main(int argc, char** argv) {
    if (argc < 6) return 2;
    Verilated::commandArgs(argc, argv);
    const std::string folder = argv[1];
    std::mt19937 random(std::atoi(argv[2]));
    const unsigned stall = std::atoi(argv[3]);
    const uint64_t latency = std::atoi(argv[4]), limit = std::atoll(argv[5]);
    const auto go = [&] { return random() % 100 >= stall; };

    const Bytes weights = read_file(folder + "/weights.bin");
    const Bytes params = read_file(folder + "/params.bin");
    struct Instruction {
        bool null;
        uint16_t step;
        uint32_t words[16];
    };
    std::deque<Instruction> program;
    std::deque<Event> events;
    {
        std::ifstream in(folder + "/script.txt");
        std::string line;
        while (std::getline(in, line)) {
            std::istringstream text(line);
            char kind;
            text >> kind;
            if (kind == 'I') {
                Instruction i{};
                text >> i.null >> i.step;
                for (auto& w : i.words) text >> w;
                program.push_back(i);
            } else {
                Event e{kind, {}, {}};
                uint64_t v;
                if (kind == 'X') {
                    text >> v;
                    e.args.push_back(v);
                    while (text >> v) e.data.push_back(static_cast<uint8_t>(v));
                } else {
                    while (text >> v) e.args.push_back(v);
                }
                events.push_back(e);
            }
        }
    }
    const size_t wanted = program.size();
    FILE* out = std::fopen((folder + "/events.txt").c_str(), "w");

    auto* top = new Vtop;
    Bytes act8(65536 * L);
    for (auto& b : act8) b = static_cast<uint8_t>(random());
    std::map<std::pair<unsigned, unsigned>, std::vector<uint16_t>> lists;
    unsigned tokens[5] = {};
    Dma w_dma{W_BYTES, 4, weights, {}}, p_dma{P_BYTES, 4, params, {}};
    struct Write {
        uint64_t at;
        uint16_t addr;
        uint64_t mask;
        Bytes data;
    };
    std::deque<Write> writes;  // accepted, not yet seen by reads
    bool read_valid[3] = {};
    Bytes read_data[3];
    uint16_t rows[3] = {}, lens[2] = {};
    uint64_t gap = 0, states[4] = {};
    const uint64_t pointer = 0x7fffffe00u;  // a carry into the upper half is soon needed
    size_t dones = 0;
    uint64_t quiet = 0;
    Offer o_xr{"xr"}, o_a8{"a8"}, o_hd{"hd"}, o_yw{"yw"}, o_wc{"wc"}, o_pc{"pc"};
    bool w_offer = false, p_offer = false, i_offer = false;

    const auto list_of = [&](unsigned slot, unsigned expert) -> std::vector<uint16_t>& {
        return lists[{slot, expert}];
    };
    top->params_pointer = pointer;
    for (; cycle < limit; ++cycle) {
        const bool reset = cycle < 5;
        // What happened outside
        while (!reset && !events.empty() && gap == 0) {
            Event e = events.front();
            events.pop_front();
            if (e.kind == 'E') gap = e.args[0];
            if (e.kind == 'T') ++tokens[e.args[0]];
            if (e.kind == 'X') std::memcpy(&act8[e.args[0] * L], e.data.data(), e.data.size());
            if (e.kind == 'L') {
                list_of(e.args[0], e.args[1]) = {e.args.begin() + 2, e.args.end()};
            }
        }
        if (gap > 0) --gap;
        while (!writes.empty() && writes.front().at + 2 <= cycle) {
            const Write& w = writes.front();
            for (unsigned l = 0; l < L; ++l) {
                if (w.mask >> (l * A8_MASK / L) & 1) act8[w.addr * L + l] = w.data[l];
            }
            writes.pop_front();
        }

        top->clk = 0;
        top->rst_n = !reset;
        i_offer = !program.empty() && !reset && (i_offer || go());
        top->i_valid = i_offer;
        if (!program.empty()) {
            top->i_null = program.front().null;
            top->i_step = program.front().step;
            std::memcpy(&top->i_instr, program.front().words, 64);
        }
        unsigned avail = 0;
        for (int f = 0; f < 5; ++f) avail |= (tokens[f] > 0) << f;
        top->tok_avail = avail;
        top->len = lens[1];
        top->row = rows[2];
        top->xr_ready = go();
        top->xr_dvalid = read_valid[2];
        for (unsigned l = 0; l < L; ++l) {
            reinterpret_cast<uint8_t*>(&top->xr_data)[l] =
                read_valid[2] ? read_data[2][l] : static_cast<uint8_t>(random());
        }
        top->a8_ready = go();
        top->hd_ready = go();
        top->yw_ready = go();
        top->wc_ready = w_dma.queue.size() < w_dma.depth && go();
        top->pc_ready = p_dma.queue.size() < p_dma.depth && go();
        w_offer = w_dma.has() && (w_offer || go());
        p_offer = p_dma.has() && (p_offer || go());
        top->w_valid = w_offer;
        top->p_valid = p_offer;
        if (w_offer) std::memcpy(&top->w_data, w_dma.head().data(), W_BYTES);
        if (p_offer) std::memcpy(&top->p_data, p_dma.head().data(), P_BYTES);
        top->eval();

        if (!reset) {
            const Bytes a8 = bytes_of(top->a8_data, L), hd = bytes_of(top->hd_data, L);
            const Bytes yw = bytes_of(top->yw_data, 2 * L);
            const auto log_write = [&](int space, unsigned addr, unsigned mask, const Bytes& data) {
                std::fprintf(out, "W %llu %d %u %u", (unsigned long long)cycle, space, addr, mask);
                for (auto b : data) std::fprintf(out, " %u", b);
                std::fprintf(out, "\n");
            };
            // Offers: with the address in front
            const auto with = [](uint64_t addr, uint64_t more, const Bytes& data) {
                Bytes all(16);
                std::memcpy(all.data(), &addr, 8);
                std::memcpy(all.data() + 8, &more, 8);
                all.insert(all.end(), data.begin(), data.end());
                return all;
            };
            o_xr.check(top->xr_valid, top->xr_ready, with(top->xr_addr, 0, {}));
            o_a8.check(top->a8_valid, top->a8_ready, with(top->a8_addr, top->a8_mask, a8));
            o_hd.check(top->hd_valid, top->hd_ready, with(top->hd_addr, top->hd_mask, hd));
            o_yw.check(top->yw_valid, top->yw_ready, with(top->yw_addr, top->yw_mask, yw));
            o_wc.check(top->wc_valid, top->wc_ready, with(top->wc_addr, top->wc_len, {}));
            o_pc.check(top->pc_valid, top->pc_ready, with(top->pc_addr, top->pc_len, {}));
            if (top->a8_valid && top->a8_ready) {
                log_write(0, top->a8_addr, top->a8_mask, a8);
                writes.push_back({cycle, top->a8_addr, top->a8_mask, a8});
            }
            if (top->hd_valid && top->hd_ready) log_write(1, top->hd_addr, top->hd_mask, hd);
            if (top->yw_valid && top->yw_ready) log_write(2, top->yw_addr, top->yw_mask, yw);
            for (int f = 0; f < 5; ++f) {
                if (!(top->tok_pop >> f & 1)) continue;
                if (tokens[f] == 0) fail("popped a token that is not there");
                --tokens[f];
                std::fprintf(out, "P %llu %d\n", (unsigned long long)cycle, f);
            }
            if (top->start_valid) {
                std::fprintf(out, "S %llu %u\n", (unsigned long long)cycle, top->start_step);
            }
            if (top->done_valid) {
                ++dones;
                std::fprintf(out, "D %llu %u %u %u %u\n", (unsigned long long)cycle, top->done_step,
                             top->done_signal, top->done_clipped, top->done_null);
            }
            if (top->i_valid && top->i_ready) {
                program.pop_front();
                i_offer = false;
            }
            if (top->w_valid && top->w_ready) {
                w_dma.pop();
                w_offer = false;
            }
            if (top->p_valid && top->p_ready) {
                p_dma.pop();
                p_offer = false;
            }
            if (top->wc_valid && top->wc_ready) w_dma.push(top->wc_addr, top->wc_len, latency);
            if (top->pc_valid && top->pc_ready) {
                const uint64_t at = top->pc_addr - pointer;
                if (at % P_BYTES) fail("a request for parameters is not aligned");
                p_dma.push(at / P_BYTES, top->pc_len, latency);
            }
            ++states[top->state];
            if (top->state == 0 && top->mac_busy) fail("busy in state 0");
        }
        // Memories with their latency
        const bool grant = !reset && top->xr_valid && top->xr_ready;
        if (grant) std::fprintf(out, "R %llu %u\n", (unsigned long long)cycle, top->xr_addr);
        read_valid[2] = read_valid[1];
        read_data[2] = read_data[1];
        read_valid[1] = read_valid[0];
        read_data[1] = read_data[0];
        read_valid[0] = grant;
        if (grant) {
            const auto at = act8.begin() + top->xr_addr * L;
            read_data[0] = Bytes(at, at + L);
        }
        lens[1] = lens[0];
        lens[0] = reset ? 0 : static_cast<uint16_t>(list_of(top->len_slot, top->len_expert).size());
        rows[2] = rows[1];
        rows[1] = rows[0];
        if (!reset) {
            const auto& list = list_of(top->row_slot, top->row_expert);
            rows[0] = top->row_index < list.size() ? list[top->row_index] : 0xffff;
        }
        top->clk = 1;
        top->eval();
        if (dones >= wanted && ++quiet > 60) break;
    }
    std::fclose(out);
    if (dones != wanted) {
        fail("finished " + std::to_string(dones) + " of " + std::to_string(wanted));
    }
    for (unsigned left : tokens) {
        if (left) fail("tokens are left over");
    }
    if (w_dma.asked != w_dma.sent || p_dma.asked != p_dma.sent) fail("beats are left over");
    if (top->state != 0) fail("not idle at the end");
    std::printf("states %llu %llu %llu %llu\n", (unsigned long long)states[0],
                (unsigned long long)states[1], (unsigned long long)states[2],
                (unsigned long long)states[3]);
    return 0;
}
