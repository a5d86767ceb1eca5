"""Jobs on Slurm, by hydra-submitit-launcher; what Slurm refuses is one line."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from typing import Any

from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class SlurmLauncher(Launcher):
    """The settings are submitit's. A job that Slurm requeues, or that nears its limit, goes on from its checkpoint."""

    slots = None  # whatever is ready waits in Slurm's queue

    def __init__(self, **settings: Any):
        from hydra_plugins.hydra_submitit_launcher.submitit_launcher import SlurmLauncher as Submitit

        self.submitit = Submitit(**settings)

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.submitit.setup(hydra_context=hydra_context, task_function=task_function, config=config)

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Raises UserError for what Slurm does not take: an unknown partition, more than any node has."""
        from submitit.core.utils import FailedJobError

        from selfpretrain.config import UserError

        if shutil.which("sbatch") is None:
            raise UserError(
                "hydra/launcher=slurm: there is no sbatch here; call the same command on a machine that submits jobs"
            )
        try:
            return self.submitit.launch(job_overrides, initial_job_idx)
        except FailedJobError as error:
            refused = [line for line in str(error).splitlines() if line.startswith("sbatch: error:")]
            if not refused:
                raise
            why = refused[-1].removeprefix("sbatch: error:").strip()
            raise UserError(
                f"Slurm refuses the jobs: {why}; hydra.launcher.* and hydra.sweeper.resources.* say what they ask for"
            ) from None
