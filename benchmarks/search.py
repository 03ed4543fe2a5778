"""The two-stage search against every machine of the space, for every model of the zoo and board.

    python benchmarks/search.py                 the table, then the largest space
    python benchmarks/search.py --quick         two models on three boards, coarse spaces only
    python benchmarks/search.py --plans         whole searches, beside the default machines

Exit code 1 if a two-stage result is more than 2 % worse than the exhaustive one, if two runs with
one seed differ, or if in the largest space the two-stage search is not 50 times faster. Times are
of the processor; the tables of costs, the same for both, are apart. Machines are compared by
estimate, which both strategies minimize; `--plans` compares predicted schedules.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from hwmoe.dse.defaults import default_accelerator
from hwmoe.dse.exhaustive import exhaustive
from hwmoe.dse.objective import Goal
from hwmoe.dse.search import FULL, Options, predict, search, splits_of
from hwmoe.dse.two_stage import two_stage
from hwmoe.errors import HwmoeError
from hwmoe.flow.search import models_of
from hwmoe.model.zoo import ZOO
from hwmoe.plan.board import Board, board_names, load_board
from hwmoe.quant.quantized import QuantizedModel

ALLOWED = 1.02
FASTER = 50
RUNS = 3  # in the largest space, of each strategy; the quickest counts
LARGEST = ("m3vit-small", "u280")
Answer = TypeVar("Answer")


def timed(work: Callable[[], Answer], runs: int = 1) -> tuple[Answer, float]:
    """The answer, and processor seconds of the quickest run."""
    seconds = []
    for _ in range(runs):
        start = time.process_time()
        answer = work()
        seconds.append(time.process_time() - start)
    return answer, min(seconds)


def quiet(*_: object) -> None:
    pass


def cases(names: list[str], boards: list[str]) -> Iterator[tuple[QuantizedModel, Board]]:
    for name in names:
        for model in models_of(name, "both"):
            for board in boards:
                yield model, load_board(board)


def compare(
    model: QuantizedModel, board: Board, grid: str, goal: Goal, runs: int = 1
) -> tuple[float, bool, float]:
    """Prints a row; how much worse two-stage is, whether it repeats itself, how much faster."""
    title = f"{model.config.name:<12} {model.experts:<8} {board.name:<10}"
    try:
        splits, tables = timed(lambda: splits_of(model, board, goal, grid))
    except HwmoeError as error:
        print(title, "-  ", str(error).splitlines()[1].strip(), flush=True)
        return 1.0, True, 0.0
    machines = sum(split.space.size // len(split.space.stages) for split in splits)
    again = two_stage(splits, 0, None, "benchmark", quiet)  # asks for the rest of the tables
    two, seconds = timed(lambda: two_stage(splits, 0, None, "benchmark", quiet), runs)
    every, longer = timed(lambda: exhaustive(splits, quiet), runs)
    ratio, faster = two[0].cycles / every[0].cycles, longer / seconds
    cycles = f"{two[0].cycles:>11,.0f} {every[0].cycles:>11,.0f} {ratio - 1:>+7.2%}"
    times = f"{tables:>7.2f} {seconds:>7.2f} {longer:>7.2f} {faster:>6.1f}"
    print(f"{title} {machines:>13,} {cycles} {times}", flush=True)
    return ratio, two == again, faster


HEAD = (
    f"{'model':<12} {'experts':<8} {'board':<10} {'machines':>13} {'two-stage':>11}"
    f" {'exhaustive':>11} {'worse':>7} {'tables':>7} {'two-st.':>7} {'exhau.':>7} {'faster':>6}\n"
    f"{'':<47} {'cycles':>9} {'cycles':>11} {'':>7} {'s':>7} {'s':>7} {'s':>7} {'x':>6}"
)


def plans(names: list[str], boards: list[str]) -> bool:
    """Whole searches beside the default machines, both by predicted schedule."""
    print(
        f"{'model':<12} {'experts':<8} {'board':<10} {'default':>10} {'search':>10} {'':>7} seconds"
    )
    gains = []
    for model, board in cases(names, boards):
        title = f"{model.config.name:<12} {model.experts:<8} {board.name:<10}"
        try:
            acc = default_accelerator(model, board)
            before = predict(model, board, acc, acc.stages + FULL)[0].cycles_per_image
        except HwmoeError:
            before = None
        try:
            found, seconds = timed(lambda m=model, b=board: search([m], b, Options(), quiet))
        except HwmoeError as error:
            print(title, "-  ", str(error).splitlines()[1].strip(), flush=True)
            continue
        after = found.best.cycles
        if before:
            gains.append(after / before)
        change = f"{before:>10,.0f} {after:>10,.0f} {after / before - 1:>+7.1%}" if before else ""
        estimate = found.best.estimate
        error = f"{estimate:>10,.0f} {estimate / after - 1:>+7.1%} {seconds:.1f}"
        print(title, change or f"{'-':>10} {after:>10,.0f} {'':>7}", error, flush=True)
    if gains:
        print(
            f"search against default, geometric mean: {statistics.geometric_mean(gains) - 1:+.1%}"
        )
    return True


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", default=",".join(ZOO))
    parser.add_argument("--boards", default=",".join(board_names()))
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--plans", action="store_true")
    options = parser.parse_args()
    names, boards = options.models.split(","), options.boards.split(",")
    if options.quick:
        names, boards = ["digits", "m3vit-tiny"], ["pynq-z2", "zcu102", "u280"]
    print(f"{os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}")
    if options.plans:
        return 0 if plans(names, boards) else 1
    print(HEAD)
    rows = [compare(model, board, "coarse", Goal()) for model, board in cases(names, boards)]
    problems = []
    if not options.quick:
        print("the largest space (fine grid):")
        largest = models_of(LARGEST[0], "ternary")[0]
        rows.append(compare(largest, load_board(LARGEST[1]), "fine", Goal(), RUNS))
        if rows[-1][2] < FASTER:
            problems.append(f"{rows[-1][2]:.1f} times faster in the largest space, not {FASTER}")
    worst = max(ratio for ratio, _, _ in rows)
    print(f"two-stage against exhaustive: {worst - 1:+.2%} at worst")
    if worst > ALLOWED:
        problems.append(f"{worst - 1:.2%} worse than the optimum, {ALLOWED - 1:.0%} allowed")
    if not all(same for _, same, _ in rows):
        problems.append("two searches with one seed differ")
    for problem in problems:
        print(f"FAILED: {problem}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
