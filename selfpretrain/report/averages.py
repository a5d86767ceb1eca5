"""A benchmark's average: the scores of each condition on its tasks, and their unweighted mean (:mod:`selfpretrain.report.means`)."""

from __future__ import annotations

from collections.abc import Mapping

from selfpretrain.cards import list_cards, load_task_card
from selfpretrain.config import TaskConfig
from selfpretrain.report.findings import Average, AverageRow, Entry, Panel, Summary
from selfpretrain.report.means import choose_largest, compute_mean_score, have_equal_seeds
from selfpretrain.study.conditions import OWN, find_condition


def build_averages(summary: Summary, tasks: Mapping[str, TaskConfig]) -> list[Average]:
    """One per model and benchmark of which the study has two tasks; of several numbers of labels, the largest."""
    groups: dict[tuple[str, str], list[Panel]] = {}
    for panel in summary.panels:
        if benchmark := tasks[panel.task].benchmark:
            groups.setdefault((panel.model, benchmark), []).append(panel)
    averages = []
    for (model, benchmark), all_panels in groups.items():
        panels = choose_largest(all_panels)
        here = {panel.card for panel in panels if not panel.is_absent}
        if len(here) > 1:
            hubs = {tasks[panel.task].hub_id for panel in panels}
            rows = _build_rows(panels, summary.confidence)
            columns = {panel.task: panel.metric for panel in panels}
            averages.append(Average(model, benchmark, columns, rows, *_list_absent(benchmark, here, hubs)))
    return averages


def _list_absent(benchmark: str, present: set[str], hubs: set[str | None]) -> tuple[list[str], list[str]]:
    """The cards that the average counts and the study has not, and those of the same collection that it does not count."""
    cards = [load_task_card(name) for name in list_cards("task")]
    missing = [card.name for card in cards if card.benchmark == benchmark and card.name not in present]
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
    elif not have_equal_seeds(scored):
        reason = "other seeds by task"
    else:
        mean = compute_mean_score(scored, panels, confidence)
    return AverageRow(condition, [entry.score if entry else None for entry in entries], texts, mean, reason)


def _find(panel: Panel, condition: str) -> Entry | None:
    """The condition's entry; the text of a task, on that task, is its own."""
    return panel.find(OWN if find_condition(condition).text_of == panel.card else condition)
