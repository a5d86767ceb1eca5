"""The cards of the hub's tasks: against what the hub's own descriptions record, and read from its Parquet layout."""

import dataclasses
import json
import socket
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import datasets
import huggingface_hub.constants
import huggingface_hub.utils
import pytest

from selfpretrain.cards import load_task_card
from selfpretrain.config import Settings, TaskConfig, UserError
from selfpretrain.door import list_choices
from selfpretrain.hashing import hash_section
from selfpretrain.runs.folder import open_run, read_starts
from selfpretrain.sources import hub
from selfpretrain.sources.tasks import iter_own_text, load_task

ENTAILMENT = ["entailment", "neutral", "contradiction"]
# configuration, rows of its splits, class names in order (or none): huggingface/datasets, datasets/*/dataset_infos.json
RECORDED: dict[str, tuple[str | None, dict[str, int], list[str]]] = {
    "agnews": (None, {"train": 120000, "test": 7600}, ["World", "Sports", "Business", "Sci/Tech"]),
    "amazon_polarity": (None, {"train": 3600000, "test": 400000}, ["negative", "positive"]),
    "ax": ("ax", {"test": 1104}, ENTAILMENT),
    "codah": ("codah", {"train": 2776}, []),
    "cola": ("cola", {"train": 8551, "validation": 1043, "test": 1063}, ["unacceptable", "acceptable"]),
    "conll2012": (None, {}, []),  # a row is a sentence, and documents are recorded
    "dbpedia14": (None, {"train": 560000, "test": 70000}, [
        "Company", "EducationalInstitution", "Artist", "Athlete", "OfficeHolder", "MeanOfTransportation", "Building",
        "NaturalPlace", "Village", "Animal", "Plant", "Album", "Film", "WrittenWork"]),
    "discovery": ("discovery", {"train": 1566000, "validation": 87000, "test": 87000}, []),
    "hans": ("plain_text", {"train": 30000, "validation": 30000}, ["entailment", "non-entailment"]),
    "hellaswag": (None, {"train": 39905, "validation": 10042, "test": 10003}, []),
    "jigsaw": (None, {"train": 159571, "test": 63978}, []),
    "mnli": ("mnli", {"train": 392702, "validation_matched": 9815, "validation_mismatched": 9832}, ENTAILMENT),
    "mnli_mm": ("mnli", {"train": 392702, "validation_matched": 9815, "validation_mismatched": 9832}, ENTAILMENT),
    "mrpc": ("mrpc", {"train": 3668, "validation": 408, "test": 1725}, ["not_equivalent", "equivalent"]),
    "paws": ("unlabeled_final", {"train": 645652, "validation": 10000}, ["0", "1"]),
    "paws_labeled": ("labeled_final", {"train": 49401, "validation": 8000, "test": 8000}, ["0", "1"]),
    "qnli": ("qnli", {"train": 104743, "validation": 5463, "test": 5463}, ["entailment", "not_entailment"]),
    "qqp": ("qqp", {"train": 363846, "validation": 40430, "test": 390965}, ["not_duplicate", "duplicate"]),
    "rte": ("rte", {"train": 2490, "validation": 277, "test": 3000}, ["entailment", "not_entailment"]),
    "sentiment140": ("sentiment140", {"train": 1600000, "test": 498}, []),
    "snli": ("plain_text", {"train": 550152, "validation": 10000, "test": 10000}, ENTAILMENT),
    "squad": (None, {"train": 87599, "validation": 10570}, []),
    "sst2": ("sst2", {"train": 67349, "validation": 872, "test": 1821}, ["negative", "positive"]),
    "stsb": ("stsb", {"train": 5749, "validation": 1500, "test": 1379}, []),
    "swag": ("regular", {"train": 73546, "validation": 20006, "test": 20005}, ["0", "1", "2", "3"]),
    "wnli": ("wnli", {"train": 635, "validation": 71, "test": 146}, ["not_entailment", "entailment"]),
    "yahoo": (None, {"train": 1400000, "test": 60000}, [
        "Society & Culture", "Science & Mathematics", "Health", "Education & Reference", "Computers & Internet",
        "Sports", "Business & Finance", "Entertainment & Music", "Family & Relationships", "Politics & Government"]),
}  # fmt: skip
TEST_SETS = ("ax", "hans", "snli")
CHOICES = ("codah", "hellaswag", "swag")  # read in test_options.py
SPANS = ("squad",)  # read in test_answers.py
TAGS = ("conll2012",)  # read in test_tagging.py
LOADED = sorted(set(RECORDED) - {"jigsaw", *TEST_SETS, *CHOICES, *SPANS, *TAGS})


@pytest.fixture
def no_mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("SELFPRETRAIN_DATA", raising=False)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(hub, "commits", {})
    return tmp_path


def make_rows(card: TaskConfig, count: int) -> list[dict[str, Any]]:
    """Rows that all differ, every class in each ten times as many rows as classes."""
    rows = []
    for row in range(count):
        columns = {column: f"{column} of row {row} of {count}" for column in {*card.text, *card.corpus_columns}}
        values = card.label_values or range(len(card.label_names) or 5)
        rows.append({**columns, card.label[0]: values[row % len(values)]})
    return rows


def write_hub(folder: Path, card: TaskConfig, num_rows: dict[str, int], edit: Callable[..., Any] = list) -> TaskConfig:
    """The card for a folder laid out as its data set on the hub, with so many rows in each split."""
    files = []
    for split, count in num_rows.items():
        source = card.splits[split]
        layout = f"{card.hub_config}/{source}/0000" if card.revision else f"data/{source}-00000-of-00001"
        data = datasets.Dataset.from_list(edit(make_rows(card, count)))
        if card.label_kind == "class":
            data = data.cast_column(card.label[0], datasets.ClassLabel(names=card.label_names))
        path = folder / "owner" / card.name / f"{layout}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        data.to_parquet(path)
        files.append({"split": source, "path": f"data/{source}-*"})
    if not card.revision:
        configs = json.dumps([{"config_name": card.hub_config or "default", "data_files": files}])
        (folder / "owner" / card.name / "README.md").write_text(f"---\nconfigs: {configs}\n---\n")
    return dataclasses.replace(card, hub_id=str(folder / "owner" / card.name), num_rows=num_rows)


def test_every_card_of_the_hub_is_recorded_here():
    known = {name for name in list_choices("task") if name not in ("none", "local")}
    assert {name for name in known if load_task_card(name).loader == "hub"} == set(RECORDED)


@pytest.mark.parametrize("name", sorted(RECORDED))
def test_a_card_says_what_the_hub_records(name):
    card, (config, num_rows, label_names) = load_task_card(name), RECORDED[name]
    assert card.hub_config == config
    assert card.num_rows == {split: num_rows[source] for split, source in card.splits.items() if num_rows}
    if name != "discovery":
        assert card.label_kind != "class" or card.label_names == label_names


def test_the_174_markers_stand_in_the_order_of_the_hub():
    names = load_task_card("discovery").label_names
    assert len(set(names)) == len(names) == 174 and names == sorted(names)
    recorded = {0: "[no-conn]", 15: "and", 19: "as_a_result,", 24: "but", 45: "for_example", 60: "however", 66: "in_other_words",
                91: "moreover", 107: "on_the_other_hand", 138: "slowly,", 156: "therefore", 173: "yet,"}  # fmt: skip
    assert {number: names[number] for number in recorded} == recorded


@pytest.mark.parametrize("name", LOADED)
def test_a_card_reads_the_layout_of_the_hub(no_mirror, name):
    card = load_task_card(name)
    count = 10 * max(len(card.label_names), 10)
    card = write_hub(no_mirror, card, {split: count + len(split) for split in card.splits})
    data = load_task(card, "runs")
    made = {split: len(data.splits[split].ids) for split in data.splits}
    assert made["test"] == count + 4 and sum(made.values()) == sum(card.num_rows.values())
    assert not any("official" in note for note in data.notes)
    expected = {tuple(row[column] for column in card.text) for row in make_rows(card, count + 4)}
    texts = {tuple(text[0].split("\n")) if card.join_text else text for text in data.splits["test"].texts}
    assert texts == expected
    if card.label_kind == "class":
        assert set(data.splits["train"].labels.tolist()) == set(range(len(card.label_names)))
    columns = card.corpus_columns or card.text
    words = {f"{column} of row" for column in columns}
    assert all({line.rsplit(" ", 3)[0] for line in text.split("\n")} == words for text in iter_own_text(card, "runs"))


def test_columns_of_one_text_may_be_empty_in_a_row_but_not_all(no_mirror):
    def edit(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        rows[0] |= {"question_content": "", "best_answer": " "}
        rows[1] |= {"question_title": None, "question_content": "", "best_answer": ""}
        return rows

    card = write_hub(no_mirror, load_task_card("yahoo"), {"train": 100, "test": 100}, edit)
    data = load_task(card, "runs")
    assert ("question_title of row 0 of 100",) in data.splits["test"].texts
    assert "train: 1 rows with an empty text dropped" in data.notes
    with pytest.raises(UserError, match=r"one column or two different ones.*task\.join_text=true"):
        load_task(dataclasses.replace(card, join_text=False), "runs")
    with pytest.raises(UserError, match=r"unordered_pair=true is for pairs, task\.join_text=true makes one text"):
        load_task(dataclasses.replace(card, unordered_pair=True), "runs")


def test_other_counts_are_an_error_of_the_hub_unless_allowed(no_mirror):
    card = write_hub(no_mirror, load_task_card("wnli"), {"train": 100, "test": 40})
    card = dataclasses.replace(card, num_rows={"train": 635, "test": 40})
    with pytest.raises(UserError, match=r"holds 100 of 635 official rows .*task\.allow_partial=true") as error:
        load_task(card, "runs")
    assert "\n" not in str(error.value)
    notes = load_task(dataclasses.replace(card, allow_partial=True), "runs").notes
    assert notes[0] == "train: the hub holds 100 of 635 official rows; not the published data set"
    assert sum("official" in note for note in notes) == 1


def test_allowing_a_part_names_no_other_run():
    assert hash_section("task", TaskConfig(allow_partial=True)) == hash_section("task", Settings().task)


def test_a_label_outside_the_card_is_refused_with_its_row(no_mirror):
    card = write_hub(no_mirror, load_task_card("stsb"), {"train": 100, "test": 40})
    classes = dataclasses.replace(card, label_kind="class", label_names=["0", "1", "2", "3"], metric="accuracy")
    with pytest.raises(UserError, match=r"train, row 5: the label 4 is no class of the card; known: 0, 1, 2, 3; set"):
        load_task(classes, "runs")


@pytest.mark.parametrize("name", TEST_SETS)
def test_a_test_set_is_refused_as_a_task_to_train_on(name):
    with pytest.raises(UserError, match=f"task={name} is a test set, without a training split") as error:
        load_task(load_task_card(name), "runs")
    assert "\n" not in str(error.value)


def test_what_is_downloaded_by_hand_is_said_with_its_place(no_mirror, monkeypatch):
    with pytest.raises(UserError, match=r"get train\.csv.*kaggle\.com.*into <folder>/jigsaw_toxicity_pred") as error:
        load_task(load_task_card("jigsaw"), "runs")
    assert "\n" not in str(error.value)
    monkeypatch.setenv("SELFPRETRAIN_DATA", str(no_mirror))
    with pytest.raises(UserError, match=f"into {no_mirror}/jigsaw_toxicity_pred and set SELFPRETRAIN_DATA={no_mirror}"):
        load_task(load_task_card("jigsaw"), "runs")


class SessionThatAnswers:
    def head(self, url: str, timeout: float) -> None:
        assert url == huggingface_hub.constants.ENDPOINT and timeout == hub.WAIT_SECONDS


@pytest.fixture
def online(no_mirror: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """A hub that answers with a commit, and gives rows at no other; what was asked for, by revision."""
    folder = write_hub(no_mirror, load_task_card("wnli"), {"train": 635, "test": 71}).hub_id
    load, asked = datasets.load_dataset_builder, {}

    def answer(api: object, hub_id: str, *, revision: str | None, timeout: float) -> SimpleNamespace:
        assert revision not in asked, "asked once"
        asked[revision] = hub_id
        return SimpleNamespace(sha="c0ffee")

    def read(hub_id: str, *, revision: str, **given: Any) -> Any:
        assert revision == "c0ffee"
        return load(folder)

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.utils, "get_session", SessionThatAnswers)
    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", answer)
    monkeypatch.setattr(datasets, "load_dataset_builder", read)
    return asked


def test_the_commit_is_asked_for_once_and_kept_with_the_run(online, tmp_path):
    data = load_task(load_task_card("wnli"), "runs")
    assert online == {None: "nyu-mll/glue"}
    assert "train: 635 rows read from nyu-mll/glue train (commit c0ffee)" in data.notes
    run = open_run(tmp_path, "finetune", "x")
    run.start("", "a test")
    assert read_starts(run.path)[0]["hub"] == {"nyu-mll/glue@main": "c0ffee"}


@pytest.mark.parametrize("listens", [True, False])
def test_a_hub_that_does_not_answer_is_given_up_within_seconds(no_mirror, monkeypatch, listens):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(datasets, "load_dataset_builder", lambda *given, **settings: pytest.fail("asked again"))
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        if listens:  # and never says a word
            server.listen()
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", f"http://127.0.0.1:{server.getsockname()[1]}")
        started = time.monotonic()
        with pytest.raises(
            UserError, match=r"fancyzhx/ag_news@main.*without a network set SELFPRETRAIN_DATA="
        ) as error:
            load_task(load_task_card("agnews"), "runs")
        assert time.monotonic() - started < 10  # 2, and what a busy machine adds; the libraries ask for half a minute
    assert "\n" not in str(error.value)
