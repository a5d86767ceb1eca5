"""What a text holds of a task's evaluation splits, worked out once and stored: who asks again needs no text.

<runs_dir>/audits/<id>.json    the examples found, by split; the id is of the text, of the task's examples and of the rule
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from selfpretrain.config import CorpusConfig, RuntimeConfig, TaskConfig
from selfpretrain.files import CannotWrite, Damaged, make_folder, read_json, write_json
from selfpretrain.hashing import compute_id
from selfpretrain.progress import show_progress
from selfpretrain.sources import documents, tasks
from selfpretrain.sources.answers import choose_subject
from selfpretrain.sources.audit import RULE_VERSION, THRESHOLD, Overlap, compute_overlap
from selfpretrain.sources.labelled import Split, TaskData
from selfpretrain.sources.strings import take

EVALUATION = ("validation", "test")


@dataclass(frozen=True)
class SplitAudit:
    """The examples of one split that a text holds, by id."""

    num_examples: int
    exact: list[str]
    near: list[str]  # and not exact
    shares: dict[str, float]  # of each example's n-grams in the text, where it is not 0

    def list_above(self, share: float) -> list[str]:
        """Those of whose n-grams at least this share stands in the text."""
        return [example for example, value in self.shares.items() if value >= share]

    def list_held(self) -> list[str]:
        """Those that the text holds: word for word, nearly, or by most of their n-grams. Sorted."""
        return sorted({*self.exact, *self.near, *self.list_above(THRESHOLD)})


Audit = dict[str, SplitAudit]  # by split


def audit_text(
    corpus: CorpusConfig, owner: TaskConfig | None, evaluated: Sequence[TaskConfig], runtime: RuntimeConfig
) -> list[Audit]:
    """What the text of ``corpus`` (of the task ``owner``, where it is a task's own) holds of each of these tasks.

    All that is not stored yet is looked for in one pass; memory grows with the evaluation text, not with the corpus.
    """
    runs_dir = runtime.runs_dir
    # the evaluation splits are the same, however many labels a fine-tuning uses
    wanted = [tasks.read_task(dataclasses.replace(task, max_train_examples=None), runs_dir) for task in evaluated]
    text = documents.compute_fingerprint(corpus, owner, runs_dir)
    files = [_name_file(text, data, runs_dir) for data in wanted]
    found = {file: audit for file in files if (audit := _read(file))}
    missing = {file: data for file, data in zip(files, wanted, strict=True) if file not in found}
    if missing:
        stream = _show(documents.iter_documents(corpus, owner, runs_dir), runtime.progress)
        found |= _audit(stream, missing)
    for file in missing:
        with suppress(CannotWrite):  # worked out anew by the next who asks
            make_folder(file.parent)
            write_json(file, {split: dataclasses.asdict(audit) for split, audit in found[file].items()})
    return [found[file] for file in files]


def summarize_audit(audit: Audit) -> dict[str, Any]:
    """An audit in numbers, by split, as a manifest has it."""
    return {split: count_split(found) for split, found in audit.items()}


def count_split(found: SplitAudit) -> dict[str, int]:
    """How many examples there are and how many a text holds, by each measure."""
    shares = {f"n-grams >= {share:.0%}": len(found.list_above(share)) for share in (0.5, THRESHOLD)}
    some = {"any n-gram": len(found.shares), **shares}
    return {"examples": found.num_examples, "exact": len(found.exact), "near": len(found.near), **some}


def _name_file(text: str, data: TaskData, runs_dir: str) -> Path:
    key = compute_id({"audit": RULE_VERSION, "documents": text, "task": data.fingerprint})
    return Path(runs_dir) / "audits" / f"{key}.json"


def _read(file: Path) -> Audit | None:
    """None where it is not there, or damaged: it is worked out anew then."""
    try:
        found = read_json(file)
    except (FileNotFoundError, Damaged):
        return None
    return {split: SplitAudit(**found[split]) for split in EVALUATION}


def _show(text: Iterator[str], is_shown: bool) -> Iterator[str]:
    with show_progress("auditing, MB", None, is_shown=is_shown) as advance:
        size = 0
        for document in text:
            yield document
            size += len(document)
            advance(size // 1_000_000, "")


def _audit(text: Iterator[str], missing: dict[Path, TaskData]) -> dict[Path, Audit]:
    splits = [(file, data.task, split, data.splits[split]) for file, data in missing.items() for split in EVALUATION]
    subjects = (choose_subject(task, texts) for _, task, _, split in splits for texts in split.texts)
    overlap, start = compute_overlap(text, ["\n".join(filter(str.strip, texts)) for texts in subjects]), 0
    found: dict[Path, Audit] = {file: {} for file in missing}
    for file, _, name, split in splits:
        found[file][name] = _select(overlap, split, start)
        start += len(split.ids)
    return found


def _select(overlap: Overlap, split: Split, start: int) -> SplitAudit:
    """The part of one split, whose texts begin at ``start``."""
    rows = slice(start, start + len(split.ids))
    exact, near, share = overlap.exact[rows], overlap.near[rows], overlap.share[rows]

    def name(chosen: Any) -> list[str]:
        return list(take(split.ids, np.flatnonzero(chosen)))

    shares = dict(zip(name(share > 0), np.round(share[share > 0], 4).tolist(), strict=True))
    return SplitAudit(len(split.ids), name(exact), name(near), shares)
