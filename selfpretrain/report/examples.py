"""Choosing the test examples on which procedures disagree most, with their texts: to look at, no sentence rests on them.

Predictions have ids and no texts; these come from the task's data as the plan has read them. Nothing of it enters
summary.json or a tracker, and of a user's own files nothing is shown unless ``report.examples`` asks for it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np

from selfpretrain.config import TaskConfig
from selfpretrain.kinds import ANSWERS, CLASSES, SETS, VALUES, get_kind
from selfpretrain.report.columns import NA, write_number
from selfpretrain.report.disagreements import (
    Example,
    ExampleList,
    Measure,
    Stance,
    View,
    count_apart,
    count_right,
    find_measure,
    rank,
    take_stance,
)
from selfpretrain.report.findings import Panel, Summary
from selfpretrain.runs.predictions import load_answers
from selfpretrain.runs.results import DONE, AlignedRuns, CellResult, StudyResults
from selfpretrain.sources import answers
from selfpretrain.sources.labelled import Split, TaskData
from selfpretrain.study.conditions import OWN

NAME = "examples"  # stem of the file
NUM_EXAMPLES = 5  # of a pair of procedures, where report.examples does not say it
PUBLIC_LOADERS = ("hub", "docs")  # whose texts are shown by default; what any other reads may be private
LENGTH = 400  # characters of a text, a label or an answer that are shown
ELLIPSIS = "…"
_BEFORE = 100  # of them before an answer, where a passage is cut around it
_CONTROLS = dict.fromkeys([*range(32), *range(127, 160)], "\ufffd")  # that white space has not taken with it
_FORMULA = ("=", "+", "-", "@")  # what spreadsheets take for the beginning of one


@dataclass(frozen=True)
class _Reading:
    """What the conditions of one model and task say, and the data behind the ids."""

    task: TaskConfig
    measure: Measure
    ids: Sequence[str]
    labels: np.ndarray  # [N], of sets [N, K]; of answers and tags their sums
    stances: dict[str, Stance]  # those to be shown, in order
    cells: list[CellResult]  # all runs
    split: Split
    rows: dict[str, int]  # id -> row of the split


def add_examples(
    summary: Summary, results: StudyResults, data: Mapping[str, TaskData], number: int | None = None
) -> None:
    """Add the lists of examples to the summary, and a warning for each model and task that lacks what they are made of.

    Args:
        data: of each task of the study that is here.
        number: ``report.examples``.
    """
    for panel in summary.panels:
        size = choose_number(results.tasks[panel.task], number)
        pairs = choose_pairs(panel, summary) if size else []
        if not pairs:
            continue
        read = _read(panel, pairs, results, data.get(panel.task))
        if isinstance(read, str):
            summary.warnings.append(f"{panel.task}, {panel.model}: no examples are shown: {read}")
            continue
        for pair in pairs:
            found = _list_examples(panel, pair, read, size)
            if isinstance(found, str):
                summary.warnings.append(f"{panel.task}, {panel.model}: no examples are shown: {found}")
            elif found.examples:
                summary.disagreements.append(found)


def choose_number(task: TaskConfig, given: int | None) -> int:
    """Examples of each pair of procedures on this task."""
    if given is not None:
        return given
    return NUM_EXAMPLES if task.loader in PUBLIC_LOADERS and task.path is None else 0


def choose_pairs(panel: Panel, summary: Summary) -> list[tuple[str, str]]:
    """Own and the reference, own and the baseline; without own what is compared seed by seed, then the reference and the
    baseline. Only conditions that have a score.
    """
    scored = {entry.condition for entry in panel.entries if entry.score}
    pairs = [(OWN, summary.reference), (OWN, summary.baseline)]
    if OWN not in scored:
        of_panel = [each for each in summary.procedures if (each.model, each.task) == (panel.model, panel.task)]
        pairs = [(each.first, each.second) for each in of_panel if not each.is_interaction]
        pairs.append((summary.reference, summary.baseline))
    return [pair for pair in dict.fromkeys(pairs) if {*pair} <= scored and pair[0] != pair[1]]


# reading


def _read(
    panel: Panel, pairs: Sequence[tuple[str, str]], results: StudyResults, data: TaskData | None
) -> _Reading | str:
    """What there is to choose from, or why there is nothing."""
    task = results.tasks[panel.task]
    measure = find_measure(get_kind(task.label_kind).form)
    if measure is None:
        return f"what two answers of label_kind={task.label_kind} are apart has no measure"
    split = data.splits.get("test") if data else None
    if split is None:
        return "its data are not here"
    usual = [entry.condition for entry in panel.entries if entry.score and entry.about.text_of is None]
    cells = [
        cell for cell in results.cells
        if (cell.model, cell.task, cell.status) == (panel.model, panel.task, DONE)
    ]  # fmt: skip
    stances: dict[str, Stance] = {}
    first: AlignedRuns | None = None
    for condition in dict.fromkeys([*chain.from_iterable(pairs), *usual]):  # one after the other, to keep little
        own = [cell for cell in cells if cell.condition == condition]
        runs, _ = results.read_runs(own, panel.task, decoded=False)
        assert runs is not None, condition  # it has a score
        first = first or runs
        stances[condition] = take_stance(condition, _arrange(runs, first.ids), measure)
    assert first is not None
    return _Reading(task, measure, first.ids, first.labels, stances, cells, split, _find_rows(split, first.ids))


def _arrange(runs: AlignedRuns, ids: Sequence[str]) -> AlignedRuns:
    """The same runs, their examples in the order of ``ids``."""
    if runs.ids == ids:
        return runs
    rows = {example: row for row, example in enumerate(runs.ids)}
    order = [rows[example] for example in ids]
    return replace(runs, ids=list(ids), labels=runs.labels[order], predictions=runs.predictions[:, order])


def _find_rows(split: Split, ids: Sequence[str]) -> dict[str, int]:
    wanted = set(ids)
    return {example: row for row, example in enumerate(split.ids) if example in wanted}


# choosing


def _list_examples(panel: Panel, pair: tuple[str, str], reading: _Reading, size: int) -> ExampleList | str:
    """The examples on which the two are furthest apart, or why there are none."""
    first, second = (reading.stances[condition] for condition in pair)
    chosen = rank(first, second, reading.ids, reading.measure)[:size]
    if any(reading.ids[row] not in reading.rows for row, _, _ in chosen):
        return "the data that are here are not those that it was scored on"
    others = [stance for condition, stance in reading.stances.items() if condition not in pair]
    examples = tuple(_show(place, [first, second, *others], reading) for place in chosen)
    return ExampleList(
        panel.model, panel.task, panel.metric, pair, reading.measure.of_label, reading.measure.distance, len(reading.ids),
        count_apart(first, second, reading.measure), _add_answers(examples, reading),
    )  # fmt: skip


def _show(place: tuple[int, int, float], stances: Sequence[Stance], reading: _Reading) -> Example:
    row, column, distance = place
    form, label = get_kind(reading.task.label_kind).form, reading.labels[row]
    where = reading.rows[reading.ids[row]]
    if form is CLASSES:
        name = _name_class(reading.task, int(label))
    elif form is SETS:
        name = _name_truth(reading.task, column, bool(label[column]))
    else:
        name = f"{float(label):g}" if form is VALUES else _name_answer(reading.split.labels[where], form is ANSWERS)
    views = []
    for stance in stances:
        of_label, number, of_chosen = reading.measure.view(stance.values[row], label, column)
        said = ""
        if form is CLASSES and number is not None:
            said = _name_class(reading.task, number)
        elif form is SETS:
            said = _name_truth(reading.task, column, bool(number))
        elif form is VALUES:
            said = f"{float(stance.values[row][0]):.3g}"
        num_right = count_right(stance, row, column)
        views.append(View(stance.condition, of_label, said, of_chosen, num_right, stance.num_runs))
    texts = _cut_texts(reading.task, reading.split.texts[where], reading.split.labels[where])
    return Example(reading.ids[row], texts, cut(name), distance, tuple(views))


def _name_class(task: TaskConfig, number: int) -> str:
    return str(task.label_names[number]) if number < len(task.label_names) else str(number)


def _name_truth(task: TaskConfig, number: int, applies: bool) -> str:
    return f"{'' if applies else 'not '}{_name_class(task, number)}"


def _name_answer(label: str, is_json: bool) -> str:
    """The accepted answers, or the tags."""
    accepted = [answer.text for answer in answers.load_answers(label)] if is_json else [label]
    return " | ".join(dict.fromkeys(accepted))


def _add_answers(examples: tuple[Example, ...], reading: _Reading) -> tuple[Example, ...]:
    """With what most runs of a condition answer, where that is words; of as many the first by the alphabet."""
    if not get_kind(reading.task.label_kind).of_tokens:
        return examples
    ids = {example.id for example in examples}
    given: dict[tuple[str, str], Counter[str]] = {}
    for cell in (cell for cell in reading.cells if cell.condition in reading.stances):
        for example, answer in load_answers(cell.folder / "predictions" / "test.parquet", ids).items():
            given.setdefault((cell.condition, example), Counter())[answer] += 1

    def add(view: View, example: Example) -> View:
        counts = given.get((view.condition, example.id))
        return view if not counts else replace(view, chosen=cut(min(counts, key=lambda each: (-counts[each], each))))

    return tuple(replace(each, views=tuple(add(view, each) for view in each.views)) for each in examples)


# texts


def _cut_texts(task: TaskConfig, texts: Sequence[str], label: object) -> tuple[str, ...]:
    """The texts of an example, cut; options with their names, and a passage around the first answer in it."""
    kind = get_kind(task.label_kind)
    if kind.has_options:
        num_options = len(task.label_names)
        named = [f"{name}: {text}" for name, text in zip(task.label_names, texts[-num_options:], strict=True)]
        return tuple(cut(text) for text in (*filter(str.strip, texts[:-num_options]), *named))
    if kind.form is ANSWERS:
        start = answers.load_answers(str(label))[0].start
        return (*map(cut, texts[:-1]), cut(texts[-1], start))
    return tuple(map(cut, texts))


def cut(text: str, around: int = 0) -> str:
    """A text of at most LENGTH characters and ellipses, white space as single spaces; from shortly before the character
    ``around`` on, where it stands too far behind to be shown otherwise.
    """
    before, after = " ".join(text[:around].split()), " ".join(text[around:].split())
    text = " ".join(filter(None, [before, after]))
    start = len(before) - _BEFORE if len(text) > LENGTH and len(before) > LENGTH - _BEFORE else 0
    shown = text[start : start + LENGTH].strip()
    left, right = ELLIPSIS * (start > 0), ELLIPSIS * (start + LENGTH < len(text))
    return f"{left}{shown}{right}".translate(_CONTROLS)


# as a file, and in words


def list_csv(lists: Sequence[ExampleList]) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    """Header and rows, one for each condition of each example. An apostrophe stands before what a spreadsheet would take
    for a formula.
    """
    num_texts = max((len(example.texts) for each in lists for example in each.examples), default=0)
    names = [f"text_{number}" for number in range(1, num_texts + 1)]
    header = ("model", "task", "metric", "first", "second", "rank", "id", "distance", "label", "condition", "of_label", "chosen", "of_chosen",
              "runs_right", "runs", *names)  # fmt: skip
    rows = []
    for each in lists:
        for place, example in enumerate(each.examples, start=1):
            texts = [*example.texts, *[""] * (num_texts - len(example.texts))]
            for view in example.views:
                right = NA if view.num_right is None else str(view.num_right)
                row = (each.model, each.task, each.metric, *each.pair, str(place), example.id, repr(example.distance), example.label,
                       view.condition, repr(view.of_label), view.chosen, write_number(view.of_chosen), right, str(view.num_runs), *texts)  # fmt: skip
                rows.append(tuple(_disarm(cell) for cell in row))
    return header, tuple(rows)


def _disarm(cell: str) -> str:
    try:
        float(cell)
    except ValueError:
        return f"'{cell}" if cell.startswith(_FORMULA) else cell
    return cell


def explain_examples(summary: Summary) -> list[str]:
    if not summary.disagreements:
        return []
    distances: dict[str, list[str]] = {}
    for each in summary.disagreements:
        tasks = distances.setdefault(each.distance, [])
        tasks += [each.task] if each.task not in tasks else []
    listed = "; ".join(
        words if len(distances) == 1 else f"{words} ({', '.join(tasks)})" for words, tasks in distances.items()
    )
    return [
        f"Examples: of all test examples those on which two procedures are furthest apart, by {listed}. Means are over seeds. "
        "They were chosen for their distance, part of which is chance of the seeds, so they show what differs and not how "
        "much: no sentence rests on them."
    ]
