"""A sound machine for a model on a board: the smallest that is nearly as fast as the fastest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import lcm

from hwmoe.dse.bounds import products_of
from hwmoe.dse.candidates import candidates, row_choices
from hwmoe.dse.machine_cycles import even_lengths, predict_machine
from hwmoe.dse.resources import Cost, cost_of, multipliers_of
from hwmoe.errors import HwmoeError
from hwmoe.plan.accelerator import AcceleratorConfig, LinearConfig
from hwmoe.plan.board import Board
from hwmoe.plan.compiler import schedule_only
from hwmoe.plan.layout import Tiles, has_ternary_experts, sized_for
from hwmoe.plan.places import Places
from hwmoe.quant.quantized import QuantizedModel

__all__ = ["BRAM_SHARE", "DSP_SHARE", "LUT_SHARE", "default_accelerator", "multipliers_of"]

DSP_SHARE = 0.88
BRAM_SHARE = 0.80
LUT_SHARE = 0.75
"""Of the board's blocks that a machine may use; the LUTs are an estimate."""

GOOD_ENOUGH = 1.1
"""The smallest machine within this factor of the fastest is taken."""

FAST_ENOUGH = 20_000
"""Images a second; a model that runs so fast gets the smallest machine that does it."""

STAGES = 2  # images in flight, unless more are worth it
WORTH_IT = 1.05
LEADERS, AHEAD = 3, 1.1  # machines of which the fastest is taken, this near to each other
TRIES = 5  # smaller machines that are predicted, at most
STEPS = 1024  # about; only the memory of counters depends on it


@dataclass(frozen=True)
class _Choice:
    """A machine, and what is known of it without much work."""

    acc: AcceleratorConfig
    expected: float
    dsp: int


def default_accelerator(model: QuantizedModel, board: Board) -> AcceleratorConfig:
    """The smallest machine of a grid that is nearly as fast as the fastest that fits the board.

    Fast means cycles between images of the first task, tokens spread evenly over the experts.
    Machines are compared by what each engine has to do at least; then the whole machine is
    predicted for a few of them, from small to large: by their shares of the board's DSPs, block
    RAMs and LUTs.
    """
    products = products_of(model)
    stages = min(STAGES, model.config.depth)
    choices = [
        _Choice(acc.model_copy(update={"stages": stages}), bounds.expected, multipliers_of(acc))
        for acc, bounds in candidates(model, board, products)
    ]
    leaders = [(_cycles(model, board, c.acc), c) for c in _leaders(model, board, choices)]
    best, fastest = min(leaders, key=lambda entry: entry[0])
    goal = max(GOOD_ENOUGH * best, board.clock_mhz * 1e6 / FAST_ENOUGH)
    chosen, cycles = fastest.acc, best
    factor, tries = best / fastest.expected, 0
    for acc, expected in _smaller(model, board, choices, fastest, goal / factor):
        if expected * factor <= goal:
            found = _cycles(model, board, acc)
            if found <= goal:
                chosen, cycles = acc, found
                break
            factor = max(factor, found / expected)
            tries += 1
            if tries == TRIES:
                break
    return _with_expert(model, board, *_with_stages(model, board, chosen, cycles))


def _smaller(
    model: QuantizedModel, board: Board, choices: list[_Choice], than: _Choice, limit: float
) -> list[tuple[AcceleratorConfig, float]]:
    """Machines that fit and are expected to take `limit` cycles at most, from small to large."""
    found: list[tuple[float, float, int, AcceleratorConfig]] = []
    for choice in choices:
        if choice.expected <= limit and choice.dsp < than.dsp:
            acc = choice.acc.model_copy(update={"stages": than.acc.stages})
            cost = _fits(model, board, acc)
            if cost:
                found.append((cost.share(board), choice.expected, len(found), acc))
    return [(acc, expected) for _, expected, _, acc in sorted(found)]


def _leaders(model: QuantizedModel, board: Board, choices: list[_Choice]) -> list[_Choice]:
    """Those of which the fastest is expected, each with another linear kernel.

    If none fits the board, those with one image in flight.
    """
    refused: HwmoeError | None = None
    in_order = sorted(choices, key=lambda c: (c.expected, c.dsp))
    for stages in range(min(STAGES, model.config.depth), 0, -1):
        found: dict[LinearConfig, _Choice] = {}
        for choice in in_order:
            first = next(iter(found.values()), choice)
            if len(found) == LEADERS or choice.expected > AHEAD * first.expected:
                break
            if choice.acc.linear in found:
                continue
            acc = choice.acc.model_copy(update={"stages": stages})
            try:
                if _fits(model, board, acc):
                    found[acc.linear] = replace(choice, acc=acc)
            except HwmoeError as error:  # a memory of the model is too large for these lanes
                refused = error
        if found:
            return list(found.values())
    raise refused or HwmoeError(
        f"{board.name} has too few DSPs, block RAMs or LUTs for {model.config.name}: "
        "take a larger board"
    )


def _with_stages(
    model: QuantizedModel, board: Board, acc: AcceleratorConfig, cycles: float
) -> tuple[AcceleratorConfig, float]:
    """One more image in flight if it fits and is worth it; not where it is fast enough anyway."""
    if acc.stages < STAGES or _enough(board, cycles):
        return acc, cycles
    return _better(model, board, (acc, cycles), [_one_more_stage(acc, model)])


def _with_expert(
    model: QuantizedModel, board: Board, acc: AcceleratorConfig, cycles: float
) -> AcceleratorConfig:
    """An array of LUTs for ternary experts, and one more image in flight, if it is worth it.

    Attention may then be what the others wait for, so it is tried with more rows too.
    """
    if not has_ternary_experts(model) or _enough(board, cycles):
        return acc
    linear, more = acc.linear, _one_more_stage(acc, model)
    step = lcm(linear.t_epi, 4 * linear.w_rows)
    widths = sorted({linear.t_out * part // (3 * step) * step for part in (2, 3)} - {0})
    experts = [linear.model_copy(update={"t_out": width, "t_tok": 1}) for width in widths]
    rows = [rows for rows in row_choices(model.config.tokens) if rows >= acc.attention.rows][:2]
    attentions = [acc.attention.model_copy(update={"rows": count}) for count in rows]
    choices = [
        more.model_copy(update={"attention": attention, "expert": expert})
        for attention in attentions
        for expert in experts
    ]
    return _better(model, board, (acc, cycles), choices)[0]


def _one_more_stage(acc: AcceleratorConfig, model: QuantizedModel) -> AcceleratorConfig:
    return acc.model_copy(update={"stages": min(acc.stages + 1, model.config.depth)})


def _enough(board: Board, cycles: float) -> bool:
    return cycles <= board.clock_mhz * 1e6 / FAST_ENOUGH


def _better(
    model: QuantizedModel,
    board: Board,
    best: tuple[AcceleratorConfig, float],
    choices: Sequence[AcceleratorConfig],
) -> tuple[AcceleratorConfig, float]:
    """`best`, or of the choices that fit the last that is worth more than all before it."""
    for acc in choices:
        if acc != best[0] and _fits(model, board, acc):
            cycles = _cycles(model, board, acc)
            if best[1] > WORTH_IT * cycles:
                best = acc, cycles
    return best


def _fits(model: QuantizedModel, board: Board, acc: AcceleratorConfig) -> Cost | None:
    """What the machine costs, if the board has it."""
    sized = sized_for(acc, model)
    tiles = Tiles.of(sized, model)
    sizes = Places.of(sized, model.config, tiles).sizes(sized, model.config, STEPS)
    cost, own = cost_of(sized, sizes), board.resources
    fits = cost.dsp <= DSP_SHARE * own.dsp and cost.bram36 <= BRAM_SHARE * own.bram36
    return cost if fits and cost.lut <= LUT_SHARE * own.lut else None


def _cycles(model: QuantizedModel, board: Board, acc: AcceleratorConfig) -> float:
    """Between images, by the whole machine's prediction."""
    program = schedule_only(model, acc)
    lengths = even_lengths(program, model.config.top_k)
    tasks = [0] * (3 * acc.stages)
    rate, latency = board.bytes_per_cycle, board.memory.latency_cycles
    return predict_machine(program, rate, latency, tasks, lengths).cycles_per_image
