"""results/faults.json and the table of it, results/faults.md. A fault that is tried elsewhere adds its row here:

python -m launch.faults.record "a rank is killed" --cases 3 --seen "one line; went on from the last checkpoint"
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shlex
import sys
import time
from pathlib import Path
from typing import Any

from selfpretrain.runs.folder import read_commit

FOLDER = Path(__file__).resolve().parents[2] / "results"
COLUMNS = ("fault", "cases", "what was seen", "ok")


def add_row(fault: str, cases: int, seen: str, ok: bool, command: str, seconds: float = 0.0) -> None:
    """A fault's row, in the place of its old one; ``seen`` in a sentence or two."""
    file = FOLDER / "faults.json"
    rows: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    rows[fault] = {
        "cases": cases, "what was seen": seen, "ok": ok, "command": command, "commit": read_commit(),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores", "seconds": round(seconds),
        "day": time.strftime("%Y-%m-%d", time.gmtime()),
    }  # fmt: skip
    file.write_text(json.dumps(rows, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    (FOLDER / "faults.md").write_text(format_rows(rows), encoding="utf-8")


def format_rows(rows: dict[str, Any]) -> str:
    lines = ["# Faults a study has survived", "", f"| {' | '.join(COLUMNS)} |", "|---|---:|---|---|"]
    for fault, row in rows.items():
        seen = row["what was seen"].replace("|", "\\|")
        lines.append(f"| {fault} | {row['cases']} | {seen} | {'ok' if row['ok'] else 'FAILED'} |")
    lines += [
        "",
        "Tried on a tiny study (launch/faults/). ok: nothing lost, nothing wrong, one line, and the same command goes on.",
    ]
    lines += ["", "| fault | command | commit | machine | seconds | day |", "|---|---|---|---|---:|---|"]
    for fault, row in rows.items():
        facts = " | ".join(str(row[name]) for name in ("commit", "machine", "seconds", "day"))
        lines.append(f"| {fault} | `{row['command']}` | {facts} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("fault")
    parser.add_argument("--cases", type=int, required=True)
    parser.add_argument("--seen", required=True)
    parser.add_argument("--failed", action="store_true")
    parser.add_argument("--command", default=shlex.join(sys.argv), help="by which it was tried")
    given = parser.parse_args()
    add_row(given.fault, given.cases, given.seen, not given.failed, given.command)


if __name__ == "__main__":
    main()
