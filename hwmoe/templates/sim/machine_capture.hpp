// Copies tensors out of the machine's on-chip memories when the step that wrote them is complete.
//
// A memory is an instance i_act8, i_heads, i_res or i_y; somewhere below it lie its banks, modules
// with an array `mem` of equal shape; lane 0 is in the bank of the lowest index in [ ].
#pragma once
#include <algorithm>
#include <unordered_map>

#include "machine_events.hpp"

constexpr const char* MEMORIES[] = {"i_act8", "i_heads", "i_res", "i_y"};

// Shared with Python (hwmoe.sim.machine_library).
struct Wanted {
    int32_t step, memory;
    int64_t base, words;
};
struct Capture {
    int64_t cycle;   // in which it was copied
    int32_t wanted;  // index in the table
    int32_t spare;
    int64_t offset, bytes;  // in the data of all captures
};

class Captures {
public:
    std::vector<Capture> captures;
    std::vector<uint8_t> data;

    void connect(VerilatedContext& context, const Wanted* first, int count, int cycles) {
        delay = cycles;
        table.assign(first, first + count);
        for (int i = 0; i < count; i++) {
            const Wanted& wanted = table[i];
            if (banks[wanted.memory].empty()) find_banks(context, wanted.memory);
            const int64_t depth = banks[wanted.memory][0].depth;
            if (wanted.base < 0 || wanted.words < 0 || wanted.base + wanted.words > depth)
                throw std::runtime_error("capture of step " + std::to_string(wanted.step) + ": " +
                                         MEMORIES[wanted.memory] + " has " +
                                         std::to_string(depth) + " words");
            by_step[wanted.step].push_back(i);
        }
    }
    bool wanted() const { return !table.empty(); }
    void clear() {
        captures.clear();
        data.clear();
        pending.clear();
    }
    void finished(int32_t step, int64_t cycle) {
        const auto found = by_step.find(step);
        if (found == by_step.end()) return;
        for (const int index : found->second) pending.push_back({cycle + delay, index});
    }
    void sample(int64_t cycle) {
        while (!pending.empty() && pending.front().cycle <= cycle) {
            copy(int32_t(pending.front().wanted), cycle);
            pending.pop_front();
        }
    }
    void persist(Archive& archive) { archive(captures, data, pending); }

private:
    struct Due {
        int64_t cycle, wanted;
    };
    struct Bank {
        std::vector<int> place;  // all indices on the way to it
        const uint8_t* words;
        size_t bytes, stride;
        int64_t depth;
    };
    std::vector<Wanted> table;
    std::vector<Bank> banks[std::size(MEMORIES)];
    std::unordered_map<int32_t, std::vector<int>> by_step;
    std::deque<Due> pending;
    int delay = 0;

    void copy(int32_t index, int64_t cycle) {
        const Wanted& wanted = table[index];
        const int64_t offset = data.size();
        for (int64_t word = wanted.base; word < wanted.base + wanted.words; word++)
            for (const Bank& bank : banks[wanted.memory]) {
                const uint8_t* const from = bank.words + word * bank.stride;
                data.insert(data.end(), from, from + bank.bytes);
            }
        captures.push_back({cycle, index, 0, offset, int64_t(data.size()) - offset});
    }
    void find_banks(VerilatedContext& context, int memory) {
        std::vector<Bank>& found = banks[memory];
        for (const auto& item : *context.scopeNameMap()) {
            const std::string scope = item.first;
            const std::string part = std::string(".") + MEMORIES[memory] + ".";
            const size_t at = (scope + ".").find(part);
            if (at == std::string::npos) continue;
            const VerilatedVar* const mem = item.second->varFind("mem");
            if (mem) found.push_back(bank_of(*mem, scope, scope.substr(at)));
        }
        const std::string title = std::string("memory hwmoe_top.") + MEMORIES[memory];
        if (found.empty())
            throw std::runtime_error(title + ": no array `mem` of a hwmoe_ram_bank below it");
        std::sort(found.begin(), found.end(),
                  [](const Bank& a, const Bank& b) { return a.place < b.place; });
        for (size_t i = 1; i < found.size(); i++)
            if (found[i].place == found[i - 1].place || found[i].depth != found[0].depth)
                throw std::runtime_error(title + ": its banks cannot be put in order");
    }
    static Bank bank_of(const VerilatedVar& mem, const std::string& scope, const std::string& way) {
        const uint32_t bits = mem.entBits();
        if (mem.udims() != 1 || bits % 8)
            throw std::runtime_error(scope + ".mem is not an array of whole bytes");
        Bank bank;
        for (size_t at = way.find('['); at != std::string::npos; at = way.find('[', at + 1))
            bank.place.push_back(std::stoi(way.substr(at + 1)));
        bank.words = static_cast<const uint8_t*>(mem.datap());
        bank.bytes = bits / 8;
        bank.stride = mem.entSize();
        bank.depth = mem.elements(1);
        return bank;
    }
};
