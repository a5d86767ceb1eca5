"""A study's pretrainings released: what the folders are called and hold, that an interrupted release goes on, and that the
check finds any damage.
"""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from selfpretrain.config import SeedConfig, Settings, TaskConfig, UserError
from selfpretrain.door import compose_settings
from selfpretrain.files import compute_checksum
from selfpretrain.interop.huggingface import load_huggingface
from selfpretrain.runs.folder import open_run, read_starts
from selfpretrain.stages import manifest
from selfpretrain.stages.manifest import check_release, name_step
from selfpretrain.study import release as study_release
from selfpretrain.study.cells import Cell
from selfpretrain.study.sweep import build_plan, run_cell
from selfpretrain.train.checkpoint import load_encoder
from tests.conftest import TINY, make_rows, write_csv

STUDY = ["study.conditions=[none,own]", "study.pretrain_seeds=2", "study.curve=[.5]", "pretrain.total_steps=4"]
NAMES = ["mine-seed_0-step_2", "mine-seed_0", "mine-seed_1"]  # a curve is of the first seed


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with a study of two seeds, carried out but for its report, and its release."""
    folder = tmp_path_factory.mktemp("made")
    given = list_overrides(folder, write_csv(folder / "x.csv", make_rows()))
    plan = build_plan(compose_settings("study", given), given)
    for name, cells in plan.iter_waves():
        for cell in cells if name in ("corpora", "pretraining") else []:
            assert run_cell(cell, "test") == "done"
    assert [path.name for path in study_release.release(plan)] == NAMES
    return folder


def list_overrides(folder, path):
    words = [word for word in TINY if not word.startswith(("study.", "pretrain.total_steps"))]
    task = [
        "task=local",
        f"task.path={path}",
        "task.text=body",
        "task.label=topic",
        f"runtime.runs_dir={folder / 'runs'}",
    ]
    return [*words, *task, *STUDY, f"runtime.release_dir={folder / 'released'}", "runtime.release_prefix=mine"]


@pytest.fixture
def given(made, tmp_path):
    """The overrides of the study, for commands; what they release is the test's own copy."""
    return [
        *list_overrides(made, made / "x.csv")[:-2],
        f"runtime.release_dir={tmp_path / 'released'}",
        "runtime.release_prefix=mine",
    ]


@pytest.fixture
def runs(made):
    return made / "runs"


@pytest.fixture
def released(made, tmp_path):
    """The release of a study of two seeds, whose first kept a snapshot; for the test to spoil."""
    shutil.copytree(made / "released", tmp_path / "released")
    return tmp_path / "released"


def read(folder):
    return json.loads((folder / "release.json").read_text())


def test_a_study_is_released_and_checked(command, given, released, runs):
    assert sorted(path.name for path in released.iterdir()) == sorted([*NAMES, "release.json"])
    first, last, other = (read(released / name) for name in NAMES)
    assert [(each["step"], each["total_steps"]) for each in (first, last, other)] == [(2, 4), (4, 4), (4, 4)]
    assert last["seeds"] == {"init": 0, "data": 0, "mask": 0} and other["seeds"]["init"] == 1
    # lineage: the same start for a run's checkpoints, as its folder notes it, and each after the one before
    start = read_starts(open_run(runs, "pretrain", last["run"]).path)[0]
    assert first["initial_weights"] == last["initial_weights"] == start["initial_weights"] != other["initial_weights"]
    assert first["predecessor"] is other["predecessor"] is None
    sums = compute_checksum(released / NAMES[0] / "model.safetensors", "sha256")
    assert last["predecessor"] == {"name": NAMES[0], "weights": sums}
    assert set(last["files"]) == {path.name for path in (released / NAMES[1]).iterdir()} - {"release.json"}
    # the weights are those of the run
    for name, step in zip(NAMES, (2, None, None), strict=True):
        found, tokenizer = load_huggingface(str(released / name))
        run = open_run(runs, "pretrain", read(released / name)["run"])
        own, its = load_encoder(run.encoder(step))
        assert all(torch.equal(a, b) for a, b in zip(found.parameters(), own.parameters(), strict=True))
        assert tokenizer.fingerprint == its.fingerprint
    outcome = command("release", "check", *given[-2:])
    assert (outcome.code, outcome.out.count("\n")) == (0, 1), outcome.err
    assert "3 checkpoints, each as it was released" in outcome.out
    # what is there is not written again
    before = {path: path.stat().st_mtime_ns for path in released.rglob("*") if path.name != "release.json"}
    assert command("release", *given).code == 0
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert check_release(released) == sorted(NAMES)


def test_a_model_card_says_what_it_is_and_its_example_runs(released, monkeypatch):
    pytest.importorskip("transformers")
    monkeypatch.chdir(released)
    for name in NAMES:
        card = (released / name / "README.md").read_text()
        about = read(released / name)
        for said in (
            f"# {name}\n", "Seeds: init", "the texts of the training split of local", "pretrain.batch_size: 2", "arXiv 2106.16163", "arXiv 2209.14389",
            "- model.hidden_size: 32 (there: 128)", "| loss | ", f"- run: {about['run']}", about["initial_weights"], "> A RoBERTa for two CPU cores",
        ):  # fmt: skip
            assert said in card, said
        (code,) = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
        scope: dict = {}
        exec(code, scope)
        own, tokenizer = load_huggingface(name)
        ids = torch.tensor([scope["tokenizer"]("Some text.")["input_ids"]])
        with torch.no_grad():
            expected = own.eval()(ids)
        torch.testing.assert_close(scope["hidden"].detach(), expected, rtol=0, atol=1e-5)
        assert ids[0].tolist()[1:-1] == tokenizer.encode_batch(["Some text."])[0].tolist()
    assert "mine-seed_0-step_2" in (released / "mine-seed_0" / "README.md").read_text()
    assert "identity" in (released / NAMES[0] / "README.md").read_text()  # of a snapshot's pooler


def damage(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


def refuse(folder: Path) -> str:
    with pytest.raises(UserError) as caught:
        check_release(folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_check_finds_a_changed_missing_or_added_file(released, tmp_path):
    copy = tmp_path / "copy"
    for name in sorted(path.relative_to(released) for path in released.rglob("*") if path.is_file()):
        shutil.copytree(released, copy)
        damage(copy / name)
        assert str(copy / name) in refuse(copy) or name == Path("release.json"), name
        if name != Path("release.json"):
            (copy / name).unlink()
            assert str(copy / name) in refuse(copy), name
        shutil.rmtree(copy)
    shutil.copytree(released, copy)
    (copy / NAMES[1] / "more.bin").write_bytes(b"")
    assert "more.bin is not in its manifest" in refuse(copy)
    (copy / NAMES[1] / "more.bin").unlink()
    shutil.move(copy / NAMES[2], copy / "mine-seed_7")
    assert "mine-seed_1 is missing" in refuse(copy)
    (copy / "release.json").unlink()
    assert "release.json is missing or damaged" in refuse(copy)


def rewrite(root, folder, /, **changes):
    """Change a manifest, and the index with it: what remains wrong is what the manifest says."""
    path = root / folder / "release.json"
    path.write_text(json.dumps(read(root / folder) | changes))
    index = read(root)
    index["checkpoints"][folder] = compute_checksum(path, "sha256")
    (root / "release.json").write_text(json.dumps(index))


@pytest.mark.parametrize(
    ("name", "changes", "said"),
    [
        (NAMES[1], {"predecessor": None}, "its predecessor is mine-seed_0-step_2, and it names None"),
        (NAMES[1], {"predecessor": {"name": NAMES[0], "weights": "0" * 64}}, "it descends from weights 000000000000, and"),
        (NAMES[1], {"predecessor": {"name": "gone", "weights": ""}}, "its predecessor gone is not in the release"),
        (NAMES[1], {"initial_weights": "0" * 64}, "mine-seed_0-step_2 began from other weights"),
        (NAMES[2], {"initial_weights": ""}, "the weights before its first step are not known"),
        (NAMES[2], {"start": "run:abc"}, "it starts from run:abc, which is not in the release"),
        (NAMES[2], {"predecessor": "other"}, "it starts from none"),
        (NAMES[2], {"seeds": {"init": 3, "data": 3, "mask": 3}}, "mine-seed_1 is called otherwise than what it holds"),
        (NAMES[0], {"step": 1000}, "which ends in seed_0-step_1k"),
    ],
)  # fmt: skip
def test_the_check_finds_a_broken_lineage(released, name, changes, said):
    if changes.get("predecessor") == "other":
        weights = read(released / NAMES[1])["files"]["model.safetensors"]
        changes = {"predecessor": {"name": NAMES[1], "weights": weights}}
    rewrite(released, name, **changes)
    assert said in refuse(released)


def test_an_interrupted_release_leaves_whole_folders_and_goes_on(command, given, released, monkeypatch):
    whole = {path.relative_to(released): path.read_bytes() for path in released.rglob("*") if path.is_file()}
    shutil.rmtree(released)
    original, written = study_release.write_manifest, []

    def stop(new, **facts):
        if written:
            raise KeyboardInterrupt
        written.append(new)
        original(new, **facts)

    monkeypatch.setattr(study_release, "write_manifest", stop)
    assert command("release", *given).code != 0
    assert [path.name for path in released.iterdir()] == [NAMES[0]]
    (released / f".{NAMES[1]}.abc.new").mkdir()  # as a kill leaves it
    monkeypatch.setattr(study_release, "write_manifest", original)
    assert command("release", *given).code == 0
    assert {path.relative_to(released): path.read_bytes() for path in released.rglob("*") if path.is_file()} == whole


def test_what_is_not_finished_is_said_and_another_checkpoint_is_not_overwritten(command, given, released):
    more = [word.replace("study.pretrain_seeds=2", "study.pretrain_seeds=3") for word in given]
    outcome = command("release", *more)
    assert outcome.code == 0 and "1 of 3 pretrainings are not done and not released" in outcome.out
    other = command("release", *(w.replace("total_steps=4", "total_steps=3") for w in given))
    assert other.code == 2 and "has no finished pretraining to release; run selfpretrain study first" in other.err
    rewrite(released, NAMES[2], run="another")
    outcome = command("release", *given)
    assert outcome.code == 2 and "is run:another@4, not run:" in outcome.err and outcome.err.count("\n") == 1
    outcome = command("release", *given, "runtime.release_prefix=a/b")
    assert outcome.code == 2 and "has '/'; allowed: letters" in outcome.err


def test_an_export_has_the_same_card(command, given, released, tmp_path):
    run = read(released / NAMES[0])["run"]
    for init, name in ((f"run:{run}@2", NAMES[0]), (f"run:{run}", NAMES[1])):
        outcome = command("export", f"init={init}", *given[:-2], f"runtime.export_dir={tmp_path / 'out' / name}")
        assert outcome.code == 0, outcome.err
        found = {path.name: path.read_text() for path in (tmp_path / "out" / name).glob("*.md")}
        expected = (
            (released / name / "README.md")
            .read_text()
            .replace(f"this one: {NAMES[0]}", "this one: nothing that is released with it")
        )
        assert found == {"README.md": expected}
    outcome = command("export", f"init=run:{run}@3", *given[:-2], f"runtime.export_dir={tmp_path / 'no'}")
    assert outcome.code == 2 and "has no snapshot after 3 steps" in outcome.err


def test_what_lies_in_the_folder_of_a_release_stays(command, given, released):
    """It is one that the user chose."""
    theirs = [
        released / ".mine.tmp",
        released / "deep" / ".work.new" / "thesis.txt",
        released / ".x.0badcafe.new" / "y",
    ]
    for path in theirs:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("a year's work")
    assert command("release", *given).code == 0
    assert all(path.read_text() == "a year's work" for path in theirs)


def test_the_folder_of_a_checkpoint_is_no_release(command, given, released):
    own = [*given[:-2], f"runtime.release_dir={released / NAMES[1]}", given[-1]]
    before = sorted(path.name for path in (released / NAMES[1]).iterdir())
    for words in (["release", "check", own[-2]], ["release", *own]):
        outcome = command(*words)
        assert outcome.code == 2 and outcome.err.count("\n") == 1
        assert "release.json has no checkpoints as the manifest of a whole release has it" in outcome.err
    assert sorted(path.name for path in (released / NAMES[1]).iterdir()) == before
    assert check_release(released) == sorted(NAMES)


def test_a_checkpoint_without_its_manifest_leaves_the_index_and_here_is_a_folder(command, given, released, monkeypatch):
    index = read(released)
    for name in ("theirs", "gone"):
        index["checkpoints"][name] = "0" * 64
    (released / "theirs").mkdir()
    (released / "release.json").write_text(json.dumps(index))
    monkeypatch.chdir(released)
    outcome = command("release", *given[:-2], "runtime.release_dir=.", given[-1])
    assert outcome.code == 0, outcome.err
    assert sorted(read(released)["checkpoints"]) == sorted(NAMES)


def test_a_manifest_that_lacks_what_is_read_is_one_line(released):
    whole = read(released / NAMES[0])
    half = {"seeds": {"data": 1}, "files": {"model.safetensors": 3}, "predecessor": {"name": "x"}}
    for key, value in (*dict.fromkeys(manifest.CHECKPOINT).items(), *half.items()):
        rewrite(released, NAMES[0], **{**whole, key: value})
        assert f"{NAMES[0]}/release.json has no {key} as the manifest of a checkpoint has it" in refuse(released)
    for value in (["mine-seed_0"], None):
        (released / "release.json").write_text(json.dumps({"format": 1, "checkpoints": value}))
        assert "has no checkpoints as the manifest of a whole release has it" in refuse(released)


def test_names_of_what_varies():
    def name(*rows):
        settings = Settings()
        cells = {}
        for model, text, task, seeds in rows:
            own = replace(settings, seeds=SeedConfig(**seeds), task=TaskConfig(name=task))
            cells[f"run{len(cells)}"] = Cell("pretrain", f"run{len(cells)}", own, model, text)
        return [stem for _, stem in study_release.iter_stems(SimpleNamespace(pretrainings=cells), "mine")]

    first, second = {"seed": 0}, {"seed": 0, "data_seed": 1}
    assert name(("small", "own of a", "a", first)) == ["mine-seed_0"]
    assert name(("small", "own of a", "a", first), ("small", "own of a", "a", second)) == [
        "mine-seed_0",
        "mine-init_0-data_1-mask_0",
    ]
    assert name(("small", "bookwiki", "a", first), ("base", "own of a", "a", first)) == [
        "mine-small-bookwiki-seed_0",
        "mine-base-own_of_a-seed_0",
    ]
    sized = [("small", "bookwiki_sized", task, first) for task in "ab"]  # one text for each task, by one name
    assert name(*sized) == ["mine-bookwiki_sized_of_a-seed_0", "mine-bookwiki_sized_of_b-seed_0"]
    staged = [("small", f"own_then_bookwiki of a ({part} of 2)", "a", first) for part in (1, 2)]
    assert name(*staged) == [f"mine-own_then_bookwiki_of_a_{part}_of_2-seed_0" for part in (1, 2)]
    with pytest.raises(UserError, match="run:run0 and run:run1 would both be released as mine-seed_0"):
        name(*[("small", "own of a", "a", first)] * 2)
    assert [name_step(*each) for each in ((900_000, False), (1250, False), (2_000_000, True))] == [
        "-step_900k",
        "-step_1250",
        "",
    ]
