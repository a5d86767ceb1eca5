"""Results on disk: ``results/<machine>.json``, and ``results/<machine>.md`` made from it.

An entry is replaced when the same benchmark measures the same work against the same peer again.
"""

from __future__ import annotations

import dataclasses
import datetime
import importlib.metadata
import os
import platform
import re
import subprocess
from pathlib import Path
from typing import Any

from benchmarks.harness import Options, Row, compute_spread
from selfpretrain.devices import BF16_FLAGS, read_cpu_fact
from selfpretrain.files import make_folder, read_json, write_json, write_text
from selfpretrain.runs.folder import describe_machine

ROOT = Path(__file__).resolve().parent.parent
RESULTS = Path(__file__).resolve().parent / "results"
PACKAGES = ("torch", "transformers", "accelerate", "datasets", "tokenizers", "numpy")
HEADER = ("work", "peer", "unit", "ours", "peer's", "times better", "peak MiB, ours · peer's", "MFU", "taken")


def name_machine(device: str) -> tuple[str, str]:
    """The machine in words, and as the name of a file: its GPU, or its processor with what multiplies bf16 in it, and cores.

    Makers give processors of several generations one name.
    """
    if device == "cuda":
        import torch

        words = torch.cuda.get_device_name()
    else:
        flags = sorted(BF16_FLAGS & {*read_cpu_fact("flags").split()})
        words = describe_machine().partition(", ")[2] + (f" with {' and '.join(flags)}" if flags else "")
    return words, re.sub(r"[^a-z0-9]+", "_", words.lower()).strip("_")


def describe_surroundings(options: Options, command: str) -> dict[str, Any]:
    """What a number depends on besides the work: machine, threads, versions, commit, date, command."""
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {
        "machine": name_machine(options.device)[0],
        "threads": str(options.threads or os.environ.get("OMP_NUM_THREADS") or "torch's choice"),
        "versions": versions,
        "commit": get_commit(),
        "date": datetime.date.today().isoformat(),
        "command": command,
    }


def get_commit() -> str:
    """The short commit of the sources, with a + where they were changed since; empty outside of git."""

    def ask(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)

    try:
        found = ask("rev-parse", "--short", "HEAD")
        changed = ask("status", "--porcelain", "--", ".", ":!benchmarks/results").stdout.strip()
    except FileNotFoundError:  # no git
        return ""
    return "" if found.returncode else found.stdout.strip() + ("+" if changed else "")


def build_entry(benchmark: str, row: Row, surroundings: dict[str, Any]) -> dict[str, Any]:
    """A row as it is stored: every value, their medians and ranges, and the surroundings."""
    entry: dict[str, Any] = {"benchmark": benchmark, **dataclasses.asdict(row), **surroundings}
    for name, values in (("ours", row.ours), ("theirs", row.theirs), ("ratio", row.compute_ratios()), ("mfu", row.mfu)):
        entry[name] = list(values)
        entry[f"{name}_spread"] = dataclasses.asdict(compute_spread(values)) if values else None
    return entry


def write_entry(folder: Path, device: str, entry: dict[str, Any]) -> Path:
    """Put the entry into the machine's JSON and write the table again; the table's path."""
    words, slug = name_machine(device)
    path = make_folder(folder) / f"{slug}.json"
    entries = read_json(path)["entries"] if path.is_file() else []
    key = _get_key(entry)
    places = [i for i, other in enumerate(entries) if _get_key(other) == key]
    if places:
        entries[places[0]] = entry
    else:
        entries.append(entry)
    entries.sort(key=lambda other: str(other["benchmark"]))  # stable: within a benchmark as they came
    write_json(path, {"machine": words, "entries": entries})
    table = path.with_suffix(".md")
    write_text(table, f"# {words}\n\n{EXPLANATION}\n{render_table(entries)}")
    return table


EXPLANATION = """Made from the JSON beside it by `python -m benchmarks`. Cells are the median and, in brackets, the lowest and
highest of the interleaved repeats; "times better" is of pairs taken one after the other. MFU is the model's FLOP/s by
formula over the rate of large matrix products measured in between. A + after the commit: with uncommitted changes.
A > or <: a bound, because a run had not got there when it ended.
"""


def _get_key(entry: dict[str, Any]) -> tuple[str, ...]:
    return entry["benchmark"], entry["work"], entry["peer"]


def render_table(entries: list[dict[str, Any]]) -> str:
    """A Markdown table; skipped work stands in it by name. Notes follow below."""
    lines = [f"| {' | '.join(HEADER)} |", "|" + "---|" * len(HEADER)]
    notes: list[str] = []
    for entry in entries:
        text = entry["note"] or entry["skipped"]
        mark = ""
        if text:
            if text not in notes:
                notes.append(text)
            mark = f" [{notes.index(text) + 1}]"
        lines.append(f"| {' | '.join([entry['work'] + mark, *_render_cells(entry)])} |")
    lines += ["", *(f"[{i}] {text}  " for i, text in enumerate(notes, 1))] if notes else []
    return "\n".join(lines) + "\n"


def _render_cells(entry: dict[str, Any]) -> list[str]:
    threads = [] if entry["threads"] == "torch's choice" else [f"threads {entry['threads']}"]
    taken = [entry["date"], *([entry["commit"]] if entry["commit"] else [])]
    taken += [
        f"{name} {entry['versions'][name]}" for name in ("python", "torch", "transformers") if name in entry["versions"]
    ]
    taken += threads
    peer = entry["peer"] or "—"
    if entry["skipped"]:
        return [peer, entry["unit"], "not measured", "", "", "", "", ", ".join(taken)]
    peaks = [entry["ours_peak_mb"], *([entry["theirs_peak_mb"]] if entry["peer"] else [])]
    bounds = entry.get("bounds", ())
    more = {side: "> " if side in bounds else "" for side in ("ours", "theirs")}
    ratio = render_spread(entry["ratio_spread"], suffix="×")
    return [
        peer,
        entry["unit"],
        more["ours"] + render_spread(entry["ours_spread"]),
        more["theirs"] + render_spread(entry["theirs_spread"]),
        (more["theirs"] or more["ours"].replace(">", "<")) + ratio if ratio else "",
        " · ".join("—" if peak is None else f"{peak:,.0f}" for peak in peaks),
        render_spread(entry["mfu_spread"], scale=100, suffix=" %"),
        ", ".join(taken),
    ]


def render_spread(spread: dict[str, float] | None, scale: float = 1, suffix: str = "") -> str:
    """``median [lowest, highest]`` with three digits; empty for None."""
    if spread is None:
        return ""
    median, low, high = (render_number(scale * spread[name]) for name in ("median", "low", "high"))
    return f"{median}{suffix} [{low}, {high}]"


def render_number(value: float) -> str:
    """Three significant digits, without an exponent."""
    if value == 0:
        return "0"
    digits = 2
    while digits > 0 and abs(value) >= 10 ** (3 - digits):
        digits -= 1
    while digits < 9 and abs(value) < 10 ** (-(digits - 2)):
        digits += 1
    return f"{value:,.{digits}f}"
