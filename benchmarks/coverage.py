"""How often the statistics are right: made-up studies whose truth is known, through the shipped functions.

    python -m benchmarks coverage [part=all|accuracy|metrics|families|decisions|benefit|means|one_seed|power] [simulations=2000]

Each cell draws studies (``simulation``) and asks ``multibootstrap`` by both methods, ``compute_holm``, ``decide`` and
``compute_benefit``, of the cross-task matrix the means of its rows (``stats.means``) and columns, and ``stats.power``. A quarter of the studies of a cell has a difference, the others none. Written to
``results/coverage.json`` and ``coverage.md`` after every cell.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import harness
from benchmarks.coverage_table import render_coverage
from benchmarks.simulation import SCORES, Study, World, draw_study
from selfpretrain.config import UserError
from selfpretrain.files import make_folder, read_json, write_json, write_text
from selfpretrain.stats import BootstrapResult, compute_benefit, compute_holm, decide, multibootstrap
from selfpretrain.stats.components import EXAMPLES as EXAMPLES_SOURCE
from selfpretrain.stats.components import RunValues, estimate_example_components, estimate_run_components
from selfpretrain.stats.means import estimate_mean_benefit, estimate_mean_difference, estimate_mean_score
from selfpretrain.stats.power import (
    Contrast,
    Design,
    compute_power,
    estimate_example_difference,
    expect_variance,
    pool_chances,
)

ALPHA = 0.05
EFFECT = 0.03  # of every fourth study
FAMILY = 8  # comparisons corrected together
MARGIN = 0.01
NUM_OTHERS = 5  # tasks of a text's mean, texts of a task's
SEED_HEAVY, EXAMPLE_HEAVY = {"seed_sd": 0.022, "side_sd": 0.3}, {"seed_sd": 0.004, "side_sd": 0.7}
DOUBTS = {"seeds": SEED_HEAVY, "examples": EXAMPLE_HEAVY}
METHODS = ("t", "percentile")
SEEDS, EXAMPLES = (3, 5, 10, 25), (200, 1000, 5000)
EFFECTS = (0.06, 0.04, 0.03)  # of power, for the first numbers of seeds: neither sure nor hopeless
LARGE = (300, 3000)  # seeds and examples of the study that components are known from
Rows = Iterator[dict[str, Any]]


@dataclass
class Options(harness.Options):
    part: str = "all"  # all, or one of PARTS
    simulations: int = 2000  # of a cell with accuracy, by t; 5,000 examples: half as many, all else: a quarter
    replicates: int = 200  # of the examples; families by percentiles: 1000


def write_results(options: Options, surroundings: dict[str, Any], folder: Path | None) -> None:
    """Simulate the parts asked for; print each cell as it is done, and the tables at the end."""
    if options.part not in ("all", *PARTS):
        raise UserError(f"part={options.part} is not known; allowed: all, {', '.join(PARTS)}")
    if options.simulations < 20:
        raise UserError(f"simulations={options.simulations} measures nothing; at least 20")
    path = None if folder is None else make_folder(folder) / "coverage.json"
    results: dict[str, Any] = read_json(path) if path and path.is_file() else {}
    for part in PARTS if options.part == "all" else [options.part]:
        start, rows = time.perf_counter(), []
        for row in PARTS[part](options):
            rows.append(row)
            print(part, row, file=sys.stderr, flush=True)
            results[part] = {**surroundings, "minutes": (time.perf_counter() - start) / 60, "rows": rows}
            if path is not None:
                write_json(path, results)
                write_text(path.with_suffix(".md"), render_coverage(results))
    print(render_coverage(results), end="")


def iter_worlds(metric: str, seeds: tuple[int, ...], examples: tuple[int, ...]) -> Iterator[tuple[World, dict]]:
    """Every combination, with what names it in a row."""
    for doubt, paired, num_examples, num_seeds in itertools.product(DOUBTS, (False, True), examples, seeds):
        world = World(metric, num_seeds, num_examples, paired, **DOUBTS[doubt])
        yield world, describe(world, doubt)


def describe(world: World, doubt: str) -> dict[str, Any]:
    return {
        "metric": world.metric,
        "doubt": doubt,
        "paired": world.paired,
        "examples": world.num_examples,
        "seeds": world.num_seeds,
        "finetunings": world.num_finetunings,
    }


def make_generator(*names: Any) -> np.random.Generator:
    """Each cell has draws of its own, the same in every run."""
    return np.random.default_rng(zlib.crc32(repr(names).encode()))


def compare(study: Study, world: World, method: str, replicates: int, seed: int) -> BootstrapResult:
    """Second procedure minus first."""
    return multibootstrap(
        (study.predictions[0], study.predictions[1]),
        study.labels,
        world.metric,
        base_seeds=study.seeds,
        expt_seeds=study.seeds,
        paired=world.paired,
        method=method,
        num_replicates=replicates,
        seed=seed,
    )


def get_two_sided_p(result: BootstrapResult) -> float:
    """Of percentiles: twice the smaller one-sided one."""
    if result.method == "t":
        return math.nan if result.p is None else result.p
    opposite = max(float(np.mean(result.samples.delta >= -1e-12)), 1 / len(result.samples.delta))
    assert result.p is not None
    return min(1.0, 2 * min(result.p, opposite))


def simulate_cell(world: World, num_studies: int, replicates: int, generator: np.random.Generator) -> dict[str, Any]:
    """Coverage, type-I error and width by both methods; percentiles on a fifth of the studies."""
    base = SCORES[world.metric]
    levels = [(world.find_level(base), world.find_level(base + effect)) for effect in (0.0, EFFECT)]
    found: dict[str, Any] = {
        method: {"covered": [], "single": [], "p": [], "width": [], "by_examples": []} for method in METHODS
    }
    for number in range(num_studies):
        has_effect = number % 4 == 3
        study = draw_study(world, levels[int(has_effect)], generator)
        for method in METHODS[: 2 if number < num_studies / 5 else 1]:
            result, kept = compare(study, world, method, replicates, number), found[method]
            kept["covered"].append(result.delta.low <= EFFECT * has_effect <= result.delta.high)
            kept["single"].append(result.base.low <= base <= result.base.high)
            kept["width"].append(result.delta.high - result.delta.low)
            if result.variance is not None:
                kept["by_examples"].append(result.variance.examples / result.variance.total)
            if not has_effect:
                kept["p"].append(get_two_sided_p(result))
    return {method: summarise(kept) for method, kept in found.items()}


def summarise(kept: dict[str, list[float]]) -> dict[str, Any]:
    found = {
        "studies": len(kept["covered"]),
        "coverage": float(np.mean(kept["covered"])),
        "single": float(np.mean(kept["single"])),
        "type1": float(np.mean(np.array(kept["p"]) < ALPHA)),
        "width": float(np.mean(kept["width"])),
    }
    return {**found, "by_examples": float(np.mean(kept["by_examples"]))} if kept["by_examples"] else found


def is_wrong_family(p_values: Any) -> bool:
    """Any claim among comparisons none of which differs."""
    return bool((compute_holm(p_values) < ALPHA).any())


def run_accuracy(options: Options) -> Rows:
    """The whole grid, and two cells with several fine-tunings of each seed."""
    cells = [*iter_worlds("accuracy", SEEDS, EXAMPLES)]
    for num_seeds in SEEDS[:2]:
        world = World("accuracy", num_seeds, 1000, False, **SEED_HEAVY, num_finetunings=3)
        cells.append((world, describe(world, "seeds")))
    for world, names in cells:
        studies = options.simulations // (2 if world.num_examples == max(EXAMPLES) else 1)
        yield {**names, **simulate_cell(world, studies, options.replicates, make_generator(names))}


def run_metrics(options: Options) -> Rows:
    """A thinner grid for the other metrics."""
    for metric in ("macro_f1", "mcc", "pearson"):
        cells = [*iter_worlds(metric, (3, 10), EXAMPLES[:2])]
        for num_seeds in (3, 25):
            world = World(metric, num_seeds, EXAMPLES[2], False, **SEED_HEAVY)
            cells.append((world, describe(world, "seeds")))
        for world, names in cells:
            studies = options.simulations // 4
            yield {**names, **simulate_cell(world, studies, options.replicates, make_generator(names))}


def run_families(options: Options) -> Rows:
    """A claim among comparisons none of which differs, after Holm, where it is likeliest: most doubt by seeds.

    Percentiles need 1,000 replicates to reach a p that survives the correction; they are asked on a fifth of the families.
    """
    for paired, num_seeds in itertools.product((False, True), SEEDS[:3]):
        world = World("accuracy", num_seeds, max(EXAMPLES), paired, **SEED_HEAVY)
        names, levels = describe(world, "seeds"), [world.find_level(SCORES["accuracy"])] * 2
        generator, num_families = make_generator("families", names), options.simulations // 4
        wrong: dict[str, list[bool]] = {method: [] for method in METHODS}
        for family in range(num_families):
            studies = [draw_study(world, levels, generator) for _ in range(FAMILY)]
            for method in METHODS[: 2 if family < num_families / 5 else 1]:
                replicates = options.replicates if method == "t" else 1000
                p = [get_two_sided_p(compare(study, world, method, replicates, family)) for study in studies]
                wrong[method].append(is_wrong_family(p))
        found = {m: {"families": len(wrong[m]), "wrong": float(np.mean(wrong[m]))} for m in METHODS}
        yield {**names, **found}


def run_decisions(options: Options) -> Rows:
    """What ``decide`` says where the truth is nothing, exactly the margin below, and a clear loss or gain."""
    worlds = [one for one in iter_worlds("accuracy", (3, 10), (1000, 5000)) if not one[0].paired]
    for (world, names), truth in itertools.product(worlds, (0.0, -MARGIN, -EFFECT, EFFECT)):
        generator = make_generator("decisions", names, truth)
        levels = [world.find_level(SCORES["accuracy"] + difference) for difference in (0.0, truth)]
        outcomes: dict[str, int] = {}
        for number in range(options.simulations // 4):
            result = compare(draw_study(world, levels, generator), world, "t", options.replicates, number)
            outcome = get_outcome(result)
            outcomes[outcome] = outcomes.get(outcome, 0) + 1
        studies = sum(outcomes.values())
        shares = {outcome: count / studies for outcome, count in sorted(outcomes.items())}
        yield {**names, "truth": truth, "studies": studies, "outcomes": shares}


def get_outcome(result: BootstrapResult) -> str:
    assert result.variance is not None
    return decide(result.delta, result.variance, result.p, margin=MARGIN, alpha=ALPHA).outcome


def run_benefit(options: Options) -> Rows:
    """Fieller's interval where the reference gains .10 and the procedure .06, so that 60 % is the truth."""
    worlds = [one for one in iter_worlds("accuracy", SEEDS, (1000,)) if not one[0].paired]
    for world, names in worlds:
        generator = make_generator("benefit", names)
        levels = [world.find_level(score) for score in (0.60, 0.66, 0.70)]
        covered, studies = [], options.simulations // 4
        for number in range(studies):
            study = draw_study(world, levels, generator)
            sides = {f"{name}_seeds": study.seeds for name in ("none", "expt", "reference")}
            found = compute_benefit(
                *study.predictions, study.labels, "accuracy", num_replicates=options.replicates, seed=number, **sides
            ).benefit
            if found is not None:
                covered.append(found.low <= 60 <= found.high)
        yield {
            **names,
            "studies": studies,
            "defined": len(covered),
            "coverage": float(np.mean(covered)) if covered else None,
        }


def run_means(options: Options) -> Rows:
    """A text's mean over other tasks, where half of a seed's luck is the encoder's on all of them, and a task's over other
    texts, where half of it is the seed number's under all of them. No pretraining scores .60, the texts .66, the reference .70.
    """
    for doubt, num_seeds in itertools.product(DOUBTS, SEEDS[:3]):
        world = World("accuracy", num_seeds, 500, True, **DOUBTS[doubt])
        names = describe(world, doubt)
        generator = make_generator("means", names)
        levels = [world.find_level(score) for score in (0.60, 0.66, 0.70)]
        covered: dict[str, list[bool]] = {}
        for number in range(options.simulations // 4):
            found = {
                **estimate_over_tasks(world, levels, options.replicates, number, generator),
                **estimate_over_texts(world, levels, options.replicates, number, generator),
            }
            for name, (estimate, truth) in found.items():
                if estimate is not None:
                    covered.setdefault(name, []).append(estimate.low <= truth <= estimate.high)
        shares = {name: float(np.mean(each)) for name, each in covered.items()}
        yield {**names, "studies": options.simulations // 4, "covered": shares}


def estimate_over_tasks(
    world: World, levels: list[float], replicates: int, number: int, generator: np.random.Generator
) -> dict[str, tuple[Any, float]]:
    """Estimates of a row's means, each with its truth; test sets are independent."""
    luck = [generator.normal(size=(world.num_seeds, 1)) for _ in levels]
    scores, covariances = [], []
    for task in range(NUM_OTHERS):
        study = draw_study(world, levels, generator, luck)
        scores.append([(runs == study.labels).mean(axis=1) for runs in study.predictions])
        sides = {f"{name}_seeds": study.seeds for name in ("none", "expt", "reference")}
        seed = NUM_OTHERS * number + task
        found = compute_benefit(
            *study.predictions, study.labels, "accuracy", num_replicates=replicates, seed=seed, **sides
        )
        covariances.append(found.means.by_examples)
    none, expt, reference = np.array(scores).transpose(1, 0, 2)  # [tasks, seeds] each
    by_examples, sizes = np.array(covariances), [world.num_examples] * NUM_OTHERS
    of_gain = by_examples[:, 0, 0] + by_examples[:, 1, 1] - 2 * by_examples[:, 0, 1]
    return {
        "score by text": (estimate_mean_score(expt, by_examples[:, 1, 1], sizes, 1 - ALPHA, (0.0, 1.0)), 0.66),
        "gain by text": (estimate_mean_difference(none, expt, of_gain, sizes, 1 - ALPHA), 0.06),
        "Benefit by text": (estimate_mean_benefit(none, expt, reference, by_examples, sizes, 1 - ALPHA)[0], 60.0),
    }


def estimate_over_texts(
    world: World, levels: list[float], replicates: int, number: int, generator: np.random.Generator
) -> dict[str, tuple[Any, float]]:
    """Estimates of a column's means, each with its truth; the texts are one procedure by seed number, as in a report."""
    study = draw_study(world, [levels[0], *[levels[1]] * NUM_OTHERS, levels[2]], generator)
    none, *others, reference = study.predictions
    expt, seeds = np.concatenate(others), np.tile(study.seeds, NUM_OTHERS)
    found = compute_benefit(
        none, expt, reference, study.labels, "accuracy", none_seeds=study.seeds, expt_seeds=seeds,
        reference_seeds=study.seeds, num_replicates=replicates, seed=number,
    )  # fmt: skip
    pair = multibootstrap(
        (none, expt), study.labels, "accuracy", base_seeds=study.seeds, expt_seeds=seeds, paired=False,
        num_replicates=replicates, seed=number,
    )  # fmt: skip
    return {
        "score by task": (pair.expt, 0.66), "gain by task": (pair.delta, 0.06), "Benefit by task": (found.benefit, 60.0),
    }  # fmt: skip


def run_one_seed(options: Options) -> Rows:
    """One seed a side: the interval holds for these checkpoints and not for pretraining again."""
    for doubt, num_examples in itertools.product(DOUBTS, EXAMPLES):
        world = World("accuracy", 1, num_examples, False, **DOUBTS[doubt])
        names = describe(world, doubt)
        generator = make_generator("one seed", names)
        levels = [world.find_level(SCORES["accuracy"])] * 2
        procedures, checkpoints, claims = [], [], []
        for number in range(options.simulations // 4):
            study = draw_study(world, levels, generator)
            result = compare(study, world, "t", options.replicates, number)
            base, expt = study.checkpoint_scores
            procedures.append(result.delta.low <= 0 <= result.delta.high)
            checkpoints.append(result.delta.low <= expt - base <= result.delta.high)
            claims.append(result.p is not None)
        shares = {"procedures": float(np.mean(procedures)), "checkpoints": float(np.mean(checkpoints))}
        yield {**names, "studies": len(claims), **shares, "p_given": int(sum(claims))}


def run_power(options: Options) -> Rows:
    """How often a difference is found, beside what ``stats.power`` says of such a study."""
    sizes = zip(SEEDS, EFFECTS, strict=False)
    for (num_seeds, effect), doubt, paired in itertools.product(sizes, DOUBTS, (False, True)):
        for num_examples, num_finetunings in ((EXAMPLES[0], 1), (EXAMPLES[1], 1), (EXAMPLES[1], 3)):
            world = World("accuracy", num_seeds, num_examples, paired, **DOUBTS[doubt], num_finetunings=num_finetunings)
            names = describe(world, doubt)
            generator, studies = make_generator("power", names), options.simulations // 4
            predicted, found = simulate_power(world, effect, studies, options.replicates, generator)
            yield {**names, "truth": effect, "studies": studies, "predicted": predicted, "found": found}


def simulate_power(
    world: World, effect: float, num_studies: int, replicates: int, generator: np.random.Generator
) -> tuple[float, float]:
    """The chance of finding this effect: predicted from the world's components, and the share of studies that do."""
    levels = [world.find_level(SCORES[world.metric] + difference) for difference in (0.0, effect)]
    design = Design(world.num_seeds, world.num_finetunings, world.num_examples)
    predicted = compute_power(expect_variance(measure_contrast(world, levels, generator), design), effect, ALPHA)
    found = [
        get_two_sided_p(compare(draw_study(world, levels, generator), world, "t", replicates, number)) < ALPHA
        for number in range(num_studies)
    ]
    return predicted, float(np.mean(found))


def measure_contrast(world: World, levels: list[float], generator: np.random.Generator) -> Contrast:
    """What the accuracy of two procedures varies by, from one study far larger than any."""
    large = dataclasses.replace(world, num_seeds=LARGE[0], num_examples=LARGE[1])
    study = draw_study(large, levels, generator)
    base, expt = (np.asarray(runs == study.labels, dtype=np.float64) for runs in study.predictions)  # [runs, examples]
    if world.paired:
        by_seed = (expt - base).reshape(large.num_seeds, world.num_finetunings, -1)
        differences = estimate_example_components(by_seed, ["seed"])
        return Contrast(None, pool_chances([differences]), math.sqrt(differences.get_variance(EXAMPLES_SOURCE)))
    sides = []
    for right in (base, expt):
        scores = right.mean(axis=1)
        runs = RunValues(scores, right - scores[:, None], right.shape[1], [{"seed": seed} for seed in study.seeds])
        sides.append((runs, estimate_run_components(runs)))
    chances = [pool_chances([components]) for _, components in sides]
    return Contrast(*chances, math.sqrt(max(0.0, estimate_example_difference(sides))))


PARTS: dict[str, Callable[[Options], Rows]] = {
    "accuracy": run_accuracy,
    "metrics": run_metrics,
    "families": run_families,
    "decisions": run_decisions,
    "benefit": run_benefit,
    "means": run_means,
    "one_seed": run_one_seed,
    "power": run_power,
}
