"""Which cells of a study can be carried out: those whose starts are there, whatever else is still at work.

A fine-tuning waits for its own pretraining, and for the choice of its recipe, not for a wave. Every cell is looked at a
fixed number of times, so that thousands cost no more than each by itself.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

from selfpretrain.study.cells import FINISHED, Cell
from selfpretrain.study.plan import (
    CHECKPOINTS,
    CORPORA,
    CURVE,
    FINETUNING,
    PRETRAINING,
    SECOND_STAGES,
    SELECTION,
    TRANSFER,
    Group,
    StudyPlan,
)

Part = tuple[str, list[Cell]]  # of a wave


@dataclass
class _Track:
    """What is left to come of a group, list by list, and how many cells of the last list are undecided."""

    lists: Iterator[list[Part]]
    undecided: int = 0


@dataclass
class Flow:
    """The cells of a plan as they become ready. ``ready``: wave and cell, to be taken; a cell is in it once.

    A cell is decided when it is done, failed or diverged, or is blocked by one that has.
    """

    ready: list[tuple[str, Cell]] = field(default_factory=list)
    blocked: list[Cell] = field(default_factory=list)  # what can never be ready, to be taken, too
    _known: set[str] = field(default_factory=set)  # keys of all cells so far
    _decided: set[str] = field(default_factory=set)
    _needs: dict[str, set[str]] = field(default_factory=dict)  # of a cell that waits: keys of what it stands on
    _waiting: dict[str, list[tuple[str, Cell]]] = field(
        default_factory=lambda: defaultdict(list)
    )  # by what they wait for
    _tracks: dict[str, list[_Track]] = field(default_factory=lambda: defaultdict(list))  # by the cell they wait for

    @classmethod
    def of_corpora(cls, plan: StudyPlan) -> Flow:
        flow = cls()
        for cell in plan.corpora.values():
            flow._add(CORPORA, cell)
        return flow

    @classmethod
    def of_runs(cls, plan: StudyPlan) -> Flow:
        """All else. The corpora are there: a plan learns from them how long its texts are."""
        flow = cls()
        for cell in plan.pretrainings.values():
            flow._add(SECOND_STAGES if cell.stands_on else PRETRAINING, cell)
        for group in plan.groups:
            flow._advance(_Track(_follow(plan, group)))
        return flow

    def decide(self, cell: Cell) -> None:
        """What this cell came to is on disk: what waited for it becomes ready, or blocked."""
        if cell.key in self._decided:
            return
        self._decided.add(cell.key)
        for wave, waiter in self._waiting.pop(cell.key, []):
            needs = self._needs[waiter.key]
            needs.discard(cell.key)
            if not needs:
                self._release(wave, waiter)
        for track in self._tracks.pop(cell.key, []):
            track.undecided -= 1
            if not track.undecided:
                self._advance(track)

    def _add(self, wave: str, cell: Cell) -> None:
        if cell.key in self._known:
            return
        self._known.add(cell.key)
        if cell.status in FINISHED:
            self.decide(cell)
            return
        # what is no cell of the plan, as a run of the user's own, is taken as it stands
        needs = {key for key in cell.needs if key in self._known and key not in self._decided}
        self._needs[cell.key] = needs
        for key in needs:
            self._waiting[key].append((wave, cell))
        if not needs:
            self._release(wave, cell)

    def _release(self, wave: str, cell: Cell) -> None:
        if cell.is_blocked:
            self.blocked.append(cell)
            self.decide(cell)
        else:
            self.ready.append((wave, cell))

    def _advance(self, track: _Track) -> None:
        """On to the first list of a group of which anything is undecided."""
        for parts in track.lists:
            for wave, cells in parts:
                for cell in cells:
                    self._add(wave, cell)
            left = {cell.key for _, cells in parts for cell in cells} - self._decided
            track.undecided = len(left)
            for key in left:
                self._tracks[key].append(track)
            if left:
                return


def _follow(plan: StudyPlan, group: Group) -> Iterator[list[Part]]:
    """What a group consists of, each list as soon as the one before is decided and it can be known."""
    if len(group.recipes) > 1:
        before: list[Cell] = []
        # a pretraining that fails leaves the choice to the next seed
        while (selectors := group.get_selectors()) != before:
            yield [(SELECTION, selectors)]
            before = selectors
        if group.choose_recipe() is None:  # one of them has ended without a result; nothing can follow
            return
    on_the_way = [cell for cells in plan.list_checkpoints(group).values() for cell in cells if plan.has_start(cell)]
    yield [
        (FINETUNING, group.choose_cells()),
        (CURVE, list(plan.list_curve(group).values())),
        (CHECKPOINTS, on_the_way),
        (TRANSFER, plan.list_transfers(group)),
    ]
