"""Files for a benchmark's server: a row for each unlabelled example, in order, as the server reads them."""

from __future__ import annotations

import gzip
import json

import numpy as np
import pytest

from selfpretrain.cards import list_cards, load_task_card
from selfpretrain.config import TaskConfig
from selfpretrain.stages.submit import render

GLUE = {
    "CoLA.tsv", "SST-2.tsv", "MRPC.tsv", "STS-B.tsv", "QQP.tsv", "MNLI-m.tsv", "MNLI-mm.tsv", "QNLI.tsv", "RTE.tsv", "WNLI.tsv",
    "AX.tsv",
}  # fmt: skip


def write_split(folder, name, rows):
    path = folder / f"{name}.jsonl.gz"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress("\n".join(map(json.dumps, rows)).encode()))


@pytest.fixture
def unlabelled(mnli_mirror):
    """What MNLI's server scores, in the mirror of MNLI."""
    for name, count in (("mnli/test_matched", 7), ("mnli/test_mismatched", 5), ("ax/test", 3)):
        rows = [{"premise": f"a man {n % 2}", "hypothesis": "", "label": -1} for n in range(count)]
        write_split(mnli_mirror / "glue", name, rows)
    return mnli_mirror


def finetune(command, tiny, tmp_path, task):
    outcome = command("finetune", *tiny, f"task={task}")
    assert outcome.code == 0, outcome.err
    return next(path.name for path in (tmp_path / "runs" / "finetune").iterdir() if path.is_dir())


def read_rows(path):
    header, *rows = path.read_text().splitlines()
    assert header == "index\tprediction"
    return [row.split("\t") for row in rows]


def test_the_cards_of_glue_name_every_file_of_the_server():
    cards = [load_task_card(name) for name in list_cards("task")]
    assert sorted(name for card in cards for name in card.server_files) == sorted(GLUE)
    assert {card.name for card in cards if card.server_names} == {"mnli", "qnli", "rte"}


def test_a_run_of_mnli_fills_its_three_files_with_names(command, tiny, unlabelled, tmp_path):
    run, folder = finetune(command, tiny, tmp_path, "mnli"), tmp_path / "glue"
    outcome = command("submit", *tiny, f"init=run:{run}", f"runtime.submission_dir={folder}")
    assert outcome.code == 0, outcome.err
    assert sorted(path.name for path in folder.iterdir()) == ["AX.tsv", "MNLI-m.tsv", "MNLI-mm.tsv"]
    for name, count in (("MNLI-m.tsv", 7), ("MNLI-mm.tsv", 5), ("AX.tsv", 3)):
        rows = read_rows(folder / name)
        assert [index for index, _ in rows] == [str(number) for number in range(count)]  # in the order of the split
        assert {prediction for _, prediction in rows} <= {"entailment", "neutral", "contradiction"}
        assert len({prediction for _, prediction in rows[::2]}) == 1  # the same text, every second row
    assert str(folder / "AX.tsv") in outcome.out


def test_nothing_is_written_where_one_file_has_no_data(command, tiny, unlabelled, tmp_path):
    run, folder = finetune(command, tiny, tmp_path, "mnli"), tmp_path / "glue"
    (unlabelled / "glue" / "ax" / "test.jsonl.gz").unlink()
    outcome = command("submit", *tiny, f"init=run:{run}", f"runtime.submission_dir={folder}")
    assert outcome.code == 2 and "has no test.jsonl.gz" in outcome.err and outcome.err.count("\n") == 1
    assert not folder.exists()


def test_a_run_that_no_server_scores_is_refused(command, tiny, local, tmp_path):
    outcome = command("finetune", *tiny, *local())
    assert outcome.code == 0, outcome.err
    run = next(path.name for path in (tmp_path / "runs" / "finetune").iterdir() if path.is_dir())
    outcome = command("submit", *tiny, f"init=run:{run}")
    assert outcome.code == 2 and "which no server scores; those that one does: cola, " in outcome.err
    outcome = command("submit", *tiny, "init=none")
    assert outcome.code == 2 and "submit needs a fine-tuned run" in outcome.err


def test_classes_are_numbers_or_names_and_scores_are_held_in_range():
    outputs = np.array([[0.1, 0.9], [2.0, -1.0]], np.float32)
    task = TaskConfig(name="t", label_kind="class", label_names=["no", "yes"])
    assert render(task, TaskConfig(name="t"), outputs) == ["1", "0"]
    assert render(task, TaskConfig(name="t", server_names=True), outputs) == ["yes", "no"]
    score = TaskConfig(name="s", label_kind="score", score_range=[0, 5])
    assert render(score, score, np.array([[5.25], [2.5], [-0.5]], np.float32)) == ["5.000", "2.500", "0.000"]
