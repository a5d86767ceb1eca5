"""A study's other test sets (``study.transfer``): what a task's fine-tuned runs are scored on besides its own."""

from __future__ import annotations

import dataclasses
from collections.abc import Container, Mapping, Sequence
from typing import Any

from selfpretrain.cards import load_task_card
from selfpretrain.config import MissingData, TaskConfig, UserError
from selfpretrain.door import to_dataclass
from selfpretrain.hashing import to_plain
from selfpretrain.runs import identity
from selfpretrain.sources.evaluation import check_labels, load_test_set
from selfpretrain.sources.labelled import TaskData
from selfpretrain.sources.tasks import is_test_set, read_task
from selfpretrain.study.cells import Cell


@dataclasses.dataclass(frozen=True)
class Transfer:
    """One test set of one task of the study."""

    card: TaskConfig
    data: TaskData | None
    problem: str  # why there are no data

    @property
    def task(self) -> TaskConfig:
        """As it was read."""
        return self.data.task if self.data else self.card

    def list_cells(self, cells: Sequence[Cell]) -> list[Cell]:
        """An evaluation for each of these fine-tunings; none where the data are missing."""
        return [self._build_cell(cell, self.data) for cell in cells] if self.data else []

    def _build_cell(self, cell: Cell, data: TaskData) -> Cell:
        settings = dataclasses.replace(cell.settings, init=f"run:{cell.id}", task=self.card)
        run_id = identity.identify_evaluation(cell.id, data)
        changes: dict[str, Any] = {"stage": "evaluate", "id": run_id, "settings": settings, "before": cell.stands_on}
        return dataclasses.replace(cell, **changes)


def read_transfers(
    given: Any, tasks: Mapping[str, TaskConfig], missing: Container[str], runs_dir: str
) -> dict[str, list[Transfer]]:
    """The test sets by task; one whose data are not there is a gap, said in the report.

    Args:
        given: ``study.transfer``: by task, names of cards or mappings with ``name`` and what differs; None: nothing.
        tasks: the study's, resolved, by name.
        missing: the names of those without data, which have no runs.

    Raises:
        UserError: another form, a task that the study has not, an unknown card, labels that are not the task's.
    """
    if not isinstance(given or {}, dict) or not all(isinstance(entries, list) for entries in (given or {}).values()):
        raise UserError(f"study.transfer={given} is no mapping to lists; allowed: {{<task>: [<card>, ...]}}")
    found: dict[str, list[Transfer]] = {}
    for name, entries in (given or {}).items():
        if name in missing:
            continue
        if name not in tasks:
            raise UserError(f"study.transfer names the task {name!r}; the study has {', '.join(tasks)}")
        for entry in entries:
            fields: dict[str, Any] = dict(entry) if isinstance(entry, dict) else {"name": entry}
            if "name" not in fields:
                raise UserError(f"study.transfer: {name} has a test set without a name: {{name: <card>, ...}}")
            card = to_dataclass({**to_plain(load_task_card(str(fields["name"]))), **fields}, TaskConfig)
            found.setdefault(name, []).append(_read(card, tasks[name], runs_dir))
    return found


def _read(card: TaskConfig, trained: TaskConfig, runs_dir: str) -> Transfer:
    try:
        data = load_test_set(card) if is_test_set(card) else read_task(card, runs_dir)
    except MissingData as error:
        return Transfer(card, None, str(error))
    check_labels(data.task, trained, f"study.transfer: {trained.name}")
    return Transfer(card, data, "")
