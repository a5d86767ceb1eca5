"""W&B that cannot be reached, never answers, or dies in the middle of training: the same result, a line, a bounded delay.

OMP_NUM_THREADS=1 python -m launch.faults.tracker
"""

from __future__ import annotations

import os
import re
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from launch.faults.places import remove_all
from launch.faults.trial import Case, Trial, check_end, main
from selfpretrain.files import to_stem

FAULT = "W&B out of reach, or gone"
HELD_SECONDS = 11.0  # selfpretrain.tracking.EXIT_SECONDS at most, and a second for its last words
ONLINE = ("tracking=wandb", "tracking.mode=online")
OFFLINE = ("tracking=wandb", "tracking.mode=offline")
HELD = re.compile(r"tracking held the process for ([\d.]+) s")


def iter_cases(trial: Trial) -> Iterator[Case]:
    with closing(socket.create_server(("127.0.0.1", 0))) as closed:
        port = closed.getsockname()[1]
    yield _try(trial, "nothing listens", ONLINE, lambda: _point_to(port))
    with closing(socket.create_server(("127.0.0.1", 0), backlog=64)) as silent:  # it accepts, and never answers
        yield _try(trial, "it never answers", ONLINE, lambda: _point_to(silent.getsockname()[1]))
    yield _try(trial, "nothing listens, and training goes on until W&B is given up", ONLINE, lambda: _wait(port), 1)
    yield _try(trial, "our process for it is killed", OFFLINE, lambda: _kill(_find_helper), 1)
    yield _try(trial, "its own service is killed", OFFLINE, lambda: _kill(_find_service))


def _try(
    trial: Trial, name: str, more: tuple[str, ...], before: Callable[[], None], num_lines: int | None = None
) -> Case:
    """``num_lines``: how many have to speak of W&B; None: one, or none where the study ended before it was given up."""
    # of its own: a process for W&B may go on alone for a while
    runs_dir = trial.copy(trial.folder / "tracker" / to_stem(name))
    remove_all(runs_dir, "pretrain/*")
    outcome = trial.run(runs_dir, lambda: (before(), _time_calls()), more)
    wrong = [line for line in check_end(trial, runs_dir, outcome) if "/wandb/" not in line]
    lines = [line for line in outcome.output.splitlines() if "W&B" in line]
    held = HELD.search(outcome.output)
    if len(lines) > 1 or num_lines not in (None, len(lines)):
        wrong.append(f"{len(lines)} lines")
    if held is None or float(held[1]) > HELD_SECONDS:
        wrong.append(f"held up for {held and held[1]} s")
    seen = f"the same files; held up for {held and held[1]} s; {lines[0] if lines else 'no line'}"
    return Case(name, not wrong, "; ".join(wrong) or seen)


def _time_calls() -> None:
    """In the study's process: add up what its calls of tracking take, and say so at the end, which is the last of them."""
    from selfpretrain import tracking

    spent = [0.0]

    def add(call: Callable[..., Any], is_last: bool = False) -> Callable[..., Any]:
        def timed(*given: Any, **named: Any) -> Any:
            started = time.monotonic()
            try:
                return call(*given, **named)
            finally:
                spent[0] += time.monotonic() - started
                if is_last:
                    print(f"tracking held the process for {spent[0]:.1f} s", flush=True)

        return timed

    for name in ("__init__", "log", "summarize", "add_table", "add_files", "finish"):
        setattr(tracking.WandbTracker, name, add(getattr(tracking.WandbTracker, name)))
    tracking.Helper.close = add(tracking.Helper.close, is_last=True)


def _point_to(port: int) -> None:
    os.environ.update(WANDB_BASE_URL=f"http://127.0.0.1:{port}", WANDB_API_KEY="0" * 40)


def _at_step(step: int, is_done: Callable[[], bool], limit_seconds: float = 60.0) -> None:
    """In the study's process: after so many steps wait until something is done, once."""
    from selfpretrain.train.keeper import Keeper

    log, waited = Keeper.log, []

    def log_and_wait(keeper: Keeper, done: int, row: dict[str, float]) -> None:
        log(keeper, done, row)
        deadline = time.monotonic() + limit_seconds
        while done >= step and not waited and time.monotonic() < deadline and not is_done():
            time.sleep(0.05)
        waited.extend([done] * (done >= step))

    Keeper.log = log_and_wait


def _wait(port: int) -> None:
    from selfpretrain import tracking

    _point_to(port)
    _at_step(15, lambda: bool(tracking._helper and tracking._helper.is_off), 2 * tracking.INIT_TIMEOUT_SECONDS)


def _kill(find: Callable[[], int | None]) -> None:
    def kill() -> bool:
        process = find()
        if process is not None:
            os.kill(process, signal.SIGKILL)
        return process is not None

    _at_step(15, kill)


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
