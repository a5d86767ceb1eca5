"""The order in which a file lists its examples decides nothing, nor does its name."""

from __future__ import annotations

import random

from selfpretrain.files import read_json


def test_sorted_and_shuffled_copies_give_the_same_token_files_ids_and_scores(command, tiny, local, examples, tmp_path):
    rows = examples + examples[:10]  # some occur twice
    by_label, shuffled = sorted(rows, key=lambda row: row["topic"]), random.Random(1).sample(rows, len(rows))
    found = []
    for name, copy in (("sorted", by_label), ("shuffled", shuffled)):
        runs = tmp_path / f"runs_{name}"
        outcome = command(
            "study", *tiny, *local(copy, f"{name}.csv"), "study.pretrain_seeds=1", f"runtime.runs_dir={runs}"
        )
        assert outcome.code == 0, outcome
        tokens, predictions = (
            {file.relative_to(runs): file.read_bytes() for file in runs.glob(pattern) if file.is_file()}
            for pattern in ("corpora/*/**/*", "finetune/*/predictions/*")
        )
        for path in [path for path in tokens if path.name == "manifest.json"]:
            manifest = read_json(runs / path)
            del manifest["checksum"]  # of what follows
            assert any(f"{name}.csv" in note for note in manifest.pop("notes"))  # the one place that names the file
            tokens[path] = manifest
        results = {file.parent.name: read_json(file) for file in runs.glob("*/*/result.json")}
        assert len(results) >= 3 and len(predictions) >= 4 and any(path.name == "train.bin" for path in tokens)
        found.append((tokens, results, predictions))
    for one, other in zip(*found, strict=True):
        assert [name for name in one.keys() | other.keys() if one.get(name) != other.get(name)] == []
