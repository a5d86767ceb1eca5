"""A Hydra sweeper that hands a study's missing cells to the launcher that is set, each as soon as it can be carried out."""

from __future__ import annotations

from typing import Any

from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

STAGES = ("corpus", "pretrain", "finetune", "evaluate")


class StudySweeper(Sweeper):
    """``selfpretrain study`` is this multirun: corpora, pretraining, rates, fine-tuning, then the report.

    ``resources``: by stage (corpus, pretrain, finetune, evaluate), what differs from the launcher's settings.
    """

    def __init__(self, resources: dict[str, dict[str, Any]] | None = None):
        self.resources = resources or {}

    def check(self, launcher: DictConfig) -> None:
        """Raises UserError for a stage or a setting of the launcher that there is not."""
        from selfpretrain.config import UserError

        for stage, settings in self.resources.items():
            if stage not in STAGES:
                raise UserError(
                    f"hydra.sweeper.resources.{stage}: there is no such stage; allowed: {', '.join(STAGES)}"
                )
            for name in settings:
                if name not in launcher:
                    allowed = ", ".join(str(key) for key in launcher if key != "_target_")
                    raise UserError(
                        f"hydra.sweeper.resources.{stage}.{name}: the launcher has no such setting; allowed: {allowed}"
                    )

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        from hydra.core.plugins import Plugins

        self.config = config
        self.check(config.hydra.launcher)
        self.launchers = {}
        for stage in STAGES:
            own = config.copy()
            own.hydra.launcher.merge_with(self.resources.get(stage, {}))
            self.launchers[stage] = Plugins.instance().instantiate_launcher(
                hydra_context=hydra_context, task_function=task_function, config=own
            )

    def sweep(self, arguments: list[str]) -> Any:
        from selfpretrain.endings import Terminal
        from selfpretrain.overrides import quote_override
        from selfpretrain.report.write import write_report
        from selfpretrain.study.crew import Crew
        from selfpretrain.study.sweep import end_study, run_study

        started = 0
        # jobs of other processes would draw over the bars of this one
        is_elsewhere = self.config.hydra.runtime.choices["hydra/launcher"] != "basic"
        bars = ["runtime.progress=false"] if is_elsewhere else []

        def launch(stage: str, paths: list[str]) -> list[str]:
            """Carry out the jobs that these files describe; returns the statuses of their cells."""
            nonlocal started
            first, started = started, started + len(paths)
            jobs = [[*arguments, *bars, quote_override(f"study.cell={path}")] for path in paths]
            returns = self.launchers[stage].launch(jobs, initial_job_idx=first)
            return [read_statuses(job.return_value) for job in returns]

        own = OmegaConf.masked_copy(self.config, [key for key in self.config if key != "hydra"])
        slots = getattr(self.launchers["finetune"], "slots", None) if is_elsewhere else 1
        try:
            plan = run_study(own, list(arguments), Crew(launch, slots, in_thread=is_elsewhere))
        except (KeyboardInterrupt, SystemExit):
            for launcher in self.launchers.values():
                getattr(launcher, "stop", bool)()  # other people's have none
            raise
        write_report(plan, Terminal(), arguments)
        end_study(plan)


def read_statuses(returned: Any) -> str:
    """What a job came to. UserError where it was refused: what is wrong with one is wrong with all."""
    from selfpretrain.config import UserError
    from selfpretrain.endings import Outcome

    if isinstance(returned, Outcome):
        raise UserError(returned.message)
    return str(returned)
