"""Both engines are trained from one corpus with one recipe, and their losses compared seed by seed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import engines
from selfpretrain.runs.folder import RunFolder

ENVIRONMENT = Path(__file__).parents[2] / ".fairseq"


def make_runs(folder: Path, losses: list[dict[str, float]]) -> list[RunFolder]:
    runs = []
    for number, held_out in enumerate(losses):
        (folder / str(number)).mkdir(parents=True)
        (folder / str(number) / "result.json").write_text(json.dumps({"held_out": held_out}))
        runs.append(RunFolder(folder / str(number)))
    return runs


def test_losses_are_compared_seed_by_seed(tmp_path):
    ours = make_runs(tmp_path / "a", [{"loss": 5.0 + n} for n in range(4)])
    theirs = make_runs(tmp_path / "b", [{"loss": 5.01 + n + 0.001 * (-1) ** n} for n in range(4)])
    said = engines.compare_losses(ours, theirs, 0.05)
    assert "held-out loss 6.5000 and 6.5100, theirs - ours +0.0100: equivalent within 0.05 (90% interval" in said
    assert "not shown to be equivalent within 0.005" in engines.compare_losses(ours, theirs, 0.005)


def test_of_electra_both_networks_are_compared(tmp_path):
    held_out = [{"loss": 20.0, "gen_loss": 5.0 + n, "disc_loss": 0.3 + n / 10, "disc_auc": 0.9} for n in range(3)]
    said = engines.compare_losses(make_runs(tmp_path / "a", held_out), make_runs(tmp_path / "b", held_out), 0.05)
    assert "gen_loss 6.0000 and 6.0000" in said and "disc_loss 0.4000 and 0.4000" in said
    assert "equivalent within 0.005" in said and "held-out loss" not in said


def test_without_fairseq_the_row_says_how_to_get_it(tmp_path):
    rows = list(engines.run(engines.Options(toy=True, fairseq_env=str(tmp_path / "none"))))
    assert [row.work for row in rows] == list(engines.MODELS)
    assert all("launch/fairseq_env.sh" in row.skipped for row in rows)


@pytest.mark.skipif(
    not (ENVIRONMENT / "installed").is_file(), reason="no fairseq in .fairseq; launch/fairseq_env.sh builds it"
)
def test_both_are_timed(tmp_path):
    rows = list(engines.run(engines.Options(toy=True, runs_dir=str(tmp_path), fairseq_env=str(ENVIRONMENT))))
    assert [len(row.ours) for row in rows] == [engines.TOY_SEEDS] * 2
    assert all(min(*row.ours, *row.theirs) > 0 and "theirs - ours" in row.note for row in rows)
