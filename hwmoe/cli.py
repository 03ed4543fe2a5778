"""The command line: one thin command a verb.

Exit codes: 0 done, 1 something that must be equal is not, 2 bad input, 130 interrupted. Of `build`:
1 timing is not met, 2 the tool failed, 3 it is not installed.
"""

from __future__ import annotations

import gc
import json
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from hwmoe.cli_engine import Engines, engine_command, show_engine_result
from hwmoe.cli_export import export_command
from hwmoe.cli_import import import_command
from hwmoe.cli_search import search_command
from hwmoe.cli_train import train_command, upcycle_command
from hwmoe.errors import HwmoeError
from hwmoe.report.progress import Bars

BAD_INPUT = 2
NOT_INSTALLED = 3
INTERRUPTED = 130
TERMINATED = 143

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Mixture-of-Experts vision transformers from PyTorch to an FPGA accelerator.",
)


class ExpertKind(str, Enum):
    int8 = "int8"
    ternary = "ternary"


class CalibrationMethod(str, Enum):
    minmax = "minmax"
    percentile = "percentile"
    mse = "mse"
    reconstruct = "reconstruct"


class Level(str, Enum):
    hls = "hls"
    rtl = "rtl"
    all = "all"


class VendorTool(str, Enum):
    vivado = "vivado"
    vitis = "vitis"
    hls = "hls"


class IpSource(str, Enum):
    rtl = "rtl"
    hls = "hls"


Model = Annotated[
    str, typer.Argument(help="Zoo name, .safetensors checkpoint, or .toml configuration.")
]
Folder = Annotated[Path, typer.Argument(help="A project written by `run` or `generate`.")]
BoardName = Annotated[str, typer.Option("--board", help="Board name, or path of a .toml file.")]
Kind = Annotated[ExpertKind, typer.Option("--experts", help="Number format of routed experts.")]
Method = Annotated[
    CalibrationMethod, typer.Option("--calibration", help="How ranges of activations are found.")
]
ImageFile = Annotated[
    str | None,
    typer.Option(
        "--images", help=".npz with `images` [N,C,H,W], maybe `labels_TASK`; or class folders."
    ),
]
PlanFile = Annotated[
    Path | None, typer.Option("--plan", help="plan.json of `search`, or its folder: the machine.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Count = Annotated[int | None, typer.Option("--count", min=1, help="At most this many images.")]
Stall = Annotated[
    float,
    typer.Option("--stall", min=0, max=0.9, help="RTL: how often a channel of a port holds back."),
]
Seed = Annotated[int, typer.Option("--seed", min=0, help="RTL: of stalls and memory latencies.")]
Bandwidth = Annotated[
    float | None,
    typer.Option("--memory-gb-s", min=0.01, help="RTL: usable bandwidth instead of the board's."),
]
Timeline = Annotated[
    Path | None, typer.Option("--timeline", help="RTL: file for a trace, for ui.perfetto.dev.")
]
Timeout = Annotated[
    float, typer.Option("--timeout", min=1, help="RTL: seconds after which it stops and is kept.")
]


def finish(result: dict[str, Any], as_json: bool, show: Callable[[Console], object]) -> None:
    """Print a verb's result, as JSON or for people."""
    if as_json:
        sys.stdout.write(json.dumps(result, indent=2) + "\n")
    else:
        show(Console(width=None if sys.stdout.isatty() else 100))


@contextmanager
def last_words() -> Iterator[None]:
    """Where an interrupted simulation is kept, said when the bars are gone."""
    from hwmoe.sim.checkpoint import Interrupted

    try:
        yield
    except Interrupted as stop:
        sys.stderr.write(f"hwmoe: {stop}\n")
        terminated = isinstance(stop.__cause__, SystemExit)
        raise typer.Exit(TERMINATED if terminated else INTERRUPTED) from None


def verdict(ok: bool) -> None:
    """Exit with 1 if a comparison failed."""
    if not ok:
        raise typer.Exit(1)


@app.command()
def run(
    model: Model,
    out: Annotated[Path, typer.Option("--out", help="Folder for the results.")],
    board: BoardName = "zcu102",
    experts: Kind = ExpertKind.int8,
    calibration: Method = CalibrationMethod.minmax,
    images: ImageFile = None,
    count: Count = None,
    rtl_images: Annotated[
        int | None, typer.Option(min=1, help="Images a task simulated in RTL; 4, or 2 if large.")
    ] = None,
    plan: PlanFile = None,
    stall: Stall = 0.0,
    seed: Seed = 0,
    memory_gb_s: Bandwidth = None,
    timeline: Timeline = None,
    timeout: Timeout = 3600.0,
    as_json: AsJson = False,
) -> None:
    """Quantize, generate HLS and SystemVerilog, simulate both, compare, report."""
    from hwmoe.flow.rtl import RtlOptions
    from hwmoe.flow.run import RunOptions
    from hwmoe.flow.run import run as run_flow
    from hwmoe.report.summary import print_summary

    rtl = RtlOptions(stall, seed, memory_gb_s, timeline, timeout)
    options = RunOptions(
        model,
        board,
        experts.value,
        images,
        count,
        rtl_images,
        rtl,
        method=calibration.value,
        plan=plan,
    )
    with Bars() as bars:
        report = run_flow(options, out, bars.update)

    def show(console: Console) -> None:
        print_summary(report, console)
        console.print(f"Report: {out / 'report.html'}", soft_wrap=True)

    finish(report, as_json, show)
    verdict(all(value is not False for value in report["bit_exact"].values()))


@app.command()
def quantize(
    model: Model,
    out: Annotated[Path, typer.Option("--out", help="File to write (.safetensors).")],
    experts: Kind = ExpertKind.int8,
    calibration: Method = CalibrationMethod.minmax,
    images: ImageFile = None,
    percentile: Annotated[
        float, typer.Option(min=90, max=100, help="Of magnitudes; below 100 chooses `percentile`.")
    ] = 100.0,
    as_json: AsJson = False,
) -> None:
    """Calibrate on images and write the quantized model."""
    from hwmoe.flow.verbs import quantize_file

    with Bars() as bars:
        result = quantize_file(
            model, out, experts.value, images, percentile, bars.update, calibration.value
        )
    finish(
        result, as_json, lambda console: console.print(f"{out}: {result['says']}", soft_wrap=True)
    )


app.command("import")(import_command)
app.command("export")(export_command)
app.command("upcycle")(upcycle_command)
app.command("train")(train_command)
app.command("search")(search_command)


@app.command()
def generate(
    quantized: Annotated[Path, typer.Argument(help="A file written by `quantize`.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for the project.")],
    board: BoardName = "zcu102",
    plan: PlanFile = None,
    as_json: AsJson = False,
) -> None:
    """Render HLS and SystemVerilog for a quantized model."""
    from hwmoe.flow.verbs import generate_folder, show_project

    result = generate_folder(quantized, board, out, plan)
    finish(result, as_json, lambda console: show_project(result, console))


@app.command()
def simulate(
    folder: Folder,
    level: Annotated[Level, typer.Option("--level", help="What to simulate.")] = Level.all,
    images: ImageFile = None,
    count: Annotated[
        int | None, typer.Option("--count", min=1, help="Images a task; few by default.")
    ] = None,
    stall: Stall = 0.0,
    seed: Seed = 0,
    memory_gb_s: Bandwidth = None,
    task: Annotated[str | None, typer.Option("--task", help="RTL: only this one, by name.")] = None,
    timeline: Timeline = None,
    timeout: Timeout = 3600.0,
    resume: Annotated[
        bool, typer.Option("--resume", help="RTL: go on with the run that was stopped.")
    ] = False,
    engine: Engines = None,
    as_json: AsJson = False,
) -> None:
    """Simulate the sources of a project as they are on disk, against the integer reference."""
    if engine:
        whole: dict[str, object] = {"--memory-gb-s": memory_gb_s, "--task": task}
        whole |= {"--level": level != Level.all, "--timeline": timeline, "--resume": resume}
        result = engine_command(folder, engine, whole, images, count, stall, seed, timeout)
        finish(result, as_json, lambda console: show_engine_result(result, console))
        verdict(result["bit_exact"])
        return
    from hwmoe.flow.rtl import RtlOptions
    from hwmoe.flow.verbs import show_simulation, simulate_folder

    rtl = RtlOptions(stall, seed, memory_gb_s, timeline, timeout, resume)
    with last_words(), Bars() as bars:
        result = simulate_folder(folder, level.value, images, count, task, rtl, bars.update)
    finish(result, as_json, lambda console: show_simulation(result, console))
    verdict(result["bit_exact"])


@app.command()
def compare(
    folder: Folder,
    model: Annotated[
        str | None, typer.Option("--model", help="The float model, if it has moved.")
    ] = None,
    images: ImageFile = None,
    count: Count = None,
    as_json: AsJson = False,
) -> None:
    """Float PyTorch against the integers: accuracy, and the error of every layer."""
    from hwmoe.flow.verbs import compare_folder, show_comparison

    with Bars() as bars:
        result = compare_folder(folder, model, images, count, bars.update)
    finish(result, as_json, lambda console: show_comparison(result, console))


@app.command()
def synth(
    folder: Folder,
    timeout: Annotated[
        float, typer.Option("--timeout", min=1, help="Seconds; a large machine takes many minutes.")
    ] = 7200.0,
    as_json: AsJson = False,
) -> None:
    """Cells of the machine on the board, by Yosys: no place and route, no clock."""
    from hwmoe.flow.synth import show_synthesis, synth_folder

    with Bars() as bars:
        result = synth_folder(folder, timeout, bars.update)
    finish(result, as_json, lambda console: show_synthesis(result, console))


@app.command()
def build(
    folder: Folder,
    tool: Annotated[
        VendorTool | None, typer.Option("--tool", help="By default that of the board.")
    ] = None,
    source: Annotated[
        IpSource, typer.Option("--source", help="Of the bitstream: SystemVerilog, or Vitis HLS.")
    ] = IpSource.rtl,
    jobs: Annotated[int, typer.Option("--jobs", min=1, help="Processes of Vivado.")] = 2,
    timeout: Annotated[
        float, typer.Option("--timeout", min=1, help="Seconds a step; hours are usual.")
    ] = 86400.0,
    as_json: AsJson = False,
) -> None:
    """Bitstream by Vivado or Vitis, or HLS synthesis. Without the tools: what to type."""
    from hwmoe.flow.build import build_folder, show_build

    with Bars() as bars:
        chosen = tool.value if tool else None
        result = build_folder(folder, chosen, source.value, jobs, timeout, bars.update)
    finish(result, as_json, lambda console: show_build(result, console))
    if not result["installed"]:
        raise typer.Exit(NOT_INSTALLED)
    verdict(result["failed"] is None)


@app.command()
def package(
    folder: Folder,
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder to write; by default FOLDER/package.")
    ] = None,
    bitstream: Annotated[
        Path | None,
        typer.Option("--bitstream", help=".bit with its .hwh beside it, or .xclbin."),
    ] = None,
    images: ImageFile = None,
    count: Annotated[
        int | None, typer.Option("--count", min=1, help="Golden images, by default 8.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """What goes to the board: bitstream, driver, weights, golden images, a notebook."""
    from hwmoe.flow.deploy import package_folder, show_package

    result = package_folder(folder, out, bitstream, images, count)
    finish(result, as_json, lambda console: show_package(result, console))


@app.command()
def disasm(folder: Folder, as_json: AsJson = False) -> None:
    """The program of a project, an instruction a line."""
    from hwmoe.flow.verbs import disassemble_folder

    result = disassemble_folder(folder)
    finish(result, as_json, lambda _: sys.stdout.write("\n".join(result["listing"]) + "\n"))


@app.command()
def bench(
    models: Annotated[
        str, typer.Option("--models", help="Zoo names or paths, with commas between.")
    ] = "m3vit-tiny",
    board: BoardName = "zcu102",
    out: Annotated[
        Path, typer.Option("--out", help="Folder of projects and results; continued if there.")
    ] = Path("build/bench"),
    synth: Annotated[
        bool, typer.Option("--synth", help="Count cells with Yosys too: minutes to an hour.")
    ] = False,
    timeout: Timeout = 3600.0,
    as_json: AsJson = False,
) -> None:
    """Simulate machines, ternary and int8 experts, and show them beside published designs."""
    from hwmoe.flow.bench import bench_models, show_bench

    with Bars() as bars:
        result = bench_models(models.split(","), board, out, synth, timeout, bars.update)
    finish(result, as_json, lambda console: show_bench(result, console))
    verdict(all(row["bit_exact"] for row in result["ours"]))


@app.command()
def deploy(
    folder: Folder,
    board: Annotated[
        str, typer.Option("--board", help="`sim`, or the [user@]name of a board: what to type.")
    ] = "sim",
    package: Annotated[
        Path | None, typer.Option("--package", help="By default FOLDER/package, made if needed.")
    ] = None,
    serve: Annotated[
        int | None,
        typer.Option(
            "--serve", min=0, max=65535, help="Keep the simulated board for PYNQ.remote at a port."
        ),
    ] = None,
    stall: Stall = 0.0,
    seed: Seed = 0,
    memory_gb_s: Bandwidth = None,
    timeout: Annotated[
        float | None, typer.Option("--timeout", min=0.001, help="Seconds for another image.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """A package's selftest through PYNQ on the simulated board, or how to run it on a real one."""
    from hwmoe.flow import board as boards
    from hwmoe.flow.rtl import RtlOptions

    if board != boards.SIMULATED:
        result = boards.deploy_commands(folder, board, package)
        finish(result, as_json, lambda console: boards.show_deploy(result, console))
        return
    rtl = RtlOptions(stall, seed, memory_gb_s)
    with Bars() as bars:
        if serve is not None:
            boards.serve_simulated(folder, serve, rtl, bars.update)
            return
        result = boards.deploy_simulated(folder, package, timeout, rtl, bars.update)
    finish(result, as_json, lambda console: boards.show_deploy(result, console))
    verdict(result["ok"])


@app.command()
def doctor(as_json: AsJson = False) -> None:
    """What is installed, what is missing, and what to type."""
    from hwmoe.flow.doctor import examine, show_findings

    result = examine()
    finish(result, as_json, lambda console: show_findings(result, console))
    verdict(result["ready"])


def main(arguments: list[str] | None = None) -> int:
    """The exit code. Errors of the user's making are one message and code 2."""
    # Imports, programs and schedules are many objects that stay: look for garbage less often.
    gc.set_threshold(100_000, 20, 100)
    # A terminated run cleans up as an interrupted one does.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))
    try:
        app(arguments)
    except (HwmoeError, OSError) as error:  # OSError: a full disk, a folder without permission
        sys.stderr.write(f"hwmoe: {error}\n")
        return BAD_INPUT
    except SystemExit as stop:
        if stop.code in (INTERRUPTED, TERMINATED):
            sys.stderr.write("hwmoe: interrupted; earlier results are unchanged\n")
        return stop.code if isinstance(stop.code, int) else 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
