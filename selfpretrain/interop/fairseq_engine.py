"""``pretrain.engine=fairseq``: RoBERTa and ELECTRA trained by ``fairseq-train`` of fairseq 0.12.2, from our token files.

fairseq runs in an environment of its own (``launch/fairseq_env.sh``) as another process. It begins at the weights that the
native engine would begin at, reads the documents that lie before the held-out text, masks and draws batches by its own
rules, and saves its own checkpoints:

    runs/pretrain/<id>/checkpoints/    checkpoint_last.pt and the newest before it
    runs/pretrain/<id>/fairseq/        data (links to the token files, an index of their own), start.pt, train.log

The native engine does the same arithmetic with ``pretrain.schedule=polynomial pretrain.eps_uncorrected=true``; here linear is
carried out as polynomial, a step later, and eps always stands where fairseq has it. Losses come out in nats, the held-out
measures are the native engine's on the same text, and the run folder is like any other. A run that was stopped goes on
from checkpoint_last.pt, exactly, since fairseq draws everything from seed and update.

[fairseq 0.12.2, fairseq_cli/train.py, trainer.py, tasks/masked_lm.py]
"""

from __future__ import annotations

import fcntl
import json
import math
import os
import signal
import subprocess
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from selfpretrain.config import Settings, UserError
from selfpretrain.door import to_yaml
from selfpretrain.files import make_folder, write_text
from selfpretrain.interop.fairseq_arguments import SETTINGS, START, check_settings, get_family, list_arguments
from selfpretrain.interop.pickled import load_fairseq
from selfpretrain.progress import show_progress
from selfpretrain.runs.folder import RunFolder
from selfpretrain.sources.fairseq_files import DICTIONARY, LAST
from selfpretrain.sources.indexed import write_index
from selfpretrain.train.engine import Engine
from selfpretrain.train.keeper import Diverged
from selfpretrain.train.trainer import Interrupted, catch_signals

VERSION = "0.12.2"
SHIM = Path(__file__).with_name("fairseq_shim.py")
MARK = "train_inner | "  # of a line of its log
POLL_SECONDS = 0.05
LOGGED = {  # their name: ours, and its unit, in ours
    **{name: (name, math.log(2)) for name in ("loss", "gen_loss", "disc_loss", "mlm_loss")},
    **{name: (name, 1.0) for name in ("disc_accuracy", "disc_recall", "lr")},
    "gnorm": ("grad_norm", 1.0), "wps": ("tokens_per_second", 1.0),
}  # fmt: skip
NOT_FINITE = "FloatingPointError"


def train_fairseq(trainings: Sequence[Any]) -> None:
    """Train one run, and store it.

    Raises UserError for what fairseq cannot do and where it is not installed, Diverged, and (on a signal, after saving)
    Interrupted.
    """
    (job,) = trainings
    settings, run = job.settings, job.run
    python = find_python(settings.runtime.fairseq_env)
    check_settings(settings, job.precision, job.device.type)
    family = get_family(settings)
    member, folder = job.build(1), make_folder(run.path / "fairseq")
    try:
        with open(folder / "lock", "w") as lock:
            # the other process inherits it: of a run whose parent was killed it may still be ending
            fcntl.flock(lock, fcntl.LOCK_EX)
            write_data(make_folder(folder / "data"), job.tokens, member.batches.batches.blocks.train_tokens)
            write_text(folder / SETTINGS, to_yaml(settings))
            family.save(folder / START, job.module)
            command = [str(python), str(SHIM), "train", *list_arguments(settings, run, job.device.type)]
            for row in run_command(command, folder / "train.log", settings, run, (lock.fileno(),)):
                member.keeper.log(int(row.pop("step")), row)
        family.load(run.checkpoints / LAST, job.module)
        member.keeper.evaluate(settings.pretrain.total_steps)
        job.finish(member)
        member.keeper.tracker.finish(0)
    finally:
        member.keeper.tracker.finish(1)  # of a run that did not come to its end


def find_python(environment: str) -> Path:
    """fairseq's own Python; UserError where the environment has none."""
    python = Path(environment).absolute() / "bin" / "python"
    if not python.is_file() or not (python.parent / "fairseq-train").is_file():
        raise UserError(
            f"pretrain.engine=fairseq: runtime.fairseq_env={environment} holds no fairseq {VERSION}; build it: "
            f"launch/fairseq_env.sh {environment}"
        )
    return python


def write_data(folder: Path, tokens: Any, train_tokens: int) -> None:
    """Our token files as fairseq's train split: the documents that end before the held-out text begins."""
    sizes = np.asarray(tokens.sizes)
    count = int(np.searchsorted(np.cumsum(sizes, dtype=np.int64), train_tokens, side="right"))
    if not count:
        raise UserError(
            f"{tokens.folder}: the first document reaches into the held-out text; pretrain.engine=fairseq needs more text"
        )
    write_index(folder / "train.idx", sizes[:count], tokens.tokens.dtype)
    vocabulary = DICTIONARY if (tokens.folder / DICTIONARY).is_file() else "tokenizer"
    links = {name: tokens.folder / name for name in ("train.bin", vocabulary)}
    links |= {f"valid.{kind}": folder / f"train.{kind}" for kind in ("bin", "idx")}  # opened, but never read
    for name, target in links.items():
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(target.resolve())


def read_step(checkpoint: Path) -> int:
    """The updates after which it was saved; 0 where there is none."""
    return int(load_fairseq(checkpoint)["optimizer_history"][-1]["num_updates"]) if checkpoint.is_file() else 0


def run_command(
    command: list[str], log: Path, settings: Settings, run: RunFolder, inherited: Sequence[int] = ()
) -> Iterator[dict[str, float]]:
    """The rows of metrics that the run's folder lacks, as they are logged; the other process has the open files ``inherited``.

    It writes ``log`` itself, and so no row is lost when this process is killed: it then ends a little later, maybe after
    one more checkpoint. Told to stop, it saves first, and this raises Interrupted.
    """
    log.touch()
    done, begin = read_step(run.checkpoints / LAST), log.stat().st_size
    kept = run.cut_metrics(done)
    missed = {row["step"]: row for row in read_rows(read_text(log).splitlines()) if kept < row["step"] <= done}
    yield from (missed[step] for step in sorted(missed))
    threads = settings.runtime.num_threads
    environment = {**os.environ, "FAIRSEQ_PARENT": str(os.getpid()), "PYTHONUNBUFFERED": "1"}
    environment |= {"OMP_NUM_THREADS": str(threads)} if threads else {}
    with (
        open(log, "ab") as output,
        open(log, encoding="utf-8", errors="replace") as lines,
        show_progress(f"pretrain {run.id}", settings.pretrain.total_steps, done, settings.runtime.progress) as show,
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
        try:
            for row in follow(lines, process, caught):
                show(int(row["step"]), f"{row.get('tokens_per_second', 0) / 1000:.1f}k tokens/s")
                yield row
        finally:
            if process.poll() is None:
                process.terminate()
    if process.returncode:
        explain_failure(read_text(log, begin).splitlines(), process.returncode, log, run)
    if len(caught) > 1:
        raise Interrupted(130 if caught[-1] == signal.SIGINT else 75, run.id, read_step(run.checkpoints / LAST))


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
        if MARK not in line:
            continue
        logged = json.loads(line.partition(MARK)[2])
        row: dict[str, float] = {"step": int(logged["num_updates"])}
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
        raise Diverged(note)
    raise UserError(f"fairseq-train ended with exit code {code}: {last[:200]}; all it said is in {log}")


def describe(settings: Settings, run: RunFolder, device: str) -> dict[str, Any]:
    """What a start's provenance adds."""
    return {"engine": {"name": "fairseq", "version": VERSION, "arguments": list_arguments(settings, run, device)}}


FAIRSEQ = Engine(train_fairseq, describe=describe)
