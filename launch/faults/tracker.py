"""W&B that cannot be reached, never answers, or dies in the middle of training: the same result, a line, a bounded delay.

OMP_NUM_THREADS=1 python -m launch.faults.tracker
"""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

from launch.faults.places import remove_all
from launch.faults.trial import Case, Outcome, Trial, check_end, main

FAULT = "W&B out of reach, or gone"
DELAY_SECONDS = 15.0  # selfpretrain.tracking.EXIT_SECONDS at most, and what starting its process takes
ONLINE = ("tracking=wandb", "tracking.mode=online")
OFFLINE = ("tracking=wandb", "tracking.mode=offline")


def iter_cases(trial: Trial) -> Iterator[Case]:
    plain = trial.run(_prepare(trial)).seconds
    with closing(socket.create_server(("127.0.0.1", 0))) as closed:
        port = closed.getsockname()[1]
    yield _try(trial, "nothing listens", ONLINE, lambda: _point_to(port), plain, warned=True)
    with closing(socket.create_server(("127.0.0.1", 0), backlog=64)) as silent:  # it accepts, and never answers
        yield _try(trial, "it never answers", ONLINE, lambda: _point_to(silent.getsockname()[1]), plain, warned=None)
    yield _try(trial, "our process for it is killed", OFFLINE, lambda: _kill_at_step(15, _find_helper), plain, True)
    yield _try(trial, "its own service is killed", OFFLINE, lambda: _kill_at_step(15, _find_service), plain, None)


def _prepare(trial: Trial) -> Path:
    runs_dir = trial.copy()
    remove_all(runs_dir, "pretrain/*")
    return runs_dir


def _try(
    trial: Trial, name: str, more: tuple[str, ...], before: Callable[[], None], plain: float, warned: bool | None
) -> Case:
    """``warned``: whether there has to be a line; None where there may be one."""
    runs_dir = _prepare(trial)
    outcome = trial.run(runs_dir, before, more)
    wrong = [line for line in check_end(trial, runs_dir, outcome) if "/wandb/" not in line]
    wrong += _find_faults(outcome, plain, warned)
    lines = [line for line in outcome.output.splitlines() if "W&B" in line]
    seen = f"{outcome.seconds - plain:+.1f} s; {lines[0] if lines else 'no line'}"
    return Case(name, not wrong, "; ".join(wrong) or seen)


def _find_faults(outcome: Outcome, plain: float, warned: bool | None) -> list[str]:
    lines = [line for line in outcome.output.splitlines() if "W&B" in line]
    found = [] if len(lines) <= 1 and (warned is None or len(lines) == int(warned)) else [f"{len(lines)} lines"]
    return found + ([f"{outcome.seconds - plain:.0f} s late"] if outcome.seconds > plain + DELAY_SECONDS else [])


def _point_to(port: int) -> None:
    os.environ.update(WANDB_BASE_URL=f"http://127.0.0.1:{port}", WANDB_API_KEY="0" * 40)


def _kill_at_step(step: int, find: Callable[[], int | None]) -> None:
    """In the study's process: at the first line after so many steps wait for a process, and kill it."""
    from selfpretrain.train.keeper import Keeper

    log, killed = Keeper.log, []

    def log_and_kill(keeper: Keeper, done: int, row: dict[str, float]) -> None:
        log(keeper, done, row)
        deadline = time.monotonic() + 30
        while done >= step and not killed and time.monotonic() < deadline:
            if process := find():
                os.kill(process, signal.SIGKILL)
                killed.append(process)
            time.sleep(0.05)

    Keeper.log = log_and_kill


def _find_helper() -> int | None:
    from selfpretrain import tracking

    return tracking._helper.process.pid if tracking._helper and tracking._helper.process else None


def _find_service() -> int | None:
    """A process that our process for W&B has started."""
    parent = _find_helper()
    for state in Path("/proc").glob("[0-9]*/stat"):
        try:
            rest = state.read_text().rpartition(")")[2].split()
        except OSError:  # it has ended meanwhile
            continue
        if parent and int(rest[1]) == parent:
            return int(state.parent.name)
    return None


if __name__ == "__main__":
    main(iter_cases)
