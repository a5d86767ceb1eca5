"""The tasks of a study: cards and files of the user's, their data at every number of labels, and what is missing."""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from selfpretrain.cards import list_cards, load_task_card
from selfpretrain.config import MissingData, Settings, TaskConfig, UserError
from selfpretrain.door import check, complete_task, to_dataclass
from selfpretrain.hashing import compute_id, hash_section, to_plain
from selfpretrain.sources import local
from selfpretrain.sources.labelled import TaskData
from selfpretrain.sources.tasks import read_task

ALL = "all"  # of the labelled examples, in study.label_counts
OWN_FILE = "{name: <name>, path: <file>, text: <column>, label: <column>}"
NAME = re.compile(r"[\w.-]+")  # @ + and : have a meaning beside a task's name


def choose_tasks(settings: Settings) -> list[TaskConfig]:
    """The study's tasks: names of cards, mappings with ``name`` and what differs from the card or, with ``path``, a file of
    the user's; else the task on the command line.

    UserError for a name that stands twice, or that a file shares with a card.
    """
    study = settings.study
    if not study.tasks:
        if not settings.task.name:
            raise UserError(f"study={study.name} has no cells: choose a task, for example task=agnews or task=local")
        return [settings.task]
    chosen = [_read_entry(entry, settings) for entry in study.tasks]
    names = [task.name for task in chosen]
    if len(set(names)) < len(names):
        raise UserError(f"study.tasks={names} names a task twice; give each once")
    return chosen


def _read_entry(entry: Any, settings: Settings) -> TaskConfig:
    fields: dict[str, Any] = dict(entry) if isinstance(entry, dict) else {"name": entry}
    if fields.get("name") is None:
        raise UserError(
            f"study.tasks={settings.study.tasks} has a task without a name: study.tasks=[{{name: <card>, ...}}], or of "
            f"your own {OWN_FILE}"
        )
    name, path = str(fields["name"]), fields.get("path")
    try:
        if path is not None:
            check_name(name, path)
        card = load_task_card(local.CARD if path is not None else name)
        task = complete_task(to_dataclass({**to_plain(card), **fields}, TaskConfig))
        check(dataclasses.replace(settings, task=task))
    except UserError as error:
        hint = "" if name in list_cards("task") or path is not None else f"; a file of your own is {OWN_FILE}"
        raise UserError(f"study.tasks, {name}: {error}{hint}") from None
    return task


def check_name(name: str, path: Any) -> None:
    """UserError for what a user's file may not be called."""
    if name in list_cards("task") and name != local.CARD:
        raise UserError(f"{name} is the name of a card, and {path} another file; call it otherwise: {OWN_FILE}")
    if not NAME.fullmatch(name):
        raise UserError(f"{path} has the name {name!r}; allowed: letters, digits, _ . and -")


def read_tasks(
    settings: Settings, cards: Sequence[TaskConfig]
) -> tuple[dict[str, TaskConfig], dict[str, TaskData], dict[str, MissingData]]:
    """The tasks by name, at one of ``study.label_counts`` by name@count; their data; and, by name, why those of the others
    cannot be got.

    UserError for data that cannot be used, and for two names of one file.
    """
    counts = settings.study.label_counts
    numbers = [count for count in counts if count != ALL]
    if wrong := [count for count in numbers if type(count) is not int or count < 1]:
        raise UserError(f"study.label_counts={list(counts)} has {wrong[0]!r}; allowed: numbers above 0, and {ALL}")
    tasks: dict[str, TaskConfig] = {}
    data: dict[str, TaskData] = {}
    missing: dict[str, MissingData] = {}
    for card in cards:
        try:
            read = _read_counts(card, counts, settings.runtime.runs_dir)
        except MissingData as error:
            missing[card.name] = error
            continue
        except UserError as error:
            if settings.study.tasks and card.loader == "local":
                raise UserError(f"study.tasks, {card.name}: {error} (task.<setting> is <setting> there)") from None
            raise
        tasks |= {key: task for key, (task, _) in read.items()}
        data |= {key: found for key, (_, found) in read.items()}
    _refuse_twins(data)
    return tasks, data, missing


def find_missing(cards: Sequence[TaskConfig], runs_dir: str) -> dict[str, MissingData]:
    """Why the data of these cannot be got, by name; not of those that can."""
    missing = {}
    for card in cards:
        try:
            read_task(card, runs_dir)
        except MissingData as error:
            missing[card.name] = error
    return missing


def refuse_missing(missing: Mapping[str, MissingData]) -> NoReturn:
    """Of a study that can run nothing for want of data."""
    first, *others = missing.values()
    if not others:
        raise first
    names = ", ".join(list(missing)[1:])
    raise UserError(f"no task of the study has data here: {first}; missing, too: {names}")


def _read_counts(card: TaskConfig, counts: Sequence[Any], runs_dir: str) -> dict[str, tuple[TaskConfig, TaskData]]:
    """The task with each number of labelled examples by ``<name>@<count>``, and with all it has by its name.

    A count it has no more examples than is all of them. UserError where a smaller set is not within a larger one.
    """
    numbers = [count for count in counts if count != ALL]
    whole = read_task(card, runs_dir)
    num_labels = len(whole.splits["train"].ids)
    fewer = [
        dataclasses.replace(card, max_train_examples=count) for count in sorted(set(numbers)) if count < num_labels
    ]
    found = {f"{card.name}@{task.max_train_examples}": (task, read_task(task, runs_dir)) for task in fewer}
    if len(numbers) < len(counts) or max(numbers, default=num_labels) >= num_labels:
        found[card.name] = card, whole
    for (small, (_, smaller)), (large, (_, larger)) in itertools.pairwise(found.items()):
        if {*smaller.splits["train"].ids}.difference(larger.splits["train"].ids):
            raise UserError(
                f"study.label_counts={list(counts)}: rounding the shares of the classes, {small} is not within {large}; "
                "change one of them by 1"
            )
    return found


def _refuse_twins(data: Mapping[str, TaskData]) -> None:
    """Two names for the same examples, read in the same way: they would be one run, and count twice."""
    first: dict[str, str] = {}
    for key, found in data.items():
        read = {"data": found.fingerprint, "task": hash_section("task", found.task), "own": found.task.corpus_columns}
        other = first.setdefault(compute_id(read), key)
        if other != key:
            raise UserError(f"study.tasks: {other} and {key} are the same file, read in the same way; give it once")
