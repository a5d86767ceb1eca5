"""The loop: exact resume, divergence, the best checkpoint, accumulation."""

from __future__ import annotations

import json
import os
import signal

import numpy as np
import pytest
import torch
from torch import nn

from selfpretrain.config import OptimConfig, RuntimeConfig
from selfpretrain.model.dropout import Dropout
from selfpretrain.runs.folder import open_run
from selfpretrain.seeds import make_generator
from selfpretrain.train.keeper import Diverged, Evaluation, Keeper
from selfpretrain.train.learners import Member
from selfpretrain.train.trainer import Interrupted, Trainer

STEPS = 12


class Silent:
    """A tracker that remembers."""

    def __init__(self):
        self.rows = []

    def log(self, metrics, step):
        self.rows.append((step, metrics))

    def finish(self, exit_code=0):
        raise AssertionError("the trainer does not own the tracker")


class Toy(nn.Module):
    """Two layers with dropout between them; loss: squared error."""

    def __init__(self, prob=0.3):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.first, self.dropout, self.second = nn.Linear(4, 16), Dropout(prob), nn.Linear(16, 1)
        for parameter in self.parameters():
            parameter.data = torch.randn(parameter.shape, generator=generator) * 0.3

    def forward(self, batch):
        out = self.second(self.dropout(torch.tanh(self.first(batch["input_ids"]))))
        loss = (out.squeeze(-1) - batch["labels"]).pow(2).mean()
        return loss, {"loss": loss.detach()}


class Rows:
    """Eight examples a step, in micro-batches; ``fail_at`` is the step whose batch cannot be made."""

    def __init__(self, size=4, fail_at=None):
        self.size, self.fail_at = size, fail_at

    def __getitem__(self, step):
        if step == self.fail_at:
            raise RuntimeError("killed")
        rng = make_generator(0, "order", step)
        x = rng.standard_normal((8, 4)).astype(np.float32)
        arrays = {"input_ids": x, "labels": x.sum(1)}
        return [(self.size / 8, {k: v[i : i + self.size] for k, v in arrays.items()}) for i in range(0, 8, self.size)]


def make(folder, *, steps=STEPS, module=None, batches=None, evaluation=None, config=None, seed=0, hook=None, **runtime):
    """A trainer, and as ``keeper`` that of its only member."""
    run = open_run(folder, "pretrain", "run")
    run.path.mkdir(parents=True, exist_ok=True)
    options = {"progress": False, "device": "cpu", "log_every": 1, "save_every": 5, **runtime}
    keeper = Keeper(module or Toy(), run, RuntimeConfig(**options), Silent(), evaluation or Evaluation())
    config = config or OptimConfig(precision="fp32", peak_lr=0.05, warmup_steps=3)
    trainer = Trainer([Member(keeper, batches or Rows(), config, steps, seed, hook=hook)])
    trainer.keeper = keeper
    return trainer


def read_rows(trainer):
    """metrics.jsonl without the one number that is a time."""
    rows = [json.loads(line) for line in (trainer.keeper.run.path / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if k != "tokens_per_second"} for row in rows]


def get_state(trainer):
    return {**trainer.keeper.module.state_dict(), **trainer.learner.optimizer.get_state()}


def assert_same(first, second):
    states = get_state(first), get_state(second)
    assert states[0].keys() == states[1].keys() and len(states[0]) == 4 + 2 * 4 + 1
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert read_rows(first) == read_rows(second)


def evaluate(trainer):
    """Deterministic measures that also disturb torch's random state, as an evaluator may."""
    torch.manual_seed(99)
    trainer.keeper.module.eval()
    with torch.no_grad():
        loss, _ = trainer.keeper.module({k: torch.from_numpy(v) for k, v in Rows(8)[10_000][0][1].items()})
    return {"score": -float(loss)}


def add_evaluation(trainer, steps, before=lambda: None):
    def function(_):
        before()
        return evaluate(trainer)

    trainer.keeper.evaluation = Evaluation(function, set(steps), best_of="score")
    return trainer


@pytest.mark.parametrize("log_every", [1, 4])  # 4: in the midst of a line
def test_stopped_by_a_signal_and_continued_is_the_same_run_bit_for_bit(tmp_path, log_every):
    straight = add_evaluation(make(tmp_path / "a", log_every=log_every), range(2, STEPS + 1, 2))
    straight.train()

    handlers = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    stopped = make(tmp_path / "b", log_every=log_every)

    def stop_at_6():
        if len(stopped.keeper.evaluation.history) == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    add_evaluation(stopped, range(2, STEPS + 1, 2), before=stop_at_6)
    with pytest.raises(Interrupted) as stop:
        stopped.train()
    assert stop.value.code == 75
    assert "step 6 of run run" in stop.value.message and "\n" not in stop.value.message
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == handlers
    assert (stopped.keeper.run.checkpoints / "step_000000006").is_dir()

    resumed = add_evaluation(make(tmp_path / "b", module=Toy(), log_every=log_every), range(2, STEPS + 1, 2))
    torch.manual_seed(12345)
    resumed.train()
    assert_same(straight, resumed)
    for name in ("best_score", "best_step", "history"):
        assert getattr(straight.keeper.evaluation, name) == getattr(resumed.keeper.evaluation, name)


def test_ctrl_c_has_its_own_exit_code(tmp_path):
    trainer = make(tmp_path)
    add_evaluation(trainer, {3}, before=lambda: os.kill(os.getpid(), signal.SIGINT))
    with pytest.raises(Interrupted) as stop:
        trainer.train()
    assert stop.value.code == 130


@pytest.mark.parametrize("killed_at", [3, 5, 8, 11])
def test_killed_without_warning_and_continued_is_the_same_run(tmp_path, killed_at):
    straight = add_evaluation(make(tmp_path / "a"), (3, 7, STEPS))
    straight.train()
    killed = add_evaluation(make(tmp_path / "b", batches=Rows(fail_at=killed_at)), (3, 7, STEPS))
    with pytest.raises(RuntimeError, match="killed"):
        killed.train()
    assert len(read_rows(killed)) >= killed_at - 1  # lines past the last checkpoint, to be cut
    with open(killed.keeper.run.path / "metrics.jsonl", "a") as file:
        file.write('{"step": 11, "lo')  # a line that was being written
    resumed = add_evaluation(make(tmp_path / "b"), (3, 7, STEPS))
    resumed.train()
    assert_same(straight, resumed)
    assert [row["step"] for row in read_rows(resumed) if "loss" in row] == [*range(1, STEPS + 1)]


def test_dropout_was_on_in_these_tests_and_follows_the_seed(tmp_path):
    finals = []
    for name, prob, seed in (("a", 0.3, 0), ("b", 0.0, 0), ("c", 0.3, 1)):
        trainer = make(tmp_path / name, module=Toy(prob), seed=seed)
        trainer.train()
        finals.append(trainer.keeper.module.first.weight.detach().clone())
    assert not torch.equal(finals[0], finals[1])
    assert not torch.equal(finals[0], finals[2])


def test_every_micro_batch_of_every_step_has_its_own_dropout(tmp_path):
    masks = []

    def remember(_module, _inputs, out):
        masks.append(tuple((out == 0).flatten().tolist()))

    for name in ("a", "b"):
        module = Toy()
        module.dropout.register_forward_hook(remember)
        make(tmp_path / name, module=module).train()
    assert len(set(masks)) == 2 * STEPS  # two micro-batches a step
    assert masks[: 2 * STEPS] == masks[2 * STEPS :]


def test_a_finished_run_does_nothing_more(tmp_path):
    make(tmp_path, save_every=STEPS).train()
    again = make(tmp_path, save_every=STEPS, batches=Rows(fail_at=0))
    again.train()
    assert again.learner.optimizer.get_state()["step"].item() == STEPS


def test_checkpoints_kept(tmp_path):
    trainer = make(tmp_path, save_every=2, keep_checkpoints=2, keep_steps=[3, 4])
    trainer.train()
    steps = sorted(int(p.name[5:]) for p in trainer.keeper.run.checkpoints.glob("step_*"))
    assert steps == [3, 4, 10, 12]


# metrics


def test_a_line_is_the_mean_since_the_line_before(tmp_path):
    fine, coarse = make(tmp_path / "a"), make(tmp_path / "b", log_every=5)
    fine.train()
    coarse.train()
    each, means = read_rows(fine), read_rows(coarse)
    assert [row["step"] for row in means] == [5, 10, 12]
    for row, part in zip(means, (each[:5], each[5:10], each[10:]), strict=True):
        for name in ("loss", "grad_norm"):
            assert row[name] == pytest.approx(np.mean([r[name] for r in part]), rel=1e-5)
        assert row["lr"] == part[-1]["lr"]
    assert [step for step, _ in coarse.keeper.tracker.rows] == [5, 10, 12]  # the tracker sees the same


def test_a_measure_of_some_steps_is_the_mean_over_those(tmp_path):
    class Late(Toy):
        def forward(self, batch):
            loss, measures = super().forward(batch)
            steps.append(1)
            return loss, measures | ({"late": torch.tensor(2.0)} if len(steps) > 4 else {})

    steps = []
    trainer = make(tmp_path, module=Late(0.0), log_every=5)
    trainer.train()
    assert [row["late"] for row in read_rows(trainer)] == pytest.approx([2.0, 2.0, 2.0])


def test_micro_batches_add_up_to_the_batch(tmp_path):
    whole, parts = (make(tmp_path / str(size), module=Toy(0.0), batches=Rows(size)) for size in (8, 2))
    whole.train()
    parts.train()
    for name, value in whole.keeper.module.state_dict().items():
        torch.testing.assert_close(parts.keeper.module.state_dict()[name], value, rtol=0, atol=1e-5)
    for row, other in zip(read_rows(whole), read_rows(parts), strict=True):
        assert other == pytest.approx(row, rel=1e-4)


def test_micro_batches_of_unequal_size_count_by_their_share(tmp_path):
    class Uneven(Rows):
        def __getitem__(self, step):
            [(_, arrays)] = super().__getitem__(step)
            return [(3 / 8, {k: v[:3] for k, v in arrays.items()}), (5 / 8, {k: v[3:] for k, v in arrays.items()})]

    whole, parts = (make(tmp_path / type(b).__name__, module=Toy(0.0), batches=b) for b in (Rows(8), Uneven(8)))
    whole.train()
    parts.train()
    torch.testing.assert_close(parts.keeper.module.first.weight, whole.keeper.module.first.weight, rtol=0, atol=1e-5)


# the hook


def test_the_hook_sees_what_was_summed_and_decides_what_is_clipped(tmp_path):
    norms = []

    def hook(step, named):
        assert step == len(norms) and not torch.is_grad_enabled()
        norms.append(torch.nn.utils.get_total_norm([parameter.grad for parameter in named.values()]).item())
        named["second.bias"].grad.zero_()
        named["first.weight"].grad[1] = 0

    trainer, usual = make(tmp_path / "a", hook=hook), make(tmp_path / "b")
    start = {name: value.clone() for name, value in trainer.keeper.module.state_dict().items()}
    trainer.train()
    usual.train()
    assert norms[0] == pytest.approx(read_rows(usual)[0]["grad_norm"])
    assert all(row["grad_norm"] < norm for row, norm in zip(read_rows(trainer), norms, strict=True))
    end = trainer.keeper.module.state_dict()
    assert torch.equal(end["second.bias"], start["second.bias"])
    moments = trainer.learner.optimizer.get_state()["m.first.weight"]
    assert not moments[1].any() and moments[0].any()


# divergence


class Exploding(Toy):
    """At step 8 the loss (or only its gradient) is not finite."""

    def __init__(self, kind):
        super().__init__()
        self.kind, self.calls = kind, 0

    def forward(self, batch):
        loss, _ = super().forward(batch)
        self.calls += 1
        if self.calls == 15:  # the first of two micro-batches of step 8
            zero = (self.first.weight * 0).sum()
            bad = {"nan": zero * float("nan"), "inf": zero + float("inf"), "gradient": zero.sqrt() * 0}[self.kind]
            loss = loss + bad
        return loss, {"loss": loss.detach()}


@pytest.mark.parametrize("kind", ["nan", "inf", "gradient"])
@pytest.mark.parametrize("log_every", [1, 100])
def test_divergence_names_the_step_and_the_last_good_checkpoint(tmp_path, kind, log_every):
    trainer = make(tmp_path, module=Exploding(kind), save_every=2, log_every=log_every)
    with pytest.raises(Diverged) as error:
        trainer.train()
    message = str(error.value)
    assert "at step 8;" in message and "peak_lr" in message and "\n" not in message
    assert str(trainer.keeper.run.checkpoints / "step_000000006") in message
    assert not (trainer.keeper.run.checkpoints / "step_000000008").exists()  # never saved
    assert not [path for path in trainer.keeper.run.path.glob("metrics.jsonl") if "NaN" in path.read_text()]


def test_divergence_before_any_checkpoint_and_at_the_very_end(tmp_path):
    with pytest.raises(Diverged, match="no checkpoint before it"):
        make(tmp_path / "a", module=Exploding("nan"), save_every=100).train()
    with pytest.raises(Diverged, match="at step 8"):
        make(tmp_path / "b", steps=8, module=Exploding("nan"), save_every=100, log_every=100).train()


def test_an_evaluation_that_is_not_finite_is_divergence(tmp_path):
    trainer = make(tmp_path, evaluation=Evaluation(lambda _: {"loss": float("inf")}, {7}))
    with pytest.raises(Diverged, match="at step 7"):
        trainer.train()


# the best


def test_the_best_weights_are_kept_and_restored(tmp_path):
    scores = iter([0.1, 0.7, 0.4, 0.7, 0.2, 0.3])
    seen = []
    trainer = make(tmp_path, save_every=2)

    def function(_):
        seen.append(trainer.keeper.module.first.weight.detach().clone())
        return {"score": next(scores)}

    trainer.keeper.evaluation = Evaluation(function, {2, 4, 6, 8, 10, 12}, best_of="score")
    trainer.train()
    evaluation = trainer.keeper.evaluation
    assert (evaluation.best_step, evaluation.best_score) == (4, 0.7)  # of equals, the first
    assert [row["score"] for row in evaluation.history] == [0.1, 0.7, 0.4, 0.7, 0.2, 0.3]
    assert [p.name for p in trainer.keeper.run.checkpoints.glob("best_*")] == ["best_000000004"]
    assert not torch.equal(trainer.keeper.module.first.weight, seen[1])
    trainer.keeper.load_best()
    assert torch.equal(trainer.keeper.module.first.weight, seen[1])
    assert [row["eval_score"] for row in read_rows(trainer) if "eval_score" in row] == [0.1, 0.7, 0.4, 0.7, 0.2, 0.3]


def test_a_best_that_the_resumed_run_never_saw_is_forgotten(tmp_path):
    # killed after a better evaluation at step 7 but before a checkpoint: resuming from 5 must find the best of step 4
    scores = iter([0.5, 0.9])
    evaluation = Evaluation(lambda _: {"score": next(scores)}, {4, 7}, best_of="score")
    trainer = make(tmp_path, batches=Rows(fail_at=8), evaluation=evaluation)
    with pytest.raises(RuntimeError, match="killed"):
        trainer.train()
    assert {p.name for p in trainer.keeper.run.checkpoints.glob("best_*")} == {"best_000000004", "best_000000007"}
    again = make(tmp_path, evaluation=Evaluation(lambda _: {"score": 0.1}, {7}, best_of="score"))
    again.train()
    assert again.keeper.evaluation.best_step == 4
    again.keeper.load_best()
