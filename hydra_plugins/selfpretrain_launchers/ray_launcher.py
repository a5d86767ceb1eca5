"""Jobs as Ray's tasks, on a cluster or on this machine. Ray queues them and tries again what a dead worker leaves."""

from __future__ import annotations

from typing import Any

from hydra.core.utils import JobReturn

from hydra_plugins.selfpretrain_launchers.base import ProcessLauncher, Work


class RayLauncher(ProcessLauncher):
    """``address``: null starts Ray here (or goes to RAY_ADDRESS), auto or <host>:<port> is a cluster; ``task``: what a job needs
    (num_cpus, num_gpus, memory in bytes, max_retries, ...), as ``ray.remote`` takes it.
    """

    slots = None  # whatever is ready may wait there

    def __init__(self, address: str | None = None, task: dict[str, Any] | None = None):
        self.address, self.task = address, dict(task or {})

    def run(self, works: list[Work]) -> list[JobReturn]:
        from selfpretrain.cluster import connect

        ray = connect(self.address)
        remote = ray.remote(**self.task)(_call)
        return ray.get([remote.remote(work) for work in works])


def _call(work: Work) -> JobReturn:
    return work()
