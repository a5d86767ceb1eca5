"""Killed and continued, or computed by two processes at once: a study leaves the same bytes.

launch/kill_study.py does the same with more kills and more cells.
"""

from __future__ import annotations

import importlib.util
import os
import random
import sys
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
# the command as it is, but every run and every corpus that is begun is noted in a file
NOTING = """
import os
from selfpretrain.__main__ import main
from selfpretrain.stages import corpus
from selfpretrain.runs.folder import RunFolder

def note(kind, name):
    with open(os.environ["BEGUN"], "a") as file:
        file.write(f"{kind} {name}\\n")

start, write = RunFolder.start, corpus._write_corpus
RunFolder.start = lambda run, *rest: (note(run.path.parent.name, run.id), start(run, *rest))[1]
corpus._write_corpus = lambda folder, *rest: (note("corpora", folder.name.split(".")[1]), write(folder, *rest))[1]
main()
"""


def load_script():
    spec = importlib.util.spec_from_file_location("kill_study", ROOT / "launch" / "kill_study.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclasses look their module up
    spec.loader.exec_module(module)
    return module


kill_study = load_script()


@pytest.fixture(scope="module")
def workload(tmp_path_factory):
    texts = tmp_path_factory.mktemp("texts")
    kill_study.write_texts(texts, seed=0, num_examples=200, num_lines=200)
    return kill_study.Workload(texts, "small")


@pytest.fixture(scope="module")
def reference(workload, tmp_path_factory):
    return kill_study.run_undisturbed(workload, tmp_path_factory.mktemp("undisturbed") / "runs")


def test_a_killed_study_ends_as_if_undisturbed(workload, reference, tmp_path):
    stages = ["pretraining", "fine-tuning", "report"]
    kills = list(kill_study.kill_at_random(workload, tmp_path / "runs", reference, stages, random.Random()))
    assert [kill.aimed for kill in kills] == stages
    assert kill_study.find_differences(reference.runs_dir, tmp_path / "runs") == [], kills
    kinds = kill_study.count_kinds(reference.runs_dir)
    assert kinds.pop("heads") == 5  # 2 conditions x 2 seeds, and none's first from the start that was not chosen
    assert all(kinds.values()), kinds


def test_two_processes_share_a_study(workload, reference, tmp_path, monkeypatch):
    monkeypatch.setenv("BEGUN", str(tmp_path / "begun"))
    # one log each, one runs_dir: the second is given by a link
    runs = tmp_path / "runs"
    runs.mkdir()
    (tmp_path / "again").symlink_to(runs)
    processes = [workload.start(folder, ("-c", NOTING)) for folder in (runs, tmp_path / "again")]
    for process, folder in zip(processes, (runs, tmp_path / "again"), strict=True):
        kill_study.check_exit(process, folder)
    begun = Counter((tmp_path / "begun").read_text().splitlines())
    assert set(begun.values()) == {1}, begun
    expected = {
        f"{stage} {path.name}" for stage in ("corpora", "pretrain", "finetune")
        for path in (reference.runs_dir / stage).iterdir() if path.is_dir()
    }  # fmt: skip
    assert set(begun) == expected
    assert kill_study.find_differences(reference.runs_dir, runs) == []


def test_the_comparison_sees_what_it_should(reference, tmp_path):
    copy = tmp_path / "runs"
    kill_study.shutil.copytree(reference.runs_dir, copy)
    assert kill_study.find_differences(reference.runs_dir, copy) == []
    head = next(copy.rglob("head.safetensors"))
    head.write_bytes(head.read_bytes()[:-1] + b"x")
    next(copy.rglob("report.md")).unlink()
    metrics = next(copy.rglob("metrics.jsonl"))
    metrics.write_text(metrics.read_text() + metrics.read_text().splitlines()[-1] + "\n")
    (copy / "finetune" / ".status.0badcafe.tmp").write_text("")
    os.mkdir(copy / ".x.0badcafe.new")
    told = sorted(kill_study.find_differences(reference.runs_dir, copy))
    assert len(told) == 5
    assert [line.split(": ")[1] for line in told] == ["left over", "left over", "differs", "differs", "missing"]
