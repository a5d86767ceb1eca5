"""A training by several ranks of one machine: torchrun over the command that carries it out, started by whoever does it.

    torchrun --standalone --nproc-per-node <runtime.num_processes> -m selfpretrain study study.cell=<file> runtime...

Signals and exit codes pass; torchrun's own last words, pages of them, do not: run as a program, this module is torchrun
without them, and it ends with the process that started it.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Sequence

from selfpretrain.config import RuntimeConfig, Settings, iter_settings
from selfpretrain.devices import check_processes
from selfpretrain.endings import INTERRUPTED, STOPPED, Stopped
from selfpretrain.overrides import quote_override
from selfpretrain.runs.folder import Busy
from selfpretrain.study.cells import FINISHED, OF_THE_JOB, Cell, Job

POLL_SECONDS = 0.1
SAVE_SECONDS = "120"  # that ranks have to take a step to its end and save, before they are killed; older torch: 30


def are_wanted(runtime: RuntimeConfig) -> bool:
    """Whether this process is to start several ranks and is none of them."""
    return runtime.num_processes > 1 and int(os.environ.get("WORLD_SIZE", "1")) == 1


def run_command(command: str, overrides: Sequence[str], runtime: RuntimeConfig) -> None:
    """A whole command by its ranks, which ends with its exit code. Raises UserError where the machine has too few GPUs."""
    if code := launch(command, overrides, runtime):
        raise SystemExit(code)


def run_cell(cell: Cell, group: str) -> str:
    """Carry a training out by its ranks, and return its status: done, diverged, failed or busy.

    Raises Stopped, when they have saved, and UserError where the machine has too few GPUs.
    """
    path = Job(group, ((cell,),)).write()
    arguments = [f"study.cell={path}", *list_overrides(cell.settings)]
    code = launch("study", map(quote_override, arguments), cell.settings.runtime, subprocess.DEVNULL)
    try:
        with cell.run.lock(wait=False):
            if cell.status not in (*FINISHED, "failed"):
                cell.run.set_status("failed", f"one of its ranks ended with exit code {code}")
    except Busy:
        return "busy"
    return cell.status


def list_overrides(settings: Settings) -> list[str]:
    """How a job is carried out, which its file does not say, as it would be typed."""
    return [
        f"{key}={value if isinstance(value, str) else json.dumps(value)}"
        for key, _, value in iter_settings(settings)
        if key.partition(".")[0] in OF_THE_JOB
    ]


def launch(command: str, overrides: Iterable[str], runtime: RuntimeConfig, output: int | None = None) -> int:
    """The command by its ranks; the exit code is that of the first that failed. Raises Stopped and UserError."""
    from selfpretrain.train.trainer import catch_signals

    count = runtime.num_processes
    check_processes(count, runtime.device)
    # torchrun would say that it sets one thread
    environment = {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // count)), **os.environ}
    words = [f"--nproc-per-node={count}", "-m", "selfpretrain", command, *overrides]
    with (
        catch_signals() as caught,
        subprocess.Popen(
            [sys.executable, "-m", "selfpretrain.study.ranks", "--standalone", *words],
            stdin=subprocess.PIPE, stdout=output, env=environment,
            start_new_session=True,  # Ctrl-C on a terminal goes to the whole of ours; it is passed on once
        ) as process,
    ):  # fmt: skip
        is_told = False
        while process.poll() is None:
            if caught[-1] and not is_told:
                process.send_signal(signal.SIGINT if caught[-1] == signal.SIGINT else signal.SIGTERM)
                is_told = True
            time.sleep(POLL_SECONDS)
    code = process.returncode
    if caught[-1]:
        code = INTERRUPTED if caught[-1] == signal.SIGINT else STOPPED
    if code in (INTERRUPTED, STOPPED):  # or somebody told a rank
        raise Stopped(code)
    return code


def run_torchrun(words: Sequence[str]) -> int:
    """torchrun; its exit code is that of the rank that failed first, as a shell has it."""
    logging.disable(logging.CRITICAL)  # in this process alone
    os.environ.setdefault("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", SAVE_SECONDS)
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import parse_args, run

    try:
        run(parse_args(words))
    except ChildFailedError as error:
        _, failure = error.get_first_failure()
        return failure.exitcode if failure.exitcode >= 0 else 128 - failure.exitcode
    except SignalException as stop:
        return INTERRUPTED if stop.sigval == signal.SIGINT else STOPPED
    return 0


def end_with_parent() -> None:
    """Stop when the process that started us is gone: the pipe it holds is closed then, however it ended."""

    def watch() -> None:
        while os.read(0, 1):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()


if __name__ == "__main__":
    end_with_parent()
    sys.exit(run_torchrun(sys.argv[1:]))
