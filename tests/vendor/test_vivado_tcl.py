"""The Vivado scripts run to their end against stand-ins that check commands and their order."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tcl_stubs import edit, needs_tclsh, run_tcl

from hwmoe.codegen.rtl_axi import register_map
from hwmoe.plan.board import board_names, load_board
from hwmoe.vendor.families import ALVEO
from hwmoe.vendor.steps import steps_for

pytestmark = needs_tclsh
BUILD, PACKAGE = "vivado/build.tcl", "vivado/package_xo.tcl"
ZYNQ = [name for name in board_names() if load_board(name).family != ALVEO]
CARDS = [name for name in board_names() if load_board(name).family == ALVEO]
Folders = Callable[[str], Path]


@pytest.mark.parametrize("board", ZYNQ)
def test_bitstream(board: str, copied: Folders) -> None:
    folder = copied(board)
    ran = run_tcl(folder, "vivado", BUILD, "-jobs", "3", "-source", "rtl")
    assert ran.code == 0, ran.text
    assert ran.phases == [
        "package IP", "block design", "synthesis", "implementation", "reports", "bitstream",
    ]  # fmt: skip
    work = folder / "build/vivado"
    for kind in ("bit", "hwh", "xsa"):
        assert (work / f"hwmoe.{kind}").is_file()
    mapped = (work / "hwmoe.hwh").read_text().splitlines()
    base = 0x43C00000 if board == "pynq-z2" else 0xA0000000
    assert f"ps/Data hwmoe_0/s_axi_control/reg0 {base} {1 << 16}" in mapped
    assert {line.split()[0] for line in mapped} == {
        "ps/Data", "hwmoe_0/m_axi_gmem", "hwmoe_0/m_axi_w0", "hwmoe_0/m_axi_w1",
    }  # fmt: skip
    assert not any("OCM " in line or "QSPI" in line for line in mapped if "LOWOCM" not in line)


def test_register_map_reaches_the_ip(copied: Folders) -> None:
    folder = copied("zcu102")
    assert run_tcl(folder, "vivado", BUILD).code == 0
    facts = (folder / "build/vivado/ip/component.xml").read_text()
    registers = next(line for line in facts.splitlines() if line.startswith("registers"))
    words = set(registers.removeprefix("registers ").strip("{}").split())
    for register in register_map(2):
        halves = {f"{register.name}_1", f"{register.name}_2"}
        assert (halves if register.bits == 64 else {register.name}) <= words
    assert "vlnv hwmoe:hwmoe:hwmoe_top:1.0" in facts


def test_more_masters_than_ports(copied: Folders) -> None:
    """Masters share ports in turn; each still reaches the memory."""
    folder = copied("zcu102")
    text = (folder / "vivado/config.tcl").read_text()
    start = text.index("set memory_ports")
    shared = "set memory_ports [list {S_AXI_HP0_FPD saxihp0_fpd_aclk SAXIGP2 {%s}}]\n"
    shared %= "m_axi_gmem m_axi_w0 m_axi_w1"
    text = text[:start] + shared
    text = text.replace("PSU__USE__S_AXI_GP3 1", "PSU__USE__S_AXI_GP3 0")
    (folder / "vivado/config.tcl").write_text(
        text.replace("PSU__USE__S_AXI_GP4 1", "PSU__USE__S_AXI_GP4 0")
    )
    ran = run_tcl(folder, "vivado", BUILD)
    assert ran.code == 0, ran.text
    assert "hwmoe_0/m_axi_w1 ps/SAXIGP2/HP0_DDR_LOW" in (
        folder / "build/vivado/hwmoe.hwh"
    ).read_text()  # fmt: skip


def test_no_inferred_memory_map(copied: Folders) -> None:
    ran = run_tcl(copied("zcu102"), "vivado", BUILD, STUB_NO_MAP="1")
    assert ran.code == 0, ran.text


def test_continues(copied: Folders) -> None:
    """The same digest: nothing is packaged or designed again; another: all of it."""
    folder = copied("zcu102")
    failed = run_tcl(folder, "vivado", BUILD, "-digest", "one", STUB_FAIL="impl_1")
    assert failed.code == 1
    assert "hwmoe: error: impl_1 did not finish: impl_1 ERROR" in failed.text
    again = run_tcl(folder, "vivado", BUILD, "-digest", "one")
    assert again.code == 0, again.text
    assert again.phases == ["synthesis", "implementation", "reports", "bitstream"]
    other = run_tcl(folder, "vivado", BUILD, "-digest", "two")
    assert other.code == 0, other.text
    assert other.phases[0] == "package IP"


@pytest.mark.parametrize(
    ("planted", "says"),
    [
        ({"STUB_WNS": "-0.512"}, "timing is not met: WNS -0.512 ns at 300 MHz; about 260 MHz"),
        ({"STUB_WHS": "-0.02"}, "hold time is not met"),
    ],
)
def test_timing_not_met(copied: Folders, planted: dict[str, str], says: str) -> None:
    folder = copied("zcu102")
    ran = run_tcl(folder, "vivado", BUILD, **planted)
    assert ran.code == 3
    assert says in ran.text
    assert (folder / "build/vivado/timing.rpt").is_file()
    assert not (folder / "build/vivado/hwmoe.bit").exists()


def test_ip_of_vitis_hls(copied: Folders) -> None:
    folder = copied("zcu102")
    missing = run_tcl(folder, "vivado", BUILD, "-source", "hls")
    assert missing.code == 1
    assert "run `hwmoe build --tool hls` first" in missing.text
    place = folder / "build/hls/hls/impl/ip"
    place.mkdir(parents=True)
    buses = "s_axi_control slave m_axi_gmem master m_axi_w0 master m_axi_w1 master"
    facts = f"vlnv hwmoe:hwmoe:hwmoe_top:1.0\nbuses {{{buses}}}\n"
    (place / "component.xml").write_text(facts)
    ran = run_tcl(folder, "vivado", BUILD, "-source", "hls")
    assert ran.code == 0, ran.text
    assert ran.phases[0] == "block design"


@pytest.mark.parametrize("board", CARDS)
def test_kernel(board: str, copied: Folders) -> None:
    folder = copied(board)
    ran = run_tcl(folder, "vivado", PACKAGE)
    assert ran.code == 0, ran.text
    assert (folder / "build/vitis/hwmoe_top.xo").is_file()


# file, what stands there, what is planted, what the stand-ins or the script must say
FAULTS = [
    ("design.tcl", "  validate_bd_design\n", "", "save_bd_design: not validated"),
    (
        "design.tcl",
        "  connect_bd_net [get_bd_pins hwmoe_0/interrupt] [get_bd_pins ps/$interrupt_pin]\n",
        "",
        "validate: ps/pl_ps_irq0 is open",
    ),
    (
        "design.tcl",
        "  connect_bd_intf_net [get_bd_intf_pins $name/M00_AXI] [get_bd_intf_pins $slave]\n",
        "",
        "is not connected yet",
    ),
    ("design.tcl", "reset_0/peripheral_aresetn", "reset_0/peripheral_reset", "no pin"),
    ("design.tcl", "assign_bd_address -offset", "assign_bd_address -ofset", "no option -ofset"),
    (
        "design.tcl",
        "          exclude_bd_addr_seg -target_address_space $space [get_bd_addr_segs $segment]\n",
        "",
        "LPS_OCM of hwmoe_0/m_axi_gmem has no address",
    ),
    ("design.tcl", "create_bd_design $name\n", "", "no block design"),
    ("design.tcl", "hwmoe_0/s_axi_control\n", "hwmoe_0/s_axi_ctrl\n", "no intf s_axi_ctrl"),
    (
        "design.tcl",
        "  apply_bd_automation -rule $ps_rule -config $ps_preset [get_bd_cells ps]\n",
        "",
        "settings of ps come after the board's preset",
    ),
    ("config.tcl", "PSU__USE__M_AXI_GP1 0", "PSU__USE__M_AXI_GP1 1", "maxihpm1_fpd_aclk is open"),
    ("config.tcl", "PSU__USE__S_AXI_GP2 1", "PSU__USE__SAXI_GP2 1", "no property CONFIG.PSU__USE"),
    ("config.tcl", "saxihp1_fpd_aclk", "saxihp2_fpd_aclk", "is connected"),
    ("config.tcl", "SAXIGP4", "SAXIGP3", "PSU__SAXIGP3"),
    ("config.tcl", "rtl/hwmoe_top.sv", "rtl/hwmoe_tops.sv", "are missing: rtl/hwmoe_tops.sv"),
    ("config.tcl", "0x2d0 32", "0x1fffe 32", "store_clipped ends at"),
    ("package_ip.tcl", "-import_files -force", "-import_file -force", "no option -import_file"),
    ("package_ip.tcl", "-clock ap_clk -reset", "-clock ap_clock -reset", "no interface ap_clock"),
    ("package_ip.tcl", "  set_property top $ip_top [current_fileset]\n", "", "no top is set"),
    ("package_ip.tcl", "set_property size $bits", "set_property sizes $bits", "no property sizes"),
    ("build.tcl", "generate_target all $design\n", "", "not generated"),
    ("build.tcl", "make_wrapper -files $design -top -import\n", "", "no wrapper yet"),
    ("build.tcl", "update_ip_catalog -rebuild\n", "", "no IP hwmoe:hwmoe:hwmoe_top:1.0"),
    ("build.tcl", "run_to_end synth_1 $jobs\n", "", "synth_1 is not done"),
    ("run.tcl", "  open_run impl_1\n", "", "a report needs an open run"),
    ("run.tcl", "    wait_on_run $run\n", "", "did not finish"),
    ("run.tcl", "-delay_type min_max", "-delay min_max", "no option -delay"),
    ("run.tcl", "write_hw_platform -fixed", "write_hw_platfrom -fixed", "write_hw_platfrom"),
    ("hwmoe_ip.v", "output wire m_axi_w0_bready", "output wire m_axi_w0_bredy", "no bready"),
    ("hwmoe_ip.v", "output wire m_axi_w1_arvalid", "input wire m_axi_w1_arvalid", "is no output"),
]


@pytest.mark.parametrize(("name", "old", "new", "says"), FAULTS)
def test_planted_fault(copied: Folders, name: str, old: str, new: str, says: str) -> None:
    folder = copied("zcu102")
    if name == "config.tcl" and says.startswith("PSU__"):
        old, new, says = f"aclk {old}", f"aclk {new}", "does not reach"
    edit(folder, f"vivado/{name}", old, new)
    ran = run_tcl(folder, "vivado", BUILD)
    assert ran.code in (1, 99), ran.text
    assert says in ran.text


def test_kernel_needs_its_properties(copied: Folders) -> None:
    folder = copied("u280")
    edit(folder, "vivado/package_xo.tcl", "set_property sdx_kernel true $core\n", "")
    ran = run_tcl(folder, "vivado", PACKAGE)
    assert ran.code == 99
    assert "the IP is no kernel" in ran.text


def test_options_the_steps_give_are_known(written: Folders, project: Callable[..., object]) -> None:
    """What `hwmoe build` puts behind -tclargs is what build.tcl takes."""
    step = steps_for(project("zcu102"), "vivado", "rtl", 4, "d", unified=True)[0]  # type: ignore[arg-type]
    given = step.arguments[step.arguments.index("-tclargs") + 1 :]
    assert given == ("-jobs", "4", "-source", "rtl", "-digest", "d")
    wrong = run_tcl(written("zcu102"), "vivado", BUILD, "-job", "4")
    assert wrong.code == 1
    assert "unknown option -job; known: -jobs -source -digest" in wrong.text
