"""What a study found, read from its run folders: cells, and their predictions aligned by example id. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from selfpretrain.config import StudyConfig, TaskConfig, UserError
from selfpretrain.kinds import get_kind
from selfpretrain.runs.predictions import Array, Predictions, Unreadable, load_predictions

DONE, FAILED, DIVERGED, MISSING, RUNNING = "done", "failed", "diverged", "missing", "running"
STATUSES = (DONE, FAILED, DIVERGED, RUNNING, MISSING)

_NEW_DATA = "the task's data changed between the runs: set another runtime.runs_dir for the new data"


@dataclass(frozen=True)
class CellResult:
    """One fine-tuning run of a study."""

    model: str
    condition: str
    task: str
    pretrain_seed: int
    finetune_seed: int
    status: str  # done | failed | diverged | missing | running
    run_id: str
    note: str  # why it failed or diverged
    folder: Path  # the run folder, with predictions/<split>.parquet
    init_scheme: str = ""  # normal | mimetic: how the encoder's first weights were drawn; empty: not by us (offshelf)

    def __post_init__(self) -> None:
        assert self.status in STATUSES, self.status


@dataclass(frozen=True)
class StudyResults:
    """All cells of a study, done or not."""

    name: str
    study: StudyConfig
    tasks: dict[str, TaskConfig]  # resolved: label_kind and metric are set
    cells: list[CellResult]
    facts: dict[str, str]  # shown under the tables: command, machine, commit, time, ...
    init_schemes: dict[str, str] = field(default_factory=dict)  # model -> start of its pretraining; absent: normal
    overlaps: dict[str, tuple[str, ...]] = field(
        default_factory=dict
    )  # task -> test examples whose text is in training


@dataclass(frozen=True)
class AlignedRuns:
    """Runs on the same examples in the same order."""

    ids: list[str]
    labels: Array  # [examples] or [examples, classes]
    predictions: Array  # [runs, examples] or [runs, examples, classes]: decoded, as the task's metrics want them
    cells: tuple[CellResult, ...]  # [runs]


def read_runs(
    cells: Sequence[CellResult], task: TaskConfig, split: str = "test"
) -> tuple[AlignedRuns | None, dict[str, str]]:
    """The predictions of done cells, their rows brought into the order of the first; each file is read once.

    Returns:
        the aligned runs (None if no cell is usable), and for each unusable run its id and why, in one line.

    Raises:
        UserError: runs on different examples, or the same examples with different labels.
    """
    usable: list[tuple[CellResult, Predictions]] = []
    problems: dict[str, str] = {}
    for cell in cells:
        try:
            usable.append((cell, _load_checked(cell.folder / "predictions" / f"{split}.parquet", task)))
        except Unreadable as error:
            problems[cell.run_id] = str(error)
    return (align(usable, task) if usable else None), problems


def _load_checked(path: Path, task: TaskConfig) -> Predictions:
    predictions = load_predictions(path)
    num_axes = predictions.labels.ndim
    if num_axes != get_kind(task.label_kind).form.num_axes:
        raise Unreadable(f"{path} has {'several labels' if num_axes == 2 else 'one label'} per example, "
                         f"the task has label_kind={task.label_kind}")  # fmt: skip
    return predictions


def align(runs: Sequence[tuple[CellResult, Predictions]], task: TaskConfig) -> AlignedRuns:
    """Bring runs on the same examples into the order of the first run.

    Raises:
        UserError: runs on different examples, or the same examples with different labels.
    """
    assert runs, "no runs"
    first_cell, first = runs[0]
    decode = get_kind(task.label_kind).decode
    predicted = []
    for cell, current in runs:
        order = _match(first.ids, current.ids, first_cell, cell)
        differs = np.asarray(current.labels[order] != first.labels).reshape(len(order), -1).any(axis=1)
        if differs.any():
            raise UserError(
                f"example {first.ids[int(differs.argmax())]} has another label in {cell.folder} than in "
                f"{first_cell.folder}; {_NEW_DATA}"
            )
        predicted.append(decode(current.outputs[order]))
    if len({prediction.shape for prediction in predicted}) > 1:
        raise UserError(f"the runs of task {task.name} differ in their number of classes; {_NEW_DATA}")
    return AlignedRuns(first.ids, first.labels, np.stack(predicted), tuple(cell for cell, _ in runs))


def _match(wanted: list[str], given: list[str], first: CellResult, cell: CellResult) -> Array:
    """Row of each wanted id in the given ones."""
    if wanted == given:
        return np.arange(len(wanted))
    row = {example: index for index, example in enumerate(given)}
    absent = [example for example in wanted if example not in row]
    extra = sorted(set(given) - set(wanted))
    if absent or extra:
        example, place = (absent[0], cell.folder) if absent else (extra[0], first.folder)
        raise UserError(
            f"example {example} is not in {place}: {first.folder} and {cell.folder} do not hold the same examples; "
            + _NEW_DATA
        )
    return np.array([row[example] for example in wanted])
