"""fairseq as another process: where its Python is, what it has logged, how it is told to stop, and how it failed."""

from __future__ import annotations

import fcntl
import json
import math
import os
import signal
import subprocess
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from selfpretrain.config import RuntimeConfig, UserError
from selfpretrain.files import make_folder
from selfpretrain.interop.pickled import load_fairseq
from selfpretrain.progress import show_progress
from selfpretrain.runs.folder import RunFolder
from selfpretrain.sources.fairseq_files import LAST
from selfpretrain.train.keeper import Diverged
from selfpretrain.train.trainer import Interrupted, catch_signals

VERSION = "0.12.2"
SHIM, LOG = Path(__file__).with_name("fairseq_shim.py"), "train.log"
MARK = "train_inner | "  # of a line of its log
POLL_SECONDS = 0.05
LOGGED = {  # their name: ours, and its unit, in ours
    **{name: (name, math.log(2)) for name in ("loss", "gen_loss", "disc_loss", "mlm_loss")},
    **{name: (name, 1.0) for name in ("disc_accuracy", "disc_recall", "lr")},
    "gnorm": ("grad_norm", 1.0), "wps": ("tokens_per_second", 1.0),
}  # fmt: skip
NOT_FINITE = "FloatingPointError"
OF_TORCHRUN = ("MASTER_ADDR", "MASTER_PORT", "WORLD_SIZE", "RANK", "LOCAL_RANK")


def find_python(environment: str) -> Path:
    """fairseq's own Python; UserError where the environment has none."""
    python = Path(environment).absolute() / "bin" / "python"
    if not (Path(environment) / "installed").is_file():  # which the script leaves at its end
        raise UserError(
            f"engine=fairseq: runtime.fairseq_env={environment} holds no fairseq {VERSION}; build it: "
            f"launch/fairseq_env.sh {environment}"
        )
    return python


@contextmanager
def hold_folder(run: RunFolder) -> Iterator[tuple[Path, int]]:
    """The folder of a run that is for fairseq, locked, and the number of the file that holds the lock.

    The other process inherits it: that of a run whose parent was killed may still be ending.
    """
    folder = make_folder(run.path / "fairseq")
    with open(folder / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield folder, lock.fileno()


def read_step(checkpoint: Path) -> int:
    """The updates after which it was saved; 0 where there is none."""
    return int(load_fairseq(checkpoint)["optimizer_history"][-1]["num_updates"]) if checkpoint.is_file() else 0


def run_command(
    command: Sequence[str | Path], log: Path, run: RunFolder, runtime: RuntimeConfig, total_steps: int, inherited: Sequence[int] = (),
    replay: bool = False, looks: Iterable[int] = (),
) -> Iterator[dict[str, float]]:  # fmt: skip
    """The rows of metrics that the run's folder lacks (with ``replay`` all), as they are logged; the other process has the
    open files ``inherited``, and writes the weights after each update of ``looks``.

    It writes ``log`` itself, and so no row is lost when this process is killed: it then ends a little later, maybe after
    one more checkpoint. Told to stop, it saves first, and this raises Interrupted.
    """
    log.touch()
    done, begin = read_step(run.checkpoints / LAST), log.stat().st_size
    kept = run.cut_metrics(0 if replay or done >= total_steps else done)
    missed = {row["step"]: row for row in read_rows(read_text(log).splitlines()) if kept < row["step"] <= done}
    yield from (missed[step] for step in sorted(missed))
    if done >= total_steps:  # fairseq would take one step more
        return
    threads = runtime.num_threads
    environment = {**os.environ, "FAIRSEQ_PARENT": str(os.getpid()), "PYTHONUNBUFFERED": "1"}
    environment["FAIRSEQ_LOOKS"] = ",".join(map(str, looks))
    for name in OF_TORCHRUN:  # the other process is alone
        environment.pop(name, None)
    environment |= {"OMP_NUM_THREADS": str(threads)} if threads else {}
    with (
        open(log, "ab") as output,
        open(log, encoding="utf-8", errors="replace") as lines,
        show_progress(f"{run.path.parent.name} {run.id}", total_steps, done, runtime.progress) as show,
        catch_signals() as caught,
        # in a session of its own, since Ctrl-C on a terminal goes to the whole of ours
        subprocess.Popen(
            command,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
            pass_fds=inherited,
            start_new_session=True,
        ) as process,
    ):
        lines.seek(begin)
        output.write(b"\n")  # what a full disk or a loss of power left of a line ends there
        output.flush()
        try:
            for row in follow(lines, process, caught):
                show(int(row["step"]), f"{row.get('tokens_per_second', 0) / 1000:.1f}k tokens/s")
                yield row
        finally:
            if process.poll() is None:
                process.terminate()
    done, was_told = read_step(run.checkpoints / LAST), len(caught) > 1
    if process.returncode and not was_told:
        explain_failure(read_text(log, begin).splitlines(), process.returncode, log, run)
    if was_told or done < total_steps:  # it alone may have been told to end
        raise Interrupted(130 if caught[-1] == signal.SIGINT else 75, run.id, done)


def follow(lines: TextIO, process: subprocess.Popen[bytes], caught: list[int]) -> Iterator[dict[str, float]]:
    """Rows of a log that grows, until the process that writes it has ended; a signal that is caught makes it save and end."""
    rest, is_told = "", False
    while True:
        has_ended = process.poll() is not None  # asked first: then whatever it wrote is there to be read
        *whole, rest = (rest + lines.read()).split("\n")
        yield from read_rows(whole)
        if has_ended:
            return
        if len(caught) > 1 and not is_told:
            process.terminate()
            is_told = True
        time.sleep(POLL_SECONDS)


def read_text(log: Path, begin: int = 0) -> str:
    return log.read_bytes()[begin:].decode("utf-8", "replace")


def read_rows(lines: Iterable[str]) -> Iterator[dict[str, float]]:
    """The lines of fairseq's log that are a row of metrics, as ours; losses in nats, which it gives in bits."""
    for line in lines:
        try:
            logged = json.loads(line.partition(MARK)[2])
        except json.JSONDecodeError:  # another line, or one that was cut short
            continue
        row: dict[str, float] = {"step": int(float(logged["num_updates"]))}  # 1e+06
        yield row | {
            ours: float(logged[theirs]) * unit
            for theirs, (ours, unit) in LOGGED.items()
            if logged.get(theirs) is not None
        }


def explain_failure(lines: list[str], code: int, log: Path, run: RunFolder) -> None:
    """Raise Diverged where the loss was not finite, else UserError with the last line."""
    last = next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")
    if any(NOT_FINITE in line for line in lines[-50:]):
        note = f"fairseq: the loss or its gradient was not finite; lower the peak_lr ({log})"
        run.set_status("diverged", note)
        (run.checkpoints / "crash.pt").unlink(missing_ok=True)
        raise Diverged(note)
    raise UserError(f"fairseq-train ended with exit code {code}: {last[:200]}; all it said is in {log}")
