"""Two processes give what one gives. Run as a script, this file is one of the two."""

from __future__ import annotations

import io
import json
import os
import signal
import socket
import subprocess
import sys
from contextlib import ExitStack, redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch import nn

from selfpretrain.__main__ import main, print_result
from selfpretrain.config import ObjectiveConfig, OptimConfig, PretrainConfig, RuntimeConfig, Settings, UserError
from selfpretrain.door import compose_settings
from selfpretrain.files import read_json
from selfpretrain.model.dropout import Dropout
from selfpretrain.runs.folder import open_run
from selfpretrain.seeds import make_generator
from selfpretrain.stages.pretrain import check_mlm_fraction, check_ranks, pretrain
from selfpretrain.train import distributed
from selfpretrain.train.checkpoint import load_encoder
from selfpretrain.train.keeper import Diverged, Evaluation, Keeper
from selfpretrain.train.learners import Member
from selfpretrain.train.trainer import Interrupted, Trainer

STEPS = 6


class Silent:
    def log(self, metrics, step):
        pass


class Toy(nn.Module):
    """``poison``: examples whose label is this make the loss not a number."""

    def __init__(self, poison=None):
        super().__init__()
        torch.manual_seed(0)
        self.poison = poison
        self.layers = nn.Sequential(nn.Linear(4, 16), Dropout(0.3), nn.Linear(16, 1))
        self.unused = nn.Parameter(torch.ones(3))  # in no loss: nothing may decay it

    def forward(self, batch):
        loss = (self.layers(batch["input_ids"]).squeeze(-1) - batch["input_ids"].sum(1)).pow(2).mean()
        if self.poison is not None and (batch["labels"] == self.poison).any():
            loss = loss * float("nan")
        return loss, {"loss": loss.detach()}


class Rows:
    """Six examples a step; 3 micro-batches: not a multiple of the ranks. Step 4 has one only: rank 1 has none."""

    def __getitem__(self, step):
        x = make_generator(0, "order", step).standard_normal((6, 4)).astype(np.float32)
        size = 6 if step == 4 else 2
        labels = np.arange(6) + 10 * step
        return [(size / 6, {"input_ids": x[i : i + size], "labels": labels[i : i + size]}) for i in range(0, 6, size)]


def build(folder, poison=None, evaluation=None, optimizer="adamw", log_every=1):
    run = open_run(folder, "pretrain", "run")
    run.path.mkdir(parents=True, exist_ok=True)
    runtime = RuntimeConfig(progress=False, device="cpu", log_every=log_every, save_every=2)
    config = OptimConfig(precision="fp32", peak_lr=0.05, optimizer=optimizer)
    keeper = Keeper(Toy(poison), run, runtime, Silent(), evaluation or Evaluation())
    trainer = Trainer([Member(keeper, Rows(), config, STEPS, seed=0)])
    trainer.keeper = keeper
    return trainer


def train_best(folder):
    scores = iter([0.1, 0.9, 0.3])
    trainer = build(folder, evaluation=Evaluation(lambda _: {"score": next(scores)}, {2, 4, 6}, best_of="score"))
    trainer.train()
    final = {name: value.clone() for name, value in trainer.keeper.module.state_dict().items()}
    trainer.keeper.load_best()
    return final, trainer.keeper.module.state_dict()


def train_by_muon(folder):
    trainer = build(folder, optimizer="muon")
    trainer.train()
    return trainer.keeper.module.state_dict()


def read_rows(folder):
    lines = (folder / "pretrain" / "run" / "metrics.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k != "tokens_per_second"} for line in lines]


def work(folder, rank):
    """What each of the two processes does; its findings as JSON."""
    found: dict[str, Any] = {"started": watch_buckets()}
    final, best = train_best(folder / "plain")
    found["final"], found["best"] = ({k: v.tolist() for k, v in state.items()} for state in (final, best))
    found["muon"] = {name: value.tolist() for name, value in train_by_muon(folder / "muon").items()}
    try:
        build(folder / "poisoned", poison=22).train()  # step 3, micro-batch 1: rank 1 alone sees it
    except Diverged as error:
        found["diverged"] = str(error)

    def kill(_):
        if rank == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return {"score": 0.0}

    try:
        build(folder / "stopped", evaluation=Evaluation(kill, {3}), log_every=2).train()
    except Interrupted as stop:
        found["stopped"] = [stop.code, stop.message]
    build(folder / "straight", log_every=2).train()
    resumed = build(folder / "stopped", log_every=2)
    resumed.train()
    found["resumed"] = {k: v.tolist() for k, v in resumed.keeper.module.state_dict().items()}
    run = open_run(folder, "pretrain", "held")
    found["held"] = []
    for _ in range(2):
        with distributed.hold(run, torch.device("cpu"), wait_for_lock=True) as is_open:
            found["held"].append(is_open)
            if rank == 0:
                run.start("", "")
                run.finish({})
    with redirect_stdout(io.StringIO()) as printed:
        print_result(run)
    found["printed"] = printed.getvalue().splitlines()
    (folder / f"found_{rank}.json").write_text(json.dumps(found))


def command(folder, rank, outcome, arguments):
    """The entry point as one of the two processes; what it found as JSON; it ends as the entry point does."""
    joined, join = [], dist.init_process_group
    dist.init_process_group = lambda *given, **named: (joined.append(True), join(*given, **named))
    take_step = Trainer.step

    def step_and_stop(trainer, step, micro_batches):
        take_step(trainer, step, micro_batches)
        if rank == 1:
            os.kill(os.getpid(), signal.SIGTERM)

    if outcome == "stopped":
        Trainer.step = step_and_stop
    sys.argv = ["selfpretrain", *arguments]
    try:
        main()
        code = 0
    except SystemExit as stop:
        code = stop.code
    found = {"code": code, "joined": joined, "left": not dist.is_initialized(), "threads": list_group_threads()}
    (folder / f"found_{rank}.json").write_text(json.dumps(found))
    raise SystemExit(code)


def watch_buckets():
    """From now on buckets are small; how many of each step's were on their way when the step's last backward ended."""
    distributed.BUCKET_BYTES, started, finish = 128, [], distributed.GradientSum.finish

    def note(gradients):
        started.append([len(gradients.started), len(gradients.buckets)])
        finish(gradients)

    distributed.GradientSum.finish = note
    return started


def list_group_threads():
    """The names of the group's own threads that still run (Linux names them)."""
    names = [path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm")]
    return [name for name in names if "gloo" in name]


def share_environment():
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}


def launch(folder, *arguments):
    """Run this file as both processes: their exit codes, and their findings."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {**share_environment(), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2"}
    with ExitStack() as stack:
        errors = [stack.enter_context(open(folder / f"errors_{rank}.txt", "w")) for rank in range(2)]
        ranks = [
            subprocess.Popen(
                [sys.executable, __file__, str(folder), *arguments],
                stderr=errors[rank],
                env={**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            )
            for rank in range(2)
        ]
        try:
            codes = [process.wait(timeout=300) for process in ranks]
        finally:
            for process in ranks:
                process.kill()
                process.wait()
    said = "".join((folder / f"errors_{rank}.txt").read_text() for rank in range(2))
    found = [folder / f"found_{rank}.json" for rank in range(2)]
    assert all(path.exists() for path in found), said
    return codes, [json.loads(path.read_text()) for path in found], said


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """The findings of two processes that worked together."""
    folder = tmp_path_factory.mktemp("two")
    codes, found, said = launch(folder)
    assert codes == [0, 0], said
    return folder, found


def assert_close(found, expected):
    for name, value in expected.items():
        torch.testing.assert_close(torch.tensor(found[name]), value, rtol=0, atol=1e-6)


def test_two_ranks_train_as_one(both, tmp_path):
    _, ranks = both
    final, best = train_best(tmp_path)
    for found in ranks:
        assert_close(found["final"], final)
        assert_close(found["best"], best)
    assert ranks[0]["final"] == ranks[1]["final"]
    assert (final["layers.0.weight"] - best["layers.0.weight"]).abs().max() > 1e-3


def test_two_ranks_train_as_one_by_muon(both, tmp_path):
    alone = train_by_muon(tmp_path)
    for found in both[1]:
        assert_close(found["muon"], alone)
    assert (alone["layers.0.weight"] - Toy().layers[0].weight).abs().max() > 0.05


def test_gradients_are_on_their_way_before_the_backward_pass_has_ended(both):
    first, second = (found["started"][:STEPS] for found in both[1])
    assert first == [[0, 0]] + [[3, 3]] * 5  # the second layer, the first one's bias, its matrix
    assert second == [[0, 0]] + [[3, 3]] * 3 + [[0, 3]] + [[3, 3]]  # in step 4 it has no micro-batch


def test_what_is_in_no_loss_is_left_alone(both, tmp_path):
    final, _ = train_best(tmp_path)
    assert final["unused"].tolist() == [1.0] * 3
    assert all(found["final"]["unused"] == [1.0] * 3 for found in both[1])


def test_two_ranks_report_as_one(both, tmp_path):
    folder, _ = both
    train_best(tmp_path)
    rows, expected = read_rows(folder / "plain"), read_rows(tmp_path)
    assert len(rows) == len(expected) == STEPS + 3
    for row, one in zip(rows, expected, strict=True):
        assert row == pytest.approx(one, rel=1e-5)


def test_a_loss_that_one_rank_sees_stops_both(both):
    folder, ranks = both
    assert ranks[0]["diverged"] == ranks[1]["diverged"]
    assert "at step 3;" in ranks[0]["diverged"] and "step_000000002" in ranks[0]["diverged"]
    assert not (folder / "poisoned" / "pretrain" / "run" / "checkpoints" / "step_000000004").exists()


def test_a_signal_to_one_rank_stops_both_and_both_continue(both):
    folder, ranks = both
    assert [found["stopped"][0] for found in ranks] == [75, 75]
    assert all("step 3 of run run" in found["stopped"][1] for found in ranks)
    assert ranks[0]["resumed"] == ranks[0]["final"] == ranks[1]["resumed"]
    rows = [row for row in read_rows(folder / "stopped") if "eval_score" not in row]
    assert rows == read_rows(folder / "straight")  # step 3 is in the midst of a line


def test_a_run_is_held_by_both_together_and_done_once(both):
    assert [found["held"] for found in both[1]] == [[True, False], [True, False]]


def test_a_result_is_printed_once(both):
    folder, ranks = both
    held = folder / "pretrain" / "held"
    assert [found["printed"] for found in ranks] == [[f"{held}: done", "{}"], []]


def test_ranks_that_cannot_share_the_batch_evenly_are_refused():
    config = PretrainConfig(batch_size=12, micro_batch_size=4)
    check_ranks(config, 1)
    check_ranks(config, 3)
    with pytest.raises(UserError, match=r"2 processes cannot share 3 micro-batches"):
        check_ranks(config, 2)
    with pytest.raises(UserError, match="cannot share 1"):
        check_ranks(PretrainConfig(), 2)


def test_masked_tokens_first_are_for_one_process_and_a_budget_known_ahead():
    def check(world, **pretrain):
        objective = ObjectiveConfig(mlm_fraction=0.4)
        check_mlm_fraction(Settings(objective=objective, pretrain=PretrainConfig(**pretrain)), world)

    check(1)
    check_mlm_fraction(Settings(objective=ObjectiveConfig(name="mlm", mlm_fraction=0.4)), 2)  # which has no such steps
    with pytest.raises(UserError, match=r"objective.mlm_fraction=0.4 and 2 processes do not go together; set it to 0"):
        check(2)
    with pytest.raises(UserError, match=r"mlm_fraction=0.4 and pretrain.budget=seconds"):
        check(1, budget="seconds", budget_amount=60.0)


def test_one_process_joins_nothing(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert distributed.start(torch.device("cpu")) == (0, 1)
    assert distributed.get_world() == 1
    assert distributed.sum_measures({"loss": 1.0}) == {"loss": 1.0}
    assert distributed.find_lowest(7) == 7
    distributed.wait()


OUTCOMES = {
    "done": (0, [], ""),
    "refused": (2, ["pretrain.micro_batch_size=2"], "2 processes cannot share 1 micro-batches"),
    "diverged": (1, ["pretrain.peak_lr=1e30"], "was not finite at step"),
    "stopped": (75, ["pretrain.total_steps=50"], "stopped"),
}


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_a_command_leaves_the_group_and_ends_with_the_code_of_its_work(outcome, tiny, local, tmp_path):
    code, more, message = OUTCOMES[outcome]
    arguments = ["pretrain", "corpus=own", *tiny, *local(), "pretrain.micro_batch_size=1", *more]
    codes, found, said = launch(tmp_path, outcome, *arguments)
    assert codes == [code, code], said
    assert found == [{"code": code, "joined": [True], "left": True, "threads": []}] * 2
    assert message in said


def test_two_ranks_part_their_layers_as_one(tiny, local, tmp_path):
    arguments = [
        "pretrain", "corpus=own", *tiny, *local(), "pretrain.micro_batch_size=1", "pretrain.total_steps=10", "model.num_layers=4",
        "pretrain.weight_sharing=adaptive", "pretrain.share_threshold=1", "pretrain.share_check_every=2",
    ]  # fmt: skip
    codes, _, said = launch(tmp_path, "done", *arguments)
    assert codes == [0, 0], said
    alone = pretrain(compose_settings("pretrain", [*arguments[1:], f"runtime.runs_dir={tmp_path / 'alone'}"]))
    together = open_run(tmp_path / "runs", "pretrain", alone.id)
    expected, found = (load_encoder(run.encoder())[0] for run in (alone, together))
    for name, value in expected.named_parameters():
        torch.testing.assert_close(found.get_parameter(name), value, rtol=0, atol=1e-5, msg=name)
    for run in (alone, together):
        assert read_json(run.path / "result.json")["parted"] == {"encoder": [6, 6, 6]}
        lines = (run.path / "metrics.jsonl").read_text().splitlines()
        (row,) = (row for row in map(json.loads, lines) if "loss" in row)
        assert row["encoder_groups"] == pytest.approx((6 * 1 + 4 * 4) / 10)  # the mean over the steps, not over ranks


def test_torchrun_ends_well_each_time(tiny, local, tmp_path):
    arguments = ["pretrain", "corpus=own", *tiny, *local(), "pretrain.micro_batch_size=1"]
    for seed in range(2):
        started = subprocess.run(
            [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", __file__, str(tmp_path), "done",
             *arguments, f"seeds.seed={seed}"],
            capture_output=True, text=True, timeout=300, env=share_environment(),
        )  # fmt: skip
        assert started.returncode == 0, started.stderr
        for rank in range(2):
            found = json.loads((tmp_path / f"found_{rank}.json").read_text())
            assert found == {"code": 0, "joined": [True], "left": True, "threads": []}


if __name__ == "__main__":
    here, own_rank = Path(sys.argv[1]), int(os.environ["RANK"])
    if len(sys.argv) > 2:
        command(here, own_rank, sys.argv[2], sys.argv[3:])
    work(here, own_rank)
    distributed.leave()
