"""Two hosts on one shared folder, and what a dead host leaves there: no run is made twice, and no lock stays.

    OMP_NUM_THREADS=1 python -m launch.faults.hosts           # as root

A host is a set of namespaces: a name, a network and process numbers of its own, the same on both.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock

from launch.faults.places import remove_all
from launch.faults.trial import FORK, Case, Trial, check_end, main
from launch.kill_study import check_exit

FAULT = "two hosts on one folder, and locks of a dead one"


def iter_cases(trial: Trial) -> Iterator[Case]:
    yield _share(trial)

    runs_dir = trial.copy()
    remove_all(runs_dir, "pretrain/*/", "finetune/*/", "reports/*/", "corpora/*/")
    for lock in runs_dir.rglob("*.lock"):
        lock.write_text("4711 another-host")
    for path in (
        runs_dir / "finetune" / ".status.0badcafe.tmp",
        runs_dir / "corpora" / ".half.0badcafe.new" / "train.bin",
    ):
        path.parent.mkdir(exist_ok=True)
        path.write_text("half")
    lefts = ("finetune/.status", "corpora/.half")  # of names that no one here makes
    wrong = [line for line in check_end(trial, runs_dir, trial.run(runs_dir)) if not line.startswith(lefts)]
    yield Case("lock files that a dead host left", not wrong, "; ".join(wrong[:3]) or "went on")

    runs_dir = trial.copy()
    locks = sorted(runs_dir.rglob("*.lock"))
    remove_all(runs_dir, "finetune/*/", "reports/*/")
    holder = FORK.Process(target=_hold, args=(locks,))
    holder.start()
    time.sleep(1.0)
    holder.kill()
    holder.join()
    wrong = check_end(trial, runs_dir, trial.run(runs_dir))
    yield Case("the holder of every lock is killed", not wrong, "; ".join(wrong[:3]) or "went on")


def _share(trial: Trial) -> Case:
    """Two processes on one runs_dir; the second gets it by a link, for a log of its own."""
    name, runs_dir, link = "two hosts share a study", trial.folder / "shared", trial.folder / "shared-again"
    shutil.rmtree(runs_dir, ignore_errors=True)
    link.unlink(missing_ok=True)
    runs_dir.mkdir()
    link.symlink_to(runs_dir)
    processes = {folder: trial.workload.start(folder, wrapper=enter_host(folder.name)) for folder in (runs_dir, link)}
    for folder, process in processes.items():
        check_exit(process, folder)
    starts = {path.parent: json.loads(path.read_text()) for path in runs_dir.rglob("provenance.json")}
    twice = [str(run) for run, found in starts.items() if len(found) > 1]
    wrong = trial.compare(runs_dir) + [f"{run}: made twice" for run in twice]
    return Case(name, not wrong, "; ".join(wrong[:3]) or f"{len(starts)} runs, each started once; the same files")


def enter_host(name: str) -> tuple[str, ...]:
    """What stands before a command that another host is to carry out."""
    named = ("sh", "-c", 'hostname "$0" && exec "$@"', name)
    return ("unshare", "--uts", "--net", "--pid", "--mount-proc", "--fork", *named)


def _hold(locks: list[Path]) -> None:
    os.setsid()
    for lock in locks:
        FileLock(lock).acquire()
    time.sleep(60)


if __name__ == "__main__":
    main(iter_cases)
