"""Plots of a summary as PNG, SVG and PDF; the same summary gives the same bytes."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from itertools import cycle
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from selfpretrain.numbers import format_score
from selfpretrain.report.charts import explain_star, find_ends, get_value, name_unit
from selfpretrain.report.comparisons import UNITS, Interval
from selfpretrain.report.cross import MEAN_COLUMN, MEAN_ROW
from selfpretrain.report.findings import (
    LABELS,
    TOKENS,
    Calibration,
    Cross,
    Curve,
    Dynamics,
    Entry,
    Panel,
    Reliability,
    Summary,
)
from selfpretrain.study.conditions import find_condition

LUMINANCE = (0.299, 0.587, 0.114)  # of red, green and blue
MARKERS = "osD^vPX*"
FORMATS: dict[str, dict[str, None]] = {  # with neither date nor version
    "png": {"Software": None},
    "svg": {"Date": None, "Creator": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}
PANELS_PER_ROW = 3
NARROWEST = 0.04  # of a score axis
_STYLE = {
    "svg.hashsalt": "selfpretrain",
    "pdf.fonttype": 42,  # TrueType, embedded; of Type 3, the default, journals refuse the glyphs
    "font.size": 9.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.dpi": 100.0,
    "savefig.dpi": 160.0,
    "font.family": "DejaVu Sans",
    "text.parse_math": False,  # a name may have dollars
}


def draw_scores(summary: Summary) -> dict[str, bytes]:
    """One panel per task: each condition's score with its interval, single runs as faint dots, models by marker."""
    panels: dict[str, list[Panel]] = {}  # by task
    for panel in summary.panels:
        panels.setdefault(panel.task, []).append(panel)
    marks = dict(zip(dict.fromkeys(panel.model for panel in summary.panels), cycle(MARKERS), strict=False))
    num_columns = min(PANELS_PER_ROW, len(panels))
    num_rows = math.ceil(len(panels) / num_columns)
    with _open_style():
        conditions = {task: _list_conditions(of_task) for task, of_task in panels.items()}
        height = 0.9 + max(len(listed) for listed in conditions.values()) * (0.22 + 0.2 * len(marks))
        figure = Figure(figsize=(1.2 + 3.4 * num_columns, num_rows * height + 0.8), layout="constrained")
        axes = figure.subplots(num_rows, num_columns, squeeze=False).ravel()
        for place, task in zip(axes, panels, strict=False):
            _draw_task(place, task, panels[task], conditions[task], marks)
        for place in axes[len(panels) :]:
            place.set_visible(False)
        title = f"{summary.name}: score with {summary.confidence:.0%} interval; small dots: single runs"
        figure.suptitle(title, fontsize=10)
        if len(marks) > 1:
            handles = [Line2D([], [], color="black", marker=m, linestyle="", label=model) for model, m in marks.items()]
            figure.legend(handles=handles, loc="outside lower center", ncols=min(4, len(marks)), frameon=False)
        return _save(figure)


def _open_style() -> Any:
    """Ours over Matplotlib's defaults: a matplotlibrc of the user must not change the bytes."""
    style: Any = {**matplotlib.rcParamsDefault, **_STYLE}
    return matplotlib.rc_context(style)


def _list_conditions(panels: Sequence[Panel]) -> list[str]:
    """A task's conditions in the study's order; own_of:<task> stand in the matrix, unless there is nothing else."""
    listed = list(dict.fromkeys(entry.condition for panel in panels for entry in panel.entries))
    return [condition for condition in listed if find_condition(condition).text_of is None] or listed


def _draw_task(
    axes: Axes, task: str, panels: Sequence[Panel], conditions: Sequence[str], marks: dict[str, str]
) -> None:
    axes.set_title(task, loc="left", fontsize=9, fontweight="bold")
    axes.set_xlabel(panels[0].metric)
    axes.set_yticks(range(len(conditions)), conditions)
    axes.set_ylim(len(conditions) - 0.5, -0.5)
    axes.grid(axis="x", color="#DDDDDD", linewidth=0.6)
    axes.set_axisbelow(True)
    for panel in panels:
        shift = (list(marks).index(panel.model) - (len(marks) - 1) / 2) * 0.5 / len(marks)
        for entry in panel.entries:
            if entry.condition not in conditions:
                continue
            y = conditions.index(entry.condition) + shift
            if entry.score is None:  # at the left edge: there is no score to place it by
                text = entry.state_text + (f", {panel.model}" if len(marks) > 1 else "")
                across, box = axes.get_yaxis_transform(), {"facecolor": "white", "edgecolor": "none", "pad": 1.5}
                axes.text(0.03, y, text, transform=across, va="center", fontsize=8, style="italic", bbox=box)
            else:
                _draw_entry(axes, y, entry, entry.score, marks[panel.model])
    _set_limits(axes, panels, conditions)


def _draw_entry(axes: Axes, y: float, entry: Entry, score: Interval, marker: str) -> None:
    colour = entry.about.colour
    axes.scatter(entry.singles, [y + 0.1] * len(entry.singles), s=9, color=colour, alpha=0.55, linewidths=0, zorder=2)
    axes.plot([score.low, score.high], [y, y], color=colour, linewidth=1.8, solid_capstyle="butt", zorder=3)
    axes.plot([score.point], [y], marker=marker, color=colour, markersize=6, markeredgecolor="white", zorder=4)


def _set_limits(axes: Axes, panels: Sequence[Panel], conditions: Sequence[str]) -> None:
    """Fit the scores; the score without reading the text is a dashed line if near, else named at the edge."""
    values = [
        value
        for panel in panels
        for entry in panel.entries
        if entry.score and entry.condition in conditions
        for value in (entry.score.low, entry.score.high, *entry.singles)
    ]
    if not values:
        axes.set_xlim(0, 1)
        return
    low, high = min(values), max(values)
    span = max(high - low, 0.01)
    blind = next((panel.blind_score for panel in panels if panel.blind_score is not None), None)
    if blind is not None and math.isfinite(blind):
        if low - 0.6 * span <= blind <= high + 0.6 * span:
            axes.axvline(blind, color="black", linewidth=0.9, linestyle=(0, (4, 3)), zorder=1)
            low, high = min(low, blind), max(high, blind)
            note = f"dashed: without reading the text ({format_score(blind)})"
        else:
            note = f"without reading the text: {format_score(blind)}"
        axes.text(1.0, 1.015, note, transform=axes.transAxes, fontsize=6.5, color="#444444", va="bottom", ha="right")
    # never so narrow that differences of a few examples fill the axis
    margin = max(0.06 * (high - low), (NARROWEST - (high - low)) / 2)
    axes.set_xlim(low - margin, high + margin)
    axes.ticklabel_format(axis="x", useOffset=False)
    axes.locator_params(axis="x", nbins=5)


def draw_curves(summary: Summary, name: str) -> dict[str, bytes]:
    """The curves of one name, a model and task each: scores with intervals, a line per condition."""
    curves = [curve for curve in summary.curves if curve.name == name]
    conditions = list(dict.fromkeys(condition for curve in curves for condition in curve.lines))
    num_columns = min(PANELS_PER_ROW, len(curves))
    num_rows = math.ceil(len(curves) / num_columns)
    with _open_style():
        figure = Figure(figsize=(1.0 + 3.2 * num_columns, 0.9 + 2.5 * num_rows), layout="constrained")
        places = figure.subplots(num_rows, num_columns, squeeze=False).ravel()
        for axes, curve in zip(places, curves, strict=False):
            _draw_curve(axes, curve)
        for axes in places[len(curves) :]:
            axes.set_visible(False)
        title = {LABELS: "test score by labelled examples", TOKENS: "validation score by tokens, first seed"}[name]
        figure.suptitle(f"{summary.name}: {title}, {summary.confidence:.0%} interval", fontsize=10)
        handles = [Line2D([], [], color=find_condition(c).colour, marker="o", label=c) for c in conditions]
        figure.legend(handles=handles, loc="outside lower center", ncols=min(4, len(conditions)), frameon=False)
        return _save(figure)


def _draw_curve(axes: Axes, curve: Curve) -> None:
    axes.set_title(f"{curve.task}, {curve.model}", loc="left", fontsize=9, fontweight="bold")
    axes.set_xlabel("labelled examples" if curve.name == LABELS else "M tokens of pretraining")
    axes.set_ylabel(curve.metric)
    axes.grid(axis="y", color="#DDDDDD", linewidth=0.6)
    unit = 1.0 if curve.name == LABELS else 1e6
    for index, (condition, points) in enumerate(curve.lines.items()):
        x = np.array([point.x for point in points]) / unit
        if curve.name == LABELS:
            x = x * 1.03 ** (index - (len(curve.lines) - 1) / 2)  # side by side
        y = np.array([point.score.point for point in points])
        ends = np.array([[p.score.point - p.score.low, p.score.high - p.score.point] for p in points]).clip(0)
        axes.errorbar(
            x, y, yerr=ends.T, color=find_condition(condition).colour, marker="o", markersize=4, linewidth=1.4
        )
    if curve.name == LABELS:
        axes.set_xscale("log")
        ticks = sorted({point.x for points in curve.lines.values() for point in points})
        axes.set_xticks(ticks, [f"{tick:,.0f}" for tick in ticks])
        axes.set_xticks([], minor=True)


def draw_dynamics(summary: Summary) -> dict[str, bytes]:
    """Test scores by steps of pretraining, and differences beside them: a row per model and task, a line and a band each."""
    conditions = list(dict.fromkeys(name for found in summary.dynamics for name in found.conditions))
    conditions = list(dict.fromkeys([*conditions, summary.baseline]))
    with _open_style():
        size = (8.2, 1.0 + 2.7 * len(summary.dynamics))
        figure = Figure(figsize=size, layout="constrained")
        rows = figure.subplots(len(summary.dynamics), 2, squeeze=False, sharex="row")
        for (scores, differences), found in zip(rows, summary.dynamics, strict=True):
            _draw_scores_by_step(scores, found, conditions)
            _draw_separations(differences, found)
            for axes in (scores, differences):
                axes.set_xlabel("steps of pretraining")
                axes.grid(axis="y", color="#DDDDDD", linewidth=0.6)
                if found.is_log:
                    axes.set_xscale("log")
        title = f"{summary.name}: {summary.confidence:.0%} intervals that hold together for all steps of a line; ring: from here on apart"
        figure.suptitle(title, fontsize=10)
        handles = [Line2D([], [], color=find_condition(c).colour, marker="o", label=c) for c in conditions]
        figure.legend(handles=handles, loc="outside lower center", ncols=min(4, len(conditions)), frameon=False)
        return _save(figure)


def _draw_scores_by_step(axes: Axes, found: Dynamics, conditions: Sequence[str]) -> None:
    axes.set_title(f"{found.task}, {found.model}", loc="left", fontsize=9, fontweight="bold")
    axes.set_ylabel(found.metric)
    for name in conditions:
        entries = {step: panel.find(name) for step, panel in zip(found.steps, found.panels, strict=True)}
        scores = {step: entry.score for step, entry in entries.items() if entry and entry.score}
        marker = "o" if name in found.conditions else ""  # without steps a level
        _draw_band(axes, scores, find_condition(name).colour, marker)


def _draw_separations(axes: Axes, found: Dynamics) -> None:
    """A difference has the colour of its first condition, dashed against the reference; a ring where the two separate."""
    axes.axhline(0, color="black", linewidth=0.9, zorder=1)
    axes.set_ylabel("difference")
    lines = []
    for each in found.separations:
        colour, is_reference = find_condition(each.conditions[0]).colour, each.conditions[1] == found.reference
        deltas = {step: difference.delta for step, difference in each.differences.items() if difference}
        style: Any = (0, (4, 3)) if is_reference else "-"
        _draw_band(axes, deltas, colour, "o", style)
        lines.append(Line2D([], [], color=colour, linestyle=style, label=" - ".join(each.conditions)))
        if each.step is not None:
            ring: Any = {"facecolors": "none", "edgecolors": colour, "linewidths": 1.4, "zorder": 5}
            axes.scatter([each.step], [deltas[each.step].point], s=90, **ring)
    if lines:
        axes.legend(handles=lines, fontsize=7, frameon=False)


def _draw_band(axes: Axes, points: dict[int, Interval], colour: str, marker: str, style: Any = "-") -> None:
    steps, intervals = list(points), list(points.values())
    lows, highs = [each.low for each in intervals], [each.high for each in intervals]
    axes.fill_between(steps, lows, highs, color=colour, alpha=0.15, linewidth=0)
    values = [each.point for each in intervals]
    axes.plot(steps, values, color=colour, linestyle=style, marker=marker, markersize=4, linewidth=1.4)


def draw_reliability(summary: Summary) -> dict[str, bytes]:
    """Share right by confidence: a row per model and task, as trained and scaled side by side, a line per condition."""
    panels: dict[tuple[str, str], list[Calibration]] = {}
    for found in summary.calibrations:
        panels.setdefault((found.task, found.model), []).append(found)
    conditions = list(dict.fromkeys(found.condition for found in summary.calibrations))
    with _open_style():
        figure = Figure(figsize=(6.6, 0.9 + 2.9 * len(panels)), layout="constrained")
        rows = figure.subplots(len(panels), 2, squeeze=False, sharex="row", sharey="row")
        for row, ((task, model), several) in zip(rows, panels.items(), strict=True):
            for axes, name, words in zip(row, ("plain", "scaled"), ("as trained", "scaled"), strict=True):
                axes.set_title(f"{task}, {model}: {words}", loc="left", fontsize=9, fontweight="bold")
                axes.plot([0, 1], [0, 1], color="black", linewidth=0.9, linestyle=(0, (4, 3)), zorder=1)
                for found in several:
                    _draw_bins(axes, getattr(found, name), find_condition(found.condition).colour)
                axes.set_xlabel("confidence")
            row[0].set_ylabel("share right")
            lowest = min(bin.low for found in several for side in (found.plain, found.scaled) for bin in side.bins)
            row[0].set_xlim(lowest, 1.02)
            row[0].set_ylim(-0.03, 1.03)
        figure.suptitle(f"{summary.name}: all seeds together; larger dots: more test examples", fontsize=10)
        handles = [Line2D([], [], color=find_condition(c).colour, marker="o", label=c) for c in conditions]
        figure.legend(handles=handles, loc="outside lower center", ncols=min(4, len(conditions)), frameon=False)
        return _save(figure)


def _draw_bins(axes: Axes, reliability: Reliability, colour: str) -> None:
    x, y = [bin.confidence for bin in reliability.bins], [bin.right for bin in reliability.bins]
    axes.plot(x, y, color=colour, linewidth=1.0, alpha=0.6, zorder=2)
    sizes = [6 + 120 * bin.share for bin in reliability.bins]
    axes.scatter(x, y, s=sizes, color=colour, edgecolors="white", linewidths=0.5, zorder=3)


def draw_cross(cross: Cross, summary: Summary) -> dict[str, bytes]:
    """The cross-task matrix as a heat map; a star marks gains whose corrected p is below alpha."""
    title = f"{cross.model}: {name_unit(cross.unit, summary.baseline)}\n{explain_star(summary)}"
    # NaN where there is none
    values = np.array([[get_value(cell, cross.unit) for cell in row] for row in cross.cells], float)
    (low, high), palette = find_ends(cross), "cividis" if cross.unit == "score" else "PuOr"
    with _open_style():
        size = (max(5.2, 2.6 + 0.95 * len(cross.tasks)), 1.7 + 0.62 * len(cross.texts))
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.subplots()
        colours = matplotlib.colormaps[palette].with_extremes(bad="#EEEEEE")
        image = axes.imshow(values, cmap=colours, vmin=low, vmax=high, aspect="auto")
        axes.set_xticks(range(len(cross.tasks)), cross.tasks, rotation=25 if len(cross.tasks) > 3 else 0)
        axes.set_yticks(range(len(cross.texts)), cross.texts)
        axes.set_xlabel("fine-tuned on")
        axes.set_ylabel("pretrained on the text of")
        axes.set_title(title, loc="left", fontsize=9, fontweight="bold")
        for row, cells in enumerate(cross.cells):
            for column, cell in enumerate(cells):
                value = values[row, column]
                text, colour = cell.text.partition(":")[0].replace(" (", "\n("), "black"  # of a gap, not why
                if not math.isnan(value):
                    star = "*" if cell.p_holm is not None and cell.p_holm < summary.alpha else ""
                    text = f"{UNITS[cross.unit](value)}{star}"
                    shade = colours((value - low) / ((high - low) or 1.0))[:3]
                    colour = "white" if np.dot(shade, LUMINANCE) < 0.5 else "black"
                axes.text(column, row, text, ha="center", va="center", fontsize=8, color=colour)
        if MEAN_COLUMN in cross.tasks:  # the means apart from what they are of
            axes.axvline(cross.tasks.index(MEAN_COLUMN) - 0.5, color="white", linewidth=4)
            axes.axhline(cross.texts.index(MEAN_ROW) - 0.5, color="white", linewidth=4)
        figure.colorbar(image, ax=axes, shrink=0.9)
        return _save(figure)


def _save(figure: Figure) -> dict[str, bytes]:
    files = {form: io.BytesIO() for form in FORMATS}
    for form, file in files.items():
        figure.savefig(file, format=form, metadata=FORMATS[form])
    return {form: file.getvalue() for form, file in files.items()}
