"""Jobs that a scheduler or a fault ends: killed, requeued, at their limit, their node down, a worker of Ray killed.

    OMP_NUM_THREADS=1 python -m launch.faults.schedulers slurm     # where sbatch is, as its administrator; with slurmdbd
    OMP_NUM_THREADS=1 python -m launch.faults.schedulers ray

A study whose pretrainings last for most of a minute runs undisturbed in one process, and then by the launcher, disturbed as soon as a
pretraining has its first checkpoint. It must end by itself, and its files must be the undisturbed ones, bit for bit.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from launch.faults.record import add_row
from launch.kill_study import Workload, check_exit, find_differences, get_log, write_texts

LIMIT_SECONDS = 1500.0
# which cells a job carries out, and what submitit keeps of it; a checkpoint written at a stop, kept as one of a run's last
NOT_WRONG = re.compile(r"cells/|jobs/|(pretrain|finetune)/\w+/checkpoints/step_\d+/[\w.]+: left over$")
LONG = ["pretrain.total_steps=5000", "runtime.save_every=500", "runtime.num_threads=1"]
SLURM = [
    "hydra/launcher=slurm", "hydra.launcher.gpus_per_node=null", "hydra.launcher.cpus_per_task=1", "hydra.launcher.mem_gb=2",
    "hydra.sweeper.resources.corpus.mem_gb=2", "study.cells_per_job=4",
]  # fmt: skip
RAY = ["hydra/launcher=ray", "hydra.launcher.task.num_gpus=0"]


@dataclass(frozen=True)
class LongStudy(Workload):
    """Two seeds of two conditions; ``more``: the launcher."""

    more: tuple[str, ...] = ()

    def list_words(self, runs_dir: Path) -> list[str]:
        return [*super().list_words(runs_dir), *LONG, *self.more]


# disturbing, each given the study's process and its runs


def kill_job(study: subprocess.Popen[bytes], runs_dir: Path) -> None:
    """As the kernel does for want of memory: the process that trains, and nothing else."""
    os.kill(find_worker("submitit.core._submit"), signal.SIGKILL)


def requeue(study: subprocess.Popen[bytes], runs_dir: Path) -> None:
    run_slurm("scontrol", "requeue", find_job())


def take_node_down(study: subprocess.Popen[bytes], runs_dir: Path) -> None:
    """The jobs on it are queued again, and wait for its return."""
    take_node_away("down", seconds=20)


def drain_node(study: subprocess.Popen[bytes], runs_dir: Path) -> None:
    """What runs there ends, what waits begins when it is back."""
    take_node_away("drain", seconds=60)


def take_node_away(state: str, seconds: float) -> None:
    name = run_slurm("sinfo", "-h", "-o", "%n").split()[0]
    run_slurm("scontrol", "update", f"nodename={name}", f"state={state}", "reason=tried")
    time.sleep(seconds)
    if run_slurm("sinfo", "-h", "-o", "%T").startswith(("down", "drain")):  # it may be back by itself (ReturnToService)
        run_slurm("scontrol", "update", f"nodename={name}", "state=resume")


def await_limit(study: subprocess.Popen[bytes], runs_dir: Path) -> None:
    """Its limit of a minute is the fault: nothing is done but to see that it queues the job again."""
    started = time.monotonic()
    while not re.search(r"Restarts=[1-9]", run_slurm("scontrol", "--oneliner", "show", "jobs")):
        if study.poll() is not None or time.monotonic() - started > LIMIT_SECONDS:
            raise RuntimeError("no job reached its limit: pretraining is too short, or has another limit")
        time.sleep(1)


def kill_worker(study: subprocess.Popen[bytes], runs_dir: Path) -> None:
    os.kill(find_worker("ray::_call"), signal.SIGKILL)


Fault = tuple[str, Callable[[subprocess.Popen[bytes], Path], None], list[str]]
FAULTS: dict[str, list[Fault]] = {
    "slurm": [
        ("a Slurm job is killed", kill_job, SLURM),
        ("a Slurm job is requeued", requeue, SLURM),
        ("a Slurm job reaches its limit", await_limit,
         [*SLURM, "hydra.sweeper.resources.pretrain.timeout_min=1", "hydra.launcher.signal_delay_s=30"]),
        ("a Slurm node goes down", take_node_down, SLURM),
        ("a Slurm node is drained", drain_node, SLURM),
    ],
    "ray": [("a Ray worker is killed", kill_worker, RAY)],
}  # fmt: skip


def find_worker(words: str) -> int:
    """A process whose command line has these words, the youngest."""
    found = subprocess.run(["pgrep", "-n", "-f", words], capture_output=True, text=True, check=True)
    return int(found.stdout)


def run_slurm(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def find_job() -> str:
    return run_slurm("squeue", "-h", "-t", "RUNNING", "-o", "%i").split()[0]


def try_fault(workload: LongStudy, undisturbed: Path, disturb: Callable[[subprocess.Popen[bytes], Path], None]) -> str:
    """What is wrong with the study that was disturbed; empty where nothing is."""
    runs_dir = undisturbed.with_name("disturbed")
    shutil.rmtree(runs_dir, ignore_errors=True)
    study = workload.start(runs_dir)
    started = time.monotonic()
    while not list(runs_dir.glob("pretrain/*/checkpoints/step_*/state.json")):
        if study.poll() is not None or time.monotonic() - started > LIMIT_SECONDS:
            return f"no checkpoint to begin with; {get_log(runs_dir)} has why"
        time.sleep(0.2)
    try:
        disturb(study, runs_dir)
        study.wait(LIMIT_SECONDS)
    except subprocess.TimeoutExpired:
        return f"not over after {LIMIT_SECONDS:.0f} s"
    finally:
        if study.poll() is None:
            study.terminate()
    if study.returncode != 0:
        return f"exit code {study.returncode}; {get_log(runs_dir)} has why"
    wrong = [line for line in find_differences(undisturbed, runs_dir) if not NOT_WRONG.match(line)]
    return "; ".join(wrong[:3])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scheduler", choices=FAULTS)
    parser.add_argument("--only", default="", help="words of the fault to try")
    parser.add_argument("--folder", type=Path, default=Path("runs/schedulers"), help="on a disk that all jobs see")
    given = parser.parse_args()
    folder = given.folder.resolve()
    write_texts(folder / "texts", seed=0, num_lines=200)
    undisturbed = folder / "undisturbed"
    shutil.rmtree(undisturbed, ignore_errors=True)  # of an older version, or cut off
    process = LongStudy(folder / "texts", "small").start(undisturbed)
    check_exit(process, undisturbed)
    failed = 0
    for name, disturb, more in FAULTS[given.scheduler]:
        if given.only not in name:
            continue
        started = time.monotonic()
        wrong = try_fault(LongStudy(folder / "texts", "small", tuple(more)), undisturbed, disturb)
        print(f"{name}: {wrong or 'ok'}", flush=True)
        command = f"python -m launch.faults.schedulers {given.scheduler}"
        add_row(name, 1, wrong or "went on by itself, to the same bits", not wrong, command, time.monotonic() - started)
        failed += bool(wrong)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
