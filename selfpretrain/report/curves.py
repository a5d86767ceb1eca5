"""Scores along an axis: the number of labelled examples, and the length of a pretraining."""

from __future__ import annotations

from dataclasses import replace

from selfpretrain.numbers import format_score
from selfpretrain.report.comparisons import compute_difference, compute_score
from selfpretrain.report.findings import LABELS, MARGIN, TOKENS, Curve, CurvePoint, Panel
from selfpretrain.runs.results import DONE, AlignedRuns, CellResult, StudyResults
from selfpretrain.study.conditions import OWN


def build_label_curves(panels: list[Panel]) -> list[Curve]:
    """Test scores by the number of labelled examples, for every model and task that the study has at several."""
    groups: dict[tuple[str, str], list[Panel]] = {}
    for panel in panels:
        groups.setdefault((panel.model, panel.card), []).append(panel)
    curves = []
    for (model, card), several in groups.items():
        curve = Curve(LABELS, model, card, several[0].metric)
        for panel in sorted(several, key=lambda panel: panel.num_labels):
            for entry in panel.entries:
                if entry.score and entry.about.text_of is None:
                    curve.lines.setdefault(entry.condition, []).append(CurvePoint(panel.num_labels, entry.score))
        if len(several) > 1 and curve.lines:
            curves.append(curve)
    return curves


def build_token_curves(results: StudyResults) -> list[Curve]:
    """Validation scores of the first seed by the tokens it was pretrained on, with the gain of the last stretch."""
    groups: dict[tuple[str, str], list[tuple[float, CellResult]]] = {}
    for tokens, cell in results.curve:
        if cell.status == DONE:
            groups.setdefault((cell.model, cell.task), []).append((tokens, cell))
    curves = [_build_token_curve(cells, results) for cells in groups.values()]
    return [curve for curve in curves if curve.last_gains]


def _build_token_curve(cells: list[tuple[float, CellResult]], results: StudyResults) -> Curve:
    first, study = cells[0][1], results.study
    task = results.tasks[first.task]
    curve = Curve(TOKENS, first.model, first.task, str(task.metric))
    aligned, _ = results.read_runs([cell for _, cell in cells], first.task, "validation")
    if aligned is None:
        return curve
    tokens = {cell.run_id: amount for amount, cell in cells}
    runs: dict[str, list[tuple[float, AlignedRuns]]] = {}
    for row, cell in enumerate(aligned.cells):
        single = replace(aligned, predictions=aligned.predictions[[row]], cells=(cell,))
        runs.setdefault(cell.condition, []).append((tokens[cell.run_id], single))
    for condition, points in runs.items():
        points.sort(key=lambda point: point[0])
        curve.lines[condition] = [CurvePoint(x, compute_score(run, curve.metric, study).interval) for x, run in points]
        if len(points) > 1:
            (_, before), (_, after) = points[-2:]
            curve.last_gains[condition] = compute_difference(before, after, curve.metric, study).delta
    return curve


def describe_length(curve: Curve) -> str:
    """Whether pretraining on the own text still paid when it ended: a line of evidence, of one seed and validation."""
    points, gain = curve.lines.get(OWN, []), curve.last_gains.get(OWN)
    if gain is None:
        return ""
    if gain.low > 0:
        answer = "it still paid when it ended"
    elif gain.high < MARGIN:
        answer = "more would hardly pay"
    else:
        answer = "whether more would pay is open"
    listed = ", ".join(f"{format_score(point.score.point)} after {point.x / 1e6:.3g} M tokens" for point in points)
    last = (points[-1].x - points[-2].x) / 1e6
    return (
        f"length: validation, first seed: {listed}; the last {last:.3g} M gave {gain.format('gain')}, this checkpoint only: "
        f"{answer}"
    )
