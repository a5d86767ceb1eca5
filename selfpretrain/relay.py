"""The process that holds W&B: ``python -m selfpretrain.relay``, started and fed by :mod:`selfpretrain.tracking`.

It reads messages from stdin, a line of JSON each, and says on stdout, in one line, at which trouble it has stopped.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
import threading
import types
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from selfpretrain.tracking import DRAIN_SECONDS, INIT_TIMEOUT_SECONDS

NICE = 10  # it gives way to the training


class Relay:
    """Runs inside the helper: turns messages into calls of W&B."""

    def __init__(self, wandb: types.ModuleType):
        self.wandb = wandb
        self.runs: dict[str, Any] = {}
        self.patience = DRAIN_SECONDS
        self.pool = ThreadPoolExecutor(4)  # sending the rest of one run must not hold up the next
        self.endings: dict[str, Future[None]] = {}

    def handle(self, message: dict[str, Any]) -> None:
        self._check_endings()
        key, do = message["run"], message["do"]
        if do == "start":
            self.start(message)
        elif key not in self.runs:
            return
        elif do == "log":
            self.runs[key].log(message["metrics"], step=message["step"])
        elif do == "replay":
            self.replay(self.runs[key], message)
        elif do == "summarize":
            self.runs[key].summary.update(message["values"])
        elif do == "table":
            use_folder(self.runs[key])
            table = self.wandb.Table(columns=message["columns"], data=message["rows"])
            self.runs[key].log({message["name"]: table}, commit=False)  # all of them are one row
        elif do == "artifact":
            use_folder(self.runs[key])
            self.store(self.runs[key], message)
        elif do == "finish":
            run = self.runs.pop(key)
            if message["num_dropped"]:
                run.summary.update({"tracking_dropped_rows": message["num_dropped"]})
            self.endings[key] = self.pool.submit(run.finish, exit_code=message["exit_code"])

    def start(self, message: dict[str, Any]) -> None:
        self.patience = max(self.patience, message["patience"])
        wanted = {
            "console": "off", "silent": True, "disable_git": True, "disable_code": True, "save_code": False,
            "disable_job_creation": True, "x_disable_stats": True, "x_disable_meta": True,
            "init_timeout": INIT_TIMEOUT_SECONDS, "finish_timeout": message["patience"] / 2,
        }  # fmt: skip
        known = getattr(self.wandb.Settings, "model_fields", wanted)  # older releases lack some
        settings = self.wandb.Settings(**{name: value for name, value in wanted.items() if name in known})
        mode, arguments = self.choose_mode(message["mode"]), message["arguments"]
        self._wait_for(key for key in self.endings if key.startswith(f"{arguments['id']}."))  # tried once more
        earlier = list_unsent(Path(arguments["dir"]), arguments["id"])
        # without it, what is there under the id is replaced; with it, wandb sync would give rows that it has new steps
        resume = "allow" if message["goes_on"] and mode == "online" else None
        run = self.wandb.init(**arguments, mode=mode, resume=resume, reinit="create_new", settings=settings)
        self.runs[message["run"]] = run
        for folder in earlier if mode in ("online", "offline") else ():  # else nothing stands in their place
            if folder != Path(run.dir).parent:
                shutil.rmtree(folder, ignore_errors=True)

    def replay(self, run: Any, message: dict[str, Any]) -> None:
        """The rows of the history's first bytes; W&B passes over the steps that it has."""
        with open(message["file"], "rb") as file:
            lines = file.read(message["size"]).splitlines()
        for line in lines:
            with contextlib.suppress(json.JSONDecodeError):  # a line that a kill cut short
                row = json.loads(line)
                run.log({name: value for name, value in row.items() if name != "step"}, step=row["step"])

    def store(self, run: Any, message: dict[str, Any]) -> None:
        artifact = self.wandb.Artifact(message["name"], message["type"])
        policy = "immutable" if message["is_lasting"] else "mutable"
        for name, path in message["files"].items():
            if os.path.isdir(path):
                artifact.add_dir(path, name, skip_cache=True, policy=policy)
            else:
                artifact.add_file(path, name, skip_cache=True, policy=policy)
        run.log_artifact(artifact, aliases=["latest", *message["aliases"]])

    def _check_endings(self) -> None:
        """Raise what ending a run has raised."""
        self._wait_for(key for key, ending in self.endings.items() if ending.done())

    def _wait_for(self, keys: Iterable[str]) -> None:
        for key in list(keys):
            self.endings.pop(key).result()

    def close(self) -> None:
        """End what nobody ended, the training having been killed, and wait for all of it."""
        self.endings |= {key: self.pool.submit(run.finish, exit_code=1) for key, run in self.runs.items()}
        self._wait_for(self.endings)

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
        start_watchdog(relay.patience)
        relay.close()
    except Exception as error:  # noqa: BLE001 - whatever W&B raises must end here, in one line
        reason = str(error).strip().splitlines()
        with contextlib.suppress(OSError):
            print(f"{type(error).__name__}{f': {reason[0]}' if reason else ''}", file=complaints, flush=True)
        start_watchdog(DRAIN_SECONDS)
        return 1
    return 0


def use_folder(run: Any) -> None:
    """Copies of files that wait to be sent lie in the run's own folder, not in the user's home."""
    os.environ["WANDB_DATA_DIR"] = str(Path(run.dir).parent)


def list_unsent(folder: Path, run_id: str) -> list[Path]:
    """The offline folders of a run's earlier starts that ``wandb sync`` has not sent."""
    found = (folder / "wandb").glob(f"offline-run-*-{run_id}")
    return [each for each in found if not (each / f"run-{run_id}.wandb.synced").exists()]


def start_watchdog(seconds: float) -> None:
    """No helper outlives its training for longer, whatever W&B's exit hooks wait for."""
    timer = threading.Timer(seconds, os._exit, args=(1,))
    timer.daemon = True
    timer.start()


if __name__ == "__main__":
    sys.exit(serve())
