"""Try all faults, or those named, and write results/faults.md.

OMP_NUM_THREADS=1 python -m launch.faults [cut_short disk_full ...]
--first: the first case of each alone, and nothing is written
"""

from __future__ import annotations

import argparse
import importlib
import itertools
import time
from collections import Counter
from pathlib import Path

from launch.faults.record import add_row
from launch.faults.trial import Trial

FAULTS = ("cut_short", "disk_full", "read_only", "clock", "tracker", "hosts")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("faults", nargs="*", default=FAULTS)
    parser.add_argument("--folder", type=Path, default=Path("runs/faults"), help="for the studies")
    parser.add_argument("--first", action="store_true", help="of each fault the first case; not recorded")
    given = parser.parse_args()
    trial = Trial.prepare(given.folder)
    went_well = [try_fault(trial, name, given.first) for name in given.faults]
    raise SystemExit(0 if all(went_well) else 1)


def try_fault(trial: Trial, name: str, is_first: bool) -> bool:
    """A line for each case, and the row of the record; whether all went well."""
    module, started, cases = importlib.import_module(f"launch.faults.{name}"), time.monotonic(), []
    for case in itertools.islice(module.iter_cases(trial), 1 if is_first else None):
        print(f"{name}: {case}", flush=True)
        cases.append(case)
    wrong = [f"{case.name}: {case.seen}" for case in cases if not case.ok]
    if is_first:
        return not wrong
    counts = Counter(case.seen for case in cases)
    seen = "; ".join(wrong) or "; ".join(f"{text} ({count} x)" for text, count in counts.most_common(8))
    add_row(module.FAULT, len(cases), seen, not wrong, f"python -m launch.faults {name}", time.monotonic() - started)
    return not wrong


if __name__ == "__main__":
    main()
