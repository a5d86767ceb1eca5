"""Jobs as Ray's tasks, on a cluster or on this machine. Ray queues them and tries again what a dead worker leaves."""

from __future__ import annotations

import os
from typing import Any

from hydra.core.utils import JobReturn
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from hydra_plugins.selfpretrain_launchers.base import ProcessLauncher, Work

STOP_SECONDS = 60
AMOUNTS = {"num_cpus": "CPU", "num_gpus": "GPU", "memory": "memory"}  # of a task, as a cluster calls them


class RayLauncher(ProcessLauncher):
    """``address``: null starts Ray here (or goes to RAY_ADDRESS), auto or <host>:<port> is a cluster; ``task``: what a job needs
    (num_cpus, num_gpus, memory in bytes, max_retries, ...), as ``ray.remote`` takes it.
    """

    def __init__(self, address: str | None = None, task: dict[str, Any] | None = None):
        self.begun: list[Any] = []  # tasks
        self.address, self.task = address, {key: value for key, value in (task or {}).items() if value is not None}

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Raises UserError where nobody answers, and for more than the whole cluster has."""
        from selfpretrain.cluster import connect, load_ray
        from selfpretrain.config import UserError

        super().setup(hydra_context=hydra_context, task_function=task_function, config=config)
        connect(self.address)
        there = load_ray().cluster_resources()
        for name, resource in AMOUNTS.items():
            if not isinstance(self.task.get(name, 0), int | float):
                raise UserError(f"hydra.launcher.task.{name}={self.task[name]} is no number")
            if self.task.get(name, 0) > there.get(resource, 0):
                raise UserError(
                    f"hydra/launcher=ray: a job asks for {name}={self.task[name]:g}, and the cluster has "
                    f"{there.get(resource, 0):g}; set hydra.launcher.task.{name} or hydra.sweeper.resources.<stage>.task.{name}"
                )

    def run(self, works: list[Work]) -> list[JobReturn]:
        from selfpretrain.cluster import load_ray

        ray = load_ray()
        remote = ray.remote(**self.task)(_call)
        begun = [remote.remote(work, os.getcwd()) for work in works]
        self.begun += begun
        return ray.get(begun)

    def stop(self) -> None:
        """Tell the tasks to save and end, as Ctrl-C would, and wait for it: they die with this process."""
        from selfpretrain.cluster import load_ray

        if not self.begun:
            return
        ray = load_ray()
        for task in self.begun:
            ray.cancel(task)
        ray.wait(self.begun, num_returns=len(self.begun), timeout=STOP_SECONDS)


def _call(work: Work, folder: str) -> JobReturn:
    """In the command's folder, which all machines see, since paths may be relative to it."""
    from selfpretrain.config import UserError

    try:
        os.chdir(folder)
    except OSError as error:
        raise UserError(
            f"hydra/launcher=ray: a machine of the cluster does not see {folder} ({error.strerror})"
        ) from None
    try:
        return work()
    except SystemExit as stop:  # which Ray would take for a fault of the worker, and print so
        raise RuntimeError(str(getattr(stop, "message", f"ended with {stop.code}"))) from None
