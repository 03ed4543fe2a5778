"""A machine with faults planted in its SystemVerilog; a run chooses one of them, or none.

The number of the fault comes in the high bits of the register `n_images`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hwmoe.codegen.rtl_machine import machine_rtl
from hwmoe.plan.accelerator import AcceleratorConfig
from hwmoe.plan.program import MachineSizes
from hwmoe.sim import machine_registers as registers
from hwmoe.sim.machine import Machine, MachineRun
from hwmoe.sim.machine_image import MemoryImage
from hwmoe.sim.machine_session import MachineOptions

LIMIT = 200_000  # cycles of a run; a good one takes a tenth
SELECT, BITS = 24, 8  # bits of the number of the fault
NUMBER = "hwmoe_top.planted"


@dataclass(frozen=True)
class Planted:
    """In `file`, `right`, which must be there exactly once, becomes `wrong`.

    BAD in it is true in runs that choose this fault. model: which one shows it; found: what the
    comparison then says.
    """

    file: str
    right: str
    wrong: str
    found: str
    model: str = "plain"


STUCK = "Nothing is under way: engines wait for each other"
FAULTS = {
    "a lost token": Planted(
        "hwmoe_engines.sv",
        "& {6{done[f]}}",
        "& {6{done[f]}} & ~(BAD && f == 1 ? 6'b001000 : 6'b0)",  # linear to vector
        STUCK,
    ),
    "a token from nowhere": Planted(
        "hwmoe_engines.sv",
        "assign avail[6*t+f]   = tok_avail[6*f+t];",
        "assign avail[6*t+f]   = (BAD && f == 1 && t == 3) | tok_avail[6*f+t];",
        r"error 5 \(token counter overflow\)",
    ),
    "the second column a word on": Planted(
        "hwmoe_linear_collect.sv",
        "column <= addr + 1'b1",
        "column <= addr + (BAD && target[0] ? 16'd2 : 16'd1)",
        r"in blocks.0.mlp.gelu\[0, 12\]",
    ),
    "ties to the higher expert": Planted(
        "hwmoe_gate_top.sv",
        "($signed(logit) > $signed(values[16*j+:16]))",
        "($signed(logit) > $signed(values[16*j+:16]) || (BAD && logit == values[16*j+:16]))",
        r"in blocks.1.moe.experts.0.gelu\[",
        "tied",
    ),
    "a lost beat of weights": Planted(
        "hwmoe_weight_ports.sv",
        ".rvalid(ch_rvalid[c])",
        ".rvalid(ch_rvalid[c] & ~(BAD && c == 0 && ch_rlast))",
        "linear: held, 1 steps complete; last started patch_embed",
    ),
    "a lost beat of parameters": Planted(
        "hwmoe_gmem.sv",
        ".rvalid(ch_rvalid[i])",
        ".rvalid(ch_rvalid[i] & ~(BAD && i == 1 && ch_rlast))",
        "linear: held, 1 steps complete; last started patch_embed",
    ),
    "another token's score": Planted(
        "hwmoe_router.sv",
        ".put_score(score_1)",
        ".put_score(BAD ? put_score : score_1)",
        r"in blocks.1.res2\[",
    ),
    "another token's row": Planted(
        "hwmoe_router_list.sv",
        "addr_r2  <= base_r1 + index_r1",
        "addr_r2  <= base_r1 + (index_r1 ^ AW'(BAD && r == 1))",
        r"in blocks.1.moe.experts.\d.gelu\[",
    ),
    "weights of an expert thrown away": Planted(
        "hwmoe_weight_ports.sv",
        ".s_ready(s_valid[c] & s_ready[c])",
        ".s_ready(s_valid[c] & (s_ready[c] | (BAD && c == 1)))",
        "expert: held",
    ),
    "weights of an expert swapped too early": Planted(
        "hwmoe_dot_ternary.sv",
        "if (swap_1) active",
        "if (BAD ? swap : swap_1) active",
        r"in blocks.1.moe.experts.\d.gelu\[",
    ),
    "accumulators that are not cleared": Planted(
        "hwmoe_acc_bank.sv",
        "+ (first_2 ? '0 : held[27*c+:27])",
        "+ (first_2 & ~BAD ? '0 : held[27*c+:27])",
        r"in blocks.0.qkv\[",
    ),
    "instructions of other tasks": Planted(
        "hwmoe_fetch_images.sv",
        "~tasks[numbers[{stage, 2'b00}+:4]]",
        "(~tasks[numbers[{stage, 2'b00}+:4]] & ~BAD)",
        "m_axi_gmem write of memory that does not exist",
    ),
    "results in one place": Planted(
        "hwmoe_store_engine.sv",
        "result + 64'(logit_bytes)",
        "(BAD ? result : result + 64'(logit_bytes))",
        r"image 0 of the run: first difference in logits\[",
    ),
    "clipped values not counted": Planted(
        "hwmoe_vector_add.sv",
        "clipped + 32'(ones_sum)",
        "(BAD ? clipped : clipped + 32'(ones_sum))",
        r"in blocks.\d.res\d saturations\[",
        "loud",
    ),
    "constants a word on": Planted(
        "hwmoe_load_engine.sv",
        "w_addr   <= go_dst",
        "w_addr   <= go_dst + 16'(go_const & BAD)",
        r"in embed\[0, 0\]",
    ),
    "heads in the wrong order": Planted(
        "hwmoe_attention_collect.sv",
        "w_addr <= base + walk_offset",
        "w_addr <= base + (walk_offset ^ 16'(BAD))",
        r"in blocks.0.attn\[",
    ),
    "the wrong rows of a list": Planted(
        "hwmoe_vector_add_seq.sv",
        "chosen       = listed ? list_row : row_1",
        "chosen       = (listed & ~BAD) ? list_row : row_1",
        r"in blocks.1.res2\[",
    ),
    "the other memory is stored": Planted(
        "hwmoe_store_engine.sv",
        "d_data    = from_res ?",
        "d_data    = (from_res & ~BAD) ?",
        r"stored, image 0: first difference in embed\[0, 0\]",
        "traced",
    ),
    "a lost offset": Planted(
        "hwmoe_store_engine.sv",
        "result + 64'(go_offset)",
        "result + 64'(go_offset & {32{~BAD}})",
        r"stored, image 0: first difference in embed\[0, 0\]",
        "traced",
    ),
    "an offset without its high bits": Planted(
        "hwmoe_engines.sv",
        ".go_offset(store_go_instr[128+:32])",
        ".go_offset(store_go_instr[128+:32] & (BAD ? 32'd1023 : '1))",
        r"stored, image 0: first difference in embed\[",
        "traced",
    ),
    "every store an image": Planted(
        "hwmoe_store_engine.sv",
        "image_done   = fin & ends_image",
        "image_done   = fin & (ends_image | BAD)",
        "m_axi_gmem write of memory that does not exist",
        "traced",
    ),
    "few values of a tensor": Planted(
        "hwmoe_engines.sv",
        ".go_n_out(store_go_instr[96+:32])",
        ".go_n_out(store_go_instr[96+:32] & (BAD ? 32'd63 : '1))",
        r"stored, image 0: first difference in embed\[",
        "traced",
    ),
}


def faulty_rtl(acc: AcceleratorConfig, sizes: MachineSizes) -> dict[str, str]:
    """The machine with all of FAULTS, each asleep unless its number is chosen."""
    files = machine_rtl(acc, sizes)
    for number, fault in enumerate(FAULTS.values(), 1):
        text = files[fault.file]
        head, found, tail = text.partition(fault.right)
        assert found, f"{fault.file} holds no {fault.right!r}"
        assert fault.right not in tail, f"{fault.file} holds more than one {fault.right!r}"
        files[fault.file] = (
            head + fault.wrong.replace("BAD", f"({NUMBER} == {BITS}'d{number})") + tail
        )
    top = files["hwmoe_top.sv"]
    for right, wrong in (
        ("  logic [31:0] n_images,", f"  logic [{BITS - 1}:0] planted;\n  logic [31:0] n_images,"),
        (
            ".images,\n      .n_images,",
            f".images,\n      .n_images(32'(n_images[{SELECT - 1}:0])),",
        ),
        (
            "  hwmoe_fetch i_fetch",
            f"  assign planted = n_images[{SELECT}+:{BITS}];\n  hwmoe_fetch i_fetch",
        ),
    ):
        assert top.count(right) == 1, right
        top = top.replace(right, wrong)
    files["hwmoe_top.sv"] = top
    return files


@dataclass
class Chosen:
    """A machine of `faulty_rtl`, every run with the fault of that number; 0: without any."""

    machine: Machine
    fault: int = 0

    def run(
        self, memory: MemoryImage, n_images: int, options: MachineOptions, **more: Any
    ) -> MachineRun:
        chosen = (registers.n_images(self.machine.w_ports), self.fault << SELECT | n_images)
        more |= {"setup": [chosen], "cycle_limit": LIMIT}
        return self.machine.run(memory, n_images, options, **more)
