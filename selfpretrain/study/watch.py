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
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from selfpretrain.data.store import read_manifest
from selfpretrain.files import make_folder
from selfpretrain.numbers import format_duration, format_score
from selfpretrain.progress import show_progress
from selfpretrain.study.cells import FINISHED, Cell
from selfpretrain.study.plan import StudyPlan

if TYPE_CHECKING:
    from selfpretrain.study.probe import Estimate

POLL_SECONDS = 2.0


class Watch:
    """Follows a plan's cells wave by wave. What is left takes the time estimated, corrected by that of the cells done."""

    def __init__(self, plan: StudyPlan, estimate: Estimate | None):
        self.plan, self.estimates = plan, estimate.cells if estimate else {}  # by stage and name
        self.factors: dict[str, float] = {}  # by stage: seconds gone by, whatever works on it, per second estimated

    @contextmanager
    def follow(self, wave: str, cells: Sequence[Cell]) -> Iterator[None]:
        """Say what comes of these cells, all that a wave has to run, while the block runs them."""
        self.waiting = {cell.id: cell for cell in cells}
        self.folder = make_folder(cells[0].folder.parent)
        failed = {cell.id for cell in cells if cell.status == "failed"}
        self._count_left(wave)
        self.started = self.ended = time.monotonic()
        self.estimated = 0.0  # seconds of what was done since
        is_over = threading.Event()

        def keep_looking() -> None:
            while not is_over.wait(POLL_SECONDS):
                with suppress(OSError, ValueError):  # a file that is not whole yet, or an output that is closed
                    self.look(unsure=failed)

        name, done = f"study {self.plan.study.name}", self.total - len(self.left)
        with show_progress(name, self.total, done, self.plan.settings.runtime.progress) as self.advance:
            thread = threading.Thread(target=keep_looking, daemon=True)
            thread.start()
            try:
                yield
            finally:
                is_over.set()
                thread.join()
            self.look()

    def _count_left(self, wave: str) -> None:
        """The cells of the study; of those of this and later waves that are to be decided, the stage and the estimate."""
        waves = dict(self.plan.iter_waves())
        later = [cell for name in list(waves)[list(waves).index(wave) :] for cell in waves[name]]
        undecided = [cell for cell in later if cell.status not in FINISHED]
        # what a failed pretraining blocks may come free as long as that is tried again
        tried = {None, *(cell.id for cell in undecided)}
        left = [cell for cell in undecided if cell.blocker in tried]
        self.total = len({cell.key for cells in waves.values() for cell in cells})
        self.left = {cell.key: (cell.stage, self.estimates.get((cell.stage, cell.name), math.nan)) for cell in left}

    def look(self, unsure: Collection[str] = ()) -> None:
        """Say what has ended since the last look; a failure of the ``unsure`` may be an old one."""
        begun = set(os.listdir(self.folder))  # thousands may wait for their folder: they are not asked
        for cell in [cell for name, cell in self.waiting.items() if name in begun]:
            status = cell.status
            if status in FINISHED or (status == "failed" and cell.id not in unsure):
                outcome = describe_outcome(cell)
                del self.waiting[cell.id]
                stage, seconds = self.left.pop(cell.key)
                self.ended = time.monotonic()
                if status == "done":
                    self.estimated += seconds
                    self.factors[stage] = (self.ended - self.started) / self.estimated
                line = f"[{self.total - len(self.left)}/{self.total}] {outcome}{self._format_left('; ')}\n"
                (sys.stdout if status == "done" else sys.stderr).write(line)
        self.advance(self.total - len(self.left), self._format_left())

    def _format_left(self, separator: str = "") -> str:
        """The time that the whole study still takes; empty where it is none or not known."""
        seconds = sum(self.factors.get(stage, 1.0) * estimate for stage, estimate in self.left.values())
        seconds -= time.monotonic() - self.ended
        return f"{separator}about {format_duration(seconds)} left" if seconds > 0 else ""


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
