// What Python calls (hwmoe.sim.machine_library).
#include "machine_simulation.hpp"

#define EXPORT extern "C" __attribute__((visibility("default")))

// Verilator's own end the process, and with it Python.
void vl_fatal(const char* file, int line, const char*, const char* text) {
    throw std::runtime_error(std::string(file) + ":" + std::to_string(line) + ": " + text);
}
void vl_stop(const char* file, int line, const char* where) {
    vl_fatal(file, line, where, "$stop, $fatal or a failed assertion");
}
void vl_finish(const char* file, int line, const char* where) {
    vl_fatal(file, line, where, "$finish");
}

namespace {

Simulation& of(void* handle) { return *static_cast<Simulation*>(handle); }

}  // namespace

EXPORT void* machine_open(const Setup* setup, Report* report) {
    try {
        return new Simulation(*setup);
    } catch (const std::exception& error) {
        std::snprintf(report->message, sizeof report->message, "%s", error.what());
        return nullptr;
    }
}

EXPORT void machine_close(void* handle) { delete &of(handle); }

// Returns a Status; `until`: an Until other than ACCESS.
EXPORT int machine_run(void* handle, int64_t limit, int until, int64_t poll, Report* report) {
    return of(handle).run(limit, until, poll, *report);
}

// One register access; *data is written or read. FINISHED: answered, *resp holds.
EXPORT int machine_access(void* handle, int write, int address, uint32_t* data, int* resp,
                          int64_t limit, Report* report) {
    Simulation& simulation = of(handle);
    // A poll may be under way; its answer is not wanted any more.
    int status = RUNNING;
    if (simulation.lite.busy()) status = simulation.run(limit, ACCESS, 0, *report);
    if (status == RUNNING && simulation.lite.busy()) return RUNNING;
    if (status == BREACH || status == BROKEN) return status;
    simulation.lite.begin(write, address, *data);
    status = simulation.run(limit, ACCESS, 0, *report);
    *data = simulation.lite.data;
    *resp = simulation.lite.resp;
    return status;
}

// Memory that exists from now on, and that does not exist any more.
EXPORT void machine_map(void* handle, const Region* region) { of(handle).memory.map(*region); }

EXPORT void machine_unmap(void* handle, uint64_t address) { of(handle).memory.unmap(address); }

// Returns a Status.
EXPORT int machine_reset(void* handle, Report* report) { return of(handle).restart(*report); }

// Bytes of the state now; machine_saved copies them.
EXPORT int64_t machine_save(void* handle) {
    of(handle).saved = of(handle).save();
    return of(handle).saved.size();
}

EXPORT void machine_saved(void* handle, uint8_t* state) {
    std::vector<uint8_t>& saved = of(handle).saved;
    std::copy(saved.begin(), saved.end(), state);
    std::vector<uint8_t>().swap(saved);
}

// A state that a simulation of the same library and setup saved. Returns a Status.
EXPORT int machine_restore(void* handle, const uint8_t* state, int64_t size, Report* report) {
    return of(handle).restore(state, size, *report);
}

// Forget events, windows, captures and counts.
EXPORT void machine_clear(void* handle) { of(handle).clear(); }

EXPORT void machine_totals(void* handle, Totals* totals) { of(handle).totals(*totals); }

EXPORT void machine_channels(void* handle, ChannelState* states) { of(handle).channels(states); }

// Copies as much as `machine_totals` told.
EXPORT void machine_lists(void* handle, Event* events, Window* windows, AccessError* errors) {
    const Simulation& from = of(handle);
    std::copy(from.events.events.begin(), from.events.events.end(), events);
    windows = std::copy(from.events.windows.begin(), from.events.windows.end(), windows);
    const Window last = from.last_window();
    if (last.cycles) *windows = last;
    std::copy(from.memory.errors.begin(), from.memory.errors.end(), errors);
}

EXPORT void machine_captures(void* handle, Capture* captures, uint8_t* data) {
    const Captures& from = of(handle).captures;
    std::copy(from.captures.begin(), from.captures.end(), captures);
    std::copy(from.data.begin(), from.data.end(), data);
}
