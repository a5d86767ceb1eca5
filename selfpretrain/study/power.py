"""How large a difference a planned study can find, and the cheapest seeds and fine-tunings for a wished one.

What scores vary by is known from ``components``, or from the study's own finished runs, a pilot. Nothing is run for it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import combinations
from typing import Any

import numpy as np

from selfpretrain.config import StudyConfig, UserError
from selfpretrain.numbers import format_counted, format_score
from selfpretrain.runs.results import DONE, AlignedRuns, CellResult, read_runs
from selfpretrain.stats.components import Levels, RunValues, compute_run_values, estimate_run_components
from selfpretrain.stats.power import (
    MOST_FINETUNINGS,
    MOST_SEEDS,
    Chance,
    Contrast,
    Design,
    Prices,
    compute_detectable,
    count_needed_examples,
    estimate_example_difference,
    expect_variance,
    find_cheapest,
    pool_chances,
)
from selfpretrain.study.chance import WORDS
from selfpretrain.study.conditions import OWN, find_condition
from selfpretrain.study.plan import Group, StudyPlan

SEED = "seed"  # of a pretraining: the factor that runs of a study differ by
REQUIRED = ("seeds", "finetuning", "examples")
ALLOWED = (*REQUIRED, "seeds_x_examples", "finetuning_x_examples")
EXAMPLE = "'{seeds: .01, finetuning: .005, examples: .4}'"  # in quotes, for the shell
Seconds = Mapping[tuple[str, str], float]  # of a run, by its stage and name


@dataclass(frozen=True)
class Known:
    """What the differences of one model and task vary by, and how that is known."""

    contrast: Contrast
    source: str
    splits: bool = True  # whether seeds and fine-tunings are told apart; else designs have one fine-tuning of each


@dataclass(frozen=True)
class Outlook:
    """What one model and task, or all together, can find as planned, and what it would take."""

    name: tuple[str, str]  # model, task
    num_examples: int
    planned: Design | None  # None: one seed tells of checkpoints only
    detectable: float | None  # Holm-corrected at worst
    alone: float | None  # without correction
    cheapest: Design | None
    seconds: float | None  # of the cheapest; None where it is not known
    remark: str = ""


def list_levels(runs: AlignedRuns) -> Levels:
    """What each run's chance comes from besides its fine-tuning: of a released checkpoint, nothing."""
    return [
        {} if find_condition(cell.condition).is_released
        else {WORDS[name]: level for name, level in cell.levels.items()} or {SEED: cell.pretrain_seed}
        for cell in runs.cells
    ]  # fmt: skip


def check_seeds(study: StudyConfig) -> None:
    """Refuse crossed seeds: what a seed more costs and gives then hangs on the factor."""
    factors = study.seed_factors or {}
    if len(factors) > 1:
        raise UserError(
            f"power= counts seeds that are independent, and study.seed_factors={factors} crosses them; plan with one factor or none"
        )


def find_known(plan: StudyPlan) -> dict[tuple[str, str], Known]:
    """By model and task; those are left out of which too few runs are finished.

    Raises:
        UserError: components that are none, and neither components nor runs.
    """
    check_seeds(plan.study)
    keys = list(dict.fromkeys((group.model, group.task) for group in plan.groups))
    given = plan.settings.components
    if given is not None:
        known = Known(read_components(given), "components")
        return dict.fromkeys(keys, known)
    pilots = {key: _learn(plan, [group for group in plan.groups if (group.model, group.task) == key]) for key in keys}
    found = {key: pilot for key, pilot in pilots.items() if pilot}
    if not found:
        raise UserError(
            f"power={plan.settings.power:g} needs to know what scores vary by, and of no task are two conditions with two "
            f"pretraining seeds finished; set components={EXAMPLE}, or run a pilot: study.pretrain_seeds=2"
        )
    return found


def read_components(given: Any) -> Contrast:
    """The setting ``components``: two sides alike. UserError for what is no such mapping."""
    if not isinstance(given, dict):
        raise UserError(f"components={given!r} is no mapping; set components={EXAMPLE}")
    for name, value in given.items():
        if name not in ALLOWED:
            raise UserError(f"components has {name!r}; allowed: {', '.join(ALLOWED)}, as components={EXAMPLE}")
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
            raise UserError(f"components has {name}: {value}; allowed: a standard deviation of at least 0")
    if lacking := [name for name in REQUIRED if name not in given]:
        raise UserError(
            f"components lacks {', '.join(lacking)}; set all of {', '.join(REQUIRED)}, as components={EXAMPLE}"
        )
    values = {name: float(value) for name, value in given.items()}
    examples = values.pop("examples")
    chance = Chance(**values)
    return Contrast(chance, chance, examples)


def _learn(plan: StudyPlan, groups: Sequence[Group]) -> Known | None:
    """From the finished runs of one model and task: the mean over conditions, and over pairs of them for the examples."""
    results = [_to_result(cell, group) for group in groups for cell in group.choose_cells() if cell.status == DONE]
    task = plan.data[groups[0].task].task
    assert task.metric is not None, task.name
    aligned, _ = read_runs(results, task)
    if aligned is None:
        return None
    test = plan.data[groups[0].task].splits["test"]
    aligned = aligned.group(None if test.groups is None else dict(zip(test.ids, test.groups.tolist(), strict=True)))
    conditions = [
        key
        for key in dict.fromkeys(c.condition for c in aligned.cells)
        if _is_scored(aligned.select(key), task.metric, plan.study)
    ]
    if len(conditions) < 2:
        return None
    # all together, so that every run is on the same draws of the examples
    aligned = aligned.select(*conditions)
    values = _compute_values(aligned, task.metric, plan.study)
    sides = []
    for condition in conditions:
        runs = values.select([row for row, cell in enumerate(aligned.cells) if cell.condition == condition])
        if len({tuple(levels.items()) for levels in runs.levels}) > 1:
            sides.append((condition, runs, estimate_run_components(runs)))
    if len(sides) < 2:
        return None
    splits = not all(components.holds_finetuning for _, _, components in sides)
    # where some conditions have one fine-tuning of each seed and others several, the latter alone tell them apart
    telling = [components for _, _, components in sides if not (splits and components.holds_finetuning)]
    chance = pool_chances(telling)
    pairs = [estimate_example_difference([one[1:], other[1:]]) for one, other in combinations(sides, 2)]
    contrast = Contrast(chance, chance, math.sqrt(max(0.0, sum(pairs) / len(pairs))))
    num_runs = sum(len(runs.scores) for _, runs, _ in sides)
    names = ", ".join(condition for condition, _, _ in sides)
    return Known(contrast, f"{format_counted(num_runs, 'finished run')} of {names}", splits)


def _compute_values(runs: AlignedRuns, metric: str, study: StudyConfig) -> RunValues:
    levels, draws = list_levels(runs), study.num_replicates
    return compute_run_values(runs.predictions, runs.labels, metric, levels, draws, groups=runs.groups)


def _is_scored(runs: AlignedRuns, metric: str, study: StudyConfig) -> bool:
    """Whether the metric has a value for each of a condition's runs; else they tell nothing, and the others do."""
    try:
        _compute_values(runs, metric, study)
    except UserError:
        return False
    return True


def _to_result(cell: Any, group: Group) -> CellResult:
    seeds = (cell.pretrain_seed, cell.finetune_seed)
    return CellResult(group.model, group.condition, group.task, *seeds, DONE, cell.id, "", cell.run.path)


def count_claims(plan: StudyPlan) -> int:
    """What the sentences will rest on (``report.findings.Summary.list_claims``), at least 1."""
    study = plan.study
    conditions: dict[tuple[str, str], set[str]] = {}
    for group in plan.groups:
        conditions.setdefault((group.model, group.task), set()).add(group.condition)
    total = 0
    for names in conditions.values():
        against_baseline = {OWN, study.reference} - {study.baseline} if study.baseline in names else set()
        total += len(against_baseline & names) + (study.reference != OWN and {OWN, study.reference} <= names)
    return max(1, total)


def look_ahead(plan: StudyPlan, known: Mapping[tuple[str, str], Known], seconds: Seconds) -> list[Outlook]:
    """For each model and task, and for all together where they are several."""
    rows = [_foresee(plan, key, known[key], seconds) for key in known]
    if len(known) < 2 or any(row.cheapest is None for row in rows):
        return rows
    claims = [(each.contrast, _count_examples(plan, key)) for key, each in known.items()]
    splits = all(each.splits for each in known.values())
    prices, once = price([group for group in plan.groups if (group.model, group.task) in known], plan, seconds)
    cheapest = _search(plan, claims, prices, splits)
    cost = _add_up(cheapest, prices, once)
    return [*rows, Outlook(("all", ""), 0, None, None, None, cheapest, cost)]


def _foresee(plan: StudyPlan, key: tuple[str, str], known: Known, seconds: Seconds) -> Outlook:
    settings, contrast, number = plan.settings, known.contrast, _count_examples(plan, key)
    power, alpha, num_claims = settings.power, 1 - plan.study.confidence, count_claims(plan)
    assert power is not None
    prices, once = price([group for group in plan.groups if (group.model, group.task) == key], plan, seconds)
    cheapest = _search(plan, [(contrast, number)], prices, known.splits)
    planned = detectable = alone = None
    if plan.study.pretrain_seeds > 1:
        planned = Design(plan.study.pretrain_seeds, plan.study.finetune_seeds if known.splits else 1, number)
        expected = expect_variance(contrast, planned)
        detectable, alone = (compute_detectable(expected, power, alpha, claims) for claims in (num_claims, 1))
    remark = ""
    if cheapest is None:
        most = Design(MOST_SEEDS, MOST_FINETUNINGS if known.splits else 1, number)
        needed = count_needed_examples(contrast, most, settings.detect, power, alpha=alpha, num_claims=num_claims)
        from_on = f"from about {needed:,} on" if needed else "nor with a thousand times as many"
        remark = f"not with {number:,} test examples, up to {MOST_SEEDS} seeds; {from_on}"
    return Outlook(key, number, planned, detectable, alone, cheapest, _add_up(cheapest, prices, once), remark)


def _search(
    plan: StudyPlan, claims: Sequence[tuple[Contrast, int]], prices: Prices | None, splits: bool
) -> Design | None:
    assert plan.settings.power is not None
    return find_cheapest(
        claims, plan.settings.detect, plan.settings.power, prices or Prices(1.0, 1.0), alpha=1 - plan.study.confidence,
        num_claims=count_claims(plan), most_finetunings=MOST_FINETUNINGS if splits else 1,
    )  # fmt: skip


def _add_up(design: Design | None, prices: Prices | None, once: float) -> float | None:
    return None if design is None or prices is None else once + prices.add_up(design, design.examples)


def _count_examples(plan: StudyPlan, key: tuple[str, str]) -> int:
    """Of the test split; of groups of them, those."""
    test = plan.data[key[1]].splits["test"]
    return len(test.ids) if test.groups is None else len(np.unique(test.groups))


def price(groups: Iterable[Group], plan: StudyPlan, seconds: Seconds) -> tuple[Prices | None, float]:
    """Seconds of a seed's pretrainings and of a fine-tuning of all conditions; and of choosing recipes, whatever the design.

    None where the time of a run is not known.
    """
    pretrainings: dict[str, float | None] = {}
    finetuning, once = 0.0, 0.0
    for group in groups:
        cell = next(iter(group.cells[group.recipes[0]].values()))
        for run_id in cell.stands_on:
            pretrainings[run_id] = seconds.get(("pretrain", plan.pretrainings[run_id].name))
        one = seconds.get((cell.stage, cell.name))
        if one is None:
            return None, 0.0
        finetuning += one
        once += (len(group.recipes) - 1) * one
    known = [each for each in pretrainings.values() if each is not None]
    return (Prices(sum(known), finetuning), once) if len(known) == len(pretrainings) else (None, 0.0)


def list_explanations(plan: StudyPlan, known: Mapping[tuple[str, str], Known], rows: Sequence[Outlook]) -> list[str]:
    """How to read the numbers, a line each."""
    settings, num_claims = plan.settings, count_claims(plan)
    assert settings.power is not None
    claims = f"corrected by Holm's rule over {format_counted(num_claims, 'claim')} at its strictest"
    lines = [
        f"detectable: the smallest difference that is found clear, {claims}, with a chance of {settings.power:.0%}; "
        "alone: the same of one claim without correction. Examples: of the test split, or their groups. Planned and cheapest: pretraining seeds x fine-tunings of each. "
        "Hours: of all pretrainings and fine-tunings of such a study anew; a pretraining that several rows share is in each.",
    ]
    by_source: dict[Known, list[str]] = {}
    for key, each in known.items():
        by_source.setdefault(each, []).append(", ".join(reversed(key)))
    for each, names in by_source.items():
        told = (
            ""
            if each.splits
            else "; one fine-tuning of each seed, so that its part is in that of the seeds and designs have one"
        )
        lines.append(f"components of {'; '.join(names)}: {describe(each.contrast)}, from {each.source}{told}")
    lines += [f"{row.name[1]}, {row.name[0]}: {row.remark}" for row in rows if row.remark]
    missing = dict.fromkeys(f"{g.task}, {g.model}" for g in plan.groups if (g.model, g.task) not in known)
    lines += [f"{name}: fewer than two conditions with two pretraining seeds finished" for name in missing]
    if plan.study.pretrain_seeds == 1:
        lines.append("one pretraining seed is planned: it tells of checkpoints only, whatever the difference")
    return lines


def describe(contrast: Contrast) -> str:
    """As ``components`` takes it; what is 0 and need not be given is left out."""
    values = {field.name: getattr(contrast.expt, field.name) for field in fields(Chance)}
    ordered = {"seeds": values.pop("seeds"), "finetuning": values.pop("finetuning"), "examples": contrast.examples}
    kept = {**ordered, **{name: value for name, value in values.items() if value}}
    return "{" + ", ".join(f"{name}: {format_score(value, 4)}" for name, value in kept.items()) + "}"
