"""The two-stage search that UbiMoE describes (arXiv 2502.05602): genetic, then binary.

For every split (word width, images in flight) a genetic algorithm varies the attention block; an
individual is judged with the best linear kernel that the rest of the budget allows. A binary
search then shrinks the linear kernel to the bound that the attention block sets. Ours besides: the
best individuals climb to the best of their neighbours before that, and a split is left out that
could not be the best even if its best parts fitted together.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import sha256
from itertools import product
from operator import ne

import optuna

from hwmoe.dse.backs import Found, Split

POPULATION, GENERATIONS = 12, 4
WORST = 1e30  # of an individual that does not fit
STARTS = 3  # individuals from which neighbours are tried
REACH = (2, 1, 1)  # of neighbours: rows, heads, norm lanes
TIE = 1e-3
SLACK = 0.005  # of the speed, given for a smaller linear kernel

Say = Callable[[int, int], None]
Genes = tuple[int, int, int]  # numbers of rows, heads and norm lanes of a front


def value_of(found: Found | None, smallest: bool) -> float:
    """What is minimized; of two that are as fast, the smaller one."""
    if found is None:
        return WORST
    return found.size if smallest else found.cycles * (1 + TIE * found.size)


def two_stage(
    splits: Sequence[Split], seed: int, storage: str | None, name: str, say: Say, more: int = 0
) -> list[Found]:
    """The best machine of each split that could be the best of all, best first.

    `storage`: an Optuna URL; the studies there, called after `name`, are gone on with. `more`: so
    many machines of each split besides, of other attention blocks.
    """
    smallest = bool(splits) and splits[0].goal.kind == "size"
    floors = [0.0 if smallest else split.floor for split in splits]
    in_order = sorted(zip(floors, splits, strict=True), key=lambda pair: pair[0])
    found: list[Found] = []
    best = WORST
    for number, (floor, split) in enumerate(in_order):
        say(number, len(in_order))
        if floor < best:
            own = _genetic(split, seed, storage, f"{name}-{split.space.t_in}-{split.stages}")
            if own:
                found += [split.shrunk(one, SLACK) for one in own[: 1 + more]]
                best = min(best, value_of(own[0], smallest))
    say(len(in_order), len(in_order))
    return sorted(found, key=lambda f: value_of(f, smallest))


def _genetic(split: Split, seed: int, storage: str | None, name: str) -> list[Found]:
    """First stage: every individual that fits, best first.

    A trial's draw depends on the seed and the trials before it: a study that was stopped and is
    gone on with makes the same trials as one that was not.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    axes = split.space.front_axes
    memo: dict[Genes, Found | None] = {}

    def value(genes: Genes) -> float:
        if genes not in memo:
            memo[genes] = split.best(split.space.front(*genes))
        return value_of(memo[genes], split.goal.kind == "size")

    genome: dict[str, optuna.distributions.BaseDistribution] = {
        axis: optuna.distributions.IntDistribution(0, n - 1) for axis, n in axes.items()
    }
    study = optuna.create_study(study_name=name, storage=storage, load_if_exists=bool(storage))
    complete = (optuna.trial.TrialState.COMPLETE,)
    done = len(study.get_trials(deepcopy=False, states=complete))
    for number in range(done, POPULATION * GENERATIONS):
        own = int.from_bytes(sha256(f"{seed} {name} {number}".encode()).digest()[:4], "big")
        study.sampler = optuna.samplers.NSGAIISampler(population_size=POPULATION, seed=own)
        trial = study.ask(genome)
        drawn = trial.params
        study.tell(trial, value((drawn["rows"], drawn["heads"], drawn["norm"])))
    good = sorted(
        study.get_trials(deepcopy=False, states=complete), key=lambda t: (t.value, t.number)
    )
    starts = {(t.params["rows"], t.params["heads"], t.params["norm"]): None for t in good}
    counts = tuple(axes.values())
    ends = [_climbed(value, genes, counts, axes_at_once=1) for genes in list(starts)[:STARTS]]
    first = _climbed(value, min(ends, key=value), counts, axes_at_once=len(counts))
    # Trials of a study that was gone on with are not yet known here.
    everything = sorted({*starts, *memo} - {first}, key=lambda genes: (value(genes), genes))
    return [found for genes in (first, *everything) if (found := memo[genes])]


def _climbed(
    value: Callable[[Genes], float], genes: Genes, counts: Sequence[int], axes_at_once: int
) -> Genes:
    """From an individual to the best of its neighbours, until none is better.

    Neighbours differ in at most so many axes.
    """
    while True:
        steps = [
            range(max(0, gene - reach), min(count, gene + reach + 1))
            for gene, count, reach in zip(genes, counts, REACH, strict=True)
        ]
        near = [
            (rows, heads, norm)
            for rows, heads, norm in product(*steps)
            if sum(map(ne, (rows, heads, norm), genes)) <= axes_at_once
        ]
        best = min([genes, *near], key=value)
        if best == genes:
            return genes
        genes = best
