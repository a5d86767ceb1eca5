"""Cards, the mirror, and the hub read through ``datasets`` (here: Parquet folders on disk, no network)."""

import dataclasses
import errno
import gzip
import json
import os
from pathlib import Path
from typing import Any

import datasets
import huggingface_hub
import pyarrow
import pyarrow.parquet
import pytest

from selfpretrain.cards import load_task_card, load_text_card
from selfpretrain.config import MissingData, TaskConfig, UserError
from selfpretrain.door import find_folder
from selfpretrain.sources import hub
from selfpretrain.sources.tasks import iter_own_text, load_task

CARDS = sorted(path.stem for path in (find_folder("corpora") / "task").glob("*.yaml"))
MIRROR = os.environ.get("SELFPRETRAIN_DATA")
needs_mirror = pytest.mark.skipif(not MIRROR, reason="SELFPRETRAIN_DATA is not set")
# what the mirror must have for a card to load: sizes of train, validation, test
FULL = {"sst2": (65349, 2000, 872), "mrpc": (3668, 408, 1725), "stsb": (5175, 574, 1500), "cola": (7696, 855, 1043),
        "rte": (2241, 249, 277), "wnli": (572, 63, 71)}  # fmt: skip


def make_rows(count: int = 200) -> list[dict[str, Any]]:
    return [{"text": f"text {row}", "label": row % 2} for row in range(count)]


def make_card(**changes: Any) -> TaskConfig:
    card = TaskConfig(name="toy", hub_id="owner/toy", mirror="toy", splits={"train": "train", "test": "test"},
                      text="text", label="label", label_kind="class", label_names=["no", "yes"])  # fmt: skip
    return dataclasses.replace(card, **changes)


def write_mirror(folder: Path, **parts: list[dict[str, Any]]) -> None:
    for split, rows in parts.items():
        (folder / "toy").mkdir(exist_ok=True)
        with gzip.open(folder / "toy" / f"{split}.jsonl.gz", "wt", encoding="utf-8") as stream:
            stream.write("\n".join(json.dumps(row) for row in rows))


@pytest.fixture
def mirror(tmp_path, monkeypatch):
    monkeypatch.setenv("SELFPRETRAIN_DATA", str(tmp_path))
    return tmp_path


@pytest.fixture
def no_mirror(tmp_path, monkeypatch):
    monkeypatch.delenv("SELFPRETRAIN_DATA", raising=False)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    return tmp_path


@pytest.mark.parametrize("name", [name for name in CARDS if load_task_card(name).loader == "hub"])
def test_cards_are_complete_and_short(name):
    card = load_task_card(name)
    assert card.name == name
    assert card.hub_id is None or "/" in card.hub_id
    assert (
        set(card.splits) == set(card.num_rows) or name == "conll2012"
    )  # its documents are recorded, not its sentences
    assert "test" in card.splits or "test and validation are cut" in card.note
    assert card.text and card.label and card.label_kind and card.metric
    assert card.licence and card.source and card.note
    assert card.label_kind not in ("class", "choice") or len(card.label_names) >= 2
    assert bool(card.options) == (card.label_kind == "choice")
    lines = (find_folder("corpora") / "task" / f"{name}.yaml").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 30


def test_mirror_is_read_and_partial_counts_are_noted(mirror):
    write_mirror(mirror, train=make_rows(200), test=make_rows(20))
    data = load_task(make_card(num_rows={"train": 1000, "test": 20}), "runs")
    assert len(data.splits["test"].ids) == 20
    assert data.notes[0].startswith("train: the mirror holds 200 of 1000 official rows")
    assert data.notes[1] == "train: 200 rows read from toy/train.jsonl.gz (JSON objects, UTF-8, gzip)"


def test_withheld_labels_are_dropped_and_never_scored_on(mirror):
    test = make_rows(20)
    for row in test[:5]:
        row["label"] = -1
    write_mirror(mirror, train=[*make_rows(200), {"text": " ", "label": 1}], test=test)
    data = load_task(make_card(), "runs")
    assert sorted(data.splits["test"].texts) == sorted((row["text"],) for row in test[5:])
    assert set(data.splits["test"].labels.tolist()) == {0, 1}
    assert "test: 5 rows without a label dropped" in data.notes
    assert "train: 1 rows with an empty text dropped" in data.notes
    write_mirror(mirror, test=[{"text": "a", "label": -1}])
    with pytest.raises(UserError, match=r"has no labels .*task\.splits\.test=<split>"):
        load_task(make_card(), "runs")


def test_scores_outside_the_values_of_the_card(mirror):
    rows = [{"text": f"text {row}", "label": (0, 2, 4)[row % 3]} for row in range(100)]
    card = make_card(label_kind="score", label_values=[0, 2, 4], label_names=[])
    write_mirror(mirror, train=rows, test=rows[:10])
    data = load_task(card, "runs")
    assert data.task.metric == "pearson"
    assert sorted(set(data.splits["train"].labels.tolist())) == [0, 2, 4]
    write_mirror(mirror, test=[*rows[:10], {"text": "x", "label": 3}])
    with pytest.raises(UserError, match=r"row 11: the score 3 is not among \[0, 2, 4\]"):
        load_task(card, "runs")


def test_incomplete_mirror_and_missing_folder(mirror, monkeypatch):
    write_mirror(mirror, train=make_rows())
    with pytest.raises(MissingData, match=r"has no test\.jsonl\.gz") as error:
        load_task(make_card(), "runs")
    assert error.value.why == "the mirror has no test split"
    monkeypatch.setenv("SELFPRETRAIN_DATA", str(mirror / "none"))
    with pytest.raises(UserError, match="is not a folder") as wrong:  # a setting, no data set
        load_task(make_card(), "runs")
    assert not isinstance(wrong.value, MissingData)


def test_what_has_to_be_downloaded_by_hand_is_missing(mirror):
    with pytest.raises(MissingData, match="has to be downloaded by hand: get a form; put train") as error:
        load_task(make_card(hub_id=None, source="a form"), "runs")
    assert error.value.why == "to be downloaded by hand"


def write_hub(folder: Path, layout: str = "{split}.parquet", **parts: list[dict[str, Any]]) -> str:
    for split, rows in parts.items():
        path = folder / "owner" / "toy" / layout.format(split=split)
        path.parent.mkdir(parents=True, exist_ok=True)
        data = datasets.Dataset.from_list(rows).cast_column("label", datasets.ClassLabel(names=["no", "yes"]))
        data.to_parquet(path)
    return str(folder / "owner" / "toy")


def test_hub_parquet(no_mirror):
    hub_id = write_hub(no_mirror, train=make_rows(150), test=make_rows(30))
    card = make_card(hub_id=hub_id, num_rows={"train": 150, "test": 30})
    data = load_task(card, "runs")
    assert {name: len(split.ids) for name, split in data.splits.items()} == {"train": 120, "validation": 30, "test": 30}
    assert len(list(iter_own_text(card, "runs"))) == 120
    with pytest.raises(UserError, match=r"toy train: the hub holds 150 of 149 official rows"):
        load_task(dataclasses.replace(card, num_rows={"train": 149}), "runs")
    with pytest.raises(UserError, match=r"set task\.label_names="):
        load_task(dataclasses.replace(card, label_names=["yes", "no"]), "runs")
    with pytest.raises(UserError, match="has no column 'body'; its columns are text, label"):
        load_task(dataclasses.replace(card, text="body"), "runs")


def test_hub_copy_converted_to_parquet(no_mirror):
    hub_id = write_hub(no_mirror, "plain/{split}/0000.parquet", train=make_rows(150), test=make_rows(30))
    data = hub.load_hub_split(hub_id, "plain", hub.CONVERTED, "train")
    assert len(data) == 150


def test_no_network_is_one_line(no_mirror, monkeypatch):
    def fail(*args: Any, **kwargs: Any) -> None:
        raise ConnectionError("Couldn't reach the hub\nand more")

    monkeypatch.setattr(datasets, "load_dataset_builder", fail)
    with pytest.raises(UserError, match=r"without a network set SELFPRETRAIN_DATA=.*HF_HUB_OFFLINE=1") as error:
        load_task(load_task_card("agnews"), "runs")
    assert "\n" not in str(error.value)
    with pytest.raises(MissingData, match="wikimedia/wikipedia@main"):
        hub.resolve_commit("wikimedia/wikipedia", "20231101.en", None, "train")


@pytest.mark.parametrize(("error", "is_missing"), [
    (ConnectionError("Couldn't reach the hub"), True),
    (datasets.exceptions.DatasetNotFoundError("it is gone, or asks for an account"), True),
    (ValueError("BuilderConfig 'x' not found"), False),  # a wrong name
    (OSError(errno.ENOSPC, "No space left on device"), False),
])  # fmt: skip
def test_what_of_the_hub_is_missing(no_mirror, monkeypatch, error, is_missing):
    def fail(*args: Any, **kwargs: Any) -> None:
        raise error

    monkeypatch.setattr(hub, "resolve_commit", lambda *_: "abc")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(datasets, "load_dataset_builder", fail)
    with pytest.raises(UserError, match="owner/toy@main cannot be read from the hub") as found:
        load_task(make_card(), "runs")
    assert isinstance(found.value, MissingData) == is_missing
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)  # what was not downloaded, in whatever words
    with pytest.raises(UserError) as found:
        load_task(make_card(), "runs")
    assert isinstance(found.value, MissingData) == (not isinstance(error, OSError) or is_missing)


@needs_mirror
@pytest.mark.parametrize("name", sorted(FULL))
def test_complete_sets_of_the_mirror(name):
    data = load_task(load_task_card(name), "runs")
    assert tuple(len(data.splits[split].ids) for split in ("train", "validation", "test")) == FULL[name]
    assert not any("official" in note for note in data.notes)


@needs_mirror
@pytest.mark.parametrize("name", ["agnews", "amazon_polarity", "dbpedia14", "jigsaw", "sentiment140"])
def test_partial_sets_of_the_mirror(name):
    data = load_task(load_task_card(name), "runs")
    assert any("official rows" in note for note in data.notes)
    assert all(len(split.ids) == len(split.labels) >= 50 for split in data.splits.values())


@needs_mirror
@pytest.mark.parametrize("name", ["mnli_mm", "paws_labeled", "qnli"])
def test_sets_of_which_the_mirror_lacks_a_split(name):
    with pytest.raises(MissingData, match=r"has no \w+\.jsonl\.gz, which is its (train|test) split; add the file"):
        load_task(load_task_card(name), "runs")


@needs_mirror
def test_text_cards_of_the_mirror():
    assert all((Path(str(MIRROR)) / name).is_file() for name in load_text_card("bookwiki").mirror)


def test_parquet_files_are_read_whether_they_come_as_paths_or_as_lists_of_them(tmp_path):
    paths = [str(tmp_path / f"{number}.parquet") for number in range(2)]
    for number, path in enumerate(paths):
        pyarrow.parquet.write_table(pyarrow.table({"n": range(1500 * number, 1500 * (number + 1))}), path)
    for files in (paths, [paths[:1], paths[1:]]):
        found = list(hub._iter_tables(lambda table: table, files, row_groups_list=[None] * 2))
        assert len({key for key, _ in found}) == 4
        assert [n for _, table in found for n in table["n"].to_pylist()] == list(range(3000))
