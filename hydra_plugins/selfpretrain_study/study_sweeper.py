"""A Hydra sweeper that yields a study's missing cells in waves and hands them to the launcher that is set."""

from __future__ import annotations

from typing import Any

from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf


class StudySweeper(Sweeper):
    """``selfpretrain study`` is this multirun: corpora, pretraining, rates, fine-tuning, then the report."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        from hydra.core.plugins import Plugins

        self.config = config
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> Any:
        from selfpretrain.endings import Terminal
        from selfpretrain.overrides import quote_override
        from selfpretrain.report.write import write_report
        from selfpretrain.study.sweep import end_study, run_study

        started = 0
        # jobs of other processes would draw over the bars of this one
        bars = [] if self.config.hydra.runtime.choices["hydra/launcher"] == "basic" else ["runtime.progress=false"]

        def launch(paths: list[str]) -> list[str]:
            """Carry out the jobs that these files describe; returns the statuses of their cells."""
            nonlocal started
            jobs = [[*arguments, *bars, quote_override(f"study.cell={path}")] for path in paths]
            returns = self.launcher.launch(jobs, initial_job_idx=started)
            started += len(jobs)
            return [str(job.return_value) for job in returns]

        own = OmegaConf.masked_copy(self.config, [key for key in self.config if key != "hydra"])
        plan = run_study(own, list(arguments), launch)
        write_report(plan, Terminal(), arguments)
        end_study(plan)
