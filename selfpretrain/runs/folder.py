"""The run folder, and the only code that knows what lies where in it.

    <runs_dir>/<stage>/<id>/
        config.yaml  provenance.json  status  metrics.jsonl  checkpoints/  predictions/<split>.parquet  result.json

``status`` holds one word: running, done, failed or diverged. A run that says running but whose lock is free was
killed, and is continued from its last checkpoint.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from selfpretrain import __version__
from selfpretrain.config import RuntimeConfig, UserError
from selfpretrain.devices import read_cpu_fact
from selfpretrain.files import (
    Damaged,
    explain_write_errors,
    make_folder,
    read_json,
    remove_leftovers,
    write_json,
    write_text,
)
from selfpretrain.sources import hub

STAGES = ("pretrain", "finetune", "evaluate")
STATUSES = ("missing", "running", "done", "failed", "diverged")
PACKAGES = ("torch", "numpy", "tokenizers", "datasets", "safetensors", "hydra-core")  # whose versions are written down


class Busy(RuntimeError):
    """Another process is working on this run."""


@dataclass(frozen=True)
class RunFolder:
    """One run on disk. Create with :func:`open_run`."""

    path: Path

    @property
    def id(self) -> str:
        return self.path.name

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def metrics(self) -> Path:
        """A line for each row of metrics, by step."""
        return self.path / "metrics.jsonl"

    def predictions(self, split: str) -> Path:
        return self.path / "predictions" / f"{split}.parquet"

    def encoder(self, step: int | None = None) -> Path:
        """What fine-tuning starts from: that of the end of a pretraining, or of its snapshot after so many steps."""
        return self.path / ("encoder" if step is None else f"encoder_{step}")

    def list_snapshots(self) -> list[int]:
        """The steps after which a pretraining kept its encoder, but for the end, in order."""
        return sorted(int(path.name.removeprefix("encoder_")) for path in self.path.glob("encoder_*"))

    @property
    def status(self) -> str:
        """missing | running | done | failed | diverged; a word that was cut short is that of a run that was killed."""
        word = self._read("status") or "missing"
        return word if word in STATUSES else "running"

    @property
    def note(self) -> str:
        """Why the run failed or diverged; empty otherwise."""
        return self._read("error.txt")

    def _read(self, name: str) -> str:
        file = self.path / name
        return file.read_text(encoding="utf-8").strip() if file.exists() else ""

    @property
    def seconds(self) -> float | None:
        """From the run's last start to its last status; None where the clock was set back meanwhile."""
        spent = (self.path / "status").stat().st_mtime - (self.path / "provenance.json").stat().st_mtime
        return None if spent < 0 else spent

    def read_result(self) -> dict[str, Any]:
        """What :meth:`finish` stored; where that is damaged, what to delete so that the run goes on from its last checkpoint."""
        try:
            return read_json(self.path / "result.json", cure=self.path / "status")
        except FileNotFoundError:
            raise Damaged(self.path / "result.json", self.path / "status", "it is missing") from None

    def start(self, config_yaml: str, command: str, num_seeds: int = 1, facts: Mapping[str, Any] | None = None) -> None:
        """Write down what runs, add this start to those before (where, with which versions), mark the run as running.

        ``num_seeds``: runs trained together by this process, which share its time. ``facts``: what else a start knows.
        """
        make_folder(self.path)
        write_text(self.path / "config.yaml", config_yaml)
        this = {**collect_provenance(), "command": command, "seeds_together": num_seeds, **(facts or {})}
        write_json(self.path / "provenance.json", [*read_starts(self.path), this])
        self.set_status("running")

    def set_status(self, status: str, note: str = "") -> None:
        make_folder(self.path)  # a run may fail before it begins
        if note:
            write_text(self.path / "error.txt", note + "\n")
        else:
            (self.path / "error.txt").unlink(missing_ok=True)
        write_text(self.path / "status", status + "\n")

    def finish(self, result: dict[str, Any]) -> None:
        """Store the result; only then is the run done."""
        write_json(self.path / "result.json", result)
        self.set_status("done")

    def cut_metrics(self, last_step: int) -> int:
        """Drop lines past ``last_step`` (written after the checkpoint that training resumes from); the step of the last kept."""
        file = self.metrics
        if not file.exists():
            return 0
        kept: list[str] = []
        last = 0
        for line in file.read_text(encoding="utf-8").splitlines():
            try:
                row = json.loads(line)
            except json.JSONDecodeError:  # the line a kill cut short
                break
            if row["step"] > last_step:
                break
            kept.append(line + "\n")
            last = row["step"]
        write_text(file, "".join(kept))
        return last

    def append_metrics(self, row: dict[str, Any]) -> None:
        with explain_write_errors(self.path), open(self.metrics, "a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")

    @contextmanager
    def lock(self, wait: bool = True) -> Iterator[None]:
        """Hold the run; the operating system frees it when the process dies. ``Busy`` if not to wait."""
        make_folder(self.path.parent)
        with explain_write_errors(self.path):
            lock = FileLock(self.path.parent / f"{self.id}.lock")
            try:
                lock.acquire(timeout=-1 if wait else 0)
            except Timeout:
                raise Busy(self.id) from None
        try:
            remove_leftovers(self.path)
            yield
        finally:
            lock.release()


def get_corpus_folder(corpus_id: str, runtime: RuntimeConfig) -> Path:
    return Path(runtime.runs_dir) / "corpora" / corpus_id


def is_corpus_built(corpus_id: str, runtime: RuntimeConfig) -> bool:
    return (get_corpus_folder(corpus_id, runtime) / "manifest.json").is_file()


def open_run(runs_dir: str | Path, stage: str, run_id: str) -> RunFolder:
    assert stage in STAGES, stage
    return RunFolder(Path(runs_dir) / stage / run_id)


def find_run(runs_dir: str | Path, stage: str, run_id: str) -> RunFolder:
    """A finished run by its id; UserError when there is none or it did not finish."""
    run = open_run(runs_dir, stage, run_id)
    if run.status == "missing":
        folder = Path(runs_dir) / stage
        known = ", ".join(sorted(path.name for path in folder.glob("*") if path.is_dir())[:5])
        there = f"there: {known}" if known else "it is empty"
        raise UserError(f"run:{run_id} does not exist under {folder}; {there} (runtime.runs_dir chooses the folder)")
    if run.status != "done":
        raise UserError(f"run:{run_id} in {run.path} is {run.status}, not done; finish it by its own command first")
    return run


# where and with what a run was made


def read_starts(folder: Path) -> list[dict[str, Any]]:
    """The provenance of every start of the run in ``folder``, the oldest first; empty before the first."""
    file = folder / "provenance.json"
    return read_json(file) if file.is_file() else []


def collect_provenance() -> dict[str, Any]:
    """Code, versions, machine and time of this process; ``hub``: the commits of what it has read from the hub so far."""
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = "absent"
    return {
        "selfpretrain": __version__,
        "commit": read_commit(),
        "python": platform.python_version(),
        "machine": describe_machine(),
        "versions": versions,
        "hub": dict(hub.commits),
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "argv": sys.argv[1:],
    }


def describe_machine() -> str:
    """System, processor and number of cores, in words."""
    processor = read_cpu_fact("model name") or platform.processor() or platform.machine()
    return f"{platform.system()}, {os.cpu_count()} cores of {processor}"


def read_commit() -> str:
    """The checkout's commit (with + when it has changes); empty outside a checkout."""
    command = ["git", "describe", "--always", "--dirty=+", "--abbrev=10"]
    try:
        found = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):  # no git, or a file system too slow to ask
        return ""
    return found.stdout.strip() if found.returncode == 0 else ""
