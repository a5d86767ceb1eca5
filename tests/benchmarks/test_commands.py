"""The real command line at toy size: what it prints, writes and refuses."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import __main__ as command
from benchmarks import engine, harness, pretrain
from benchmarks.work import prepare_work
from selfpretrain.files import read_json

ROOT = Path(__file__).resolve().parents[2]
HAS_TRANSFORMERS = importlib.util.find_spec("transformers") is not None
HAS_TRAINER = HAS_TRANSFORMERS and importlib.util.find_spec("accelerate") is not None


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> tuple[subprocess.CompletedProcess[str], list[dict]]:
    """``launch/gpu_bench.sh`` as a rehearsal on the CPU, and the entries it left."""
    folder = tmp_path_factory.mktemp("bench")
    settings = {
        "TOY": "1",
        "DEVICE": "cpu",
        "RESULTS": str(folder),
        "RUNS": str(folder / "runs"),
        "PYTHON": sys.executable,
    }
    done = subprocess.run(
        [str(ROOT / "launch/gpu_bench.sh")], env={**os.environ, **settings}, cwd=folder, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    (path,) = folder.glob("*.json")
    return done, read_json(path)["entries"]


def test_the_gpu_script_runs_every_benchmark_and_prints_one_table(script) -> None:
    done, entries = script
    assert [entry["benchmark"] for entry in entries] == ["finetune"] * 3 + ["pretrain"] * 8 + ["seeds"] * 2 + [
        "sustained"
    ]
    table = done.stdout
    for entry in entries:
        assert f"| {entry['work']} " in table and f"| {entry['peer'] or '—'} |" in table
    assert table.count("| work |") == 1


def test_entries_are_well_formed(script) -> None:
    _, entries = script
    for entry in entries:
        expected = {
            "fairseq-train 0.12.2": False,
            "transformers Trainer": HAS_TRAINER,
            "the same seeds in turn": True,
            "": True,
        }
        if not expected.get(entry["peer"], HAS_TRANSFORMERS):
            assert entry["skipped"] and not entry["ours"], entry
            continue
        assert not entry["skipped"], entry
        assert all(value > 0 for value in entry["ours"] + entry["theirs"] + entry["mfu"])
        assert len(entry["ours"]) == len(entry["theirs"]) == len(entry["ratio"]) == 1 or not entry["peer"]
        assert "toy" in entry["work"]
        assert entry["machine"] and entry["date"] and entry["versions"]["python"]
        assert entry["command"].startswith(f"python -m benchmarks {entry['benchmark']}")
        assert bool(entry["mfu"]) == (entry["benchmark"] in ("pretrain", "sustained"))
    sustained = entries[-1]
    assert len(sustained["ours"]) == 19
    assert "held out:" in sustained["note"]


def test_our_side_runs_in_a_process_of_its_own(tmp_path: Path) -> None:
    """As when it counts; the script above keeps everything in one process, to be quick."""
    options = pretrain.Options(toy=True, seconds=0.02, runs_dir=str(tmp_path))
    work = prepare_work("pretrain", "electra_small", 8, options)
    with harness.Contestant(engine.build_pretraining, work) as side:
        assert side() > 0
        peak = side.get_peak_mb()
    assert peak is not None and 100 < peak < 2000


def test_a_missing_peer_is_named_with_the_command_that_builds_it(tmp_path: Path, capsys) -> None:
    arguments = ["pretrain", "toy=true", "peer=fairseq", f"runs_dir={tmp_path}", f"fairseq_env={tmp_path / 'none'}"]
    assert command.main(arguments) == 0
    shown = capsys.readouterr().out
    assert "fairseq-train 0.12.2 |  | not measured |" in shown
    assert f"launch/fairseq_env.sh {tmp_path / 'none'}" in shown


def test_without_transformers_rows_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert pretrain.find_obstacle("loop") == "transformers is not installed: pip install 'selfpretrain[bench]'"
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object() if name == "transformers" else None)
    assert pretrain.find_obstacle("loop") == ""
    assert pretrain.find_obstacle("trainer") == "accelerate is not installed: pip install 'selfpretrain[bench]'"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["pretrian"], "'pretrian' is no benchmark; allowed: pretrain, finetune, corpus"),
        (["pretrain", "model=gpt"], "model=gpt is not benchmarked; allowed: electra_small, roberta_base"),
        (["pretrain", "peer=keras"], "peer=keras is not known; allowed: loop, tuned, kept, trainer, fairseq"),
        (["pretrain", "model=electra_small", "peer=fairseq"], "is not compared on device=cpu"),
        (["pretrain", "modle=x"], "'modle=x' is no option"),
        (["seeds", "stage=corpus"], "stage=corpus is not known; allowed: pretrain, finetune"),
        (["seeds", "seeds=1"], "seeds=1 compares nothing; at least 2"),
        (["finetune", "padding=left"], "padding=left is not known; allowed: dynamic, full, grouped"),
    ],
)
def test_mistakes_are_one_line_and_code_2(arguments: list[str], message: str, capsys) -> None:
    assert command.main(arguments) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.count("\n") == 1 and message in shown.err


def test_a_toy_run_is_not_recorded_among_the_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setattr(command.record, "RESULTS", tmp_path / "results")
    assert command.main(["pretrain", "toy=true", "peer=fairseq", f"runs_dir={tmp_path}", "fairseq_env=none"]) == 0
    assert "not measured" in capsys.readouterr().out
    assert not (tmp_path / "results").exists()


def test_without_arguments_the_benchmarks_are_listed(capsys) -> None:
    assert command.main([]) == 0
    shown = capsys.readouterr().out
    assert all(f"  {name}" in shown for name in command.BENCHMARKS)
