// Checks and traces of the g++ build (-DHWMOE_CSIM). Nothing of this is ever synthesized.
#ifndef HWMOE_CSIM_HPP
#define HWMOE_CSIM_HPP

#include <cstdint>
#include <vector>

namespace hwmoe {
struct engines_t;
}

namespace hwmoe_csim {

constexpr int NO_IMAGE = -1;
constexpr int ALL_IMAGES = -2;

struct state_t {
    int image;             // what runs now, for messages and records
    int step;              // -1: a single kernel command
    int traced;            // an image, NO_IMAGE or ALL_IMAGES
    int64_t n_params;      // int32 values behind `params`
    int64_t n_weights;     // beats behind each of the weight ports
    int64_t n_images;      // beats behind `images`
    int64_t n_results;     // beats behind `results`
    uint32_t random;       // what `choose` draws from; 0: the lowest number goes first
    // Records: image, step, space, base, words; then T_IN values a word, or (lists) `words`
    // values: for each expert its length, rows and scores.
    std::vector<int32_t> trace;
};

state_t& state();

// Throws with the step and `message`.
[[noreturn]] void fail(const char* message);

inline void check(bool condition, const char* message) {
    if (!condition) {
        fail(message);
    }
}

inline void check_range(int64_t base, int64_t count, int64_t size, const char* message) {
    check(count == 0 || (base >= 0 && base + count <= size), message);
}

inline void begin(int image, int step) {
    state().image = image;
    state().step = step;
}

// Who of a mask of actors goes on. With a seed, the order in which they are preferred is drawn
// anew now and then, so that each of them runs far ahead at times.
int choose(int actors);

// Throws with the instruction and the tokens that every engine waits for.
[[noreturn]] void deadlock(const hwmoe::engines_t& engines);

inline bool tracing() {
    const int traced = state().traced;
    return traced == ALL_IMAGES || traced == state().image;
}

inline void header(int space, int base, int words) {
    const int32_t record[5] = {state().image, state().step, space, base, words};
    state().trace.insert(state().trace.end(), record, record + 5);
}

template <typename Word>
void trace_words(int space, const Word* memory, int base, int words) {
    if (!tracing()) {
        return;
    }
    header(space, base, words);
    for (int i = base; i < base + words; ++i) {
        for (const auto& lane : memory[i].lane) {
            state().trace.push_back(lane);
        }
    }
}

template <typename Routing>
void trace_lists(int space, const Routing& routing, int slot, int experts) {
    if (!tracing()) {
        return;
    }
    int values = 0;
    for (int e = 0; e < experts; ++e) {
        values += 1 + 2 * routing.length[e];
    }
    header(space, slot, values);
    for (int e = 0; e < experts; ++e) {
        const int length = routing.length[e];
        state().trace.push_back(length);
        state().trace.insert(state().trace.end(), routing.row[e], routing.row[e] + length);
        state().trace.insert(state().trace.end(), routing.score[e], routing.score[e] + length);
    }
}

}  // namespace hwmoe_csim

#define HWMOE_CHECK(condition, message) hwmoe_csim::check(condition, message)
#define HWMOE_CHECK_RANGE(base, count, size, message) \
    hwmoe_csim::check_range(base, count, size, message)
#define HWMOE_CHECK_PARAMS(base, count, message) \
    hwmoe_csim::check_range(base, count, hwmoe_csim::state().n_params, message)
#define HWMOE_CHECK_WEIGHTS(base, count, message) \
    hwmoe_csim::check_range(base, count, hwmoe_csim::state().n_weights, message)
#define HWMOE_CHECK_IMAGES(base, count, message) \
    hwmoe_csim::check_range(base, count, hwmoe_csim::state().n_images, message)
#define HWMOE_CHECK_RESULTS(base, count, message) \
    hwmoe_csim::check_range(base, count, hwmoe_csim::state().n_results, message)
#define HWMOE_STEP(image, step) hwmoe_csim::begin(image, step)
#define HWMOE_CHOOSE(actors) hwmoe_csim::choose(actors)
#define HWMOE_DEADLOCK(engines) hwmoe_csim::deadlock(engines)
#define HWMOE_TRACE_WORDS(space, memory, base, words) \
    hwmoe_csim::trace_words(space, memory, base, words)
#define HWMOE_TRACE_LISTS(space, routing, slot, experts) \
    hwmoe_csim::trace_lists(space, routing, slot, experts)

#endif
