"""The rendered project: reproducible, clean under g++ without the hooks of the simulation too."""

from __future__ import annotations

from pathlib import Path

import pytest
from hls_cases import CONFIGS, SIZES, project

from hwmoe.codegen.hls import CSIM_SOURCES, TOP_SOURCES, hls_files
from hwmoe.errors import HwmoeError
from hwmoe.plan.isa import instruction_set
from hwmoe.process import run_tool
from hwmoe.sim.csim import WARNINGS, CSim, build


@pytest.mark.parametrize("name", CONFIGS)
def test_rendering_is_reproducible(name: str) -> None:
    files = project(name)
    assert files == hls_files(CONFIGS[name].model_copy(deep=True), SIZES)
    assert list(files) == sorted(files)
    assert set(CSIM_SOURCES) < set(files)
    for text in files.values():
        assert text.endswith("\n")
        assert "{{" not in text
        assert "{%" not in text


def test_opcodes_are_those_of_the_instruction_set() -> None:
    types = project("plain")["hwmoe_types.hpp"]
    for name, format_ in instruction_set().formats.items():
        assert f"constexpr int OP_{name.upper()} = {format_.opcode};" in types
        for field, (lowest, bits) in format_.layout.items():
            assert f"a.{field} = field_of(i, {lowest}, {bits});" in types


def test_sources_for_synthesis_compile_without_warnings(tmp_path: Path) -> None:
    """As Vitis sees them: no checks, no traces; only the stand-in for hls::stream is ours."""
    for file, text in project("narrow").items():
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_text(text)
    flags = ["-std=c++14", "-O1", "-Werror", *WARNINGS, "-Icsim", "-c"]
    assert run_tool(["g++", *flags, *TOP_SOURCES], cwd=tmp_path) == ""


def test_a_build_is_used_again(tmp_path: Path) -> None:
    tiny = {name: "extern int nothing;\n" for name in CSIM_SOURCES}
    first = build(tiny, tmp_path)
    made = first.stat().st_mtime_ns
    assert build(tiny, tmp_path) == first
    assert first.stat().st_mtime_ns == made
    assert build(tiny, tmp_path, ["-O1"]) != first


def test_an_error_of_the_compiler_is_shown(tmp_path: Path) -> None:
    files = dict.fromkeys(CSIM_SOURCES, "int broken(\n")
    with pytest.raises(HwmoeError, match=r"(?s)g\+\+ failed.*hwmoe_top.cpp.*error"):
        build(files, tmp_path)


def test_a_missing_compiler_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(HwmoeError, match="apt install g"):
        CSim(project("plain"), CONFIGS["plain"], tmp_path)


def test_registers_are_those_of_the_machine() -> None:
    """64-bit pointers from 0x10 on, 12 bytes each; then n_images; the counts at 0x4000."""
    lines = project("narrow")["hwmoe_top.cpp"].splitlines()
    registers = {
        word[8]: int(word[-1], 16)
        for word in (line.split() for line in lines if "s_axilite" in line)
        if "offset" in word
    }
    names = ["program", "params", "images", "results", "weights_0", "weights_1", "weights_2"]
    expected = {name: 0x10 + 12 * i for i, name in enumerate(names)}
    assert registers == expected | {"n_images": 0x64, "saturations": 0x4000}
    bundles = {word[8]: word[-1] for word in (line.split() for line in lines if "m_axi" in line)}
    assert bundles == dict.fromkeys(names[:4], "gmem") | {f"weights_{p}": f"w{p}" for p in range(3)}
