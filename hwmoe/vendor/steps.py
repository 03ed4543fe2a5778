"""What has to be run for a project: commands as data, for people and for the runner."""

from __future__ import annotations

import shlex
from dataclasses import dataclass

from hwmoe.codegen.project import Project
from hwmoe.errors import HwmoeError
from hwmoe.vendor import kernel
from hwmoe.vendor.families import ALVEO, families
from hwmoe.vendor.vitis import HLS_TCL, LINK
from hwmoe.vendor.vivado import BUILD, PACKAGE_XO

WORK = {"vivado": "build/vivado", "vitis": "build/vitis", "hls": "build/hls"}
XO = f"{kernel.NAME}.xo"


@dataclass(frozen=True)
class Step:
    """One command. `folder` and `outputs` are paths below the project; `log` keeps its output.

    `continues`: the tool itself knows what it has done, so it is started again in any case.
    `inputs`: what `hwmoe build --tool hls` leaves.
    """

    name: str
    program: str
    arguments: tuple[str, ...]
    folder: str
    log: str
    outputs: tuple[str, ...]
    continues: bool = False
    inputs: tuple[str, ...] = ()

    def text(self) -> str:
        """As one types it, from the folder of the project."""
        command = shlex.join((self.program, *self.arguments))
        return command if self.folder == "." else f"(cd {self.folder} && {command})"


def default_tool(project: Project) -> str:
    """Vivado for a board with a PS, Vitis for a card, HLS for what is neither."""
    if project.board.family == ALVEO:
        return "vitis"
    return "vivado" if project.board.family in families() else "hls"


def steps_for(
    project: Project, tool: str, source: str, jobs: int, digest: str, unified: bool
) -> list[Step]:
    """In order. `tool`: vivado, vitis or hls; `source` of the bitstream: rtl or hls. `unified`: HLS
    by v++ and vitis-run, not by vitis_hls.

    `HwmoeError` if the board is not of this tool, or the project is without the scripts.
    """
    if tool == "hls":
        steps = hls_steps(unified)
    elif tool == "vivado":
        _check_family(project, tool, project.board.family in families(), "a Zynq board")
        steps = [_bitstream(source, jobs, digest)]
    else:
        _check_family(project, tool, project.board.family == ALVEO, "an Alveo card")
        steps = [*([] if source == "hls" else [_package()]), _link(source, jobs)]
    missing = sorted({script for step in steps for script in _scripts(step)} - set(project.files))
    if missing:
        raise HwmoeError(
            f"the project has no {', '.join(missing)}: it was made by an older hwmoe."
            " `hwmoe generate` writes it anew"
        )
    return steps


def hls_steps(unified: bool) -> list[Step]:
    """C simulation, synthesis and export of the HLS."""
    work, config = WORK["hls"], ("--config", "hls_config.cfg", "--work_dir", "../build/hls")
    if not unified:
        report = f"{work}/hwmoe/solution1/syn/report/csynth.xml"
        return [Step("HLS", "vitis_hls", ("-f", HLS_TCL), ".", f"{work}/hls.log", (report,))]
    report = f"{work}/hls/syn/report/csynth.xml"
    run, mode = "vitis-run", ("--mode", "hls")
    log = f"{work}/{{}}.log".format
    return [
        Step("HLS C simulation", run, (*mode, "--csim", *config), "vitis", log("csim"), ()),
        Step("HLS synthesis", "v++", ("-c", *mode, *config), "vitis", log("csynth"), (report,)),
        Step("HLS export", run, (*mode, "--package", *config), "vitis", log("export"), ()),
    ]


def _bitstream(source: str, jobs: int, digest: str) -> Step:
    options = ("-jobs", str(jobs), "-source", source, *(("-digest", digest) if digest else ()))
    work = WORK["vivado"]
    return Step(
        "Vivado",
        "vivado",
        ("-mode", "batch", "-nojournal", "-nolog", "-source", BUILD, "-tclargs", *options),
        ".",
        f"{work}/vivado.log",
        tuple(f"{work}/hwmoe.{kind}" for kind in ("bit", "hwh", "xsa")),
        continues=True,
    )


def _package() -> Step:
    work = WORK["vitis"]
    return Step(
        "kernel package",
        "vivado",
        ("-mode", "batch", "-nojournal", "-nolog", "-source", PACKAGE_XO),
        ".",
        f"{work}/package_xo.log",
        (f"{work}/{XO}",),
    )


def _link(source: str, jobs: int) -> Step:
    """In the folder of the outputs, as v++ leaves files where it runs."""
    work = WORK["vitis"]
    kernel_file = XO if source == "rtl" else f"../hls/{XO}"
    exported = (f"{WORK['hls']}/{XO}",) if source == "hls" else ()
    arguments = (
        *("--link", "-t", "hw", "--config", f"../../{LINK}", "--jobs", str(jobs)),
        *("--temp_dir", "temp", "--log_dir", "logs", "--report_dir", "reports"),
        *("-o", "hwmoe.xclbin", kernel_file),
    )
    log, output = f"{work}/link.log", f"{work}/hwmoe.xclbin"
    return Step("link", "v++", arguments, work, log, (output,), inputs=exported)


def _check_family(project: Project, tool: str, good: bool, what: str) -> None:
    if not good:
        board = project.board
        raise HwmoeError(
            f"--tool {tool} is for {what}; {board.name} is of the family {board.family}."
            f" Known are {', '.join([*families(), ALVEO])}; --tool hls is for any part"
        )


def _scripts(step: Step) -> list[str]:
    """Files of the project that a step names."""
    places = [str(part).replace("../../", "") for part in step.arguments]
    named = [part for part in places if part.startswith(("vivado/", "vitis/"))]
    return named + [f"vitis/{part}" for part in places if part == "hls_config.cfg"]
