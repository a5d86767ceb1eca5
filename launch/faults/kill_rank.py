"""Kill one of two ranks, or stop it, and continue: what the run leaves must equal an undisturbed one to the last bit.

    OMP_NUM_THREADS=1 python -m launch.faults.kill_rank     # from the root of the checkout

--faults restarted: kill -9 under torchrun --max-restarts=3, which goes on by itself. killed: the same without restarts; hung: SIGSTOP.
Both end all ranks with one line, in bounded time; then the same command is given again. Exit code 1 if a fault ends otherwise.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

from launch.kill_study import MODEL, find_differences, write_texts

FAULTS = {"restarted": signal.SIGKILL, "killed": signal.SIGKILL, "hung": signal.SIGSTOP}
TIMEOUT_SECONDS = 10.0  # runtime.rank_timeout here
LIMIT_SECONDS = 300.0
RUN = [
    *(word for word in MODEL if not word.startswith("study.")), "corpus=own", "tokenizer.source=own", "pretrain.total_steps=400",
    "pretrain.batch_size=4", "pretrain.micro_batch_size=1", f"runtime.rank_timeout={TIMEOUT_SECONDS}",
]  # fmt: skip


def start(runs_dir: Path, texts: Path, restarts: int = 0) -> subprocess.Popen[str]:
    """The run by torchrun, its output in <runs_dir>.log."""
    task = ["task=local", f"task.path={texts / 'task.csv'}", "task.text=body", "task.label=topic"]
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", f"--max-restarts={restarts}",
        "-m", "selfpretrain", "pretrain", *RUN, *task, f"runtime.runs_dir={runs_dir}",
    ]  # fmt: skip
    environment = {"OMP_NUM_THREADS": "1", **os.environ}
    with open(runs_dir.with_suffix(".log"), "a") as log:
        return subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT, text=True)


def find_ranks(torchrun: int) -> list[int]:
    """The processes that torchrun has started (Linux), rank 0 first."""
    return [int(word) for word in Path(f"/proc/{torchrun}/task/{torchrun}/children").read_text().split()]


def wait_for_checkpoint(process: subprocess.Popen[str], runs_dir: Path) -> None:
    while not list(runs_dir.glob("pretrain/*/checkpoints/step_*/state.json")):
        if process.poll() is not None:
            raise SystemExit(f"the run ended before it could be disturbed; see {runs_dir.with_suffix('.log')}")
        time.sleep(0.005)


def disturb(fault: str, rank: int, runs_dir: Path, texts: Path) -> tuple[float, list[str]]:
    """Begin the run, disturb a rank after the first checkpoint, wait for the end of all; seconds, and the lines said of it."""
    process = start(runs_dir, texts, 3 if fault == "restarted" else 0)
    wait_for_checkpoint(process, runs_dir)
    ranks, began = find_ranks(process.pid), time.monotonic()
    os.kill(ranks[rank], FAULTS[fault])
    code = process.wait(LIMIT_SECONDS)
    seconds = time.monotonic() - began
    said = runs_dir.with_suffix(".log").read_text()
    assert (code == 0) == (fault == "restarted"), said
    assert not any(Path(f"/proc/{pid}").exists() for pid in ranks), "a rank is left"
    assert not re.search(r'File ".*/selfpretrain/', said), said  # other traces are torchrun's
    return seconds, re.findall(r"^selfpretrain: .*", said, re.M)


def try_fault(fault: str, rank: int, folder: Path, reference: Path, texts: Path) -> list[str]:
    """Disturb, continue, compare: what is wrong, a line each."""
    runs_dir = folder / f"{fault}_{rank}"
    seconds, lines = disturb(fault, rank, runs_dir, texts)
    print(f"{fault}, rank {rank}: {seconds:.1f} s to the end of all; said: {lines}", flush=True)
    faults = [] if len(lines) == 1 and f"rank {rank} is gone" in lines[0] else [f"{fault}: said {lines}"]
    if fault != "restarted" and start(runs_dir, texts).wait(LIMIT_SECONDS) != 0:
        faults.append(f"{fault}: the same command did not continue")
    return faults + find_differences(reference, runs_dir)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faults", default="restarted,killed,hung")
    parser.add_argument("--ranks", default="1,0", help="which to disturb")
    parser.add_argument("--folder", type=Path, default=Path("runs/kill_rank"), help="a new one")
    arguments = parser.parse_args()
    folder = arguments.folder.resolve()
    texts, reference = folder / "texts", folder / "undisturbed"
    write_texts(texts, seed=0, num_lines=20)
    if start(reference, texts).wait(LIMIT_SECONDS) != 0:
        raise SystemExit(f"the undisturbed run failed; see {reference.with_suffix('.log')}")
    wrong = [line for fault in arguments.faults.split(",") for rank in map(int, arguments.ranks.split(","))
             for line in try_fault(fault, rank, folder, reference, texts)]  # fmt: skip
    print("\n".join(wrong) or "every run ended bit-identical to the undisturbed one")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
