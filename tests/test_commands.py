"""The commands on a small CSV: what they print, what they leave, and that they never compute anything twice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from selfpretrain.__main__ import COMMANDS
from selfpretrain.cards import list_cards
from selfpretrain.config import Settings, iter_settings
from selfpretrain.door import compose_settings
from selfpretrain.report import plots
from selfpretrain.study.conditions import find_condition
from selfpretrain.study.plan import list_conditions
from selfpretrain.study.tasks import choose_tasks
from selfpretrain.train.trainer import Trainer
from tests.conftest import make_rows

ROOT = Path(__file__).resolve().parent.parent
CONF = ROOT / "conf"
MODELS = sorted(path.stem for path in (CONF / "model").glob("*.yaml"))


@pytest.fixture
def no_training(monkeypatch):
    """From the call on, a training step is an error."""

    def forbid():
        def fail(*_):
            raise AssertionError("something was trained again")

        monkeypatch.setattr(Trainer, "train", fail)

    return forbid


def read_run(outcome) -> tuple[Path, dict]:
    """The run folder and the result a command printed."""
    assert outcome.code == 0, outcome
    first, _, rest = outcome.out.partition(": done\n")
    return Path(first.splitlines()[-1]), json.JSONDecoder().raw_decode(rest)[0]


def read_statuses(runs: Path) -> dict[str, str]:
    return {path.parent.name: path.read_text().strip() for path in runs.glob("*/*/status")}


def start(arguments, **more) -> subprocess.Popen:
    """The command in a process of its own."""
    command = [sys.executable, "-m", "selfpretrain", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT, **more)


# without running anything


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"], ["help"]])
def test_commands_are_listed(command, arguments):
    outcome = command(*arguments)
    assert (outcome.code, outcome.err) == (0, "")
    for name, purpose in COMMANDS.items():
        assert f"selfpretrain {name}" in outcome.out and purpose in outcome.out


def test_version(command):
    from selfpretrain import __version__

    assert command("--version").out == f"{__version__}\n"


GROUPS = {
    "corpus": {"model", "corpus", "task"}, "corpus audit": {"study", "effort", "budget", "model", "task"}, "pretrain": {"model", "corpus", "task", "budget", "procedure", "tracking"},
    "finetune": {"model", "corpus", "task", "procedure", "tracking"}, "evaluate": {"task", "tracking"}, "submit": set(), "export": set(),
    "release": {"study", "effort", "budget", "procedure", "model", "task"}, "release check": set(),
    "study": {"study", "effort", "budget", "procedure", "model", "task", "tracking"},
    "report": {"study", "effort", "budget", "procedure", "model", "task", "tracking"}, "plan": {"study", "effort", "budget", "procedure", "model", "task"},
}  # fmt: skip


@pytest.mark.parametrize("name", GROUPS)
def test_help_lists_groups_and_examples(command, name):
    outcome = command(*name.split(), "--help")
    assert (outcome.code, outcome.err) == (0, "")
    lines = [line for line in outcome.out.partition("Choices")[2].partition("Examples")[0].splitlines() if ": " in line]
    groups = {line.partition(": ")[0] for line in lines}
    assert groups == GROUPS[name]
    for line, group in ((line, line.partition(": ")[0]) for line in lines):
        options = {path.stem for folder in (CONF / group, ROOT / "corpora" / group) for path in folder.glob("*.yaml")}
        assert set(line.partition(": ")[2].split(", ")) == options
    examples = [line.strip() for line in outcome.out.partition("Examples")[2].splitlines()]
    assert any(line.startswith(f"selfpretrain {name} ") for line in examples)


@pytest.mark.parametrize("name", GROUPS)
def test_settings_are_printed(command, name):
    outcome = command(*name.split(), "--cfg", "job", "model=electra_tiny")
    assert outcome.code == 0
    assert "preset: electra_tiny" in outcome.out


def test_settings_are_listed_with_limit_unit_and_source(command):
    lines = command("settings").out.splitlines()
    for key, field, _ in iter_settings(Settings()):
        (line,) = [line for line in lines if line.startswith(f"  {key}=")]
        assert field.metadata.get("help", "") in line
    some = [line.split(maxsplit=1) for line in command("settings", "pretrain", "tokenizer").out.splitlines()]
    said = {words[0]: " ".join(words[1].split()) for words in some}
    assert said["pretrain.warmup_steps=null"] == "int | null at least 0; either this or warmup_fraction"
    assert said["pretrain.packing=segments"].startswith("str segments | full | pairs; ")
    assert said["pretrain:"] == "Pretraining on a corpus." and "model:" not in said
    wrong = command("settings", "modle")
    assert (wrong.code, wrong.out) == (2, "") and "allowed: init, model, " in wrong.err


@pytest.mark.parametrize("effort", sorted(path.stem for path in (CONF / "effort").glob("*.yaml")))
@pytest.mark.parametrize("model", MODELS)
def test_presets_compose_with_every_effort(model, effort):
    settings = compose_settings("study", [f"model={model}", f"effort={effort}", "task=agnews"])
    assert (settings.model.preset, settings.study.effort) == (model, effort)
    warmup = settings.pretrain.warmup_steps
    assert warmup is None or warmup <= settings.pretrain.total_steps / 2


@pytest.mark.parametrize("study", sorted(path.stem for path in (CONF / "study").glob("*.yaml")))
def test_studies_compose(study):
    settings = compose_settings("study", [f"study={study}", "task=agnews"])
    assert settings.study.conditions
    tasks = [task.name for task in choose_tasks(settings)]  # each has a card
    texts = [find_condition(name).text_of for name in list_conditions(settings, tasks)]
    assert set(filter(None, texts)) <= set(list_cards("task"))
    assert settings.study.name == ("agnews" if study == "single" else study)
    assert compose_settings("report", [f"study={study}", "task=agnews"]) == settings
    assert compose_settings("plan", [f"study={study}", "task=agnews"]) == settings


# acmi-lab/self-pretrain, README: steps, warm-up, sequences a step, rate, tokens a sequence
PUBLISHED = {"electra_small": (1_000_000, 10_000, 128, 5e-4, 128), "roberta_base": (100_000, 6_000, 512, 5e-4, 512)}


@pytest.mark.parametrize("study", ["paper_table_electra", "paper_table_roberta", "paper_cross", "paper_glue"])
def test_studies_of_the_paper_pretrain_as_published(study):
    overrides = [f"study={study}"]
    for model in compose_settings("study", overrides).study.models:
        config = compose_settings("study", [*overrides, f"model={model}"]).pretrain
        recipe = (config.total_steps, config.warmup_steps, config.batch_size, config.peak_lr, config.seq_len)
        assert recipe == PUBLISHED[model] and config.warmup_fraction is None, model


def test_small_studies_of_the_paper_follow_the_protocol_of_cpu_evidence():
    for model in ("roberta_nano", "electra_nano"):
        protocol = compose_settings("study", ["study=cpu_evidence", f"model={model}"])
        for path in (CONF / "study").glob("paper_*_mini.yaml"):
            settings = compose_settings("study", [f"study={path.stem}", f"model={model}"])
            assert (settings.pretrain, settings.finetune) == (protocol.pretrain, protocol.finetune), path
            assert set(settings.study.label_counts) <= set(protocol.study.label_counts)
            assert (
                settings.study.general_mb == protocol.study.general_mb
                and settings.study.margin == protocol.study.margin
            )


@pytest.mark.parametrize(
    "setting",
    [
        f"{path.parent.name}={path.stem}"
        for group in ("corpus", "tracking", "task")
        for path in (CONF / group).glob("*.yaml")
    ]
    + [f"task={path.stem}" for path in sorted((ROOT / "corpora" / "task").glob("*.yaml"))],
)
def test_choices_compose(setting):
    more = {"corpus=own_of": ["corpus.task=agnews"], "corpus=fairseq": ["corpus.path=data-bin"]}
    compose_settings("pretrain", [setting, *more.get(setting, [])])


# one command after the other


def test_from_text_to_scores_and_again(command, tiny, local, no_training):
    arguments = [*tiny, *local()]
    corpus = command("corpus", *arguments)
    assert corpus.code == 0 and "documents" in corpus.out and "tokens" in corpus.out
    pretrained = command("pretrain", *arguments)
    run, result = read_run(pretrained)
    assert result["corpus"] == Path(corpus.out.split(": ")[0]).name
    assert result["held_out"]["loss"] > 0
    assert f"init=run:{run.name}" in pretrained.out
    tuned = command("finetune", *arguments, f"init=run:{run.name}")
    model, result = read_run(tuned)
    assert set(result["scores"]) == {"validation", "test"}
    scored = command("evaluate", *arguments, f"init=run:{model.name}")
    assert set(read_run(scored)[1]["scores"]) == {"test"}
    no_training()
    assert command("corpus", *arguments) == corpus
    assert command("pretrain", *arguments) == pretrained
    assert command("finetune", *arguments, f"init=run:{run.name}") == tuned
    assert command("evaluate", *arguments, f"init=run:{model.name}") == scored


def test_own_csv_of_another_domain_is_evaluated(command, tiny, local, examples):
    model, _ = read_run(command("finetune", *tiny, *local()))
    rows = [{**row, "body": row["body"].upper() + "!"} for row in examples]
    folder, result = read_run(command("evaluate", *tiny, *local(rows, "shifted.csv"), f"init=run:{model.name}"))
    assert result["run"] == model.name
    assert result["examples"] == {"test": len(rows)}  # all of them: a file to evaluate on is not cut
    assert result["notes"][-1] == f"examples whose text was in the run's training split: 0 of {len(rows)} test"
    assert [path.stem for path in sorted(folder.glob("predictions/*.parquet"))] == ["test"]


def test_rows_of_the_training_file_are_counted(command, tiny, local, examples):
    model, tuned = read_run(command("finetune", *tiny, *local()))
    one_class = [row for row in examples if row["topic"] == "b"]
    _, result = read_run(command("evaluate", *tiny, *local(one_class, "b.csv"), f"init=run:{model.name}"))
    seen = int(result["notes"][-1].split(": ")[1].split(" of ")[0])
    assert 0 < seen < len(one_class) == result["examples"]["test"]
    _, result = read_run(command("evaluate", *tiny, *local(), f"init=run:{model.name}"))
    assert f"{tuned['train_examples']} of {len(examples)} test" in result["notes"][-1]
    local([{**row, "body": row["body"] + "!"} for row in examples])  # another text under the same name
    _, result = read_run(
        command("evaluate", *tiny, *local(one_class, "b.csv"), f"init=run:{model.name}", "task.metric=macro_f1")
    )
    assert "is unknown: the data of local has changed since" in result["notes"][-1]


def test_facts_are_said_before_training(command, tiny, local, examples):
    rows = [{**row, "0": row["body"], "true": row["topic"]} for row in examples]
    given = [*tiny, *local(rows, "x.csv"), "task.text=0", "task.label=true"]
    for name in ("plan", "finetune"):
        out = command(name, *given).out
        assert f"data of local: train: {len(rows)} rows read from" in out and "(CSV, commas, UTF-8)" in out
        assert "data of local: label: 2 classes, column 'true', training rows: a: " in out
        assert "data of local: examples whose text is in training too: validation 0 of " in out
        assert "at least 0% of the training texts are cut" in out or "0% of the tokens never seen" in out


@pytest.mark.parametrize("kind", ["pair", "score", "multilabel"])
def test_other_kinds_of_labels(command, tiny, local, examples, kind):
    rows = [
        {**row, "other": "ab"[number // 2 % 2], "score": f"{number % 7 / 2}"} for number, row in enumerate(examples)
    ]
    rows = [{**row, "x": str(int(row["topic"] == "a")), "y": str(int(row["other"] == "a"))} for row in rows]
    columns = {"pair": ["task.text=[body,title]"], "score": ["task.label=score"], "multilabel": ["task.label=[x,y]"]}
    _, result = read_run(command("finetune", *tiny, *local(rows), *columns[kind]))
    assert result["metric"] == {"pair": "accuracy", "score": "pearson", "multilabel": "micro_auc"}[kind]


@pytest.mark.parametrize("model", MODELS)
def test_every_preset_trains(command, tiny, local, model):
    """Shrunk to a tiny size, its family, objective, packing and schedule unchanged."""
    shrunk = [s for s in tiny if not s.startswith(("model=", "study."))]
    shrunk += ["model.num_heads=4", "pretrain.micro_batch_size=1", "pretrain.checkpoint_schedule=null"]
    run, result = read_run(command("pretrain", f"model={model}", *shrunk, *local()))
    preset = compose_settings("pretrain", [f"model={model}"])
    measures = {"rtd": {"loss", "gen_loss", "disc_loss"}, "mlm": {"loss", "mlm_accuracy"},
                "mlm_nsp": {"loss", "mlm_loss", "nsp_loss", "nsp_accuracy"}}[preset.objective.name]  # fmt: skip
    assert measures <= set(result["held_out"])
    _, result = read_run(command("finetune", f"model={model}", *shrunk, *local(), f"init=run:{run.name}"))
    assert result["steps"] == 2


def test_sweep_over_seeds(command, tiny, local, tmp_path):
    outcome = command("pretrain", "-m", *tiny, *local(), "seeds.seed=0,1,2")
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.count(": done\n") == 3
    assert sorted(read_statuses(tmp_path / "runs").values()) == ["done"] * 3


def test_a_failing_job_of_a_sweep_neither_stops_nor_hides_the_others(command, tiny, local):
    outcome = command("pretrain", "-m", *tiny, *local(), "pretrain.peak_lr=-1,1e-3,-2")
    assert outcome.code == 1
    assert outcome.out.count(": done") == 1
    assert outcome.out.index("pretrain.peak_lr=0.001:") < outcome.out.index(": done") < outcome.out.index("peak_lr=-2:")
    lines = outcome.err.splitlines()[-3:]
    assert lines[0] == "selfpretrain: 2 of 3 jobs failed:"
    assert lines[1].endswith(
        "pretrain.peak_lr=-1: pretrain.peak_lr=-1.0 is out of range; set pretrain.peak_lr=<number> positive"
    )
    assert "peak_lr=-2: " in lines[2]


def test_a_sweep_of_wrong_input_alone_ends_with_2(command, tiny, local):
    assert command("pretrain", "-m", *tiny, *local(), "pretrain.peak_lr=-1,-2").code == 2


# studies


@pytest.fixture
def study(tiny, local):
    return ["study", *tiny, *local(), "study.pretrain_seeds=2", "study.num_replicates=200"]


@pytest.fixture
def no_plots(monkeypatch):
    """Half of the time of a small report."""
    monkeypatch.setattr(plots, "draw_scores", lambda _: {})


def test_study_to_a_report_and_again(command, study, tmp_path, no_training):
    first = command(*study)
    assert (first.code, first.err) == (0, "")
    runs = tmp_path / "runs"
    assert sorted(read_statuses(runs).values()) == ["done"] * 6  # 2 pretrainings, (none, own) x 2 seeds fine-tuned
    report = next(path for path in (runs / "reports").iterdir() if path.is_dir())
    before = {path: path.read_bytes() for path in report.iterdir()}
    assert {"report.md", "report.tex", "scores.csv", "scores.png", "scores.svg", "summary.json"} <= {
        p.name for p in before
    }
    assert "own" in first.out and "estimated time" in first.out
    no_training()
    begun = time.process_time()
    again = command(*study)
    assert time.process_time() - begun < 5
    assert again.code == 0 and "estimated time" not in again.out and "cells to run" not in again.out
    table = first.out[first.out.index("local (accuracy)") : first.out.index("command: ")]
    assert table in again.out
    told = command("report", *study[1:])
    assert told.code == 0 and table in told.out
    assert {path: path.read_bytes() for path in report.iterdir()} == before
    texts = [row["body"].encode() for row in make_rows()]  # a file of one's own: nothing of it is in a report

    def list_holders():
        return {path.name for path in report.iterdir() if any(text in path.read_bytes() for text in texts)}

    assert not list_holders()
    assert command("report", *study[1:], "report.examples=2").code == 0  # unless it is asked for
    assert "examples.csv" in list_holders() and not {"summary.json", "facts.json", "report.md"} & list_holders()
    assert command("report", *study[1:]).code == 0
    assert not list_holders()


def test_a_plan_runs_nothing_and_writes_what_it_read_alone(command, no_plots, study, tmp_path, no_training):
    def list_files():
        runs = tmp_path / "runs"
        kept = {"tasks", "fingerprints"}
        files = (path for path in tmp_path.rglob("*") if path.is_file())
        return {
            path: path.stat().st_mtime_ns
            for path in files
            if not (path.is_relative_to(runs) and path.relative_to(runs).parts[0] in kept)
        }

    before = list_files()
    planned = command("plan", *study[1:])
    assert (planned.code, planned.err) == (0, "")
    assert "FLOPs" in planned.out and "hours" in planned.out and "disk" in planned.out
    assert "1 corpus not built" in planned.out
    assert list_files() == before
    assert command(*study).code == 0
    before = list_files()
    no_training()
    done = command("plan", *study[1:])
    row = next(line for line in done.out.splitlines() if "fine-tuning" in line)
    assert [cell.strip() for cell in row.split("│")[2:4]] == ["4", "4"]
    assert list_files() == before


def test_more_seeds_run_only_what_is_missing(command, no_plots, study, tmp_path):
    assert command(*study, "study.pretrain_seeds=1").code == 0
    runs = tmp_path / "runs"
    before = {path: path.stat().st_mtime_ns for path in runs.glob("*/*/status")}
    more = command(*study)
    assert (
        more.code == 0
        and "pretraining: 1 of 2 cells to run" in more.out
        and "fine-tuning: 2 of 4 cells to run" in more.out
    )
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_rates_are_chosen_and_tasks_may_be_mappings(command, no_plots, tiny, local):
    task = f"[{{name:local,path:'{local()[1].partition('=')[2]}',text:body,label:topic}}]"
    outcome = command("study", *tiny, f"study.tasks={task}", "finetune.lr_grid=[1e-3,1e-4]", "study.conditions=[none]",
                      "study.pretrain_seeds=2", "study.models=[roberta_tiny,electra_tiny]")  # fmt: skip
    assert outcome.code == 0, outcome
    assert "choosing rates and starts: 4 of 4 cells to run" in outcome.out
    assert "fine-tuning: 2 of 4 cells to run" in outcome.out


def test_a_diverged_pretraining_does_not_stop_the_study(command, no_plots, study, tmp_path):
    outcome = command(*study, "pretrain.peak_lr=1e30", "pretrain.total_steps=20", "pretrain.clip_norm=0")
    statuses = sorted(read_statuses(tmp_path / "runs").values())
    assert statuses == ["diverged"] * 2 + ["done"] * 2
    assert outcome.code == 0
    assert "diverged" in outcome.out and "Traceback" not in outcome.err
    assert len(outcome.err.splitlines()) == 2
    assert all("diverged: " in line and "not finite at step" in line for line in outcome.err.splitlines())


def test_a_failed_cell_is_shown_and_tried_again(command, no_plots, study, tmp_path, monkeypatch):
    whole = Trainer.train

    def fail(self):
        if self.members[0].keeper.run.path.parent.name == "pretrain":
            raise ZeroDivisionError("on purpose")
        whole(self)

    monkeypatch.setattr(Trainer, "train", fail)
    outcome = command(*study)
    assert outcome.code == 1
    assert "failed" in outcome.out and outcome.err.count("ZeroDivisionError: on purpose") == 2
    assert "Traceback" not in outcome.err
    monkeypatch.setattr(Trainer, "train", whole)
    assert command(*study).code == 0
    assert sorted(read_statuses(tmp_path / "runs").values()) == ["done"] * 6


# budgets


def test_a_study_at_equal_cost(command, no_plots, study, tmp_path, no_training):
    """The corpora come first, since the vocabulary decides what a step costs; then the runs are those of the steps."""
    budget = ["study.models=[roberta_tiny,electra_tiny]", "budget=flops", "pretrain.budget_amount=2e8"]
    outcome = command(*study, *budget)
    assert (outcome.code, outcome.err) == (0, "")
    runs = sorted((tmp_path / "runs" / "pretrain").glob("*/result.json"))
    spent = [json.loads(path.read_text())["flops"] for path in runs]
    assert len(spent) == 4 and max(spent) / min(spent) < 1.2
    assert all("total_steps" in (path.parent / "config.yaml").read_text() for path in runs)
    report = next((tmp_path / "runs" / "reports").glob("*/report.md")).read_text().replace("\\", "")
    assert "- budget: flops, 2e+08 for each pretraining" in report
    assert "- FLOPs of a pretraining: roberta_tiny: " in report and "electra_tiny: " in report
    no_training()
    again = command(*study, *budget)
    assert again.code == 0 and "cells to run" not in again.out


def test_tokens_and_steps_are_one_run(command, tiny, local, no_training):
    run, result = read_run(command("pretrain", *tiny, *local(), "pretrain.total_steps=3"))
    no_training()
    asked = command("pretrain", *tiny, *local(), "budget=tokens", f"pretrain.budget_amount={3 * 2 * 32}")
    assert read_run(asked) == (run, result)
    epochs = command("pretrain", *tiny, *local(), "budget=epochs", f"pretrain.budget_amount={result['epochs']}")
    assert read_run(epochs)[0] == run


def test_seconds_are_measured_once(command, tiny, local, tmp_path, monkeypatch, interrupt):
    """A run that is stopped goes on with the steps it began with, to the bits of one that was not."""
    from selfpretrain.stages import pretrain

    speed = [0.01]
    monkeypatch.setattr(pretrain, "time_steps", lambda *_: speed[0])
    arguments = ["pretrain", *tiny, *local(), "budget=seconds", "pretrain.budget_amount=4", "runtime.save_every=100000"]
    folder = tmp_path / "runs" / "pretrain"
    interrupt(folder, "*/metrics.jsonl")
    assert command(*arguments).code == 75
    assert json.loads(next(folder.glob("*/budget.json")).read_text()) == {"total_steps": 400, "seconds_per_step": 0.01}
    speed[0] = 1.0  # another machine
    run, result = read_run(command(*arguments))
    assert result["tokens"] == 400 * 2 * 32
    speed[0] = 0.01
    whole, same = read_run(command(*arguments, f"runtime.runs_dir={tmp_path / 'again'}"))
    assert (whole.name, same) == (run.name, result)
    weights = "encoder/encoder.safetensors"
    assert (whole / weights).read_bytes() == (run / weights).read_bytes()


def test_seconds_are_real_ones(command, tiny, local, tmp_path):
    _, result = read_run(command("pretrain", *tiny, *local(), "budget=seconds", "pretrain.budget_amount=0.5"))
    known = json.loads(next((tmp_path / "runs" / "pretrain").glob("*/budget.json")).read_text())
    assert result["tokens"] == known["total_steps"] * 2 * 32
    assert known["total_steps"] == max(1, round(0.5 / known["seconds_per_step"]))


def test_a_warmup_that_does_not_fit_is_one_line(command, no_plots, study):
    outcome = command(*study, "budget=tokens", "pretrain.budget_amount=640", "pretrain.warmup_steps=50", "pretrain.warmup_fraction=null")  # fmt: skip
    assert outcome.code == 2
    assert outcome.err.startswith(
        "selfpretrain: pretrain.warmup_steps=50 does not fit into the 10 steps of budget=tokens"
    )
    assert outcome.err.count("\n") == 1


@pytest.fixture
def interrupt():
    """``interrupt(folder, pattern)``: SIGTERM to this process as soon as such a file is there."""
    ended = threading.Event()

    def watch(folder: Path, pattern: str) -> None:
        while not ended.wait(0.01):
            if list(folder.glob(pattern)):
                os.kill(os.getpid(), signal.SIGTERM)
                return

    threads = []

    def begin(folder: Path, pattern: str) -> None:
        threads.append(threading.Thread(target=watch, args=(folder, pattern)))
        threads[0].start()

    yield begin
    ended.set()
    threads[0].join()


@pytest.mark.parametrize("name", ["pretrain", "study"])
def test_sigterm_saves_and_the_same_command_continues(command, interrupt, no_plots, tiny, local, study, tmp_path, name):
    arguments = study if name == "study" else ["pretrain", *tiny, *local()]
    long = [*arguments, "pretrain.total_steps=400", "runtime.save_every=100000", "study.pretrain_seeds=1"]
    folder = tmp_path / "runs" / "pretrain"
    interrupt(folder, "*/metrics.jsonl")
    stopped = command(*long)
    assert stopped.code == 75
    assert stopped.err.startswith("selfpretrain: stopped at step ") and stopped.err.count("\n") == 1
    assert "checkpoint written; the same command continues it" in stopped.err
    saved = next(folder.glob("*/checkpoints/step_*"))
    first = int(saved.name.split("_")[1])
    assert 0 < first < 400
    before = (saved.parent.parent / "metrics.jsonl").read_text()
    outcome = command(*long)
    assert outcome.code == 0, outcome
    after = (saved.parent.parent / "metrics.jsonl").read_text()
    assert after.startswith(before)  # what was done is not done again
    rows = [json.loads(line) for line in after.splitlines()]
    assert [row["step"] for row in rows if "lr" in row] == list(range(20, 401, 20))


def test_two_processes_share_a_study(study, tmp_path):
    """Given the same study at once, each cell is computed by one of them, and both end with the same table."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    processes = [start([*study, "runtime.log_every=1"], env=environment) for _ in range(2)]
    try:
        ends = [process.communicate(timeout=600) for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait()
    assert [process.returncode for process in processes] == [0, 0], ends
    runs = tmp_path / "runs"
    assert sorted(read_statuses(runs).values()) == ["done"] * 6
    for file in runs.glob("*/*/metrics.jsonl"):
        steps = [row["step"] for line in file.read_text().splitlines() if "lr" in (row := json.loads(line))]
        assert steps == [1, 2], f"{file} was written by two"
    tables = [out[out.index("local (accuracy)") : out.index("command: ")] for out, _ in ends]
    assert tables[0] == tables[1]
    assert len([p for p in (runs / "corpora").iterdir() if p.is_dir()]) == 1
