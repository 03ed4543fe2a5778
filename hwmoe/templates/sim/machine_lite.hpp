// An AXI4-Lite master for one register access at a time, which checks the slave by the rules.
#pragma once
#include "machine_memory.hpp"
#include "verilated.h"

struct LiteWires {
    SData *awaddr, *araddr;
    IData *wdata, *rdata;
    CData *wstrb, *bresp, *rresp;
    CData *awvalid, *awready, *wvalid, *wready, *bvalid, *bready;
    CData *arvalid, *arready, *rvalid, *rready;
};

class Lite {
public:
    LiteWires wires{};
    uint32_t data = 0;
    int resp = OKAY;

    void configure(const Config& config) {
        stall = config.stall;
        random = Random(config.seed, 1000);
    }
    bool busy() const { return answer != NONE; }
    bool reading() const { return answer == READ; }
    bool silent() const { return !*wires.bvalid && !*wires.rvalid; }
    void idle() {
        answer = NONE;
        ask_aw = ask_w = ask_ar = took_aw = took_w = took_ar = b_waits = r_waits = false;
        *wires.awvalid = *wires.wvalid = *wires.arvalid = *wires.bready = *wires.rready = 0;
        *wires.wstrb = 0;
    }
    void begin(bool write, uint16_t address, uint32_t value) {
        answer = write ? WRITE : READ;
        ask_aw = ask_w = write;
        ask_ar = !write;
        target = address;
        data = value;
    }
    // The order of aw and w, and when answers are taken, are left to chance if there are stalls.
    void drive() {
        end(took_aw, ask_aw, *wires.awvalid);
        end(took_w, ask_w, *wires.wvalid);
        end(took_ar, ask_ar, *wires.arvalid);
        if (ask_aw && !*wires.awvalid && !stalled()) {
            *wires.awaddr = target;
            *wires.awvalid = 1;
        }
        if (ask_w && !*wires.wvalid && !stalled()) {
            *wires.wdata = data;
            *wires.wstrb = 15;
            *wires.wvalid = 1;
        }
        if (ask_ar && !*wires.arvalid && !stalled()) {
            *wires.araddr = target;
            *wires.arvalid = 1;
        }
        *wires.bready = !stalled();
        *wires.rready = !stalled();
    }
    // True: the access is complete, `data` and `resp` hold.
    bool sample(int64_t cycle) {
        bool complete = false;
        took_aw = *wires.awvalid && *wires.awready;
        took_w = *wires.wvalid && *wires.wready;
        took_ar = *wires.arvalid && *wires.arready;
        if (*wires.bvalid) {
            if (answer != WRITE || (ask_aw && !took_aw) || (ask_w && !took_w))
                fail("bvalid without a write", cycle);
            if (b_waits && shown_resp != *wires.bresp) fail("bresp changed while waiting", cycle);
            if (*wires.bready) {
                resp = *wires.bresp;
                complete = true;
            }
        } else if (b_waits) {
            fail("bvalid dropped before bready came", cycle);
        }
        if (*wires.rvalid) {
            if (answer != READ || (ask_ar && !took_ar)) fail("rvalid without a read", cycle);
            if (r_waits && (shown_resp != *wires.rresp || shown_data != *wires.rdata))
                fail("rdata or rresp changed while waiting", cycle);
            if (*wires.rready) {
                resp = *wires.rresp;
                data = *wires.rdata;
                complete = true;
            }
        } else if (r_waits) {
            fail("rvalid dropped before rready came", cycle);
        }
        b_waits = *wires.bvalid && !*wires.bready;
        r_waits = *wires.rvalid && !*wires.rready;
        shown_resp = *wires.bvalid ? *wires.bresp : *wires.rresp;
        shown_data = *wires.rdata;
        if (complete) answer = NONE;
        return complete;
    }
    void persist(Archive& archive) {
        archive(data, resp, answer, ask_aw, ask_w, ask_ar, took_aw, took_w, took_ar);
        archive(b_waits, r_waits, target, shown_data, shown_resp, random);
    }

private:
    enum Answer { NONE, READ, WRITE };
    Answer answer = NONE;
    bool ask_aw = false, ask_w = false, ask_ar = false;
    bool took_aw = false, took_w = false, took_ar = false, b_waits = false, r_waits = false;
    uint16_t target = 0;
    uint32_t shown_data = 0;
    int shown_resp = 0;
    double stall = 0;
    Random random{0, 1000};

    bool stalled() { return random.chance(stall); }
    static void end(bool took, bool& ask, CData& valid) {
        if (!took) return;
        ask = false;
        valid = 0;
    }
    [[noreturn]] static void fail(const char* what, int64_t cycle) {
        throw Breach(std::string("s_axi_control: ") + what + ", in cycle " + std::to_string(cycle));
    }
};
