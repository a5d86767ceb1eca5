"""The cross-task matrix: pretrained on one task's text, fine-tuned on another."""

from __future__ import annotations

from selfpretrain.report.findings import Cross, CrossCell, Entry, Panel, Summary
from selfpretrain.study.conditions import OWN, START, make_own_of

START_ROW = "nothing (the start)"  # under the texts: the structured start that all of them began at


def build_crosses(summary: Summary) -> list[Cross]:
    """One matrix per model that has conditions own_of:<task>; rows and columns in the order of the study."""
    models = dict.fromkeys(panel.model for panel in summary.panels)
    return [cross for model in models if (cross := _build(summary, model))]


def _build(summary: Summary, model: str) -> Cross | None:
    panels = {panel.task: panel for panel in summary.panels if panel.model == model}
    entries = [entry for panel in panels.values() for entry in panel.entries]
    others = list(dict.fromkeys(text for entry in entries if (text := entry.about.text_of) is not None))
    if not others:
        return None
    texts = list(dict.fromkeys(p.card for p in panels.values() if p.card in others or p.find(OWN)))
    texts += [text for text in others if text not in texts]
    if any(panel.has_control for panel in panels.values()):
        texts.append(START_ROW)
    rows = [[_find(panel, text) for panel in panels.values()] for text in texts]
    unit = _choose_unit([entry for row in rows for entry in row if entry and entry.score], summary)
    return Cross(model, unit, texts, list(panels), [[_build_cell(entry, unit) for entry in row] for row in rows])


def _find(panel: Panel, text: str) -> Entry | None:
    if text == START_ROW:
        return panel.find(START)
    return panel.find(OWN if text == panel.card else make_own_of(text).key)


def _choose_unit(scored: list[Entry], summary: Summary) -> str:
    """One unit for the whole matrix, so that its cells can be compared."""
    if scored and all(entry.benefit or entry.condition == summary.reference for entry in scored):
        return "benefit"
    return "gain" if scored and all(entry.gain for entry in scored) else "score"


def _build_cell(entry: Entry | None, unit: str) -> CrossCell:
    if entry is None or entry.score is None:
        return CrossCell(None, entry.state_text if entry else "not in this study")
    gain = entry.gain
    value = {"score": entry.score, "benefit": entry.benefit, "gain": gain.delta if gain else None}[unit]
    return CrossCell(value, "", gain.p_holm if gain else None)
