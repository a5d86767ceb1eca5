"""A folder that is read-only: one line, and the study goes on once it can be written.

OMP_NUM_THREADS=1 python -m launch.faults.read_only       # as root: the folder is a tmpfs mounted read-only
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

from launch.faults.disk_full import try_place
from launch.faults.places import PLACES, mount_small, remove_all
from launch.faults.trial import Case, Trial, main

FAULT = "a read-only folder"
STATES: dict[str, Callable[[Path], None]] = {
    "an empty folder": lambda runs_dir: remove_all(runs_dir, "*"),
    **{f"a study without its {name}": place.prepare for name, place in PLACES.items()},
    "a finished study": lambda runs_dir: None,
}


def iter_cases(trial: Trial) -> Iterator[Case]:
    for name, prepare in STATES.items():
        with mount_small(trial.folder / "disk") as disk:
            runs_dir = trial.copy(disk / "runs")
            prepare(runs_dir)
            remount(disk, "ro")
            yield try_place(trial, name, runs_dir, lambda: None, lambda disk=disk: remount(disk, "rw"))


def remount(disk: Path, mode: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{mode}", disk], check=True)


if __name__ == "__main__":
    main(iter_cases)
