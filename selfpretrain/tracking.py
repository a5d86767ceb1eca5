"""Mirroring metrics to Weights & Biases, or nowhere. The run folder has every metric in any case.

W&B lives in one helper process per training process, fed through a pipe: ``python -m selfpretrain.tracking``. A hanging
network, its signal and exit hooks and its import then never touch the training. Metrics go through a bounded queue
that a daemon thread empties; when it is full they are dropped, counted, and one warning is printed.
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
import types
from pathlib import Path
from typing import Any

from selfpretrain.config import Settings
from selfpretrain.hashing import to_plain

QUEUE_SIZE = 2000  # messages
INIT_TIMEOUT_SECONDS = 30  # W&B's own limit for reaching the server
DRAIN_SECONDS = 120.0  # what the helper may take after training has ended
EXIT_SHARE = 0.02  # of the process's time that its end may wait for the helper,
EXIT_SECONDS = (2.0, 10.0)  # within these bounds
NICE = 10  # the helper gives way to the training


class NullTracker:
    """Tracks nothing; all that the training loop knows of tracking."""

    def log(self, metrics: dict[str, float], step: int) -> None:
        """Mirror a row; never blocks, never raises."""

    def finish(self, exit_code: int = 0) -> None:
        """The run has ended; call it in a finally."""


def build_tracker(settings: Settings, folder: Path, group: str, name: str) -> Tracker:
    """The tracker that the settings of a run name; for ranks other than 0 one that does nothing.

    ``folder`` is the run's, <stage>/<id>, under whose id an interrupted run is continued; W&B's own files go there,
    under wandb/. ``group`` is the study, ``name`` is for people.
    """
    config = settings.tracking
    if config.name == "none" or int(os.environ.get("RANK", "0")) != 0:
        return NullTracker()
    arguments = {
        "project": config.project, "entity": config.entity, "id": folder.name, "group": group or None,
        "job_type": folder.parent.name, "name": name, "config": to_plain(settings), "dir": str(folder.resolve()),
    }  # fmt: skip
    return WandbTracker(config.mode, arguments)


class WandbTracker:
    """One W&B run, carried by the process's helper; ``arguments`` are those of ``wandb.init``."""

    def __init__(self, mode: str, arguments: dict[str, Any]):
        self.key = f"{arguments['id']}.{time.monotonic_ns()}"
        self.num_dropped = 0
        self.finished = False
        self.helper = get_helper()
        self.helper.put({"do": "start", "run": self.key, "mode": mode, "arguments": arguments})

    def log(self, metrics: dict[str, float], step: int) -> None:
        if self.helper.put({"do": "log", "run": self.key, "step": step, "metrics": dict(metrics)}):
            return
        self.num_dropped += 1
        if self.num_dropped == 1 and not (self.helper.is_off or self.helper.is_closed):
            warn("W&B is slower than the training: some of its metrics are dropped (metrics.jsonl has all)")

    def finish(self, exit_code: int = 0) -> None:
        """Returns at once; the helper ends the run in the background."""
        if not self.finished:
            self.finished = True
            message = {"do": "finish", "run": self.key, "exit_code": exit_code, "num_dropped": self.num_dropped}
            self.helper.put(message, wait_seconds=0.2)


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
    outer = ("WANDB_RUN_ID", "WANDB_SERVICE", "PYTHONWARNINGS")
    environment = {name: value for name, value in os.environ.items() if name not in outer}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, places))
    return subprocess.Popen(
        [sys.executable, "-m", "selfpretrain.tracking"], env=environment, text=True, encoding="utf-8",
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C is for the training, which then ends this in order
    )  # fmt: skip


def warn(message: str) -> None:
    print(f"selfpretrain: {message}", file=sys.stderr, flush=True)


# the helper process


class Relay:
    """Runs inside the helper: turns messages into calls of W&B."""

    def __init__(self, wandb: types.ModuleType):
        self.wandb = wandb
        self.runs: dict[str, Any] = {}

    def handle(self, message: dict[str, Any]) -> None:
        key = message["run"]
        if message["do"] == "start":
            self.runs[key] = self.start(message)
        elif message["do"] == "log" and key in self.runs:
            self.runs[key].log(message["metrics"], step=message["step"])
        elif message["do"] == "finish" and key in self.runs:
            run = self.runs.pop(key)
            if message["num_dropped"]:
                run.summary["tracking_dropped_rows"] = message["num_dropped"]
            run.finish(exit_code=message["exit_code"])

    def start(self, message: dict[str, Any]) -> Any:
        wanted = {
            "console": "off", "silent": True, "disable_git": True, "disable_code": True, "save_code": False,
            "disable_job_creation": True, "x_disable_stats": True, "x_disable_meta": True,
            "init_timeout": INIT_TIMEOUT_SECONDS, "finish_timeout": DRAIN_SECONDS / 2,
        }  # fmt: skip
        known = getattr(self.wandb.Settings, "model_fields", wanted)  # older releases lack some
        settings = self.wandb.Settings(**{name: value for name, value in wanted.items() if name in known})
        mode = self.choose_mode(message["mode"])
        return self.wandb.init(
            **message["arguments"], mode=mode, resume="allow", reinit="create_new", settings=settings
        )

    def choose_mode(self, mode: str) -> str:
        """auto: as WANDB_MODE says, else online when logged in, else offline."""
        named = os.environ.get("WANDB_MODE", "").lower() if mode == "auto" else mode
        if named in ("offline", "dryrun", "disabled", "online"):
            return "offline" if named == "dryrun" else named
        return "online" if self.is_logged_in() else "offline"

    def is_logged_in(self) -> bool:
        if os.environ.get("WANDB_API_KEY"):
            return True
        try:
            return bool(self.wandb.login(prompt=False, verify=False))
        except TypeError:  # releases that cannot be told not to ask
            return bool(self.wandb.api.api_key)


def serve() -> int:
    """Read messages until the pipe ends; complain once on the real stdout and stop at the first trouble."""
    # a copy: W&B's own output must not be taken for a complaint
    complaints = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    with contextlib.suppress(OSError, AttributeError):
        os.nice(NICE)
    try:
        import wandb

        relay = Relay(wandb)
        for line in sys.stdin:
            relay.handle(json.loads(line))
        start_watchdog()
        for run in relay.runs.values():  # that nobody ended: the training was killed
            run.finish(exit_code=1)
    except Exception as error:  # noqa: BLE001 - whatever W&B raises must end here, in one line
        reason = str(error).strip().splitlines()
        with contextlib.suppress(OSError):
            print(f"{type(error).__name__}{f': {reason[0]}' if reason else ''}", file=complaints, flush=True)
        start_watchdog()
        return 1
    return 0


def start_watchdog() -> None:
    """No helper outlives its training by more than DRAIN_SECONDS, whatever W&B's exit hooks wait for."""
    timer = threading.Timer(DRAIN_SECONDS, os._exit, args=(1,))
    timer.daemon = True
    timer.start()


if __name__ == "__main__":
    sys.exit(serve())
