"""The docs suite: four tasks and a text collection cut from the docstrings of the installed packages.

Real English on every machine, with nothing downloaded. Every module has one role (``docs_extract.get_role``):
train, validation or test of the tasks, or the general text of the collection ``docs``, so no text leaks.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import re
from collections import defaultdict
from collections.abc import Iterator
from functools import lru_cache
from itertools import chain, groupby, islice
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from selfpretrain.config import TaskConfig, UserError
from selfpretrain.kinds import get_kind
from selfpretrain.sources import paragraphs, splits
from selfpretrain.sources.docs_clean import MIN_WORDS, count_words, split_sentences
from selfpretrain.sources.docs_extract import build_documents, compute_packages_fingerprint, find_packages, iter_records
from selfpretrain.sources.labelled import SPLITS, Split

RULE_VERSION = 1  # raised whenever the same documents would give other examples
MAX_EXAMPLES = {"train": 8000, "validation": 1000, "test": 2000}
MAX_SENTENCES = {"train": 24_000, "validation": 1000, "test": 2000}  # of docs_order, whose texts are short
MIN_EXAMPLES = {"train": 20, "validation": 5, "test": 5}  # an environment with less text cannot carry the task
# package: class of docs_topic
FAMILIES = {
    "matplotlib": "matplotlib", "mpl_toolkits": "matplotlib", "networkx": "networkx", "numpy": "numpy",
    "pandas": "pandas", "stdlib": "python", "scipy": "scipy", "sklearn": "sklearn", "sympy": "sympy",
    "torch": "torch", "datasets": "huggingface", "huggingface_hub": "huggingface",
}  # fmt: skip
# names that would give the class away, removed from the texts of all classes
_GIVEAWAYS = re.compile(
    r"(?<![a-z])(?:matplotlib|mpl(?:_toolkits)?|pyplot|plt|networkx|nx|numpy|np|pandas|pd|c?python|scipy|"
    r"scikits?[- ]learn|sklearn|sympy|py ?torch|torch|hugging ?face(?:_hub)?|hf)(?![a-z])[._]?",
    re.IGNORECASE,
)
BEGINNING_WORDS = 50  # the beginning of a docstring takes in paragraphs until it has as many
SENTENCE_WORDS = (5, 50)  # fewest and most of a sentence of docs_pair
PAIRS_PER_DOCUMENT = 3
ORDER_WORDS = (8, 40)  # fewest and most of a sentence of docs_order
SCORE_CAP = 7.0  # log2(1 + 127 statements) and above is the highest score
SCORE_MAX = 5.0


class Example(NamedTuple):
    id: str
    texts: tuple[str, ...]
    label: float


def load_docs_task(task: TaskConfig, runs_dir: str) -> tuple[TaskConfig, dict[str, Split], list[str]]:
    """``docs_topic``, ``docs_pair``, ``docs_order`` or ``docs_score`` with its metric, its splits, and notes; the docstrings are read
    once per machine. Raises UserError for another name and for an environment that has too little text.
    """
    if task.name not in _MAKERS:
        raise UserError(f"task={task.name} with task.loader=docs is not known; allowed: {', '.join(_MAKERS)}")
    folder = build_documents(runs_dir, find_packages())
    kind = get_kind(task.label_kind)
    examples, notes = _build_examples(task.name, tuple(task.label_names), str(folder.resolve()))
    parts = {}
    for name, rows in examples.items():
        if len(rows) < MIN_EXAMPLES[name] or len({row.label for row in rows}) < 2:
            raise UserError(
                f"task={task.name}: the installed packages give {len(rows)} {name} examples, too few or of one kind; "
                f"install the packages with their docstrings, or choose another task: task=<name>"
            )
        labels = np.array([row.label for row in rows], dtype=kind.form.dtype)
        parts[name] = Split([row.id for row in rows], [row.texts for row in rows], labels)
    return dataclasses.replace(task, metric=task.metric or kind.metrics[0]), parts, list(notes)


def iter_docs_text(runs_dir: str) -> Iterator[str]:
    """The prose of the modules that belong to no task: a document per module, cut at ``MAX_DOCUMENT_BYTES``."""
    folder = build_documents(runs_dir, find_packages())
    for _, records in groupby(iter_records(folder, ["general"]), key=itemgetter("module")):
        yield from paragraphs.join_paragraphs(chain.from_iterable(record["paragraphs"] for record in records))


def compute_docs_fingerprint() -> str:
    """SHA-256 (hex) of the packages' versions and the rules; nothing is read or written."""
    source = compute_packages_fingerprint(find_packages())
    return hashlib.sha256(json.dumps([source, RULE_VERSION, paragraphs.RULE_VERSION]).encode()).hexdigest()


@lru_cache(maxsize=4)
def _build_examples(
    name: str, label_names: tuple[str, ...], folder: str
) -> tuple[dict[str, list[Example]], tuple[str, ...]]:
    """Examples of each split in an order by content hash, at most ``MAX_EXAMPLES``, and notes."""
    records: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for record in iter_records(Path(folder), SPLITS):
        records[record["role"]].append(record)
    seen: set[str] = set()
    examples: dict[str, list[Example]] = {name: [] for name in SPLITS}
    notes = []
    for split in reversed(SPLITS):  # a text that occurs twice stays in test, or else in validation
        made = _MAKERS[name](records[split], label_names)
        made.sort(key=lambda example: splits.compute_hash(name, "\0".join([*example.texts, example.id])))
        unique = []
        for example in made:
            # a repeated sentence would leak just as well, so every text of a pair counts
            # and so would the same words in their right order
            arrange = sorted if name == "docs_order" else list
            keys = {" ".join(arrange(splits.normalise(text).split())) for text in example.texts}
            if not keys & seen:
                unique.append(example)
            seen |= keys
        sizes = MAX_SENTENCES if name == "docs_order" else MAX_EXAMPLES
        examples[split] = _cap(unique, sizes[split], len(label_names))
        notes.append(
            f"{split}: {len(examples[split])} of {len(unique)} examples used, {len(made) - len(unique)} duplicates dropped"
        )
    return examples, tuple(notes)


def _cap(examples: list[Example], size: int, num_classes: int) -> list[Example]:
    """The first ``size``; with classes, none gets more than its equal share (smaller classes are not made up for)."""
    if not num_classes:
        return examples[:size]
    by_class: dict[float, list[Example]] = defaultdict(list)
    for example in examples:
        by_class[example.label].append(example)
    kept = [example for rows in by_class.values() for example in rows[: size // num_classes]]
    # mixed again: the rare classes would stand at the end
    return sorted(kept, key=lambda example: splits.compute_hash("docs order", example.id))


def _get_id(record: dict[str, Any]) -> str:
    return f"{record['module']}:{record['name']}:{record['line']}"


def _get_beginning(record: dict[str, Any]) -> str:
    """The first paragraphs of a docstring, until they have ``BEGINNING_WORDS``."""
    text = ""
    for paragraph in record["paragraphs"]:
        text += f" {paragraph}"
        if count_words(text) >= BEGINNING_WORDS:
            break
    return text.strip()


def _make_topics(records: list[dict[str, Any]], label_names: tuple[str, ...]) -> list[Example]:
    """How a docstring begins -> the package family it comes from."""
    examples = []
    for record in records:
        family = FAMILIES.get(record["package"])
        if family not in label_names or not record["has_summary"]:
            continue
        text = " ".join(_GIVEAWAYS.sub(" ", _get_beginning(record)).split())
        if count_words(text) >= MIN_WORDS:
            examples.append(Example(_get_id(record), (text,), label_names.index(family)))
    return examples


def _make_scores(records: list[dict[str, Any]], label_names: tuple[str, ...]) -> list[Example]:
    """How a function's docstring begins -> how long the function is."""
    assert not label_names
    return [
        Example(_get_id(record), (_get_beginning(record),), compute_score(record["statements"]))
        for record in records
        if record["kind"] == "function" and record["has_summary"] and record["statements"]
    ]


def compute_score(statements: int) -> float:
    """log2(1 + statements), cut at ``SCORE_CAP`` and scaled to 0 ... ``SCORE_MAX``."""
    return SCORE_MAX * min(math.log2(1 + statements), SCORE_CAP) / SCORE_CAP


def _make_pairs(records: list[dict[str, Any]], label_names: tuple[str, ...]) -> list[Example]:
    """Two neighbouring sentences (1), or the second exchanged for one of another docstring of the package (0).

    The exchanged sentences are second sentences of other pairs, so neither side alone tells the label.
    """
    assert len(label_names) == 2
    examples: list[Example] = []
    apart: dict[str, list[Example]] = defaultdict(list)  # by package
    for record in records:
        for index, pair in enumerate(_iter_neighbours(record["paragraphs"])):
            example = Example(f"{_get_id(record)}:{index}", pair, 1)
            kept = splits.compute_hash("docs pair", example.id) % 2
            (examples if kept else apart[record["package"]]).append(example)
    for pairs in apart.values():
        pairs.sort(key=lambda pair: splits.compute_hash("docs exchange", pair.id))
        for one, other in zip(pairs, [*pairs[1:], pairs[0]], strict=True):
            second = other.texts[1]
            if one.id.rsplit(":", 1)[0] != other.id.rsplit(":", 1)[0] and second != one.texts[1]:
                examples.append(Example(one.id, (one.texts[0], second), 0))
    return examples


def _iter_neighbours(paragraphs: list[str]) -> Iterator[tuple[str, str]]:
    """Pairs of neighbouring sentences that share no sentence, at most ``PAIRS_PER_DOCUMENT``."""
    sentences = map(split_sentences, paragraphs)
    pairs = (pair for each in sentences for pair in zip(each[::2], each[1::2], strict=False))
    fewest, most = SENTENCE_WORDS
    return islice(
        (pair for pair in pairs if all(fewest <= count_words(text) <= most for text in pair)), PAIRS_PER_DOCUMENT
    )


def _make_orders(records: list[dict[str, Any]], label_names: tuple[str, ...]) -> list[Example]:
    """A sentence as it stands (0), or with two neighbouring words exchanged (1) [Conneau et al. 2018, bigram shift].

    Never the first word or the last, whose capital and full stop would tell.
    """
    assert len(label_names) == 2
    fewest, most = ORDER_WORDS
    examples = []
    for record in records:
        for index, sentence in enumerate(chain.from_iterable(map(split_sentences, record["paragraphs"]))):
            name, words = f"{_get_id(record)}:{index}", sentence.split()
            places = [
                place
                for place in range(1, len(words) - 2)
                if words[place].isalpha() and words[place + 1].isalpha() and words[place] != words[place + 1]
            ]
            if not (fewest <= len(words) <= most and places):
                continue
            label = splits.compute_hash("docs order", name) % 2
            if label:
                place = places[splits.compute_hash("docs exchange", name) % len(places)]
                words[place], words[place + 1] = words[place + 1], words[place]
            examples.append(Example(name, (" ".join(words),), label))
    return examples


_MAKERS = {"docs_order": _make_orders, "docs_topic": _make_topics, "docs_pair": _make_pairs, "docs_score": _make_scores}
