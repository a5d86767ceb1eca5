"""What a command shows on a terminal while it works: a bar for each thing under way; lines printed stand above them."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress

_bars: Progress | None = None  # of this process; on the screen while it has rows


@contextmanager
def show_progress(
    label: str, total: int | None, done: int = 0, is_shown: bool = True
) -> Iterator[Callable[[int, str], None]]:
    """A row as long as the block lasts; yields ``advance(done, note)``, where an empty note leaves the one before.

    Nothing is shown unless ``is_shown`` and standard error is a terminal, nor by torchrun's processes but the first.
    """
    global _bars
    if not (is_shown and sys.stderr.isatty() and os.environ.get("RANK", "0") == "0"):
        yield lambda done, note: None
        return
    if _bars is None or not _bars.tasks:
        columns = ("{task.description}", BarColumn(), MofNCompleteColumn(), "{task.fields[note]}")
        # of standard output, what is on the same screen goes above the bars, and what is not stays where it goes
        _bars = Progress(*columns, transient=True, console=Console(stderr=True), redirect_stdout=sys.stdout.isatty())
        _bars.start()
    bars = _bars
    row = bars.add_task(label, total=total, completed=done, note="")

    def advance(done: int, note: str) -> None:
        bars.update(row, completed=done)
        if note:
            bars.update(row, note=note)

    try:
        yield advance
    finally:
        if len(bars.tasks) == 1:
            bars.stop()
        bars.remove_task(row)
