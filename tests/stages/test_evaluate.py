"""Scoring a fine-tuned run on a card that is a test set."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from selfpretrain.runs.predictions import load_predictions

CLASSES = 3


@pytest.fixture
def run_of_mnli(command, tiny, mnli_mirror):
    """The id of a run fine-tuned on a mirror of a few rows."""
    return find_run(command("finetune", *tiny, "task=mnli")).name


def find_run(outcome) -> Path:
    assert outcome.code == 0, outcome.err
    return Path(re.search(r"^(\S+): ", outcome.out, re.MULTILINE).group(1))


def test_classes_of_the_run_count_as_those_of_the_test_set(command, tiny, run_of_mnli):
    folders = {
        name: find_run(command("evaluate", *tiny, f"task={name}", f"init=run:{run_of_mnli}"))
        for name in ("snli", "hans")
    }
    results = {name: json.loads((folder / "result.json").read_text()) for name, folder in folders.items()}
    assert results["hans"]["examples"] == results["snli"]["examples"] == {"test": 30}
    assert "test: the mirror holds 30 of 30000 official rows; not the published data set" in results["hans"]["notes"]
    assert (
        results["hans"]["notes"][-1] == "examples whose text was in the run's training split: 24 of 30 test"
    )  # 18 of 90 were cut off
    snli, hans = (load_predictions(folder / "predictions" / "test.parquet") for folder in folders.values())
    assert snli.ids == hans.ids and snli.outputs.shape == (30, CLASSES)
    np.testing.assert_array_equal(hans.outputs, np.stack([snli.outputs[:, 0], snli.outputs[:, 1:].max(axis=1)], axis=1))
    np.testing.assert_array_equal(hans.outputs.argmax(axis=1), np.minimum(snli.outputs.argmax(axis=1), 1))
    assert results["hans"]["scores"]["test"] == np.mean(hans.outputs.argmax(axis=1) == hans.labels)


def test_other_classes_are_refused_in_one_line(command, tiny, run_of_mnli):
    given = ["task=snli", f"init=run:{run_of_mnli}", "task.label_names=[yes,perhaps,no]"]
    refused = command("evaluate", *tiny, *given)
    assert refused.code == 2 and refused.err.count("\n") == 1
    assert "task.label_map={<class>: <class of snli>}" in refused.err
    mapping = "task.label_map={entailment: yes, neutral: perhaps, contradiction: no}"
    mapped = command("evaluate", *tiny, *given, mapping)
    assert find_run(mapped) != find_run(command("evaluate", *tiny, *given[:2]))
    wrong = command("evaluate", *tiny, *given, "task.label_map=entailment")
    assert wrong.code == 2 and "task.label_map=entailment is no mapping" in wrong.err
