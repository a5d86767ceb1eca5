"""Mirroring runs to Weights & Biases, or nowhere. The run folder has every metric in any case.

W&B lives in one helper process per training process, fed through a pipe: :mod:`selfpretrain.relay`. A hanging
network, its signal and exit hooks and its import then never touch the training. Metrics go through a bounded queue
that a daemon thread empties; when it is full they are dropped, counted, and one warning is printed.

A run has one id in W&B, its own. Every start of it tells W&B the whole history up to its checkpoint first, from metrics.jsonl.
Online W&B resumes the run and passes over the steps that it has. Offline the new folder holds all of the run, and the one of
the start before, unless it was sent, is removed: one folder is one run, in whatever order ``wandb sync`` sends them. Nothing
is resumed offline: ``wandb sync`` gives rows of steps that it has new steps, after the last (seen with W&B 0.31).
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from selfpretrain.config import TrackingConfig

QUEUE_SIZE = 2000  # messages
INIT_TIMEOUT_SECONDS = 30  # W&B's own limit for reaching the server
DRAIN_SECONDS = 120.0  # what the helper may take after training has ended,
UPLOAD_SECONDS = 3600.0  # with tracking.checkpoints
EXIT_SHARE = 0.02  # of the process's time that its end may wait for the helper,
EXIT_SECONDS = (2.0, 10.0)  # within these bounds


@dataclass(frozen=True)
class RunCard:
    """What is said of a run when it begins."""

    id: str
    job_type: str  # pretrain | finetune | evaluate | report
    group: str  # the study; empty outside of one
    name: str  # for people
    config: Mapping[str, Any]  # columns to group by, and the settings
    folder: Path  # W&B's own files go there, under wandb/
    history: Path | None = None  # metrics.jsonl: what earlier starts had when this one goes on; None: it begins anew


@dataclass(frozen=True)
class Artifact:
    """Files that are stored with a run, by their names there; a folder stands for what it holds."""

    name: str
    type: str
    files: Mapping[str, Path]
    aliases: Sequence[str] = field(default=())
    is_lasting: bool = False  # the files stay as they are where they are: W&B needs no copy of its own


class NullTracker:
    """Tracks nothing; all that the training loop knows of tracking."""

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """Mirror a row, before it is written to the history; never blocks, never raises."""

    def summarize(self, values: Mapping[str, Any]) -> None:
        """What the run came to."""

    def add_table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[str | float | None]]) -> None:
        """A table, its rows in the order of ``columns``."""

    def add_files(self, artifact: Artifact) -> None:
        """Files to store with the run."""

    def finish(self, exit_code: int = 0) -> None:
        """The run has ended; call it in a finally."""


def build_tracker(config: TrackingConfig, card: RunCard) -> Tracker:
    """The tracker that the settings name; for ranks other than 0 one that does nothing."""
    if config.name == "none" or int(os.environ.get("RANK", "0")) != 0:
        return NullTracker()
    return WandbTracker(config, card)


class WandbTracker:
    """One W&B run, carried by the process's helper."""

    def __init__(self, config: TrackingConfig, card: RunCard):
        self.key = f"{card.id}.{time.monotonic_ns()}"
        self.num_dropped = 0
        self.finished = False
        self.history = card.history
        self.helper = get_helper()
        arguments = {
            "project": config.project, "entity": config.entity, "id": card.id, "group": card.group or None,
            "job_type": card.job_type, "name": card.name, "config": dict(card.config), "dir": str(card.folder.resolve()),
        }  # fmt: skip
        patience = UPLOAD_SECONDS if config.checkpoints else DRAIN_SECONDS
        goes_on = card.history is not None
        self._tell("start", mode=config.mode, arguments=arguments, goes_on=goes_on, patience=patience)

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        self._tell_history()
        if self.helper.put({"do": "log", "run": self.key, "step": step, "metrics": dict(metrics)}):
            return
        self.num_dropped += 1
        if self.num_dropped == 1 and not (self.helper.is_off or self.helper.is_closed):
            warn("W&B is slower than the training: some of its metrics are dropped (metrics.jsonl has all)")

    def summarize(self, values: Mapping[str, Any]) -> None:
        self._tell("summarize", values=dict(values))

    def add_table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[str | float | None]]) -> None:
        self._tell("table", name=name, columns=list(columns), rows=[list(row) for row in rows])

    def add_files(self, artifact: Artifact) -> None:
        files = {name: str(path.resolve()) for name, path in artifact.files.items()}
        said = {"name": artifact.name, "type": artifact.type, "aliases": list(artifact.aliases), "files": files}
        self._tell("artifact", **said, is_lasting=artifact.is_lasting)

    def finish(self, exit_code: int = 0) -> None:
        """Returns at once; the helper ends the run in the background."""
        if not self.finished:
            self.finished = True
            self._tell_history()
            self._tell("finish", exit_code=exit_code, num_dropped=self.num_dropped)

    def _tell(self, what: str, **values: Any) -> None:
        """What is said once of a run: worth a short wait."""
        self.helper.put({"do": what, "run": self.key, **values}, wait_seconds=0.2)

    def _tell_history(self) -> None:
        """Before the first row: what the history holds by now, cut to the checkpoint that training goes on from."""
        history, self.history = self.history, None
        if history is not None and history.is_file():
            self._tell("replay", file=str(history.resolve()), size=history.stat().st_size)


Tracker = NullTracker | WandbTracker


class Helper:
    """The helper process and the two threads that talk with it."""

    def __init__(self) -> None:
        self.owner = os.getpid()
        self.started_at = time.monotonic()
        self.is_off = False  # after trouble
        self.is_closed = False
        self.messages: queue.Queue[dict[str, Any] | None] = queue.Queue(QUEUE_SIZE)
        self.process: subprocess.Popen[str] | None = None
        self.sender = threading.Thread(target=self._send, name="tracking-sender", daemon=True)
        self.listener = threading.Thread(target=self._listen, name="tracking-listener", daemon=True)
        self.sender.start()
        atexit.register(self.close)

    def put(self, message: dict[str, Any], wait_seconds: float = 0.0) -> bool:
        """Queue a message; False where it had to be dropped."""
        if self.is_off or self.is_closed:
            return False
        try:
            self.messages.put(message, block=wait_seconds > 0, timeout=wait_seconds or None)
        except queue.Full:
            return False
        return True

    def _send(self) -> None:
        """Start the process and write to its pipe; this thread alone ever waits for it."""
        try:
            self.process = start_process()
        except OSError as error:
            self._turn_off(f"its helper process did not start ({error})")
            return
        self.listener.start()
        pipe = self.process.stdin
        assert pipe is not None
        try:
            while (message := self.messages.get()) is not None:
                pipe.write(json.dumps(message, default=str) + "\n")
                if self.messages.empty():
                    pipe.flush()
            pipe.close()
        except (OSError, ValueError) as error:  # the process is gone
            self._turn_off(f"its helper process ended ({type(error).__name__})")
            with contextlib.suppress(OSError):  # for what it did not read; closed all the same
                pipe.close()

    def _listen(self) -> None:
        """Complaints of the helper, one a line; the first turns tracking off for this process."""
        assert self.process is not None and self.process.stdout is not None
        with contextlib.suppress(ValueError), self.process.stdout as complaints:  # closed while reading, at the end
            for line in complaints:
                self._turn_off(line.strip())

    def _turn_off(self, reason: str) -> None:
        if not self.is_off:
            self.is_off = True
            warn(f"W&B is off for the rest of this process: {reason} (metrics.jsonl has every metric)")

    def close(self, wait_seconds: float | None = None) -> bool:
        """End the pipe, and wait a moment for the helper; True if it has ended. It goes on alone otherwise."""
        if os.getpid() != self.owner:
            return True
        atexit.unregister(self.close)
        if wait_seconds is None:
            low, high = EXIT_SECONDS
            wait_seconds = min(high, max(low, EXIT_SHARE * (time.monotonic() - self.started_at)))
        deadline = time.monotonic() + wait_seconds
        with contextlib.suppress(queue.Full):
            self.messages.put(None, timeout=wait_seconds)
        self.sender.join(max(0.0, deadline - time.monotonic()))
        self.is_closed = True
        if self.process is None:
            return True
        try:
            self.process.wait(max(0.05, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            self.process.returncode = 0  # disowned on purpose: it finishes alone, within DRAIN_SECONDS
            return False
        self.listener.join(1.0)  # its last words
        return True


_helper: Helper | None = None


def get_helper() -> Helper:
    """This process's helper; a forked child gets its own."""
    global _helper
    if _helper is None or _helper.owner != os.getpid():
        _helper = Helper()
    return _helper


def start_process() -> subprocess.Popen[str]:
    places = [os.environ.get("PYTHONPATH"), str(Path(__file__).resolve().parents[1])]
    # names and services of an outer W&B run are not ours
    outer = ("WANDB_RUN_ID", "WANDB_RESUME", "WANDB_SWEEP_ID", "WANDB_SERVICE", "PYTHONWARNINGS")
    environment = {name: value for name, value in os.environ.items() if name not in outer}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, places))
    return subprocess.Popen(
        [sys.executable, "-m", "selfpretrain.relay"], env=environment, text=True, encoding="utf-8",
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C is for the training, which then ends this in order
    )  # fmt: skip


def warn(message: str) -> None:
    print(f"selfpretrain: {message}", file=sys.stderr, flush=True)
