"""A labelled task as three aligned splits, and the text of its training split.

Every task ends up with labelled ``train``, ``validation`` and ``test`` splits, whatever its source has: the
rules of ``selfpretrain.sources.splits`` cut what is missing, by the content of the text, so that a split never depends on
the order of a file and the same text is never on two sides. The examples themselves, and the documents of the own
text, stand in an order by content: a file sorted by label and a shuffled one are the same task.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from collections.abc import Iterator
from itertools import chain
from json.encoder import encode_basestring_ascii as quote
from pathlib import Path

import numpy as np

from selfpretrain.config import TaskConfig, UserError
from selfpretrain.hashing import to_plain
from selfpretrain.kinds import CLASSES, VALUES, get_kind
from selfpretrain.sources import answers, cache, description, hub, labels, local, options, splits, tagging
from selfpretrain.sources.arrays import choose, collect_items, find, iter_slices
from selfpretrain.sources.columns import format_rows, get_columns
from selfpretrain.sources.labelled import SPLITS, Split, TaskData, pause_collector
from selfpretrain.sources.strings import Strings, TextRows, hold, take
from selfpretrain.sources.tables import Table
from selfpretrain.stats.inputs import check_metric

_read: dict[str, TaskData] = {}


@pause_collector()
def load_task(task: TaskConfig, runs_dir: str) -> TaskData:
    """Read, check and split a task.

    Raises UserError, in one line that names the file and the row, for data that cannot be used.
    """
    return _limit(_load_whole(_lift_limit(task), runs_dir)[0], task)


def _lift_limit(task: TaskConfig) -> TaskConfig:
    return dataclasses.replace(task, max_train_examples=None)


def _load_whole(task: TaskConfig, runs_dir: str) -> tuple[TaskData, TextRows]:
    """The task, and its own text: a document for each training row, the columns of the corpus as lines of it, in order."""
    key_of = make_key_of(task)
    if task.loader == "docs":
        from selfpretrain.sources.docs import load_docs_task

        if task.group is not None:
            raise UserError(
                f"task.group={task.group} names a column, and task={task.name} has none; set task.group=null"
            )
        resolved, parts, notes = load_docs_task(task, runs_dir)
        documents = TextRows([hold(column) for column in zip(*parts["train"].texts, strict=True)])
    elif task.loader in ("hub", "local"):
        resolved, parts, documents, notes = _load(task, key_of)
    else:
        raise UserError(f"task.loader={task.loader} is not known; allowed: hub, docs, local")
    overlaps = find_overlaps(key_of, parts)
    notes += description.describe_labels(resolved, parts["train"].labels)
    notes.append(description.describe_overlap(parts, overlaps))
    documents = splits.sort_by_hash(TextRows(documents.columns, num_joined=len(documents.columns)))
    return TaskData(resolved, parts, compute_fingerprint(resolved, parts), notes, overlaps["test"]), documents


def _limit(data: TaskData, task: TaskConfig) -> TaskData:
    """The task with no more training examples than ``task.max_train_examples``."""
    resolved, size = dataclasses.replace(data.task, max_train_examples=task.max_train_examples), task.max_train_examples
    train = data.splits["train"]
    if size is None or len(train.ids) <= size:
        return dataclasses.replace(data, task=resolved)
    parts = {**data.splits, "train": _subsample(resolved, make_key_of(task), train, size)}
    notes = [*data.notes, f"train: {size} of {len(train.ids)} labelled examples used (task.max_train_examples)"]
    return TaskData(resolved, parts, compute_fingerprint(resolved, parts), notes, data.overlap)


@pause_collector()
def read_task(task: TaskConfig, runs_dir: str) -> TaskData:
    """:func:`load_task`, remembered: by the process, and for the next one beside the runs, where its files are known.

    What is kept on the disk is mapped: a text is in memory when it is asked for. Of fewer examples nothing else is.
    """
    key = json.dumps([to_plain(task), runs_dir])
    if key not in _read:
        folder = _keep(task, runs_dir)
        _read[key] = load_task(task, runs_dir) if folder is None else cache.load_task(folder)
        check_metric(str(_read[key].task.metric))  # a function of the user's may be gone since the data were kept
    return _read[key]


def _keep(task: TaskConfig, runs_dir: str) -> Path | None:
    """The folder that has the task, made now if need be, and made of the whole task's where it is part of it."""
    if task.max_train_examples is None:
        return cache.keep_task(runs_dir, task, list_sources(task), lambda: _load_whole(task, runs_dir))
    return cache.keep_task(
        runs_dir, task, list_sources(task), lambda: (_limit(read_task(_lift_limit(task), runs_dir), task), None)
    )


def list_sources(task: TaskConfig) -> list[Path | str] | None:
    """The files a task is read from, or the commit of the hub; None where it comes from the installed packages."""
    if task.loader == "local":
        given = (task.path, task.validation_path, task.test_path)
        return [Path(path) for path in given if path is not None]
    return list(hub.find_mirror_files(task).values()) or hub.list_sources(task) if task.loader == "hub" else None


def iter_own_text(task: TaskConfig, runs_dir: str) -> Iterator[str]:
    """The task's own text: one document per example of the training split, its columns joined by a newline; of questions
    about passages one per passage, with all its questions.

    In the order of a content hash, so that neighbours, or the end, tell nothing of a file sorted by label. All of the
    training text, even where ``max_train_examples`` cuts the labels; never a row that was cut off for validation or
    test.
    """
    task = _lift_limit(task)
    folder = _keep(task, runs_dir)
    documents = _load_whole(task, runs_dir)[1] if folder is None else cache.load_documents(folder)
    yield from (text for (text,) in documents if text)


def make_key_of(task: TaskConfig) -> splits.KeyOf:
    """What gives the key of what an example is about, from its texts. What has one key is on one side."""
    if answers.has_passages(task):
        return lambda texts: splits.compute_key(answers.choose_subject(task, texts))
    return functools.partial(splits.compute_key, unordered=task.unordered_pair)


def _load(task: TaskConfig, key_of: splits.KeyOf) -> tuple[TaskConfig, dict[str, Split], TextRows, list[str]]:
    """Resolved task, its splits before subsampling, the corpus columns of the training rows, notes."""
    text_columns = check_columns(task)
    if is_test_set(task):
        raise UserError(
            f"task={task.name} is a test set, without a training split: nothing can be fine-tuned on it; "
            f"choose a task with one, for example task=mnli, and score its run by evaluate task={task.name}"
        )
    tables, notes = (local.read_files if task.loader == "local" else hub.read_splits)(task)
    task = tagging.see_kind(task, tables["train"])
    tables = {name: tagging.join(task, table) for name, table in tables.items()}
    resolved = labels.resolve(task, tables["train"])
    tables = {name: options.spread(resolved, table) for name, table in tables.items()}
    parts: dict[str, Split] = {}
    rows: dict[str, np.ndarray] = {}
    in_order: dict[str, np.ndarray] = {}
    for name, table in tables.items():
        parts[name], rows[name], in_order[name] = read_split(resolved, table, name, text_columns, notes)
    if get_kind(resolved.label_kind).form.dtype is not np.object_:  # parts of a text are seldom the same twice
        notes.append(description.describe_neighbours(in_order))
    for name, fraction in (("test", task.test_fraction), ("validation", task.validation_fraction)):
        if name not in parts:
            size = splits.compute_size(name, len(parts["train"].ids), fraction)
            rows["train"] = choose(rows["train"], _cut(resolved, key_of, parts, name, size, notes))
    own_columns = options.expand(resolved, task.corpus_columns) or [*text_columns, *options.list_columns(resolved)]
    documents = TextRows(_read_texts(tables["train"], own_columns, rows["train"]))
    if answers.has_passages(resolved):
        documents = TextRows([hold(answers.gather_passages(documents))])
    for name in SPLITS:
        source = tables.get(name, tables["train"]).name
        labels.check_variety(resolved, parts[name].labels, f"{source} ({name} split)", is_scored=name != "train")
    parts = {name: parts[name] for name in SPLITS}
    notes += check_groups(resolved, parts)
    if get_kind(resolved.label_kind).form is VALUES and not resolved.score_range:
        scores = parts["train"].labels
        resolved = dataclasses.replace(resolved, score_range=[float(scores.min()), float(scores.max())])
    return resolved, parts, documents, notes


def is_test_set(task: TaskConfig) -> bool:
    """Whether a card has rows to score on alone."""
    return task.loader == "hub" and "train" not in task.splits


def check_columns(task: TaskConfig) -> list[str]:
    """The text columns: one, or two different ones, or more that make one text, and none of them the label's.

    Options that do not go with them are refused, too.
    """
    columns = get_columns(task.text)
    if len(set(columns)) != len(columns) or (len(columns) > 2 and not task.join_text):
        raise UserError(
            f"task.text={columns} must name one column or two different ones: task.text=[first,second]; "
            f"task.join_text=true makes one text of several columns"
        )
    if task.unordered_pair and (len(columns) == 1 or task.join_text):
        given = "task.join_text=true makes one text" if task.join_text else f"task.text={columns[0]} names one column"
        raise UserError(
            f"task.unordered_pair=true is for pairs, {given}; set task.text=[first,second] or task.unordered_pair=false"
        )
    both = set(columns) & set(get_columns(task.label))
    if both:
        raise UserError(
            f"column {both.pop()!r} is in task.text and in task.label; the label must not be part of the text"
        )
    options.check_columns(task, columns)
    answers.check_columns(task, columns)
    tagging.check_columns(task, columns)
    return columns


def _read_texts(table: Table, columns: list[str], rows: np.ndarray, setting: str = "task.text") -> list[Strings]:
    """The columns' cells in these rows as text; UserError, by row, for what no UTF-8 file and no tokenizer can hold."""
    texts = []
    for column in columns:
        cells = take(table.get(column, setting), rows)
        if not isinstance(cells, Strings):
            # None or NaN, which is not equal to itself
            made = ["" if cell is None or cell != cell else str(cell) for cell in cells]
            _check_encodable(made, table.name, rows)
            cells = hold(made)
        texts.append(cells)
    return texts


def read_texts(task: TaskConfig, table: Table) -> TextRows:
    """The texts of all rows of a table, in its order."""
    columns = check_columns(task)
    return TextRows(_read_texts(table, columns, np.arange(table.num_rows)), len(columns) if task.join_text else 0)


def read_split(
    task: TaskConfig, table: Table, name: str, columns: list[str], notes: list[str]
) -> tuple[Split, np.ndarray, np.ndarray]:
    """The usable examples of a table in the order of their content, their row numbers, and their labels in the table's order.

    What a card's data set lacks is dropped with a note. A row number is never an id: it would tell where in the file
    the example stood, and another copy of the file would be another task.
    """
    optional, choices = options.list_optional(task), options.list_columns(task)
    if task.loader == "local":
        local.check_texts(table, columns, "task.text", optional)
        local.check_texts(table, choices, "task.options")
    values, usable = labels.parse(task, table, name, notes)
    form = f" ({table.form})" if table.form else ""
    notes.append(f"{name}: {table.num_rows:,} rows read from {table.name}{form}")
    labelled = chain.from_iterable(table.get(column, "task.label") for column in get_columns(task.label))
    stripped = sum(isinstance(cell, str) and cell.strip() not in ("", cell) for cell in labelled)
    if stripped and get_kind(task.label_kind).form is CLASSES:
        notes.append(f"{name}: white space at the ends of {stripped} labels left out")
    if not usable.any():
        raise UserError(
            f"{table.name} has no labels (all are -1 or missing); choose another split: task.splits.{name}=<split>"
        )
    if not usable.all():
        notes.append(f"{name}: {int((~usable).sum())} rows without a label dropped")
    if name == "train" and task.loader != "local":
        needed = _mark_blank(table, [column for column in columns if column not in optional])
        blank = needed.all(axis=0) if task.join_text else needed.any(axis=0)
        blank |= _mark_blank(table, choices).any(axis=0)
        if (blank & usable).any():
            notes.append(f"{name}: {int((blank & usable).sum())} rows with an empty text dropped")
            usable = usable & ~blank
    rows = find(usable)
    values = choose(values, rows)
    texts = TextRows(_read_texts(table, [*columns, *choices], rows), len(columns) if task.join_text else 0)
    if choices:
        options.check_right(task, name, table.name, texts, values, rows, notes)
    given = local.read_ids(task, table)
    ids = take(given, rows) if given else None
    groups = None if task.group is None else _read_groups(table, task.group, rows)
    order = splits.compute_order(texts, values, ids, groups)
    ordered = texts.take(order)
    names = take(ids, order) if ids else splits.name_by_content(ordered)
    in_order = None if groups is None else choose(groups, order)
    return Split(names, ordered, choose(values, order), in_order), choose(rows, order), values


def _read_groups(table: Table, column: str, rows: np.ndarray) -> np.ndarray:
    """What stands for each row's group, uint64 [N], equal where its cell is."""
    (cells,) = _read_texts(table, [column], rows, "task.group")
    blank = [row for row, cell in zip(rows.tolist(), cells, strict=True) if not cell.strip()]
    if blank:
        raise UserError(
            f"{table.name}, {format_rows(blank)}: no group in column {column!r} ({len(blank)} of {table.num_rows} rows); give "
            f"every row one, or set task.group=null to take each example by itself"
        )
    return splits.compute_hashes("group", cells)


def check_groups(task: TaskConfig, parts: dict[str, Split]) -> list[str]:
    """A note on the groups of the examples; none without task.group. UserError where a split to score has one only."""
    if task.group is None:
        return []
    for name, part in parts.items():
        if name != "train" and part.groups is not None and len(np.unique(part.groups)) < 2:
            raise UserError(
                f"task={task.name}: all {len(part.ids)} {name} examples are of one group in column {task.group!r}, so nothing "
                f"can be resampled; give examples of several groups, or set task.group=null to take each by itself"
            )
    return [description.describe_groups(task.group, parts)]


def _mark_blank(table: Table, columns: list[str]) -> np.ndarray:
    """Where there is no text, bool [columns, N]."""
    cells = [table.get(column, "task.text") for column in columns]
    marks = [collect_items((not str(cell or "").strip() for cell in column), bool) for column in cells]
    return np.array(marks, dtype=bool).reshape(len(columns), table.num_rows)


def find_overlaps(key_of: splits.KeyOf, parts: dict[str, Split]) -> dict[str, tuple[str, ...]]:
    """The ids of the validation and test examples whose text is in the training split, whatever its label."""
    hashes = {name: splits.compute_hashes("overlap", map(key_of, split.texts)) for name, split in parts.items()}
    seen = {name: splits.find_common(hashes[name], hashes["train"]) for name in SPLITS[1:] if name in parts}
    return {name: tuple(take(parts[name].ids, rows)) for name, rows in seen.items()}


def _check_encodable(texts: list[str], name: str, rows: np.ndarray) -> None:
    for row, text in zip(rows.tolist(), texts, strict=True):
        try:
            text.encode()
        except UnicodeEncodeError as error:
            # JSON can write half of a surrogate pair, which no UTF-8 file and no tokenizer can hold
            raise UserError(
                f"{name}, row {row + 1}: the text has a lone surrogate at character {error.start}; remove it"
            ) from error


def _cut(
    task: TaskConfig, key_of: splits.KeyOf, parts: dict[str, Split], name: str, size: int, notes: list[str]
) -> np.ndarray:
    """Move about ``size`` examples from train to ``name`` in ``parts``; the rows, int64, of those that stay."""
    train = parts["train"]
    keys, strata = splits.Keys(key_of, train.texts), splits.compute_strata(train.labels)
    joined = None if train.groups is None else splits.join(keys, train.groups)
    if joined is None:
        held_out = splits.cut(keys, strata, size, name)
    else:
        held_out = splits.cut_whole(joined, strata, size, name)
    if not held_out.any():
        of = "" if joined is None else f" in {len(set(joined))} groups (task.group={task.group}, and equal texts)"
        raise UserError(
            f"task={task.name}: no {name} split can be cut from {len(train.ids)} training examples with "
            f"{len(set(train.texts))} different texts{of}; give one with task.{name}_path=<file>"
        )
    left = find(~held_out)
    parts[name], parts["train"] = train.take(find(held_out)), train.take(left)
    whole = "" if joined is None else ", whole groups"
    notes.append(f"{name}: {int(held_out.sum())} of {len(train.ids)} training examples cut off by content hash{whole}")
    return left


def _subsample(task: TaskConfig, key_of: splits.KeyOf, train: Split, size: int) -> Split:
    strata = splits.compute_strata(train.labels)
    num_strata = len(splits.count_strata(strata))
    if size < num_strata:
        raise UserError(
            f"task.max_train_examples={size} is less than one example for each of the "
            f"{num_strata} classes of {task.name}; set task.max_train_examples={num_strata} or more"
        )
    # questions are drawn one by one, not by passage
    sampled_by = splits.compute_key if answers.has_passages(task) else key_of
    return train.take(splits.subsample(splits.Keys(sampled_by, train.texts), strata, size))


def compute_fingerprint(task: TaskConfig, parts: dict[str, Split]) -> str:
    """SHA-256 (hex) of the examples in their splits, the card's name and version, and the split rule.

    A user's file is what is in it, whatever it is called.
    """
    name = local.CARD if task.loader == "local" else task.name
    digest = hashlib.sha256()
    digest.update(json.dumps([name, task.version, splits.RULE_VERSION, task.label_names]).encode())
    for split in (parts[name] for name in SPLITS if name in parts):
        for example, texts in zip(split.ids, split.texts, strict=True):
            # json.dumps([example, *texts]) at half its cost
            digest.update(f"[{', '.join(map(quote, (example, *texts)))}]".encode())
        for block in iter_slices(len(split.labels)):
            digest.update(_write_labels(split.labels[block], is_first=block.start == 0))
    return digest.hexdigest()


def _write_labels(labels: np.ndarray, is_first: bool) -> bytes:
    """A block of labels; of text a line each."""
    if labels.dtype != object:
        return labels.tobytes()
    return "\n".join(["", *labels][is_first:]).encode()
