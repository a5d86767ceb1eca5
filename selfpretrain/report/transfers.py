"""Other test sets (``study.transfer``): the same statistics as on the task's own, on what its runs said of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from selfpretrain.report.comparisons import correct
from selfpretrain.report.findings import Panel, Transfer
from selfpretrain.runs.results import CellResult, StudyResults

Groups = dict[str, list[CellResult]]  # by condition


def build_transfers(
    results: StudyResults, build_panel: Callable[[str, str, Groups, StudyResults], Panel]
) -> list[Transfer]:
    """A panel per model for each test set; their gains are a family of their own for Holm's correction."""
    transfers = []
    for found in results.transfers:
        groups: dict[str, Groups] = {}  # by model
        for cell in found.cells:
            groups.setdefault(cell.model, {}).setdefault(cell.condition, []).append(cell)
        # its own examples: what is known of the task's own holds for none of them
        task, groups_of = {found.task: found.test_set}, {found.task: found.groups}
        own = replace(results, tasks=task, groups=groups_of, overlaps={}, num_labels={}, init_schemes={})
        panels = [build_panel(model, found.task, cells, own) for model, cells in groups.items()]
        transfers.append(Transfer(found.task, found.test_set.name, found.problem, panels))
    correct(entry.gain for transfer in transfers for panel in transfer.panels for entry in panel.entries)
    return transfers
