"""What every fault is tried on: a small study that has run undisturbed, copies of it, and commands on them.

A command is a process of its own, forked from one that has imported everything already, so that a case takes seconds.
"""

from __future__ import annotations

import argparse
import atexit
import contextlib
import multiprocessing
import os
import shutil
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from launch.kill_study import Workload, find_differences, run_undisturbed, write_texts

FORK = multiprocessing.get_context("fork")
LIMIT_SECONDS = 300.0  # no command here takes that long
ASK_STATUS = "running\n"


@dataclass(frozen=True)
class Case:
    """One fault at one place."""

    name: str
    ok: bool
    seen: str  # what happened, in few words

    def __str__(self) -> str:
        return f"{'ok' if self.ok else 'FAILED'}: {self.name}: {self.seen}"


@dataclass(frozen=True)
class Outcome:
    """What a command left behind; ``code`` is negative for a signal."""

    code: int
    output: str
    seconds: float

    @property
    def complaint(self) -> str:
        """The line with which it ended, or why a cell failed; empty where there is none."""
        lines = self.output.splitlines()
        marks = ("selfpretrain: ", " failed: ")
        return next((line for mark in marks for line in lines if mark in line and "W&B" not in line), "")

    @property
    def is_orderly(self) -> bool:
        """Done, or ended with a line; never a trace."""
        return "Traceback" not in self.output and (self.code == 0 or bool(self.complaint))


@dataclass(frozen=True)
class Trial:
    """An undisturbed study and the place for copies of it."""

    folder: Path
    workload: Workload

    @classmethod
    def prepare(cls, folder: Path) -> Trial:
        """The study in ``folder``, run anew: what an older version kept is not asked for again."""
        trial = cls(folder.resolve(), Workload(folder.resolve() / "texts", "small"))
        shutil.rmtree(trial.undisturbed, ignore_errors=True)
        write_texts(trial.workload.texts, seed=0, num_examples=200, num_lines=200)
        run_undisturbed(trial.workload, trial.undisturbed)
        return trial

    @property
    def undisturbed(self) -> Path:
        return self.folder / "undisturbed"

    def copy(self, target: Path | None = None) -> Path:
        """A copy of the finished study, times included; over what is there."""
        target = target or self.folder / "tried"
        shutil.rmtree(target, ignore_errors=True)
        return Path(shutil.copytree(self.undisturbed, target))

    def compare(self, runs_dir: Path) -> list[str]:
        return find_differences(self.undisturbed, runs_dir)

    def run(self, runs_dir: Path, before: Callable[[], Any] = lambda: None, more: tuple[str, ...] = ()) -> Outcome:
        """The study in ``runs_dir`` to its end; ``before`` is called in its process first."""
        process, log = self.start(runs_dir, before, more)
        started = time.monotonic()
        process.join(LIMIT_SECONDS)
        if process.is_alive():
            process.kill()
            process.join()
        output = log.read_text(encoding="utf-8", errors="replace")
        return Outcome(process.exitcode or 0, output, time.monotonic() - started)

    def start(
        self, runs_dir: Path, before: Callable[[], Any] = lambda: None, more: tuple[str, ...] = ()
    ) -> tuple[Any, Path]:
        """The study's process and the file its output goes to."""
        import_everything()
        log = self.folder / f"{runs_dir.name}.log"
        words = self.workload.list_words(runs_dir)
        process = FORK.Process(target=_carry_out, args=([*words, *more], self.workload.environment, log, before))
        process.start()
        return process, log


def import_everything() -> None:
    """What a study imports, in the parent, once. The estimate of its time, longer than such a study, is left out."""
    import selfpretrain.report.plots
    import selfpretrain.report.write
    import selfpretrain.stages.evaluate  # noqa: F401
    from selfpretrain.study import sweep

    sweep.describe = lambda plan: None


def _carry_out(words: list[str], environment: dict[str, str], log: Path, before: Callable[[], Any]) -> NoReturn:
    """In the child: the command as it is, its output in ``log``, its exit code as the process's."""
    from selfpretrain.__main__ import main

    os.setsid()
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.environ.update(environment)
    sys.argv = ["selfpretrain", *words]
    code = 0
    try:
        before()
        main()
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except BaseException:  # noqa: BLE001 - what the interpreter would do
        traceback.print_exc()
        code = 1
    atexit._run_exitfuncs()
    with contextlib.suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


def remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def reopen(run: Path, *lost: str) -> None:
    """Make of a finished run one that was killed before it had these files."""
    for name in lost:
        remove(run / name)
    (run / "status").write_text(ASK_STATUS)


def check_end(trial: Trial, runs_dir: Path, outcome: Outcome) -> list[str]:
    """What is wrong with a study that ended well: its code, or files that are not the undisturbed ones."""
    if outcome.code != 0:
        return [f"exit {outcome.code}: {outcome.output.strip().splitlines()[-1:]}"]
    return trial.compare(runs_dir)


def main(iter_cases: Callable[[Trial], Iterator[Case]]) -> None:
    """Try one fault: a line for each case; exit code 1 if one failed."""
    parser = argparse.ArgumentParser(formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("runs/faults"), help="for the studies")
    trial = Trial.prepare(parser.parse_args().folder)
    failed = 0
    for case in iter_cases(trial):
        print(case, flush=True)
        failed += not case.ok
    raise SystemExit(1 if failed else 0)
