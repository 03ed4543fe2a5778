"""What is written into a project for Vivado and Vitis: complete, reproducible, documented keys."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path

import pytest
from config_check import entries, problems
from tcl_stubs import edit, needs_tclsh, run_tcl

from hwmoe.codegen.hls import TOP_SOURCES
from hwmoe.codegen.project import Project
from hwmoe.codegen.rtl_axi import register_map
from hwmoe.errors import HwmoeError
from hwmoe.plan.board import board_names, load_board
from hwmoe.sim.verilator import lint
from hwmoe.vendor import kernel, vitis
from hwmoe.vendor.csim_case import write_case
from hwmoe.vendor.families import ALVEO, families
from hwmoe.vendor.files import with_vendor_files
from hwmoe.vendor.steps import steps_for
from hwmoe.vendor.vivado import spread, tcl

Projects = Callable[[str], Project]
Folders = Callable[[str], Path]
CARDS = [name for name in board_names() if load_board(name).family == ALVEO]


@pytest.mark.parametrize("board", board_names())
def test_same_files_each_time(board: str, project: Projects) -> None:
    again = with_vendor_files(project(board))
    assert again.files == project(board).files
    assert again.digest == project(board).digest
    for name, text in again.files.items():
        if name.startswith(("vivado/", "vitis/")):
            assert text.endswith("\n"), name
            assert max(map(len, text.splitlines())) <= 200 or name == vitis.KERNEL_XML, name


@pytest.mark.parametrize("board", board_names())
def test_named_files_exist(board: str, copied: Folders, project: Projects) -> None:
    """In Tcl, in the configuration files and in the commands."""
    folder = copied(board)
    write_case(project(board), folder)
    for section, key, value in entries((folder / vitis.HLS_CONFIG).read_text()):
        if (section, key) in {("hls", "syn.file"), ("hls", "tb.file")}:
            assert (folder / "vitis" / value).is_file(), value
    for path in sorted((folder / "vivado").glob("*.tcl")):
        for name in re.findall(r"(?<![\w/.])(?:rtl|vivado|vitis)/[\w.]*\w", path.read_text()):
            assert (folder / name).is_file() or name == "vivado/timing.rpt", f"{path.name}: {name}"
    for tool in ("vivado", "vitis", "hls"):
        try:
            steps = steps_for(project(board), tool, "rtl", 1, "", unified=True)
        except HwmoeError:
            continue
        for step in steps:
            for word in step.arguments:
                if re.search(r"\.(tcl|cfg)$", word):
                    assert (folder / step.folder / word).resolve().is_file() or (
                        folder / word.replace("../../", "")
                    ).is_file(), word


@pytest.mark.parametrize("board", board_names())
def test_hls_config(board: str, written: Folders) -> None:
    text = (written(board) / vitis.HLS_CONFIG).read_text()
    assert problems("hls", text) == []
    found = entries(text)
    values = {(section, key): value for section, key, value in found}
    assert values["", "part"] == load_board(board).part
    assert float(values["hls", "clock"].removesuffix("ns")) == pytest.approx(
        1e3 / load_board(board).clock_mhz, abs=1e-3
    )
    sources = [Path(value).name for section, key, value in found if key == "syn.file"]
    assert tuple(sources) == TOP_SOURCES
    card = load_board(board).family == ALVEO
    assert values["hls", "package.output.format"] == ("xo" if card else "ip_catalog")
    names = ("vendor", "library", "name", "version")
    assert ":".join(values["hls", f"package.ip.{n}"] for n in names) == kernel.VLNV


@needs_tclsh
def test_hls_tcl(copied: Folders, project: Projects) -> None:
    folder = copied("zcu102")
    without = run_tcl(folder, "hls", vitis.HLS_TCL)
    assert without.code == 0, without.text
    assert "no C simulation" in without.text
    write_case(project("zcu102"), folder)
    ran = run_tcl(folder, "hls", vitis.HLS_TCL)
    assert ran.code == 0, ran.text
    assert ran.phases == ["csim", "csynth", "export"]
    assert "stub: exported ip_catalog" in ran.text
    card = run_tcl(folder, "hls", vitis.HLS_TCL, HWMOE_STEPS="csynth export", HWMOE_FORMAT="xo")
    assert card.code == 0, card.text
    assert "stub: exported xo" in card.text
    assert run_tcl(folder, "hls", vitis.HLS_TCL, HWMOE_STEPS="synth").code == 1


@needs_tclsh
@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("set_top hwmoe_top\n", "", "no files or no top"),
        ("set_part xczu9eg-ffvb1156-2-e\n", "", "no part"),
        ("  hwmoe_fetch.cpp\n", "  hwmoe_fetch.cc\n", "no file"),
        ("open_solution -reset", "open_solution -rest", "no option -rest"),
        ("      csynth_design\n", "", "the state is solution"),
        ("-vendor hwmoe", "-vendor xilinx", "export_design: xilinx"),
    ],
)
def test_planted_fault_in_hls_tcl(copied: Folders, old: str, new: str, says: str) -> None:
    folder = copied("zcu102")
    edit(folder, vitis.HLS_TCL, old, new)
    ran = run_tcl(folder, "hls", vitis.HLS_TCL)
    assert ran.code == 99
    assert says in ran.text


@pytest.mark.parametrize("engine", vitis.ENGINES)
@pytest.mark.parametrize("board", ["zcu102", "u280"])
def test_hls_config_of_an_engine(board: str, engine: str, written: Folders) -> None:
    folder = written(board) / "vitis"
    text = (folder / f"hls_{engine}.cfg").read_text()
    assert problems("hls", text) == []
    values = {(section, key): value for section, key, value in entries(text)}
    assert values["hls", "syn.top"] == f"hwmoe_{engine}"
    assert values["hls", "flow_target"] == "vivado"
    source = (folder / values["hls", "syn.file"]).read_text()
    assert f"void hwmoe_{engine}(" in source
    assert "mode = ap_ctrl_none port = return" in source


@needs_tclsh
@pytest.mark.parametrize("engine", vitis.ENGINES)
def test_hls_tcl_of_an_engine(engine: str, copied: Folders) -> None:
    folder, script = copied("u280"), f"vitis/hls_{engine}.tcl"
    ran = run_tcl(folder, "hls", script)
    assert ran.code == 0, ran.text
    assert ran.phases == ["csynth"]
    ran = run_tcl(folder, "hls", script, HWMOE_STEPS="csynth export")
    assert ran.code == 0, ran.text
    assert "stub: exported ip_catalog" in ran.text
    assert run_tcl(folder, "hls", script, HWMOE_STEPS="csim").code == 1
    edit(folder, script, f"set_top hwmoe_{engine}\n", "set_top hwmoe_vector\n")
    wrong = run_tcl(folder, "hls", script)
    assert wrong.code == 99
    assert "no file of hwmoe_vector" in wrong.text


@pytest.mark.parametrize("board", CARDS)
def test_link(board: str, written: Folders) -> None:
    text = (written(board) / vitis.LINK).read_text()
    assert problems("link", text) == []
    data = load_board(board)
    found = entries(text)
    assert ("", "platform", data.board_part) in found
    assert ("", "kernel_frequency", f"{data.clock_mhz:g}") in found
    assert ("connectivity", "nk", "hwmoe_top:1:hwmoe_0") in found
    banks = dict(v.removeprefix("hwmoe_0.").split(":") for _, k, v in found if k == "sp")
    kind = "HBM" if data.memory.kind == "HBM2" else "DDR"
    assert set(banks) == set(kernel.master_of(2))
    assert (
        banks["program"] == banks["params"] == banks["images"] == banks["results"] == f"{kind}[0]"
    )
    assert (banks["weights_0"], banks["weights_1"]) == (f"{kind}[1]", f"{kind}[2]")
    assert ("connectivity", "slr", "hwmoe_0:SLR0") in found


def test_banks_and_slr_of_large_machines(project: Projects) -> None:
    card = load_board("u250")
    assert {bank for _, bank in vitis.banks(card, 9)} == {f"DDR[{i}]" for i in range(4)}
    parts = card.resources.model_copy(update={"dsp": 8})
    small = project("u250")
    crowded = small.board.model_copy(update={"resources": parts})
    changed = with_vendor_files(
        Project(small.model, small.program, crowded, small.files, small.source)
    )
    assert "slr=" not in changed.files[vitis.LINK]
    assert problems("link", changed.files[vitis.LINK]) == []


@pytest.mark.parametrize(
    ("kind", "old", "new", "says"),
    [
        ("link", "kernel_frequency", "kernel_freqency", "no key kernel_freqency"),
        ("link", "sp=hwmoe_0.program:HBM[0]", "sp=hwmoe_0.program:HBM0", "sp=hwmoe_0.program:HBM0"),
        ("link", "[connectivity]", "[conectivity]", "no section [conectivity]"),
        ("hls", "syn.top", "syn.topp", "no key syn.topp"),
        ("hls", "flow_target=vitis", "flow_target=vits", "flow_target=vits"),
        ("hls", "part=xcu280", "part=u280", "part=u280"),
    ],
)
def test_planted_fault_in_config(
    written: Folders, kind: str, old: str, new: str, says: str
) -> None:
    text = (written("u280") / (vitis.LINK if kind == "link" else vitis.HLS_CONFIG)).read_text()
    assert old in text
    assert any(says in problem for problem in problems(kind, text.replace(old, new)))


def test_kernel_xml(written: Folders) -> None:
    root = ElementTree.parse(written("u280") / vitis.KERNEL_XML).getroot()
    found = root.find("kernel")
    assert found is not None
    assert found.get("vlnv") == kernel.VLNV
    assert found.get("hwControlProtocol") == "ap_ctrl_hs"
    ports = {port.get("name"): port for port in root.iter("port")}
    registers = {register.name: register for register in register_map(2)}
    arguments = list(root.iter("arg"))
    assert [a.get("name") for a in arguments] == [*kernel.master_of(2), "n_images"]
    for number, arg in enumerate(arguments):
        register = registers[arg.get("name", "")]
        assert int(arg.get("id", "")) == number
        assert int(arg.get("offset", ""), 16) == register.offset
        assert int(arg.get("size", ""), 16) == register.bits // 8
        assert arg.get("port") in ports
        assert arg.get("addressQualifier") == ("1" if register.bits == 64 else "0")
    assert ports["m_axi_w1"].get("dataWidth") == "64"


def test_ports_are_dealt_in_turn() -> None:
    board = load_board("pynq-z2")
    dealt = spread(kernel.masters(5), board, families()[board.family])
    assert [(port.port, behind) for port, behind in dealt] == [
        ("S_AXI_HP0", ["m_axi_gmem", "m_axi_w3"]),
        ("S_AXI_HP1", ["m_axi_w0", "m_axi_w4"]),
        ("S_AXI_HP2", ["m_axi_w1"]),
        ("S_AXI_HP3", ["m_axi_w2"]),
    ]


def test_unknown_family_gets_hls_alone(project: Projects) -> None:
    small = project("zcu102")
    other = small.board.model_copy(update={"family": "versal"})
    bare = {name: text for name, text in small.files.items() if name.startswith(("rtl/", "hls/"))}
    made = with_vendor_files(Project(small.model, small.program, other, bare, small.source))
    assert {n.split("/")[0] for n in made.files} == {"rtl", "hls", "vitis"}
    with pytest.raises(HwmoeError, match=r"versal\. Known are zynq-ultrascale-plus, zynq-7000"):
        steps_for(made, "vivado", "rtl", 1, "", unified=True)


def test_words_of_tcl() -> None:
    assert tcl(("a", 1, "two words", "")) == "{a 1 {two words} {}}"
    with pytest.raises(ValueError, match="braces"):
        tcl("a}b")


def test_wrapper_fits_the_machine(written: Folders, tmp_path: Path) -> None:
    """Verilator elaborates it around hwmoe_top; a port of another width is seen."""
    folder = written("zcu102")
    wrapper, rtl = folder / "vivado/hwmoe_ip.v", sorted((folder / "rtl").glob("*.sv"))
    assert "hwmoe_ip.v" not in lint([wrapper, *rtl], "hwmoe_ip")
    narrow = tmp_path / "hwmoe_ip.v"
    text = wrapper.read_text()
    assert text.count("wire [63:0] m_axi_w1_rdata") == 1
    narrow.write_text(text.replace("wire [63:0] m_axi_w1_rdata", "wire [31:0] m_axi_w1_rdata"))
    assert "m_axi_w1_rdata" in lint([narrow, *rtl], "hwmoe_ip")
