"""The cross-task matrix: pretrained on one task's text, fine-tuned on another; and its means.

A text's mean is over the tasks that are not its own (does it help others?), a task's over the texts that are not its
own (does it profit from any?). The first follows one pretraining per seed through several fine-tunings
(:mod:`selfpretrain.report.means`). The second has one test set, and takes the texts together as one procedure: runs of
one seed number share first weights and the order of fine-tuning, so that they count as one seed, whatever their text.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from selfpretrain.report.comparisons import Interval
from selfpretrain.report.findings import Cross, CrossCell, Entry, Panel, Summary
from selfpretrain.report.means import (
    choose_largest,
    compute_mean_benefit,
    compute_mean_gain,
    compute_mean_score,
    have_equal_seeds,
)
from selfpretrain.study.conditions import OWN, START, make_own_of

START_ROW = "nothing (the start)"  # under the texts: the structured start that all of them began at
MEAN_ROW, MEAN_COLUMN = "mean of other texts", "mean of other tasks"
NO_VALUE = "-"


def build_crosses(summary: Summary) -> list[Cross]:
    """For each model with conditions own_of:<task> a matrix per unit; rows and columns in the order of the study."""
    models = dict.fromkeys(panel.model for panel in summary.panels)
    return [cross for model in models for cross in _build(summary, model)]


def _build(summary: Summary, model: str) -> list[Cross]:
    panels = [panel for panel in summary.panels if panel.model == model]
    others = list(dict.fromkeys(entry.about.text_of for panel in panels for entry in panel.others))
    if not others:
        return []
    texts = list(dict.fromkeys(p.card for p in panels if p.card in others or p.find(OWN)))
    texts += [text for text in others if text is not None and text not in texts]
    has_start = any(panel.has_control for panel in panels)
    has_means = any(len(_list_others(text, panels)) > 1 for text in texts) or any(len(p.others) > 1 for p in panels)
    crosses = []
    for unit in _list_units([entry for panel in panels for entry in (*panel.others, panel.find(OWN)) if entry]):
        rows = {text: [_build_cell(_find(panel, text), unit, summary) for panel in panels] for text in texts}
        if has_means:
            rows[MEAN_ROW] = [_build_mean_of_texts(panel, unit, summary) for panel in panels]
        if has_start:
            rows[START_ROW] = [_build_cell(_find(panel, START_ROW), unit, summary) for panel in panels]
        columns = [panel.task for panel in panels]
        if has_means:
            columns.append(MEAN_COLUMN)
            for text, cells in rows.items():
                cells.append(_build_mean_of_tasks(text, panels, unit, summary))
        crosses.append(Cross(model, unit, list(rows), columns, list(rows.values())))
    return crosses


def _find(panel: Panel, text: str) -> Entry | None:
    if text == START_ROW:
        return panel.find(START)
    if text == MEAN_ROW:
        return panel.others[0] if len(panel.others) == 1 else panel.pooled
    return panel.find(OWN if text == panel.card else make_own_of(text).key)


def _list_units(entries: Sequence[Entry]) -> list[str]:
    found = {"gain": any(entry.gain for entry in entries), "benefit": any(entry.benefit for entry in entries)}
    return ["score", *(unit for unit, is_there in found.items() if is_there)]


def _build_cell(entry: Entry | None, unit: str, summary: Summary) -> CrossCell:
    if entry is None or entry.score is None:
        return CrossCell(None, entry.state_text if entry else "not in this study")
    gain, is_whole = entry.gain, unit == "benefit" and entry.condition == summary.reference
    value = {"score": entry.score, "benefit": entry.benefit, "gain": gain.delta if gain else None}[unit]
    if value or (is_whole and gain and gain.delta.low > 0):
        return CrossCell(value, "", gain.p_holm if gain else None)
    return CrossCell(None, "undefined" if is_whole or (unit == "benefit" and entry.benefit_undefined) else NO_VALUE)


# the means


def _build_mean_of_texts(panel: Panel, unit: str, summary: Summary) -> CrossCell:
    """Of a task, over the texts that are not its own."""
    if entry := _find(panel, MEAN_ROW):
        return _build_cell(entry, unit, summary)
    num_texts, num_scored = len(panel.others), sum(1 for other in panel.others if other.score)
    if num_scored < num_texts:
        return CrossCell(None, f"{num_scored} of {num_texts} texts")
    return CrossCell(None, "other seeds by text" if num_texts else NO_VALUE)


def _list_others(text: str, panels: Sequence[Panel]) -> list[Panel]:
    """The tasks that are not the text's own and are asked about it."""
    is_asked = [p.card != text and bool(p.others if text == MEAN_ROW else _find(p, text)) for p in panels]
    return choose_largest(panel for panel, asked in zip(panels, is_asked, strict=True) if asked)


def _build_mean_of_tasks(text: str, panels: Sequence[Panel], unit: str, summary: Summary) -> CrossCell:
    """Of a text, over the tasks that are not its own."""
    panels = _list_others(text, panels)
    sides = [[_find(panel, text) for panel in panels]]
    if (
        any(entry and entry.condition in (summary.baseline, summary.reference) for entry in sides[0])
        and unit != "score"
    ):
        return CrossCell(None, NO_VALUE)
    if unit != "score":
        sides.append([panel.find(summary.baseline) for panel in panels])
    if unit == "benefit":
        sides.append([panel.find(summary.reference) for panel in panels])
    scored = [[entry for entry in side if entry and entry.score] for side in sides]
    fewest = min(map(len, scored))
    if not panels or fewest < len(panels):
        return CrossCell(None, f"{fewest} of {len(panels)} tasks" if panels else NO_VALUE)
    if not all(map(have_equal_seeds, scored)):
        return CrossCell(None, "other seeds by task")
    value = _MEANS[unit](*scored, panels, summary.confidence)
    return CrossCell(value, "" if value else "undefined")


_MEANS: dict[str, Callable[..., Interval | None]] = {
    "score": compute_mean_score, "gain": compute_mean_gain, "benefit": compute_mean_benefit,
}  # fmt: skip
