"""What our launchers share: a job as it is sent to another process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, run_job, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict

Work = Callable[[], JobReturn]  # to be called in another process


class ProcessLauncher(Launcher):
    """Jobs in other processes of the same environment; ``launch`` waits for all of them."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.context, self.task_function, self.config = hydra_context, task_function, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        state = Singleton.get_state()

        def build(number: int, overrides: list[str]) -> Work:
            context, config, function = self.context, self.config, self.task_function
            return lambda: carry_out(number, overrides, context, config, function, state)

        return self.run([build(initial_job_idx + i, list(overrides)) for i, overrides in enumerate(job_overrides)])

    def stop(self) -> None:
        """The command is told to end; by default jobs are left to whoever carries them out."""

    def run(self, works: list[Work]) -> list[JobReturn]:
        """Carry these out, each once; an error of a process that ends without a result is raised."""
        raise NotImplementedError


def carry_out(
    number: int, overrides: list[str], context: HydraContext, config: DictConfig, function: TaskFunction, state: Any
) -> JobReturn:
    """One job, in the process that does it."""
    setup_globals()
    Singleton.set_state(state)
    composed = context.config_loader.load_sweep_config(config, overrides)
    with open_dict(composed):
        composed.hydra.job.id = composed.hydra.job.num = number
    HydraConfig.instance().set_config(composed)
    return run_job(
        hydra_context=context,
        task_function=function,
        config=composed,
        job_dir_key="hydra.sweep.dir",
        job_subdir_key="hydra.sweep.subdir",
    )
