"""Our DSP48E2 model refuses every mode but the ones the cascades use."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import hwmoe
from hwmoe.sim.compiled import CompiledKernel
from hwmoe.sim.divergence import SimulationFault
from hwmoe.sim.streams import StreamCase

RTL = Path(hwmoe.__file__).parent / "templates" / "rtl"

USED = {"AREG": 1, "BREG": 2, "BCASCREG": 2, "AMULTSEL": '"AD"', "ALUMODEREG": 0, "CARRYINREG": 0}
USED |= {"CARRYINSELREG": 0, "INMODEREG": 0, "OPMODEREG": 0}
OTHERS = [
    {},  # what is used: accepted
    *({f"{name}REG": 0} for name in ("A", "B", "D", "AD", "M", "P")),
    *({name: 1 - USED[name]} for name in ("ALUMODEREG", "CARRYINREG", "INMODEREG", "OPMODEREG")),
    {"AMULTSEL": '"A"'},
    {"BMULTSEL": '"AD"'},
    {"PREADDINSEL": '"B"'},
    {"A_INPUT": '"CASCADE"'},
    {"B_INPUT": '"CASCADE"'},
    {"USE_MULT": '"DYNAMIC"'},
    {"USE_SIMD": '"TWO24"'},
    {"USE_WIDEXOR": '"TRUE"'},
    {"USE_PATTERN_DETECT": '"PATDET"'},
    {"IS_CLK_INVERTED": 1},
    {"IS_OPMODE_INVERTED": 1},
    {"IS_RSTP_INVERTED": 1},
]
CONTROLS = {"OPMODE": 9, "INMODE": 5, "ALUMODE": 4, "CARRYINSEL": 3, "CARRYIN": 1}
RESETS = ("A", "ALLCARRYIN", "ALUMODE", "B", "C", "CTRL", "D", "INMODE", "M", "P")
CONTROLS |= {f"RST{name}": 1 for name in RESETS}


def modes() -> str:
    """An instance for each of OTHERS. Byte 4 of a beat says whose clock runs, 0..3 are CONTROLS."""
    ports, bit = [], 0
    for name, width in CONTROLS.items():
        ports.append(f".{name}(s_axis_c_TDATA[{bit}+:{width}])")
        bit += width
    assert bit == 32
    instances = [
        f"  DSP48E2 #({', '.join(f'.{k}({v})' for k, v in (USED | other).items())}) i_{i}"
        f" (.CLK(ap_clk && s_axis_c_TVALID && s_axis_c_TDATA[39:32] == {i}), {', '.join(ports)});\n"
        for i, other in enumerate(OTHERS)
    ]
    return (
        "module modes (input ap_clk, input ap_rst_n, input [39:0] s_axis_c_TDATA,"
        " input s_axis_c_TVALID, output s_axis_c_TREADY, output [7:0] m_axis_y_TDATA,"
        " output m_axis_y_TVALID, input m_axis_y_TREADY);\n"
        "  assign s_axis_c_TREADY = 1;\n"
        "  assign m_axis_y_TVALID = s_axis_c_TVALID;\n" + "".join(instances) + "endmodule\n"
    )


def test_model_refuses_other_modes(tmp_path: Path) -> None:
    """Every control input away from its value by one bit, and other parameters."""
    (tmp_path / "modes.sv").write_text(modes())
    sources = [tmp_path / "modes.sv", RTL / "dsp" / "hwmoe_dsp48e2_model.sv"]
    widths = {"s_axis_c": 5}, {"m_axis_y": 1}
    kernel = CompiledKernel("modes", sources, *widths, tmp_path / "build", optimize="-O0")

    def refused(word: int, instance: int) -> bool:
        beats = np.array([[word | instance << 32]], "<u8").view(np.uint8)[:, :5].copy()
        try:
            kernel.run(StreamCase("modes", {"s_axis_c": beats}, {"m_axis_y": 1}))
        except SimulationFault:
            return True
        return False

    for opmode in (0b100000101, 0b000010101):
        word = 0b00100 << 9 | opmode
        assert [refused(word, i) for i in range(len(OTHERS))] == [False] + [True] * len(OTHERS[1:])
        assert all(refused(word ^ 1 << bit, 0) for bit in range(32))
