"""What a study says while it runs: a line for every cell that ends and, on a terminal, a bar over all of them.

The cells' folders are asked, whoever fills them: jobs run in this process, in others or on other machines, and several
processes may share a study.
"""

from __future__ import annotations

import math
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from selfpretrain.data.store import read_manifest
from selfpretrain.numbers import format_duration, format_score
from selfpretrain.progress import show_progress
from selfpretrain.study.cells import FINISHED, Cell
from selfpretrain.study.plan import StudyPlan

if TYPE_CHECKING:
    from selfpretrain.study.probe import Estimate

POLL_SECONDS = 2.0


class Watch:
    """Follows a plan's cells. What is left takes the time estimated, corrected by that of the cells done."""

    def __init__(self, plan: StudyPlan, estimate: Estimate | None):
        self.plan, self.estimates = plan, estimate.cells if estimate else {}  # by stage and name
        self.factors: dict[str, float] = {}  # by stage: seconds gone by, whatever works on it, per second estimated
        self.announced: set[str] = set()  # waves
        self.waiting: dict[str, Cell] = {}  # what is being worked on, by key
        self.unsure: set[str] = set()  # those of them whose failure may be an old one
        self.mutex = threading.Lock()  # of the thread that looks, and the one that is told

    @contextmanager
    def follow(self) -> Iterator[None]:
        """Say what comes of the cells that are expected while the block runs them."""
        self._count_left()
        self._start_clock()
        is_over = threading.Event()

        def keep_looking() -> None:
            while not is_over.wait(POLL_SECONDS):
                with suppress(OSError, ValueError):  # a file that is not whole yet, or an output that is closed
                    self.look()

        name = f"study {self.plan.study.name}"
        with show_progress(name, self.total, self._count_done(), self.plan.settings.runtime.progress) as self.advance:
            thread = threading.Thread(target=keep_looking, daemon=True)
            thread.start()
            try:
                yield
            finally:
                is_over.set()
                thread.join()
            self.look()

    def expect(self, wave: str, cells: Sequence[Cell]) -> None:
        """These cells are being worked on from now; the first of a wave announce it."""
        if wave not in self.announced:
            self.announced.add(wave)
            every = [cell for cell in dict(self.plan.iter_waves())[wave] if not cell.is_blocked]
            print(f"{wave}: {sum(cell.status not in FINISHED for cell in every)} of {len(every)} cells to run")
            self._start_clock()
        self.unsure |= {cell.key for cell in cells if cell.status == "failed"}
        self.waiting |= {cell.key: cell for cell in cells}

    def settle(self, cell: Cell) -> None:
        """It has ended, and what its folder says is new."""
        self.unsure.discard(cell.key)
        self._say_ended(cell.key)

    def drop(self, cells: Sequence[Cell]) -> None:
        """These will never be carried out."""
        for cell in cells:
            self._count_off(cell)

    def _start_clock(self) -> None:
        self.started = self.ended = time.monotonic()
        self.estimated = 0.0  # seconds of what was done since

    def _count_left(self) -> None:
        """The cells of the study, and by stage and name, which all recipes share, those that are to be decided."""
        every = {cell.key: cell for _, cells in self.plan.iter_waves() for cell in cells}
        undecided = [cell for cell in every.values() if cell.status not in FINISHED]
        # what a failed pretraining blocks may come free as long as that is tried again
        tried = {None, *(cell.id for cell in undecided)}
        self.total = len(every)
        self.left = Counter((cell.stage, cell.name) for cell in undecided if cell.blocker in tried)

    def _count_done(self) -> int:
        return self.total - self.left.total()

    def _count_off(self, cell: Cell) -> float:
        """It is not left any more; the seconds it was to take."""
        key = (cell.stage, cell.name)
        self.left[key] = max(0, self.left[key] - 1)
        return self.estimates.get(key, math.nan)

    def look(self) -> None:
        """Say what has ended since the last look."""
        # thousands may wait for their folder: they are not asked
        cells = [*self.waiting.values()]
        begun = {stage: _list_begun(self.plan, stage) for stage in {cell.stage for cell in cells}}
        for cell in cells:
            if cell.id in begun[cell.stage]:
                self._say_ended(cell.key)
        self.advance(self._count_done(), self._format_left())

    def _say_ended(self, key: str) -> None:
        """A line for a cell, if it has ended; whoever looks first says it."""
        with self.mutex:
            cell = self.waiting.get(key)
            status = cell.status if cell else ""
            if cell is None or not (status in FINISHED or (status == "failed" and key not in self.unsure)):
                return
            outcome = describe_outcome(cell)
            del self.waiting[key]
            seconds = self._count_off(cell)
            self.ended = time.monotonic()
            if status == "done":
                self.estimated += seconds
                self.factors[cell.stage] = (self.ended - self.started) / self.estimated
            line = f"[{self._count_done()}/{self.total}] {outcome}{self._format_left('; ')}\n"
            (sys.stdout if status == "done" else sys.stderr).write(line)

    def _format_left(self, separator: str = "") -> str:
        """The time that the whole study still takes; empty where it is none or not known."""
        seconds = sum(
            self.factors.get(key[0], 1.0) * self.estimates.get(key, math.nan) * count
            for key, count in self.left.items()
        )
        seconds -= time.monotonic() - self.ended
        return f"{separator}about {format_duration(seconds)} left" if seconds > 0 else ""


def _list_begun(plan: StudyPlan, stage: str) -> set[str]:
    folder = Path(plan.settings.runtime.runs_dir) / ("corpora" if stage == "corpus" else stage)
    return set(os.listdir(folder)) if folder.is_dir() else set()


def describe_outcome(cell: Cell) -> str:
    """A cell that ended: its name, its status, and what it found in which time, or why it failed."""
    if cell.stage == "corpus":
        found = f"corpus of {read_manifest(cell.folder)['tokens']:,} tokens"
    elif cell.status == "done":
        seconds = cell.run.seconds
        found = _describe_result(cell, cell.run.read_result()) + (
            f", {format_duration(seconds)}" if seconds is not None else ""
        )
    else:
        found = cell.run.note.partition("\n")[0]
    return f"{cell.name} {cell.status}: {found}"


def _describe_result(cell: Cell, result: dict[str, Any]) -> str:
    if cell.stage == "pretrain":
        return f"held-out loss {format_score(result['held_out'].get('loss', math.nan))}"
    split = "test" if cell.stage == "evaluate" else "validation"
    score = result["scores"][split]
    start = f", {cell.settings.model.init_scheme} start" if cell.settings.start.is_fresh else ""
    rate = f"rate {cell.settings.finetune.peak_lr:g}{start}"  # in which the runs that choose it differ
    return f"{split} {result['metric']} {'undefined' if score is None else format_score(score)} ({rate})"
