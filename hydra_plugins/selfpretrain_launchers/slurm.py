"""Jobs on Slurm, by hydra-submitit-launcher; what Slurm can never give is refused before anything waits for it."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from typing import Any

from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

OPTIONS = ("partition", "qos", "account", "constraint", "gres", "nodes", "cpus_per_task", "gpus_per_node")


class SlurmLauncher(Launcher):
    """The settings are submitit's. A job that Slurm requeues, or that nears its limit, goes on from its checkpoint."""

    def __init__(self, **settings: Any):
        from hydra_plugins.hydra_submitit_launcher.submitit_launcher import SlurmLauncher as Submitit

        self.settings, self.submitit = settings, Submitit(**settings)

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Raises UserError for what no node could take."""
        check(self.settings)
        self.submitit.setup(hydra_context=hydra_context, task_function=task_function, config=config)

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        return self.submitit.launch(job_overrides, initial_job_idx)


def check(settings: dict[str, Any]) -> None:
    """Ask Slurm whether any of its nodes could take such a job. UserError if none: an unknown partition, too many GPUs."""
    from selfpretrain.config import UserError

    options = [f"--{key.replace('_', '-')}={settings[key]}" for key in OPTIONS if settings.get(key) is not None]
    options += [f"--mem={settings['mem_gb']}G"] if settings.get("mem_gb") else []
    options += [f"--time={settings['timeout_min']}"]
    try:
        asked = subprocess.run(
            ["sbatch", "--test-only", *options, "--wrap=true"], capture_output=True, text=True, timeout=60
        )
    except FileNotFoundError:
        raise UserError(
            "hydra/launcher=slurm: there is no sbatch here; call the command on a machine that submits jobs"
        ) from None
    except subprocess.TimeoutExpired:
        raise UserError(
            "hydra/launcher=slurm: sbatch does not answer within a minute; is Slurm's controller up? scontrol ping says so"
        ) from None
    if asked.returncode:
        why = (asked.stderr.strip().splitlines() or ["it does not say why"])[-1].removeprefix("sbatch: error:").strip()
        raise UserError(
            f"Slurm refuses {' '.join(options)}: {why}; set hydra.launcher.* or hydra.sweeper.resources.<stage>.*"
        )
