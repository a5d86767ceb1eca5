"""What is said of a task before anything is trained on it: labels, spellings, overlap. One line each."""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import chain

import numpy as np

from selfpretrain.config import TaskConfig
from selfpretrain.kinds import ANSWERS, SETS, TAGS, VALUES, get_kind
from selfpretrain.numbers import format_p_clause
from selfpretrain.sources.answers import load_answers
from selfpretrain.sources.arrays import iter_slices
from selfpretrain.sources.columns import MISSING_WORDS, NUMBER, RARE, get_columns
from selfpretrain.sources.labelled import Split
from selfpretrain.stats.entities import find_entities

ALIKE = 0.001  # below this p, and by at least a point, neighbouring rows are said to have equal labels more often than chance
MAX_CLASSES = 12  # named with their counts; of more, the largest and the smallest


def describe_labels(task: TaskConfig, labels: np.ndarray) -> list[str]:
    """Kind, and classes with their counts or the range, of the training labels; then what is doubtful about names."""
    columns, names = ", ".join(map(repr, get_columns(task.label))), task.label_names
    kind, rows = get_kind(task.label_kind), f"{len(labels):,} training rows"
    form = kind.form
    doubts, other = [], ""
    if form is VALUES:
        found = f"{labels.min():g} to {labels.max():g}, {len(np.unique(labels)):,} different values in {rows}"
        said = f"{task.label_kind}, column {columns}, {found}"
    elif form is SETS:
        listed = _list_counts(names, labels.sum(axis=0).astype(int).tolist())
        said = f"{task.label_kind}, {listed}; {int((labels.sum(axis=1) == 0).sum()):,} of {rows} with none"
        doubts = _warn_of_names(names, {})
    elif form is ANSWERS:
        words = [len(answer.text.split()) for label in labels for answer in load_answers(label)]
        sizes = f"{np.median(words):.0f} words, the longest {max(words)}"
        said = f"{task.label_kind}, column {columns}, {rows}, the median answer {sizes}"
    elif form is TAGS:
        tagged = [label.split(" ") for label in labels]
        counts = Counter(chain.from_iterable(tagged))
        num_entities = sum(len(find_entities(tags, str(task.tag_scheme))) for tags in tagged)
        listed = _list_counts(names, [counts[name] for name in names])
        said = (
            f"{len(names)} tags ({task.tag_scheme}), column {columns}, {rows} with {counts.total():,} words and {num_entities:,} "
            f"entities: {listed}"
        )
        doubts = _warn_of_names(names, {})
    elif kind.has_options:
        listed = _list_counts(names, np.bincount(labels, minlength=len(names)).tolist())
        said = f"{len(names)} options, the right one in column {columns}, training rows: {listed}"
    else:
        counts = np.bincount(labels, minlength=len(names)).tolist()
        said = f"{len(counts)} classes, column {columns}, training rows: {_list_counts(names, counts)}"
        doubts = _warn_of_names(names, dict(zip(names, counts, strict=True)))
        if task.loader == "local" and all(NUMBER.fullmatch(str(value)) for value in task.label_values or names):
            other = " (task.label_kind=score if they are scores)"
    if task.loader == "local":
        other += "; none is missing (an empty cell, null or NaN would be)"
    return [f"label: {said}; metric {task.metric}{other}", *doubts]


def _list_counts(names: Sequence[str], counts: Sequence[int]) -> str:
    shown = [f"{_show(name)}: {count:,}" for name, count in zip(names, counts, strict=True)]
    if len(shown) <= MAX_CLASSES:
        return ", ".join(shown)
    order = sorted(range(len(shown)), key=lambda i: (-counts[i], i))
    largest, smallest = order[: MAX_CLASSES - 4], order[-3:]
    return f"{', '.join(shown[i] for i in largest)}, ... {', '.join(shown[i] for i in smallest)}"


def _show(name: str) -> str:
    """The name, in quotes where it is not one plain word."""
    return name if re.fullmatch(r"[\w.]+", name) and name == unicodedata.normalize("NFC", name) else _quote(name)


def _warn_of_names(names: Sequence[str], counts: Mapping[str, int]) -> list[str]:
    """Classes that look like one class spelled in two ways, and rare ones that are named like what is missing."""
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(_simplify(name), []).append(name)
    near = [" and ".join(map(_quote, group)) for group in groups.values() if len(group) > 1]
    lines = []
    if near:
        more = f" and {len(near) - 10} more groups" if len(near) > 10 else ""
        lines.append(f"warning: spellings that may be one class, kept apart: {'; '.join(near[:10])}{more}")
    total = sum(counts.values())
    for name in names:
        if name.casefold() in MISSING_WORDS and 0 < counts.get(name, 0) < RARE * total:
            lines.append(
                f"warning: {name!r} is a class of {counts[name]} rows; if it means that there is no label, remove the rows"
            )
    return lines


def _quote(name: str) -> str:
    """What is invisible, or composed otherwise, spelled out."""
    return ascii(name) if not name.isprintable() or unicodedata.normalize("NFC", name) != name else repr(name)


def _simplify(name: str) -> str:
    """One key for spellings that people take for one: case, composition, width, invisible characters, hyphens."""
    text = unicodedata.normalize("NFKC", name).casefold()
    text = "".join(character for character in text if unicodedata.category(character) not in ("Cf", "Cc", "Mn"))
    if NUMBER.fullmatch(text):
        return repr(float(text))
    if not any(map(str.isalpha, text)):
        return name
    return " ".join(re.split(r"[\s_\-\u2010-\u2015/]+", text)).strip(" .:;!\"'") or name


def describe_neighbours(labels: Mapping[str, np.ndarray]) -> str:
    """Whether rows next to each other in a file have the same label more often than chance; labels by split, in file order.

    More often they are sorted, by label or by document. No split of ours hangs on the order, but rows of one document, which
    may nearly be the same text, then lie on both sides of a cut.
    """
    found = {name: compute_neighbours(column) for name, column in labels.items()}
    told = [
        f"{name} {equal:.1%} equal, {expected:.1%} by chance ({format_p_clause(p)})"
        for name, (equal, expected, p) in found.items()
    ]
    line = f"labels of neighbouring rows: {', '.join(told)}"
    # of very many rows a difference that is nothing has a small p, too
    if not any(p < ALIKE and equal - expected >= 0.01 for equal, expected, p in found.values()):
        return line
    return (
        f"warning: {line}; the file may be sorted by label or by document, and rows of one document may be alike: "
        "selfpretrain corpus audit counts near-duplicates"
    )


def compute_neighbours(labels: np.ndarray) -> tuple[float, float, float]:
    """Of N labels in the order of a file, [N] or [N, K], the share of neighbours with equal ones, the mean of that share over
    all orders, and a one-sided p by its variance over them and a normal distribution; (1, 1, 1) where all are equal.

    Labels [N, K] are equal in all K; scores where both lie above the median, or neither does. It is the runs test of Wald and
    Wolfowitz (1940) for any number of classes: N less the runs is the number of equal neighbours (mean and variance:
    Barton and David 1957).
    """
    if labels.ndim == 1 and labels.dtype.kind == "f":
        middle = np.median(labels)  # where most have the highest score it is the median, and none lies above
        labels = labels > middle if (labels > middle).any() else labels < middle
    equal, counts = 0, Counter[bytes]()
    for block in iter_slices(len(labels)):
        kinds, numbers = np.unique(labels[block], axis=0 if labels.ndim > 1 else None, return_counts=True)
        counts.update({kind.tobytes(): number for kind, number in zip(kinds, numbers.tolist(), strict=True)})
        same = labels[block.start : block.stop + 1]
        equal += int((same[1:] == same[:-1]).reshape(len(same) - 1, -1).all(axis=1).sum())
    if len(counts) == 1:
        return 1.0, 1.0, 1.0
    # in Python's numbers: the cubes of many rows have more than 64 bits
    num, squares, cubes = len(labels), *(sum(count**power for count in counts.values()) for power in (2, 3))
    mean = squares / num - 1
    variance = (squares * (squares + num * (num + 1)) - 2 * num * cubes - num**3) / (num**2 * (num - 1))
    p = math.erfc((equal - mean) / math.sqrt(2 * variance)) / 2 if variance else 1.0
    return equal / (num - 1), mean / (num - 1), p


def describe_groups(column: str, parts: Mapping[str, Split]) -> str:
    """How many groups of examples each split has, and how many of them are in training, too."""
    groups = {name: np.unique(part.groups) for name, part in parts.items() if part.groups is not None}
    counts = [f"{name} {len(found):,} of {len(parts[name].ids):,} examples" for name, found in groups.items()]
    line = f"groups (equal {column!r}): {', '.join(counts)}; intervals take the examples group by group"
    known = groups.pop("train", np.array([], np.uint64))
    seen = {name: len(np.intersect1d(found, known)) for name, found in groups.items()}
    if not any(seen.values()):
        return line
    return f"warning: {line}; in training, too: {', '.join(f'{count:,} of {name}' for name, count in seen.items())}"


def describe_overlap(parts: Mapping[str, Split], overlaps: Mapping[str, Sequence[str]]) -> str:
    shares = [f"{name} {len(ids):,} of {len(parts[name].ids):,}" for name, ids in overlaps.items()]
    line = f"examples whose text is in training too: {', '.join(shares)}"
    return f"warning: {line}; scores on them may be memory" if any(overlaps.values()) else line
