"""The peak memory of a process and of all that it starts, watched by a process beside them.

What counts is memory that the system cannot drop: anonymous and shared pages, a page that several processes share
divided among them (PSS). Pages of mapped files, libraries among them, are left out. Linux only.
"""

from __future__ import annotations

import os
import select
import subprocess
import sys
from pathlib import Path
from types import TracebackType

INTERVAL_SECONDS = 0.1
COUNTED = ("Pss_Anon:", "Pss_Shmem:")


class TreePeak:
    """``with peak: ...`` watches this process and its descendants; ``peak.mb`` is the most seen so far, in MiB."""

    def __init__(self) -> None:
        self.mb: float | None = None

    def __enter__(self) -> TreePeak:
        command = [sys.executable, __file__, str(os.getpid())]
        self.watcher = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        return self

    def __exit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        found, _errors = self.watcher.communicate()  # it ends when its input does
        if found.strip():
            self.mb = max(self.mb or 0.0, float(found))


def watch(root: int) -> float | None:
    """The most that the tree below ``root`` held, MiB, until standard input ends; None where that is not told."""
    highest = None
    while True:
        measured = measure_tree(root)
        if measured is not None:
            highest = max(highest or 0.0, measured)
        if select.select([sys.stdin], [], [], INTERVAL_SECONDS)[0]:
            return highest


def measure_tree(root: int) -> float | None:
    """What a process, its children and theirs hold now, MiB; this process is left out."""
    held = [measure_process(pid) for pid in list_tree(root) if pid != os.getpid()]
    known = [mb for mb in held if mb is not None]
    return sum(known) if known else None


def list_tree(root: int) -> list[int]:
    """A process and all its descendants."""
    children: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = path.read_text()
        except (FileNotFoundError, ProcessLookupError):  # ended meanwhile
            continue
        parent = int(text.rpartition(")")[2].split()[1])  # the name before it may hold spaces and brackets
        children.setdefault(parent, []).append(int(path.parent.name))
    tree = [root]
    for pid in tree:  # grows while it is read
        tree += children.get(pid, [])
    return tree


def measure_process(pid: int) -> float | None:
    """MiB; None for a process that has ended, and where the system does not tell."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return None
    return sum(int(line.split()[1]) for line in lines if line.startswith(COUNTED)) / 1024


if __name__ == "__main__":
    peak = watch(int(sys.argv[1]))
    print("" if peak is None else peak)
