"""The commands. Nothing heavy is imported before one is chosen."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from typing import Any, NoReturn

from selfpretrain import __version__

COMMANDS = {
    "corpus": "Turn text into token files.",
    "corpus audit": "Say what a study's texts hold of its evaluation examples: word for word, nearly, by n-grams.",
    "pretrain": "Pretrain an encoder on BookWiki, on a task's own text, or on any other corpus.",
    "finetune": "Fine-tune an encoder on a task.",
    "evaluate": "Score a fine-tuned encoder on a task's splits.",
    "submit": "Write a fine-tuned encoder's predictions for the server of GLUE.",
    "export": "Write an encoder as transformers or fairseq has it.",
    "release": "Write a study's pretrainings as others release theirs: a folder and a model card for every seed and checkpoint.",
    "release check": "Say whether a release is whole: every file, that it loads, and what it descends from.",
    "plan": "Say what a study will take: runs, FLOPs, hours here, disk, and what is done. Runs nothing.",
    "study": "Compare pretraining procedures over tasks and seeds: the main job, end to end.",
    "report": "Write the tables and plots of a study again, from its run folders.",
    "settings": "Print every setting (or those of a section): its default, type, limits, unit and source.",
    "init": "Write a study file for a file of your own. Asks nothing; says what it chose, and why.",
    "doctor": "Say what this machine has for a study, and what to do about what it lacks.",
    "completion": "Print the tab completion of a shell.",
}
# of the commands that Hydra does not carry out: what follows them
USAGE = {
    "settings": "[<section> ...]",
    "init": "<file> [task.<setting>=<value> ...] [study.name=<name>]",
    "doctor": "[runtime.<setting>=<value> ...]",
    "completion": "bash | zsh | fish",
}


# of Hydra: what only asks, and what says already that it is a sweep
UNSWEPT = {"--help", "-h", "--hydra-help", "--cfg", "-c", "--info", "-i", "--resolve", "-sc", "-m", "--multirun"}


def print_commands() -> None:
    print(f"selfpretrain {__version__}: does a task need web-scale pretraining, or is its own training text enough?\n")
    for name, purpose in COMMANDS.items():
        print(f"  selfpretrain {name:<12} {purpose}")
    print("\nTry: selfpretrain study study=quickstart")
    print("     selfpretrain init x.csv")
    print("     selfpretrain study task=local task.path=x.csv task.text=body task.label=topic")
    print("     selfpretrain <command> --help")


def run_corpus(settings: Any, overrides: list[str]) -> None:
    from selfpretrain.files import read_json
    from selfpretrain.stages.corpus import prepare_corpus

    folder = prepare_corpus(settings)
    manifest = read_json(folder / "manifest.json")
    print(f"{folder}: {manifest['documents']:,} documents, {manifest['tokens']:,} tokens")


def run_audit(settings: Any, overrides: list[str]) -> None:
    from selfpretrain.endings import Terminal
    from selfpretrain.study.audit import print_audit
    from selfpretrain.study.sweep import build_plan

    print_audit(build_plan(settings, overrides), Terminal())


def run_pretrain(settings: Any, overrides: list[str]) -> None:
    from selfpretrain.stages.pretrain import pretrain
    from selfpretrain.study import ranks

    if ranks.are_wanted(settings.runtime):
        ranks.run_command("pretrain", overrides, settings.runtime)
        return
    run = pretrain(settings)
    print_result(run)
    preset = settings.model.preset
    print_once(f"fine-tune it with: selfpretrain finetune model={preset} task=<name> init=run:{run.id}")


def run_finetune(settings: Any, overrides: list[str]) -> None:
    from selfpretrain.stages.finetune import finetune
    from selfpretrain.study import ranks
    from selfpretrain.study.facts import describe_task

    if ranks.are_wanted(settings.runtime):
        ranks.run_command("finetune", overrides, settings.runtime)
        return
    print_once(*describe_task(settings))
    print_result(finetune(settings))


def run_evaluate(settings: Any, overrides: list[str]) -> None:
    from selfpretrain.stages.evaluate import evaluate

    print_result(evaluate(settings))


def run_submit(settings: Any, overrides: list[str]) -> None:
    from selfpretrain.stages.submit import submit

    print_once(*map(str, submit(settings)))


def run_export(settings: Any, overrides: list[str]) -> None:
    from selfpretrain.stages.export import export

    print_once(str(export(settings)))


def run_release(settings: Any, overrides: list[str]) -> None:
    from selfpretrain.study.release import release
    from selfpretrain.study.sweep import build_plan

    plan = build_plan(settings, overrides)
    print_once(*map(str, release(plan)))
    if waiting := [cell for cell in plan.pretrainings.values() if cell.status != "done"]:
        print_once(
            f"{len(waiting)} of {len(plan.pretrainings)} pretrainings are not done and not released; the same command adds them"
        )


def run_release_check(settings: Any, overrides: list[str]) -> None:
    from pathlib import Path

    from selfpretrain.stages.manifest import check_release

    folder = Path(settings.runtime.release_dir)
    print_once(
        f"{folder}: {len(check_release(folder))} checkpoints, each as it was released; all load, and the lineage is whole"
    )


def run_study_cell(settings: Any, overrides: list[str]) -> str:
    """A job of a study, or by hand ``selfpretrain study study.cell=<file>``."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    from selfpretrain.study.cells import FINISHED, Job
    from selfpretrain.study.sweep import run_job
    from selfpretrain.study.watch import describe_outcome

    job = Job.read(settings.study.cell, settings)
    statuses = run_job(job)
    if HydraConfig.get().mode == RunMode.RUN:
        print_once(f"{settings.study.cell}: {statuses}")
        if not set(statuses.split("+")) <= set(FINISHED):
            print_once(*map(describe_outcome, job.cells), file=sys.stderr)
            raise SystemExit(1)
    return statuses


def run_report(settings: Any, overrides: list[str]) -> None:
    from selfpretrain.endings import Terminal

    if settings.report.compare is not None:
        from selfpretrain.report.compare.write import write_comparison

        write_comparison(settings, Terminal())
        return
    from selfpretrain.report.write import write_report
    from selfpretrain.study.sweep import build_plan

    write_report(build_plan(settings, overrides), Terminal(), overrides)


def run_plan(settings: Any, overrides: list[str]) -> None:
    from selfpretrain.endings import Terminal
    from selfpretrain.study.preview import print_preview
    from selfpretrain.study.sweep import build_plan

    print_preview(build_plan(settings, overrides), Terminal())


def run_settings(arguments: list[str]) -> None:
    from selfpretrain.door import print_settings

    print_settings(arguments)


def run_init(arguments: list[str]) -> None:
    from selfpretrain.welcome.starter import start_study

    print(*start_study(arguments), sep="\n")


def run_doctor(arguments: list[str]) -> None:
    from selfpretrain.welcome.doctor import examine

    if not examine(arguments):
        raise SystemExit(1)


def run_completion(arguments: list[str]) -> None:
    from selfpretrain.welcome.completion import print_completion

    print_completion(arguments, COMMANDS)


def print_once(*lines: str, file: Any = None) -> None:
    """Lines for the reader: rank 0 for all that torchrun started."""
    from selfpretrain.train.distributed import get_rank

    if get_rank() == 0:
        print(*lines, sep="\n", file=file)


def print_result(run: Any) -> None:
    """Say where a run is and what it found."""
    import json

    result = {key: value for key, value in run.read_result().items() if key != "history"}
    print_once(f"{run.path}: {run.status}", json.dumps(result, indent=1))


RUNNERS: dict[str, Callable[[Any, list[str]], Any]] = {
    "corpus": run_corpus, "corpus audit": run_audit, "pretrain": run_pretrain, "finetune": run_finetune,
    "evaluate": run_evaluate, "submit": run_submit, "export": run_export, "release": run_release,
    "release check": run_release_check, "plan": run_plan, "study": run_study_cell, "report": run_report,
}  # fmt: skip


# without Hydra: a file, a table, or this machine is all they are about
BARE: dict[str, Callable[[list[str]], None]] = {
    "settings": run_settings, "init": run_init, "doctor": run_doctor, "completion": run_completion,
}  # fmt: skip


def run_bare(command: str, arguments: list[str]) -> None:
    """A command of ``BARE``, or how it is called."""
    from selfpretrain.endings import flush_output, guard

    if {"-h", "--help"}.intersection(arguments):
        print(f"{COMMANDS[command]}\n\n  selfpretrain {command} {USAGE[command]}")
    else:
        guard(lambda: BARE[command](arguments))
    flush_output()


def run_hydra(command: str) -> Any:
    """Compose the command's settings and run it (a study: its sweep)."""
    import hydra
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    from selfpretrain.door import find_folder, open_config, register_schema
    from selfpretrain.endings import guard, report_refusal, run_job
    from selfpretrain.overrides import to_typed

    register_schema()

    def task(config: Any) -> Any:
        overrides = list(HydraConfig.get().overrides.task)

        def work() -> Any:
            return RUNNERS[command](open_config(config, overrides), overrides)

        if HydraConfig.get().mode != RunMode.MULTIRUN:
            return guard(work)
        if command == "study":
            return report_refusal(work)
        return guard(lambda: run_job([to_typed(override) for override in overrides], work))

    name = command.replace(" ", "_")
    return hydra.main(version_base="1.3", config_path=str(find_folder("conf")), config_name=name)(task)()


def read_command_line(command: str) -> None:
    """Quote in ``sys.argv`` what Hydra would read otherwise than it was typed, and refuse what it would not refuse well:
    options that do not exist, words that set nothing, and choices that are no single name.

    A list of choices it would even merge into one, without a word.
    """
    from hydra._internal.utils import get_args_parser
    from hydra.core.override_parser.overrides_parser import OverridesParser

    from selfpretrain.door import list_choices
    from selfpretrain.endings import fail
    from selfpretrain.hints import hint_at
    from selfpretrain.overrides import quote_override

    parser = get_args_parser()

    def refuse(message: str) -> NoReturn:
        hint = hint_at(message.rpartition(" ")[2], list(parser._option_string_actions))
        fail(f"{message}; {hint}selfpretrain {command} --help lists what there is", 2)

    parser.error = refuse  # type: ignore[method-assign]
    options = parser.parse_args(sys.argv[1:])
    for word in options.overrides:
        if word.startswith("=") or not ("=" in word or word.startswith("~")):
            hint = hint_at(f"{command} {word}", list(COMMANDS))
            fail(f"{word!r} names no setting; {hint}write <setting>=<value>", 2)
    is_sweep = options.multirun and command != "study"  # a study is one sweep already: its commas are its own
    quoted = {word: quote_override(word, is_sweep) for word in options.overrides}
    sys.argv[1:] = [quoted.get(word, word) for word in sys.argv[1:]]
    for override in OverridesParser.create().parse_overrides(list(quoted.values())):
        group = override.key_or_group
        names = [] if "." in group else list_choices(group)
        if names and not (override.is_delete() or override.is_sweep_override() or isinstance(override.value(), str)):
            several = f"; several in a study: study.{group}s=[<name>,<name>]" if group in ("model", "task") else ""
            fail(f"{override.input_line} is no choice; give one name: {group}=<name> of {', '.join(names)}{several}", 2)


def main() -> None:
    arguments = sys.argv[1:]
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print_commands()
        return
    if arguments[0] == "--version":
        print(__version__)
        return
    command = next((two for two in [" ".join(arguments[:2])] if two in COMMANDS), arguments[0])
    if arguments[:2] == ["completion", "words"]:  # a shell waits for it
        run_completion(arguments[1:])
        return
    from selfpretrain.endings import Stopped, fail, flush_output, guard, prepare_streams

    prepare_streams()
    if command not in COMMANDS:
        from selfpretrain.hints import hint_at

        fail(f"{command!r} is not a command; {hint_at(command, list(COMMANDS))}allowed: {', '.join(COMMANDS)}", 2)
    if command in BARE:
        run_bare(command, arguments[1:])
        return
    sys.argv = [f"selfpretrain {command}", *arguments[len(command.split()) :]]
    is_sweep = command == "study" and not any(argument.startswith("study.cell=") for argument in arguments)
    if is_sweep and int(os.environ.get("WORLD_SIZE", "1")) > 1:
        fail("a study starts torchrun itself, for each training: selfpretrain study runtime.num_processes=<N>", 2, True)
    if is_sweep and not UNSWEPT.intersection(arguments):
        sys.argv.insert(1, "--multirun")
    os.environ["HYDRA_FULL_ERROR"] = "1"  # else Hydra prints its own two lines and exits with 1
    for name in ("HF_HUB_VERBOSITY", "DATASETS_VERBOSITY"):
        os.environ.setdefault(name, "error")  # what fails in the end is said in one line, not every attempt
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    def stop(number: int, frame: Any) -> None:
        raise Stopped(75)

    signal.signal(signal.SIGTERM, stop)
    try:
        read_command_line(command)
        guard(lambda: run_hydra(command))
    except (HydraException, OmegaConfBaseException) as error:
        from selfpretrain.hints import explain_composition

        fail(explain_composition(error, command), 2)
    finally:
        if distributed := sys.modules.get("selfpretrain.train.distributed"):  # a command without torch is in no group
            distributed.leave()
    flush_output()


if __name__ == "__main__":
    main()
