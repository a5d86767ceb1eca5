"""From a plan and its run folders to files and the terminal."""

from __future__ import annotations

import dataclasses
import io
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from rich.console import Console

from selfpretrain.config import (
    ModelConfig,
    PretrainConfig,
    RuntimeConfig,
    Settings,
    StudyConfig,
    TokenizerConfig,
    UserError,
)
from selfpretrain.files import FILE_LIST, write_json
from selfpretrain.report import collect
from selfpretrain.report.blocks import build_blocks
from selfpretrain.report.collect import choose_folder, collect_facts, collect_results
from selfpretrain.report.page import cut_differing
from selfpretrain.report.summary import summarize
from selfpretrain.report.write import save_report, write_report
from selfpretrain.runs.folder import RunFolder
from selfpretrain.sources.labelled import Split, TaskData

FILES = {
    FILE_LIST,
    "report.md",
    "report.tex",
    "report_document.tex",
    "references.bib",
    "report.html",
    "single_runs.csv",
    *(f"{name}.{form}" for name in ("scores", "reference", "variance") for form in ("csv", "tex")),
    "scores.png",
    "scores.svg",
    "scores.pdf",
    "facts.json",
    "summary.json",
}


def make_plan(fake_study, **study):
    """What the report needs of a plan, over the run folders of a fake study."""
    groups: dict[str, list] = {}
    for cell in fake_study.cells:
        run = RunFolder(cell.folder)
        cell.folder.mkdir(parents=True, exist_ok=True)
        run.set_status(cell.status, cell.note)
        write_json(cell.folder / "provenance.json", [{
            "machine": "Linux x86_64", "commit": "abc", "selfpretrain": "0.1", "versions": {"torch": "2.13.0"},
            "started": "2026-01-01T00:00:00Z",
        }])  # fmt: skip
        start = Settings(
            init=f"run:pretrained-{cell.condition}", runtime=RuntimeConfig(runs_dir=str(fake_study.folder))
        )
        groups.setdefault(f"{cell.model} {cell.task} {cell.condition}", []).append(SimpleNamespace(
            id=cell.run_id, model=cell.model, task=cell.task, condition=cell.condition, settings=start, run=run,
            pretrain_seed=cell.pretrain_seed, finetune_seed=cell.finetune_seed, before=(), blocker=None, stands_on=(),
        ))  # fmt: skip
    config = StudyConfig(name="demo", num_replicates=200, **study)
    return SimpleNamespace(
        study=config, general="docs", settings=Settings(runtime=RuntimeConfig(runs_dir=str(fake_study.folder))),
        conditions=list(dict.fromkeys(cell.condition for cell in fake_study.cells)), pretrainings={},
        tasks=fake_study.tasks,
        cards=fake_study.tasks,
        init_schemes={cell.model: "mimetic" for cell in fake_study.cells},
        data={
            name: TaskData(task, {"train": Split(["a"], [("two words",)], np.zeros(1))}, "", ["2 empty rows dropped"], ("7",))
            for name, task in fake_study.tasks.items()
        },
        corpora={},
        gaps=[],
        missing={},
        released={},
        transfers={},
        iter_waves=lambda: iter(()),
        groups=[
            SimpleNamespace(
                condition=cells[0].condition, model=cells[0].model, task=cells[0].task, cells={0.1: dict(enumerate(cells))},
                choose_cells=lambda cells=cells: cells,
            )
            for cells in groups.values()
        ],
    )  # fmt: skip


def test_a_plan_becomes_files_and_a_printed_report(fake_study):
    fake_study.add("none", [0.6, 0.6]).add("own", [0.8, 0.8]).add("bookwiki", [0.8, 0.8])
    plan = make_plan(fake_study)
    buffer = io.StringIO()
    overrides = ["task=topics", "runtime.runs_dir=/somewhere", "study.cell=x", "tracking=wandb"]
    write_report(plan, Console(file=buffer, width=90), overrides)
    folder = choose_folder(plan)
    assert folder.parent == fake_study.folder / "reports"
    assert {path.name for path in folder.iterdir()} == FILES
    printed = buffer.getvalue()
    assert printed.index("topics, tiny: ") < printed.index("own - bookwiki: ") < printed.index("gain over none")
    assert "command: selfpretrain study task=topics; machine: Linux x86_64; commit: abc" in printed.replace("\n", " ")
    assert "docs, in the place of BookWiki" in printed.replace("\n", " ")
    assert "2 empty rows dropped" in printed
    assert max(map(len, printed.splitlines()[:-1])) <= 90
    stored = json.loads((folder / "summary.json").read_text())
    assert stored["panels"][0]["verdict"].startswith("topics, tiny:")
    assert stored["panels"][0]["decision"]["outcome"] in ("better", "not worse", "worse", "undecided")
    report = (folder / "report.md").read_text()
    assert report.index("**topics, tiny: ") < report.index("- own - bookwiki: ")
    assert "selfpretrain study task=topics" in report and "(scores.png)" in report


def save(summary, folder):
    save_report(summary, build_blocks(summary), folder)


def test_equal_studies_give_equal_files(fake_study, tmp_path):
    fake_study.add("none", [0.6, 0.6]).add("own", [0.8, 0.8]).add("own_of:a", [0.7, 0.7])
    for name, spent in (("one", "1 min"), ("two", "2 min")):
        save(summarize(fake_study.finish(facts={"command": "c", "time": spent})), tmp_path / name)
    names = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert "cross_tiny_gain.png" in names
    differing = [n for n in names if (tmp_path / "one" / n).read_bytes() != (tmp_path / "two" / n).read_bytes()]
    assert differing == ["facts.json", "report.html"]
    one, two = ((tmp_path / name / "report.html").read_text() for name in ("one", "two"))
    assert "1 min" in one and cut_differing(one) == cut_differing(two)


def test_a_failed_pretraining_is_a_failure_of_its_finetunings(fake_study, monkeypatch):
    fake_study.add("none", [0.6]).add("own", [0], status="missing")
    plan = make_plan(fake_study)
    broken = SimpleNamespace(status="diverged", note="loss is not finite at step 7")
    plan.pretrainings = {"pretrained-own": SimpleNamespace(status="diverged", settings=Settings(), run=SimpleNamespace(
        note=broken.note, path=fake_study.folder / "nowhere"))}  # fmt: skip
    (cell,) = (cell for group in plan.groups for cell in group.choose_cells() if cell.condition == "own")
    cell.blocker = "pretrained-own"
    monkeypatch.setattr(collect, "compare_pretraining", lambda _: "tiny: 1e+09 on every text")
    results = collect_results(plan, [])
    assert results.facts["FLOPs of a pretraining"] == "tiny: 1e+09 on every text"
    cells = {cell.condition: cell for cell in results.cells}
    assert cells["own"].status == "diverged"
    assert "step 7" in cells["own"].note
    assert cells["none"].status == "done"


def test_data_is_described_and_overlap_named(fake_study):
    fake_study.add("none", [0.6])
    results = collect_results(make_plan(fake_study), [])
    (task,) = fake_study.tasks
    assert results.overlaps == {task: ("7",)}
    assert results.facts[f"data of {task}"] == (
        "2 empty rows dropped; at least 0% of the training texts are cut and 0% of the words never seen at "
        "finetune.seq_len=128 (a word is a token or more)"
    )


def test_a_budget_is_named_unless_it_is_steps(fake_study):
    fake_study.add("none", [0.6])
    plan = make_plan(fake_study)
    assert "budget" not in collect_results(plan, []).facts
    plan.settings.pretrain = PretrainConfig(budget="tokens", budget_amount=1e6)
    assert collect_results(plan, []).facts["budget"] == "tokens, 1,000,000 for each pretraining"


def test_two_studies_never_share_a_folder(fake_study):
    fake_study.add("none", [0.6])
    first = choose_folder(make_plan(fake_study))
    assert choose_folder(make_plan(fake_study)) == first
    assert choose_folder(make_plan(fake_study, baseline="mimetic")) != first
    fake_study.add("own", [0.6])
    assert choose_folder(make_plan(fake_study)) != first


def test_time_is_shown_and_stored_apart(fake_study, tmp_path):
    fake_study.add("none", [0.6])
    plan = make_plan(fake_study)
    (fake_study.cells[0].folder / "result.json").write_text("{}")
    facts = collect_results(plan, []).facts
    assert "over 1 runs" in facts["time"]
    summary = summarize(collect_results(plan, []))
    save(summary, tmp_path / "report")
    assert "time" not in json.loads((tmp_path / "report" / "summary.json").read_text())["facts"]
    assert "time" in json.loads((tmp_path / "report" / "facts.json").read_text())


def test_a_folder_that_cannot_be_written_is_one_line(fake_study, tmp_path):
    fake_study.add("none", [0.6])
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot write .*runtime\.runs_dir"):
        save(summarize(fake_study.finish()), tmp_path / "file" / "report")


def test_a_report_needs_no_torch():
    code = "import sys, selfpretrain.report, selfpretrain.report.plots, selfpretrain.report.collect; sys.exit('torch' in sys.modules)"
    root = Path(__file__).resolve().parents[2]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0


def set_settings(plan, condition, **changes):
    for group in plan.groups:
        for cell in group.choose_cells():
            if group.condition == condition:
                cell.settings = dataclasses.replace(cell.settings, **changes)


def test_results_say_from_which_start_each_run_came(fake_study):
    fake_study.add("none", [0.6]).add("own", [0.8]).add("offshelf", [0.9])
    plan = make_plan(fake_study)
    set_settings(plan, "none", model=ModelConfig(init_scheme="mimetic"))
    cells = {cell.condition: cell.init_scheme for cell in collect_results(plan, []).cells}
    assert cells == {"none": "mimetic", "own": "normal", "offshelf": ""}


def test_facts_say_which_vocabulary_and_whether_runs_are_mixed(fake_study):
    fake_study.add("none", [0.6]).add("own", [0.8])
    plan = make_plan(fake_study)
    facts = collect_facts(plan, [])
    assert facts["vocabulary"] == "tiny: each corpus its own"
    assert "mixed" not in facts
    shared = TokenizerConfig(source="general", card="docs")
    set_settings(plan, "none", tokenizer=shared)
    set_settings(plan, "own", tokenizer=shared)
    assert collect_facts(plan, [])["vocabulary"] == "tiny: trained on the general text (docs), for all corpora"
    folder = plan.groups[0].choose_cells()[0].run.path
    (folder / "provenance.json").write_text((folder / "provenance.json").read_text().replace("2.13.0", "2.14.0"))
    assert collect_facts(plan, [])["mixed"] == "the runs differ in torch (2.13.0; 2.14.0)"
