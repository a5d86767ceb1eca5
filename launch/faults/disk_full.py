"""A disk that is full, where a corpus, a checkpoint, predictions and the report are written: one line, nothing half-written.

    OMP_NUM_THREADS=1 python -m launch.faults.disk_full       # as root: the disk is a small tmpfs

It is filled just before the writing, but for a few kilobytes. With room made, the same command ends with the files of the
undisturbed study.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from launch.faults.places import PLACES, list_leftovers, mount_small
from launch.faults.trial import Case, Trial, check_end, main

FAULT = "the disk is full"
LEFT_KB = {
    "corpus": (0, 8),
    "checkpoint": (0, 128),
    "predictions": (0, 4),
    "report": (0, 48),
}  # some of what is written


def fill(disk: Path, left_kb: int) -> None:
    """Leave so many kilobytes."""
    state = os.statvfs(disk)
    size = max(0, state.f_bavail * state.f_frsize - left_kb * 1024)
    with open(disk / "filler", "ab", buffering=0) as file:
        while size > 0:
            size -= file.write(bytes(min(size, 1 << 16)))


def iter_cases(trial: Trial) -> Iterator[Case]:
    for name, place in PLACES.items():
        for left_kb in LEFT_KB[name]:
            with mount_small(trial.folder / "disk") as disk:
                runs_dir = trial.copy(disk / "runs")
                place.prepare(runs_dir)
                before = place.call_before(partial(fill, disk, left_kb))
                yield try_place(trial, f"{name}, {left_kb} kB left", runs_dir, before, (disk / "filler").unlink)


def try_place(
    trial: Trial, name: str, runs_dir: Path, before: Callable[[], object], mend: Callable[[], object]
) -> Case:
    """The study with the fault; then, mended, the same command."""
    outcome = trial.run(runs_dir, before)
    leftovers = list_leftovers(runs_dir)
    mend()
    if not outcome.is_orderly or outcome.code not in (1, 2) or leftovers:
        return Case(name, False, f"exit {outcome.code}: {outcome.output.splitlines()[-1:]}, left {leftovers}")
    again = trial.run(runs_dir)
    wrong = check_end(trial, runs_dir, again)
    said = outcome.complaint.replace(str(runs_dir), "runs")
    return Case(name, not wrong, "; ".join(wrong[:3]) if wrong else f"exit {outcome.code}, {said!r}; then went on")


if __name__ == "__main__":
    main(iter_cases)
