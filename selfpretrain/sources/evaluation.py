"""What a fine-tuned run is evaluated on and not trained: a user's file, with the labels that the run knows, or a test set."""

from __future__ import annotations

import dataclasses

import numpy as np

from selfpretrain.config import TaskConfig, UserError
from selfpretrain.kinds import CLASSES, SETS, TAGS, get_kind
from selfpretrain.sources import hub, labels, local, options, tagging, tasks
from selfpretrain.sources.columns import get_columns
from selfpretrain.sources.labelled import Split
from selfpretrain.sources.tables import Table


def load_file(task: TaskConfig, trained: TaskConfig, runs_dir: str) -> tasks.TaskData:
    """The file ``task.path`` as a test split of all its rows; with files of their own for validation or test, those.

    ``trained`` is the resolved task of the fine-tuned run: its labels are the label set, so a file may lack some of
    them, and a label that is not among them is refused by row (UserError, as for whatever else is wrong with a file).
    """
    table = local.read_rows(task)
    adopted = _adopt_labels(task, trained)
    if task.validation_path is not None or task.test_path is not None:
        return tasks.load_task(adopted, runs_dir)
    return _read_test(adopted, table, [])


def load_test_set(task: TaskConfig) -> tasks.TaskData:
    """The rows of a card without a training split."""
    tables, notes = hub.read_splits(task)
    return _read_test(task, tables["test"], notes)


def load_unlabelled(task: TaskConfig, source: str) -> Split:
    """A split of a card's data set in the order of its rows, which are its ids, from 0 on; labels are all 0 and mean nothing.

    ``source`` is the split's name on the hub.
    """
    tables, _ = hub.read_splits(dataclasses.replace(task, splits={"test": source}, num_rows={}))
    texts = tasks.read_texts(task, tables["test"])
    return Split(list(map(str, range(len(texts)))), texts, np.zeros(len(texts), get_kind(task.label_kind).form.dtype))


def _read_test(task: TaskConfig, table: Table, notes: list[str]) -> tasks.TaskData:
    columns, table = tasks.check_columns(task), tagging.join(task, table)
    resolved = labels.resolve(task, table)
    table = options.spread(resolved, table)
    parts = {"test": tasks.read_split(resolved, table, "test", columns, notes)[0]}
    labels.check_variety(resolved, parts["test"].labels, table.name, is_scored=True)
    notes = [*notes, *tasks.check_groups(resolved, parts)]
    return tasks.TaskData(resolved, parts, tasks.compute_fingerprint(resolved, parts), notes)


def _adopt_labels(task: TaskConfig, trained: TaskConfig) -> TaskConfig:
    """The task with the kind, classes and metric of the run, as far as its own settings do not say them."""
    columns = get_columns(task.label)
    kind = task.label_kind or trained.label_kind
    form = get_kind(kind).form
    names, values = task.label_names, task.label_values
    if not names and (form in (CLASSES, TAGS) or (form is SETS and len(columns) == 1)):
        names = trained.label_names
    if form in (CLASSES, TAGS) and not values and len(names) == len(trained.label_names):
        values = trained.label_values or [str(number) for number in range(len(names))]
    metric = task.metric or (trained.metric if kind == trained.label_kind else None)
    scheme = task.tag_scheme or (trained.tag_scheme if form is TAGS else None)
    return dataclasses.replace(
        task, label_kind=kind, label_names=list(names), label_values=list(values), tag_scheme=scheme, metric=metric
    )


def map_labels(task: TaskConfig, trained: TaskConfig) -> list[str]:
    """What each class of the fine-tuned run counts as in ``task``."""
    return [(task.label_map or {}).get(name, name) for name in trained.label_names]


def check_labels(task: TaskConfig, trained: TaskConfig, given: str) -> None:
    """Refuse a task whose labels are not those of ``trained``; ``given`` says in the message what was fine-tuned for it."""
    known = {"label_kind": trained.label_kind, "label_names": list(dict.fromkeys(map_labels(task, trained)))}
    for name, value in known.items():
        if value != getattr(task, name):
            raise UserError(
                f"{given} was fine-tuned for {trained.name} with {name} {getattr(trained, name)}, "
                f"task={task.name} has {getattr(task, name)}; choose a task with the same labels, or say which class of "
                f"the run counts as which: task.label_map={{<class>: <class of {task.name}>}}"
            )


def describe_seen(data: tasks.TaskData, trained: TaskConfig, fingerprint: str | None, runs_dir: str) -> str:
    """How many of the examples have a text of the run's training split; or why that cannot be said.

    ``fingerprint`` is that of the data the run was trained on.
    """
    try:
        known = tasks.read_task(trained, runs_dir)
    except UserError as error:
        return f"how many of them were in training is unknown: {error}"
    if fingerprint is not None and known.fingerprint != fingerprint:
        return f"how many of them were in training is unknown: the data of {trained.name} has changed since"
    seen = tasks.find_overlaps(tasks.make_key_of(trained), {**data.splits, "train": known.splits["train"]})
    counts = [f"{len(ids):,} of {len(data.splits[name].ids):,} {name}" for name, ids in seen.items()]
    return f"examples whose text was in the run's training split: {', '.join(counts)}"
