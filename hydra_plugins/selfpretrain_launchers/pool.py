"""Processes on this machine, by joblib's loky: one for each GPU, or as many as cores."""

from __future__ import annotations

import atexit
import functools
import os
import signal
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from hydra.core.utils import JobReturn
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from hydra_plugins.selfpretrain_launchers.base import ProcessLauncher, Work

_taken = []  # this process's lock on its GPU, held as long as it lives


class PoolLauncher(ProcessLauncher):
    """``processes`` at a time, each with its share of the cores; with ``gpus`` ("all", or their numbers) one for each of these.

    The processes stay, so that a job does not pay for starting one.
    """

    def __init__(self, processes: int | None = None, gpus: Sequence[int] | str | None = None):
        self.processes, self.gpus = processes, gpus

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Raises UserError for processes or GPUs that cannot be."""
        from joblib import cpu_count

        from selfpretrain.config import UserError

        super().setup(hydra_context=hydra_context, task_function=task_function, config=config)
        if not (self.processes is None or isinstance(self.processes, int)):
            raise UserError(
                f"hydra.launcher.processes={self.processes} is no number; allowed: at least 1, or null: one for each core"
            )
        self.chosen = None if self.gpus is None else choose_gpus(self.gpus)
        self.slots = len(self.chosen) if self.chosen else cpu_count() if self.processes is None else self.processes
        if self.slots < 1:
            raise UserError(
                f"hydra.launcher.processes={self.slots} is not allowed; allowed: at least 1, or null: one for each core"
            )
        self.threads = max(1, cpu_count() // self.slots)
        self.folder = find_lock_folder() if self.chosen else None

    def stop(self) -> None:
        """Tell the processes to save and end; this one then ends with them, and not with their jobs."""
        from joblib.externals.loky import reusable_executor

        executor = reusable_executor._executor  # of all stages, if any job was begun
        for number in list(getattr(executor, "_processes", None) or ()):
            with suppress(ProcessLookupError):
                os.kill(number, signal.SIGTERM)

    def run(self, works: list[Work]) -> list[JobReturn]:
        from joblib.externals.loky import get_reusable_executor

        # torch and its libraries read it when they are imported
        threads = {name: str(self.threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
        executor = get_reusable_executor(
            self.slots, timeout=None, env=threads, initializer=take_gpu, initargs=(self.chosen, self.folder)
        )
        return [future.result() for future in [executor.submit(work) for work in works]]


@functools.cache
def find_lock_folder() -> Path:
    """One for all stages, since they share the processes."""
    folder = TemporaryDirectory(prefix="selfpretrain-gpus-")
    atexit.register(folder.cleanup)
    return Path(folder.name)


def choose_gpus(gpus: Sequence[int] | str) -> list[int]:
    """The numbers of the GPUs to use. Raises UserError for what is not there."""
    import torch

    from selfpretrain.config import UserError

    number = torch.cuda.device_count()
    try:
        chosen = list(range(number)) if gpus == "all" else [int(gpu) for gpu in gpus]
    except ValueError:
        chosen = []
    if not chosen or not set(chosen) <= set(range(number)):
        there = f"0 to {number - 1}" if number else "none; hydra/launcher=local_cores goes without"
        raise UserError(
            f"hydra/launcher=local_gpus: hydra.launcher.gpus={gpus}, and the GPUs of this machine are {there}"
            f"{'; set hydra.launcher.gpus=all or some of these' if number else ''}"
        )
    return chosen


def take_gpu(gpus: Sequence[int] | None, folder: Path | None) -> None:
    """Make one of the GPUs that no other process of the pool holds this process's only one, before torch looks for any.

    Held by a lock that the system frees when the process dies, so that the one that follows it finds it.
    """
    from filelock import FileLock, Timeout

    if gpus is None or folder is None:
        return
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    for gpu in gpus:
        lock = FileLock(folder / f"{gpu}.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            continue
        _taken.append(lock)
        os.environ["CUDA_VISIBLE_DEVICES"] = visible[gpu] if visible[0] else str(gpu)
        return
    raise RuntimeError(f"all of the GPUs {list(gpus)} are taken")
