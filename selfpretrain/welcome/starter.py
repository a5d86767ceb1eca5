"""``selfpretrain init x.csv``: a study file for a user's own data, with what was seen of them. Nothing is asked."""

from __future__ import annotations

import dataclasses
import json
import re
import shlex
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from selfpretrain.cards import list_cards, load_task_card
from selfpretrain.config import Settings, TaskConfig, UserError
from selfpretrain.data.examples import describe_cut
from selfpretrain.door import choose_general, compose_settings
from selfpretrain.files import explain_write_errors, write_text
from selfpretrain.hashing import to_plain
from selfpretrain.hints import hint_at
from selfpretrain.kinds import CLASSES, arrange, get_kind
from selfpretrain.overrides import escape_interpolation, quote_override
from selfpretrain.places import list_choices
from selfpretrain.sources import local, splits
from selfpretrain.sources.guess import guess_columns
from selfpretrain.sources.labelled import SPLITS, TaskData
from selfpretrain.sources.tables import FORMATS, read_table
from selfpretrain.sources.tasks import load_task, make_key_of
from selfpretrain.study.tasks import check_name

IMBALANCED = 0.75  # share of the largest class from which always saying it looks good by accuracy
MODEL, EFFORT = "roberta_tiny", "quick"
CONDITIONS = {
    "none": "no pretraining",
    "own": "pretrained on this file's own training text",
    "bookwiki": "pretrained on a general collection",
}
PLAIN = re.compile(r"[A-Za-z][\w./-]*")
YAML_WORDS = ("true", "false", "null", "yes", "no", "on", "off", "y", "n")


def start_study(arguments: Sequence[str]) -> list[str]:
    """Write ``<name>.yaml`` in the folder in which the command is started; the lines to be printed.

    Raises UserError for data that no study could use, and where there is such a file already.
    """
    given = read_arguments(arguments)
    target = Path(f"{given.study.name}.yaml")
    if target.exists():
        raise UserError(
            f"{target} is there already and stays; name another: selfpretrain init {shlex.join(arguments)} study.name=<name>"
        )
    task, reasons = choose_columns(given.task)
    data = load_task(task, given.runtime.runs_dir)
    task, reasons["metric"] = choose_metric(task, data)
    if task.metric != data.task.metric:
        data = load_task(task, given.runtime.runs_dir)
    settings = compose_settings("study", [f"model={MODEL}", f"effort={EFFORT}"])
    said = [*describe_choices(task, reasons), *describe_file(data), _describe_lengths(data, settings)]
    with explain_write_errors(target):
        write_text(target, write_study(given.study.name, task, reasons, data))
    return [*said, "", f"{target} is written. Next:", *(f"  {line}" for line in list_commands(target.name))]


def read_arguments(arguments: Sequence[str]) -> Settings:
    """The file as ``task.path``, settings of its task, and the study's name, by the file's where none is given."""
    words = [f"task.path={word}" if "=" not in word or Path(word).is_file() else word for word in arguments]
    for word in words:
        key = word.partition("=")[0]
        if not (key.startswith("task.") or key == "study.name"):
            hint = hint_at(f"task.{key.rpartition('.')[2]}", [f"task.{f.name}" for f in dataclasses.fields(TaskConfig)])
            raise UserError(
                f"init takes a file, task.<setting>=<value> and study.name=<name>, not {word}; {hint}as in: selfpretrain init "
                "x.csv task.text=<column>"
            )
    paths = [word for word in words if word.startswith("task.path=")]
    if len(paths) != 1:
        wrong = f"{len(paths)} files are named" if paths else "no file is named"
        raise UserError(
            f"{wrong}; give one, {', '.join(FORMATS)}, with a row for each example: selfpretrain init x.csv"
        )
    name = f"study.name={make_name(paths[0].partition('=')[2])}"
    given = compose_settings("study", ["task=local", *map(quote_override, (name, *words))])
    check_name(given.study.name, given.task.path)  # it is the task's, too
    return given


def make_name(path: str) -> str:
    """A name for the study and its task: the file's, but none that a card or a preset has."""
    stem = re.sub(
        r"(\.(csv|tsv|tab|txt|jsonl?|parquet|conll|gz|bz2|xz|zip))+$", "", Path(path).name, flags=re.IGNORECASE
    )
    name = re.sub(r"[^\w-]+", "_", stem, flags=re.ASCII).strip("_-") or "mine"
    return f"my_{name}" if name in {*list_cards("task"), *list_choices("study")} else name


def choose_columns(task: TaskConfig) -> tuple[TaskConfig, dict[str, str]]:
    """The task with the columns that were named, or else are likely."""
    table = read_table(Path(str(task.path)), "task.path", task.delimiter, task.encoding)
    chosen, reasons = guess_columns(task, table)
    return chosen, {"text": "as you said", "label": "as you said", **reasons}


def choose_metric(task: TaskConfig, data: TaskData) -> tuple[TaskConfig, str]:
    """The task with its metric, and why this one."""
    chosen = data.task
    if task.metric is not None:
        return task, "as you said"
    form = get_kind(chosen.label_kind).form
    if form is not CLASSES:
        return dataclasses.replace(task, metric=chosen.metric), f"the usual one of the kind {chosen.label_kind}"
    counts = _count_labels(data)
    most = min(counts, key=lambda label: (-counts[label], label))
    share, largest = counts[most] / counts.total(), chosen.label_names[most]
    always = f"always saying {json.dumps(largest, ensure_ascii=False)} would be right in {share:.0%}"
    if share > IMBALANCED and "macro_f1" in get_kind(chosen.label_kind).metrics:
        return dataclasses.replace(task, metric="macro_f1"), f"{always}, so that accuracy would say little"
    return dataclasses.replace(task, metric=chosen.metric), always


def _count_labels(data: TaskData) -> Counter[int]:
    return Counter(chain.from_iterable(part.labels.tolist() for part in data.splits.values()))


def describe_choices(task: TaskConfig, reasons: dict[str, str]) -> list[str]:
    """What was chosen, and why, a line each."""
    columns = {name: ", ".join(getattr(task, name) or ()) for name in ("text", "label")}
    return [f"{name}: {value} ({reasons[name]})" for name, value in {**columns, "metric": task.metric}.items()]


def describe_file(data: TaskData) -> list[str]:
    """What a study would say of the file, and what it holds twice."""
    keys = chain.from_iterable(map(make_key_of(data.task), data.splits[name].texts) for name in SPLITS)
    _, firsts, counts = np.unique(splits.compute_hashes("twice", keys), return_inverse=True, return_counts=True)
    again = int((counts - 1).sum())
    line = f"duplicates: {again:,} of {len(firsts):,} rows have the text of another row"
    if again:
        line += "; rows of one text stay on one side of every cut"
    labels = np.concatenate([data.splits[name].labels for name in SPLITS])
    if again and get_kind(data.task.label_kind).form is CLASSES:
        pairs = np.unique(np.stack([firsts, labels]), axis=1)
        if differing := int((np.bincount(pairs[0]) > 1).sum()):
            line = f"warning: {line}; {differing:,} texts have several labels"
    sizes = ", ".join(f"{name} {len(data.splits[name].ids):,}" for name in SPLITS)
    return [*data.notes, line, f"examples: {sizes}"]


def _describe_lengths(data: TaskData, settings: Settings) -> str:
    texts = data.splits["train"].texts
    words = np.array([sum(len(text.split()) for text in example) for example in texts[:: -(-len(texts) // 1000)]])
    cut = describe_cut(
        texts,
        settings.finetune.seq_len,
        None,
        lambda each: arrange(data.task, each),
        get_kind(data.task.label_kind).of_tokens,
    )
    return f"lengths: {np.median(words):.0f} words in the median, {words.max():,} the longest; {cut}"


def list_commands(name: str) -> list[str]:
    """What to do with the study file."""
    chosen = shlex.quote(f"study={name}")
    return [
        f"selfpretrain plan {chosen}     what it will take: runs, hours here, disk",
        f"selfpretrain study {chosen}    carries it out; stopped, the same command goes on",
        f"selfpretrain report {chosen}   its tables and plots again",
    ]


def write_study(name: str, task: TaskConfig, reasons: dict[str, str], data: TaskData) -> str:
    """The study file as text."""
    counts = ", ".join(f"{split} {len(data.splits[split].ids):,}" for split in SPLITS)
    head = [
        f"Is the own text of {Path(str(task.path)).name} enough, or does the task need text from elsewhere?",
        "",
        *list_commands(f"{name}.yaml"),
        "",
        "Any line but those of study.tasks can be overridden on the command line, as in study.pretrain_seeds=5; selfpretrain "
        "settings lists all there is.",
    ]
    general = choose_general("auto")
    return "\n".join(
        [
            "# @package _global_",
            *(f"# {line}".rstrip() for line in head),
            "defaults:",
            f"  - override /effort: {EFFORT}  # {' | '.join(list_choices('effort'))}; standard is for a night on a GPU",
            f"  - override /model: {MODEL}  # roberta_base and electra_small are for a GPU",
            "study:",
            f"  name: {_write(name)}",
            "  tasks:",
            f"    - name: {_write(name)}",
            *(f"      {line}" for line in _list_entries(task, reasons)),
            f"      # {counts} examples; files of your own: validation_path, test_path",
            "  conditions:",
            *(f"    - {key}  # {_note(meaning)}" for key, meaning in CONDITIONS.items()),
            f"  general: auto  # the general collection; here and now {general}",
            "  pretrain_seeds: 3  # more of them make intervals narrower",
            "  # label_counts: [100, 500, all]  # how few labels would do?",
            "",
        ]
    )


def _list_entries(task: TaskConfig, reasons: dict[str, str]) -> Iterable[str]:
    """What differs from the card of a user's file, a line each, with the reasons."""
    card = to_plain(load_task_card(local.CARD))
    notes = {"path": "relative to the folder in which a command is started", **reasons}
    given = to_plain(task)
    for key in dict.fromkeys(("path", "text", "label", *given)):  # these first
        value = given.get(key)
        if value != card.get(key) and key != "name":
            one = value[0] if isinstance(value, list) and len(value) == 1 else value
            yield f"{key}: {_write(one)}" + (f"  # {_note(notes[key])}" if key in notes else "")


def _note(text: str) -> str:
    """A comment on one line, whatever a column is called."""
    return "".join(character if character.isprintable() else "?" for character in " ".join(text.split()))


def _write(value: Any) -> str:
    """A value as YAML on one line, which OmegaConf reads as it is."""
    if isinstance(value, list):
        return f"[{', '.join(map(_write, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{_write(key)}: {_write(each)}' for key, each in value.items())}}}"
    if not isinstance(value, str):
        return json.dumps(value)
    plain = PLAIN.fullmatch(value) and value.lower() not in YAML_WORDS
    return value if plain else json.dumps(escape_interpolation(value), ensure_ascii=not value.isprintable())
