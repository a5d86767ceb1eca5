"""What a study found, read from its run folders: cells, and their predictions aligned by example id. No torch."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from selfpretrain.config import StudyConfig, TaskConfig, UserError
from selfpretrain.files import Damaged
from selfpretrain.kinds import Array, get_kind
from selfpretrain.runs.predictions import Predictions, Unreadable, load_predictions

DONE, FAILED, DIVERGED, MISSING, RUNNING = "done", "failed", "diverged", "missing", "running"
ABSENT = "absent"  # it cannot be run, since data cannot be got
# the first that any of several cells has is said of them all
STATUSES = (FAILED, DIVERGED, DONE, RUNNING, MISSING, ABSENT)

Groups = dict[str, dict[str, int]]  # split -> example -> its group; empty where each example stands by itself

_NEW_DATA = "the task's data changed between the runs: set another runtime.runs_dir for the new data"


@dataclass(frozen=True)
class CellResult:
    """One fine-tuning run of a study."""

    model: str
    condition: str
    task: str
    pretrain_seed: int
    finetune_seed: int
    status: str  # done | failed | diverged | missing | running | absent
    run_id: str
    note: str  # why it failed, diverged or is absent
    folder: Path  # the run folder, with predictions/<split>.parquet
    init_scheme: str = ""  # normal | mimetic: how the encoder's first weights were drawn; empty: not by us (offshelf)
    # of each factor of study.seed_factors that it has; empty: all of its chance is its seed's number
    levels: dict[str, int] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        assert self.status in STATUSES, self.status


@dataclass(frozen=True)
class TransferResult:
    """The runs of one task on another test set."""

    task: str  # as in the study, at one of study.label_counts with @count
    test_set: TaskConfig  # as it was read, or as its card has it
    problem: str  # why there are no cells
    cells: list[CellResult]  # of the fine-tunings' models, conditions and seeds, in the folders of their evaluations
    groups: Groups = field(default_factory=dict)


@dataclass(frozen=True)
class Citation:
    """Something that a study is made of, and whose it is."""

    kind: str  # Models | Methods | Data | Software
    what: str
    keys: tuple[str, ...]  # of conf/references.bib; none: there is only
    source: str = ""  # what a card says of it


@dataclass(frozen=True)
class StudyResults:
    """All cells of a study, done or not."""

    study: StudyConfig
    tasks: dict[
        str, TaskConfig
    ]  # resolved: label_kind and metric are set; of one whose data are missing as its card is
    cells: list[CellResult]
    facts: dict[str, str]  # shown under the tables: command, machine, commit, time, ...
    init_schemes: dict[str, str] = field(default_factory=dict)  # model -> start of its pretraining; absent: normal
    # task -> test examples whose text is in training
    overlaps: dict[str, tuple[str, ...]] = field(default_factory=dict)
    num_labels: dict[str, int] = field(default_factory=dict)  # task -> training examples
    # fine-tunings of the first seed, with the tokens it had been pretrained on; the baseline's with none
    curve: list[tuple[float, CellResult]] = field(default_factory=list)
    # fine-tunings of all seeds from study.checkpoints and the end, with the steps of pretraining before them
    checkpoints: list[tuple[int, CellResult]] = field(default_factory=list)
    schedule_is_log: bool = False  # the checkpoints lie closer at the beginning
    chance: str = ""  # what intervals hold over, in words
    transfers: list[TransferResult] = field(default_factory=list)
    # task -> text -> test examples that it holds; filled where study.exclude_overlap asks for it
    held: dict[str, dict[str, list[str]]] = field(default_factory=dict)
    # (model, task, condition) -> FLOPs by formula of what is pretrained for a run; absent where it is not known
    pretrain_flops: dict[tuple[str, str, str], float] = field(default_factory=dict)
    left_out: dict[str, frozenset[str]] = field(default_factory=dict)  # task -> test examples that no number counts
    citations: list[Citation] = field(default_factory=list)  # of what the runs used
    # task -> which of its examples belong together (task.group), by its data: nothing of it is stored with predictions
    groups: dict[str, Groups] = field(default_factory=dict)

    def leave_out(self, left_out: dict[str, frozenset[str]]) -> StudyResults:
        """The same runs of these tasks, without these test examples; what is measured on others is gone, too."""
        cells = [cell for cell in self.cells if cell.task in left_out]
        gone: dict[str, Any] = {
            "overlaps": {},
            "curve": [],
            "checkpoints": [],
            "transfers": [],
            "held": {},
            "facts": {},
            "citations": [],
        }
        return replace(self, cells=cells, left_out=left_out, **gone)

    def read_runs(
        self, cells: Sequence[CellResult], key: str, split: str = "test", decoded: bool = True
    ) -> tuple[AlignedRuns | None, dict[str, str]]:
        """:func:`read_runs` of a task of the study, with the groups of its examples."""
        aligned, problems = read_runs(cells, self.tasks[key], split, decoded)
        groups = self.groups.get(key, {}).get(split)
        return aligned and aligned.group(groups), problems


@dataclass(frozen=True)
class AlignedRuns:
    """Runs on the same examples in the same order."""

    ids: list[str]
    labels: Array  # [examples] or [examples, classes]
    # [runs, examples] or [runs, examples, classes]: decoded, as the task's metrics want them, or outputs as stored
    predictions: Array
    cells: tuple[CellResult, ...]  # [runs]
    groups: Array | None = None  # [examples], equal where examples belong together; None: each by itself

    def group(self, groups: Mapping[str, int] | None) -> AlignedRuns:
        """With the group of each example; UserError for one that has none."""
        if groups is None:
            return self
        lacking = next((example for example in self.ids if example not in groups), None)
        if lacking is not None:
            raise UserError(f"example {lacking} of {self.cells[0].folder} has no group; {_NEW_DATA}")
        return replace(self, groups=np.array([groups[example] for example in self.ids], np.uint64))

    def leave_out(self, examples: Collection[str]) -> AlignedRuns:
        """Without these examples."""
        kept = [row for row, example in enumerate(self.ids) if example not in examples]
        ids = [self.ids[row] for row in kept]
        groups = None if self.groups is None else self.groups[kept]
        return replace(self, ids=ids, labels=self.labels[kept], predictions=self.predictions[:, kept], groups=groups)

    def select(self, *conditions: str) -> AlignedRuns:
        """The runs of one condition, or of several."""
        return self.keep([cell.condition in conditions for cell in self.cells])

    def keep(self, chosen: Sequence[bool]) -> AlignedRuns:
        """The runs that are chosen, [runs]."""
        rows = [row for row, is_kept in enumerate(chosen) if is_kept]
        return replace(self, predictions=self.predictions[rows], cells=tuple(self.cells[row] for row in rows))


def read_runs(
    cells: Sequence[CellResult], task: TaskConfig, split: str = "test", decoded: bool = True
) -> tuple[AlignedRuns | None, dict[str, str]]:
    """The predictions of done cells, their rows brought into the order of the first; each file is read once.

    With decoded=False they are the outputs as stored, [runs, examples, outputs].

    Returns:
        the aligned runs (None if no cell is usable), and for each unusable run its id and why, in one line.

    Raises:
        Damaged: a file that is missing or cut short.
        UserError: runs on different examples, or the same examples with different labels.
    """
    usable: list[tuple[CellResult, Predictions]] = []
    problems: dict[str, str] = {}
    kind = get_kind(task.label_kind)
    for cell in cells:
        path = cell.folder / "predictions" / f"{split}.parquet"
        if split == "test" and not path.exists():  # of validation, runs of older versions have none
            raise Damaged(path, cell.folder / "status", "it is missing")
        try:
            usable.append((cell, _load(path, kind.form.num_axes, task)))
        except Unreadable as error:
            problems[cell.run_id] = str(error)
    if not usable:
        return None, problems
    first_cell, first = usable[0]
    predicted = []
    for cell, current in usable:
        order = _match(first.ids, current.ids, first_cell, cell)
        differs = np.asarray(current.labels[order] != first.labels).reshape(len(order), -1).any(axis=1)
        if differs.any():
            raise UserError(
                f"example {first.ids[int(differs.argmax())]} has another label in {cell.folder} than in "
                f"{first_cell.folder}; {_NEW_DATA}"
            )
        outputs = current.outputs[order]
        predicted.append(kind.decode(outputs) if decoded else outputs)
    if len({prediction.shape for prediction in predicted}) > 1:
        raise UserError(f"the runs of task {task.name} differ in their number of classes; {_NEW_DATA}")
    return AlignedRuns(first.ids, first.labels, np.stack(predicted), tuple(cell for cell, _ in usable)), problems


def _load(path: Path, num_axes: int, task: TaskConfig) -> Predictions:
    predictions = load_predictions(path)
    if predictions.labels.ndim != num_axes:
        given = "one label" if num_axes == 2 else "several labels or sums"
        raise Unreadable(f"{path} has {given} per example, which label_kind={task.label_kind} has not")
    return predictions


def _match(wanted: list[str], given: list[str], first: CellResult, cell: CellResult) -> Array:
    """Row of each wanted id in the given ones."""
    row = {example: index for index, example in enumerate(given)}
    absent = [(example, cell.folder) for example in wanted if example not in row]
    extra = [(example, first.folder) for example in sorted(row.keys() - set(wanted))]
    if absent or extra:
        example, place = [*absent, *extra][0]
        raise UserError(
            f"example {example} is not in {place}: {first.folder} and {cell.folder} do not hold the same examples; "
            + _NEW_DATA
        )
    return np.array([row[example] for example in wanted])
