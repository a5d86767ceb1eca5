"""What a report adds on request (``study.analyses``), of stored predictions alone: ensembles, and calibration."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement
from typing import Any

import numpy as np

from selfpretrain.config import StudyConfig, UserError
from selfpretrain.kinds import CLASSES, Array, get_kind
from selfpretrain.numbers import format_counted
from selfpretrain.report.comparisons import Interval, get_seeds, to_interval
from selfpretrain.report.findings import Calibration, Ensemble, Entry, Panel, Reliability, Summary
from selfpretrain.runs.results import DONE, AlignedRuns, StudyResults
from selfpretrain.stats import Estimate
from selfpretrain.stats.calibration import (
    TEMPERATURES,
    build_debiased_square,
    build_ece,
    compute_brier,
    compute_probabilities,
    compute_reliability,
    compute_temperature_values,
    fit_temperature,
    is_at_end,
)
from selfpretrain.stats.ensembles import Key, Pair, compare_ensembles, pair_across, pair_within
from selfpretrain.stats.estimates import estimate_score
from selfpretrain.stats.statistics import Scorer, build_mean


@dataclass(frozen=True)
class Outputs:
    """The runs of one condition, and a temperature for each from its validation predictions."""

    entry: Entry
    test: AlignedRuns  # predictions are outputs, [runs, examples, classes]
    validation: AlignedRuns  # the same runs in the same order
    temperatures: tuple[float, ...]  # [runs]

    def compute_probabilities(self, scaled: bool = True) -> Array:
        """On test, [runs, examples, classes]."""
        temperatures = self.temperatures if scaled else [1.0] * len(self.temperatures)
        return np.stack(list(map(compute_probabilities, self.test.predictions, temperatures)))

    @property
    def pairing_keys(self) -> list[tuple[int, int]]:
        """(pretraining seed, fine-tuning seed) of each run, alike in all conditions."""
        return [(cell.pretrain_seed, cell.finetune_seed) for cell in self.test.cells]


def analyse(summary: Summary, results: StudyResults) -> None:
    """Add what ``study.analyses`` asks for, and a warning for all that was left out."""
    names = list(dict.fromkeys(results.study.analyses))
    for panel in (panel for panel in summary.panels if names and not panel.is_absent):
        notes: list[str] = []
        kind = results.tasks[panel.task].label_kind
        if get_kind(kind).form is CLASSES:
            outputs = _read_outputs(panel, results, notes)
            for name in names:
                ANALYSES[name](panel, outputs, summary, results.study, notes)
        else:
            notes.append(f"no {' and '.join(names)}: they are made of one class per example, its label_kind is {kind}")
        summary.warnings += [f"{panel.task}, {panel.model}: {note}" for note in notes]


def _read_outputs(panel: Panel, results: StudyResults, notes: list[str]) -> list[Outputs]:
    """Of the conditions that have a score, those whose runs all have validation predictions, too."""
    names = " and ".join(results.study.analyses)
    scored = [entry.condition for entry in panel.entries if entry.score]
    notes += [f"no {names} of {e.condition}, which has no score" for e in panel.entries if e.condition not in scored]
    cells = [
        cell for cell in results.cells
        if (cell.model, cell.task, cell.status) == (panel.model, panel.task, DONE) and cell.condition in scored
    ]  # fmt: skip
    # all conditions at once, so that their examples are in one order
    test, _ = results.read_runs(cells, panel.task, decoded=False)
    test = test and test.leave_out(results.left_out.get(panel.task, frozenset()))
    validation, problems = results.read_runs(cells, panel.task, "validation", decoded=False)
    lacking: dict[str, str] = {}
    for cell in cells:
        if cell.run_id in problems:
            lacking.setdefault(cell.condition, problems[cell.run_id])
    notes += [f"no {names} of {condition}: {reason}" for condition, reason in lacking.items()]
    return [
        _fit(entry, test.select(entry.condition), validation.select(entry.condition), notes)
        for entry in panel.entries
        if test and validation and entry.score and entry.condition not in lacking
    ]


def _fit(entry: Entry, test: AlignedRuns, validation: AlignedRuns, notes: list[str]) -> Outputs:
    temperatures = tuple(fit_temperature(run, validation.labels) for run in validation.predictions)
    if num_ends := sum(map(is_at_end, temperatures)):
        runs = f"{num_ends} of {format_counted(len(temperatures), 'run')}"
        low, high = TEMPERATURES
        notes.append(
            f"{entry.condition}: the temperature of {runs} is at an end of what was tried, {low:g} to {high:g}"
        )
    return Outputs(entry, test, validation, temperatures)


# ensembles


def _add_ensembles(
    panel: Panel, outputs: Sequence[Outputs], summary: Summary, study: StudyConfig, notes: list[str]
) -> None:
    """Of every pair of conditions, and of every condition with itself."""
    if summary.is_crossed:
        notes.append("no ensembles: pairs of runs whose seeds are crossed share levels, so that none is independent")
        return
    probabilities = {each.entry.condition: each.compute_probabilities() for each in outputs}
    for first, second in combinations_with_replacement(outputs, 2):
        conditions = first.entry.condition, second.entry.condition
        pairs = _pair(first, second)
        if not pairs:
            lack = "two seeds" if first is second else "two different runs with the same seeds"
            notes.append(f"no ensemble of {' + '.join(conditions)}: it needs {lack}")
            continue
        rows, others, seeds = (list(column) for column in zip(*pairs, strict=True))
        sides = probabilities[conditions[0]][rows], probabilities[conditions[1]][others]
        sampling = _list_sampling(first.test, study)
        try:
            found = compare_ensembles(*sides, first.test.labels, panel.metric, seeds, **sampling)
        except UserError as error:
            notes.append(f"no ensemble of {' + '.join(conditions)}: {error}")
            continue
        numbers = map(to_interval, (found.gain.base, found.gain.expt, found.gain.delta, found.inconsistency))
        summary.ensembles.append(Ensemble(panel.model, panel.task, panel.metric, conditions, len(set(seeds)), *numbers))


def _pair(first: Outputs, second: Outputs) -> list[Pair]:
    if first is not second:
        pairs = pair_across(first.pairing_keys, second.pairing_keys)
        # no pretraining, from the structured start, may be one run under two conditions
        return [pair for pair in pairs if first.test.cells[pair[0]].run_id != second.test.cells[pair[1]].run_id]
    if not first.entry.about.is_released:
        return pair_within(first.pairing_keys)
    # of one checkpoint: each fine-tuning is a seed
    keys: list[Key] = [(key, 0) for key in first.pairing_keys]
    return pair_within(keys)


# calibration


def _add_calibration(
    panel: Panel, outputs: Sequence[Outputs], summary: Summary, study: StudyConfig, notes: list[str]
) -> None:
    for each in outputs:
        entry = each.entry
        assert entry.score is not None
        try:
            reliabilities = [_measure(each, scaled, study) for scaled in (False, True)]
        except UserError as error:
            notes.append(f"no calibration of {entry.condition}: {error}")
            continue
        labels = each.validation.labels
        runs = zip(each.validation.predictions, each.temperatures, strict=True)
        values = np.stack([compute_temperature_values(run, labels, temperature) for run, temperature in runs])
        temperature = to_interval(_estimate(build_mean(values), each.validation, study, (0.0, math.inf)))
        summary.calibrations.append(
            Calibration(
                panel.model, panel.task, panel.metric, entry.condition, entry.score, entry.num_seeds, temperature,
                *reliabilities,
            )
        )  # fmt: skip


def _measure(outputs: Outputs, scaled: bool, study: StudyConfig) -> Reliability:
    probabilities, labels = outputs.compute_probabilities(scaled), outputs.test.labels

    def estimate(scorer: Scorer, bounds: tuple[float, float]) -> Estimate:
        return _estimate(scorer, outputs.test, study, bounds)

    square = estimate(build_debiased_square(probabilities, labels), (0.0, 1.0))
    return Reliability(
        to_interval(estimate(build_ece(probabilities, labels), (0.0, 1.0))),
        Interval(*(math.sqrt(max(0.0, value)) for value in (square.point, square.low, square.high))),
        to_interval(estimate(build_mean(compute_brier(probabilities, labels)), (0.0, 2.0))),
        compute_reliability(probabilities, labels),
    )


def _estimate(scorer: Scorer, runs: AlignedRuns, study: StudyConfig, bounds: tuple[float, float]) -> Estimate:
    return estimate_score(scorer, get_seeds(runs), len(runs.ids), bounds=bounds, **_list_sampling(runs, study))[0]


def _list_sampling(runs: AlignedRuns, study: StudyConfig) -> dict[str, Any]:
    return {"num_replicates": study.num_replicates, "confidence": study.confidence, "groups": runs.groups}


_Analysis = Callable[[Panel, Sequence[Outputs], Summary, StudyConfig, list[str]], None]
ANALYSES: dict[str, _Analysis] = {"ensembles": _add_ensembles, "calibration": _add_calibration}  # by the setting's name
