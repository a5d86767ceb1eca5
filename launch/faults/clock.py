"""A clock set back by a day: no result hangs on the time, and no time that is printed is negative.

    OMP_NUM_THREADS=1 python -m launch.faults.clock

The machine's clock stays as it is: files get times of tomorrow, as if written before it was set back.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

from launch.faults.cut_short import lose_finetunings_end, lose_pretraining, lose_pretrainings_end
from launch.faults.trial import Case, Outcome, Trial, check_end, main

FAULT = "the clock is set back by a day"
DAY = 86_400.0
NEGATIVE = re.compile(r"(?<![\w.])-\d[\d.]* ?(?:s|min|h)\b")


def iter_cases(trial: Trial) -> Iterator[Case]:
    runs_dir = trial.copy()
    lose_pretrainings_end(runs_dir)
    lose_finetunings_end(runs_dir)
    for path in runs_dir.rglob("*"):
        shift(path, DAY)
    yield _check(trial, "while the study was stopped", runs_dir, trial.run(runs_dir))

    runs_dir = trial.copy()
    lose_pretraining(runs_dir)
    lose_finetunings_end(runs_dir)
    yield _check(trial, "while its runs went on", runs_dir, trial.run(runs_dir, _start_tomorrow))

    runs_dir, texts = trial.copy(), [trial.workload.texts / "task.csv", *trial.workload.texts.rglob("*.gz")]
    for days in (1, -2, 1):
        for path in texts:
            shift(path, days * DAY)
        outcome = trial.run(runs_dir)
        wrong = [
            line for line in check_end(trial, runs_dir, outcome) if not line.startswith(("tasks/", "fingerprints/"))
        ]
        yield Case(f"the texts' times move by {days} days", not wrong, "; ".join(wrong) or "the same study")


def shift(path: Path, seconds: float) -> None:
    found, spent = path.stat(), int(seconds * 1e9)  # in whole nanoseconds, so that there and back is the same time
    os.utime(path, ns=(found.st_atime_ns + spent, found.st_mtime_ns + spent))


def _start_tomorrow() -> None:
    """Every run starts tomorrow and ends today."""
    from selfpretrain.runs import folder

    start, gmtime = folder.RunFolder.start, time.gmtime

    def start_late(run, *given, **named):
        time.gmtime = lambda *_: gmtime(time.time() + DAY)
        try:
            start(run, *given, **named)
        finally:
            time.gmtime = gmtime
        shift(run.path / "provenance.json", DAY)

    folder.RunFolder.start = start_late


def _check(trial: Trial, name: str, runs_dir: Path, outcome: Outcome) -> Case:
    facts = "".join(path.read_text(encoding="utf-8") for path in runs_dir.glob("reports/*/facts.json"))
    wrong = check_end(trial, runs_dir, outcome) + NEGATIVE.findall(outcome.output + facts)
    return Case(name, not wrong, "; ".join(wrong) or "the same files; no time below 0 is printed")


if __name__ == "__main__":
    main(iter_cases)
