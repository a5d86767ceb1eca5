"""A benchmark's average: the scores of each condition on its tasks, and their unweighted mean.

The tasks are taken as given, so the mean varies by the choice of seeds and of test examples alone. Seeds are shared:
an encoder is fine-tuned on every task, and where it is a lucky one it is so on all of them. The seeds' part is
therefore the variance between the seeds' means over the tasks, which holds what the tasks have in common. Test sets
are independent, so their variances add up, over the squared number of tasks.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from selfpretrain.cards import list_cards, load_task_card
from selfpretrain.config import TaskConfig
from selfpretrain.report.comparisons import Interval
from selfpretrain.report.findings import Average, AverageRow, Entry, Panel, Summary
from selfpretrain.stats import METRICS, Variance
from selfpretrain.stats.variance import compute_mean_variance, compute_t_estimate
from selfpretrain.study.conditions import OWN, find_condition


def build_averages(summary: Summary, tasks: Mapping[str, TaskConfig]) -> list[Average]:
    """One per model and benchmark of which the study has two tasks; of several numbers of labels, the largest."""
    groups: dict[tuple[str, str], dict[str, Panel]] = {}
    for panel in summary.panels:
        if benchmark := tasks[panel.task].benchmark:
            panels = groups.setdefault((panel.model, benchmark), {})
            if panel.card not in panels or panel.num_labels > panels[panel.card].num_labels:
                panels[panel.card] = panel
    averages = []
    for (model, benchmark), panels in groups.items():
        here = {card: panel for card, panel in panels.items() if not panel.is_absent}
        if len(here) > 1:
            hubs = {tasks[panel.task].hub_id for panel in panels.values()}
            rows = _build_rows(list(panels.values()), summary.confidence)
            columns = {panel.task: panel.metric for panel in panels.values()}
            averages.append(Average(model, benchmark, columns, rows, *_list_absent(benchmark, here, hubs)))
    return averages


def _list_absent(benchmark: str, panels: Mapping[str, Panel], hubs: set[str | None]) -> tuple[list[str], list[str]]:
    """The cards that the average counts and the study has not, and those of the same collection that it does not count."""
    cards = [load_task_card(name) for name in list_cards("task")]
    missing = [card.name for card in cards if card.benchmark == benchmark and card.name not in panels]
    uncounted = [card.name for card in cards if card.benchmark is None and card.hub_id in hubs - {None}]
    return missing, uncounted


def _build_rows(panels: list[Panel], confidence: float) -> list[AverageRow]:
    conditions = dict.fromkeys(entry.condition for panel in panels for entry in panel.entries)
    return [_build_row(condition, panels, confidence) for condition in conditions]


def _build_row(condition: str, panels: list[Panel], confidence: float) -> AverageRow:
    entries = [_find(panel, condition) for panel in panels]
    scored = [entry for entry in entries if entry and entry.score]
    panels = [panel for panel in panels if not panel.is_absent]
    texts = ["" if e and e.score else e.state_text if e else "not in this study" for e in entries]
    mean, reason = None, ""
    if len(scored) < len(panels):
        reason = f"{len(scored)} of {len(panels)} tasks"
    elif len({frozenset(_average_seeds(entry)) for entry in scored}) > 1:
        reason = "other seeds by task"
    else:
        mean = compute_mean(scored, panels, confidence)
    return AverageRow(condition, [entry.score if entry else None for entry in entries], texts, mean, reason)


def _find(panel: Panel, condition: str) -> Entry | None:
    """The condition's entry; the text of a task, on that task, is its own."""
    return panel.find(OWN if find_condition(condition).text_of == panel.card else condition)


def compute_mean(entries: Sequence[Entry], panels: Sequence[Panel], confidence: float) -> Interval:
    """The mean score of one condition over tasks, each with its score and the same seeds, and its t interval."""
    by_task = [_average_seeds(entry) for entry in entries]
    seeds = np.array([np.mean([scores[seed] for scores in by_task]) for seed in by_task[0]])
    by_examples = sum(entry.examples_variance for entry in entries) / len(entries) ** 2
    smallest = min(panel.num_examples for panel in panels)  # its degrees of freedom, the fewest, count for all
    variance = Variance(0.0, compute_mean_variance(seeds), by_examples, (1, len(seeds), smallest))
    metrics = [METRICS[panel.metric] for panel in panels]
    bounds = math.fsum(m.low for m in metrics) / len(metrics), math.fsum(m.high for m in metrics) / len(metrics)
    estimate = compute_t_estimate(float(seeds.mean()), variance, confidence, bounds)
    return Interval(estimate.point, estimate.low, estimate.high)


def _average_seeds(entry: Entry) -> dict[tuple[int, int], float]:
    """The entry's score by seed: its pretraining's, or of a released checkpoint each fine-tuning's."""
    scores: dict[tuple[int, int], list[float]] = {}
    for run in entry.run_scores:
        seed = (run["pretrain_seed"], run["finetune_seed"] if entry.about.is_released else 0)
        scores.setdefault(seed, []).append(run["score"])
    return {seed: float(np.mean(values)) for seed, values in scores.items()}
