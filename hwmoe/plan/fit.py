"""Which programs a machine can run: one machine serves every model within its sizes.

Memories and largest counts may be larger than a program needs. All else must be what the program
was compiled for: lanes and ports decide how its constants are packed and where its tensors lie.
How many images are in flight is the program's own affair.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from hwmoe.errors import HwmoeError
from hwmoe.plan.accelerator import AcceleratorConfig
from hwmoe.plan.program import MachineSizes, Program

_SIZES = {
    "linear": ("max_tokens", "x_words"),
    "expert": ("max_tokens", "x_words"),
    "attention": ("max_tokens", "max_dim_tiles"),
    "layernorm": ("max_tiles",),
    "gate": ("max_experts", "max_k", "all_scores"),
}
"""What of the kernels is a size; `stages` and these aside, an accelerator is lanes and ports."""


def largest(programs: Sequence[Program]) -> tuple[AcceleratorConfig, MachineSizes]:
    """The smallest machine that runs all of them.

    `HwmoeError` if there are none or they were compiled for different lanes or ports.
    """
    if not programs:
        raise HwmoeError("a machine for no program: give at least one")
    first = _fixed(programs[0].accelerator)
    problems = [
        f"program {number}: {problem}"
        for number, program in enumerate(programs)
        for problem in _other_lanes(_fixed(program.accelerator), first, "program 0 for")
    ]
    if problems:
        raise HwmoeError("these programs do not fit on one machine:\n  " + "\n  ".join(problems))
    kernels = [_kernel_sizes(program.accelerator) for program in programs]
    config = programs[0].accelerator.model_dump()
    config["stages"] = max(program.accelerator.stages for program in programs)
    for size in kernels[0]:
        kernel, name = size.split(".")
        config[kernel][name] = max(sizes[size] for sizes in kernels)
    counts = [asdict(program.sizes) for program in programs]
    sizes = {name: max(count[name] for count in counts) for name in counts[0]}
    return AcceleratorConfig.model_validate(config), MachineSizes(**sizes)


def check_fit(program: Program, acc: AcceleratorConfig, sizes: MachineSizes) -> None:
    """`HwmoeError` with all that keeps `program` from running on the machine of `acc`, `sizes`."""
    has = _kernel_sizes(acc) | asdict(sizes)
    needs = _kernel_sizes(program.accelerator) | asdict(program.sizes)
    needs["max_steps"] = len(program.steps)
    problems = list(_other_lanes(_fixed(program.accelerator), _fixed(acc), "the machine has"))
    problems += [
        f"{name}: {needed} needed, the machine has {has[name]}"
        for name, needed in needs.items()
        if needed > has.get(name, needed)
    ]
    if problems:
        raise HwmoeError("the program does not fit the machine:\n  " + "\n  ".join(problems))


def _kernel_sizes(acc: AcceleratorConfig) -> dict[str, int]:
    config = acc.model_dump()
    return {
        f"{kernel}.{name}": config[kernel][name]
        for kernel, names in _SIZES.items()
        if config[kernel]
        for name in names
    }


def _fixed(acc: AcceleratorConfig) -> dict[str, int]:
    """Lanes and ports."""
    return {
        f"{kernel}.{name}": value
        for kernel, fields in acc.model_dump(exclude={"stages"}, exclude_none=True).items()
        for name, value in fields.items()
        if name not in _SIZES.get(kernel, ())
    }


def _other_lanes(own: dict[str, int], others: dict[str, int], whose: str) -> list[str]:
    return [
        f"{name}: compiled for {own.get(name, 'none')}, {whose} {others.get(name, 'none')}"
        for name in dict.fromkeys([*own, *others])
        if own.get(name) != others.get(name)
    ]
