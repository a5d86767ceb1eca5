"""Interleaving, the processes of contestants, options and the arithmetic of a row."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from benchmarks import harness
from benchmarks.harness import Contestant, Options, Rate, Row, compute_spread, interleave, open_contestants
from selfpretrain.config import UserError


def build_counter(start: float) -> Callable[[], float]:
    values = iter(range(1000))
    return lambda: start + next(values)


def build_pid() -> Callable[[], float]:
    return lambda: float(os.getpid())


def touch(mib: int) -> float:
    return float(len(b"x" * (mib * 2**20)))


def build_memory(mib: int) -> Callable[[], float]:
    """Building takes 150 MiB and gives them back; measuring takes ``mib``."""
    touch(150)

    def measure() -> float:
        return touch(mib)

    return measure


def build_failure(kind: str) -> Callable[[], float]:
    def measure() -> float:
        if kind == "user":
            raise UserError("device=abacus is not known")
        if kind == "exit":
            os._exit(7)
        raise KeyError("lost")

    return measure


def build_nothing(reason: str) -> Callable[[], float]:
    raise UserError(reason)


class Noted:
    def __call__(self) -> float:
        return 1.0

    def get_peak_mb(self) -> float:
        return 12.5

    def get_note(self) -> str:
        return "as it says itself"


def test_contestants_take_turns_after_a_warm_up() -> None:
    calls: list[str] = []

    def make(name: str) -> Callable[[], float]:
        def measure() -> float:
            calls.append(name)
            return len(calls)

        return measure

    values = interleave({"a": make("a"), "b": make("b")}, repeats=3)
    assert "".join(calls) == "ab" + "ababab"
    assert values == {"a": [3, 5, 7], "b": [4, 6, 8]}


def test_a_contestant_has_its_own_process_and_memory() -> None:
    builds = {"small": (build_memory, 1), "large": (build_memory, 100), "pid": (build_pid,)}
    with open_contestants(builds, Options()) as sides:
        values = interleave(sides, 1)
        peaks = {name: side.get_peak_mb() for name, side in sides.items()}
    assert values["pid"] != [os.getpid()]
    assert 90 < peaks["large"] - peaks["small"] < 130
    assert peaks["small"] < 150  # what building needed is not counted


@pytest.mark.parametrize("processes", [True, False])
def test_a_measure_may_speak_for_itself(processes: bool) -> None:
    with open_contestants({"noted": (Noted,), "plain": (build_counter, 5.0)}, Options(processes=processes)) as sides:
        assert [sides["plain"](), sides["plain"]()] == [5.0, 6.0]
        assert sides["noted"].get_note() == "as it says itself"
        assert sides["plain"].get_note() == ""
        assert sides["noted"].get_peak_mb() == (12.5 if processes else None)


@pytest.mark.parametrize(
    ("kind", "error", "message"),
    [
        ("user", UserError, "device=abacus is not known"),
        ("other", RuntimeError, "KeyError: 'lost'"),
        ("exit", RuntimeError, "exit code 7"),
    ],
)
def test_a_failure_over_there_is_raised_here(kind: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message), Contestant(build_failure, kind) as side:
        side()
    assert not side.process.is_alive()


def test_of_two_contestants_one_of_which_cannot_start_neither_stays() -> None:
    builds = {"good": (build_counter, 0.0), "bad": (build_nothing, "no such model")}
    before = {child.pid for child in harness.multiprocessing.active_children()}  # of other tests' pools
    with pytest.raises(UserError, match="no such model"), open_contestants(builds, Options()):
        raise AssertionError("not reached")
    assert {child.pid for child in harness.multiprocessing.active_children()} <= before


def test_a_rate_finds_its_number_of_steps() -> None:
    asked: list[int] = []

    def run(steps: int) -> tuple[float, float]:
        asked.append(steps)
        return 10.0 * steps, 0.5 * steps  # 20 a second

    rate = Rate(run, seconds=6.0)
    assert [rate(), rate()] == [20.0, 20.0]
    assert asked == [2, 2, 12, 12]
    slow = Rate(run, seconds=0.001)
    slow()
    assert slow.steps == 2  # never fewer


def test_ratios_are_of_pairs_and_say_how_much_better() -> None:
    rates = Row("work", "peer", "tokens/s", ours=[10.0, 30.0], theirs=[5.0, 10.0])
    times = Row("work", "peer", "s", ours=[1.0, 2.0], theirs=[3.0, 8.0], lower_is_better=True)
    assert rates.compute_ratios() == [2.0, 3.0]
    assert times.compute_ratios() == [3.0, 4.0]
    assert Row("work", "", "s", ours=[1.0]).compute_ratios() == []
    spread = compute_spread([3.0, 1.0, 10.0])
    assert (spread.median, spread.low, spread.high) == (3.0, 1.0, 10.0)


@dataclass
class Some(Options):
    rows: int | None = 3
    name: str = "x"
    share: float = 0.5


def test_options_are_read_by_their_types() -> None:
    options = harness.parse_options(Some, ["rows=none", "share=1e-3", "toy=True", "device=cuda", "name=a=b"])
    assert options == Some(device="cuda", toy=True, rows=None, share=0.001, name="a=b")
    assert harness.parse_options(Some, ["rows=7"]).rows == 7


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("row=7", "'row=7' is no option; write <key>=<value> with one of device, repeats, threads"),
        ("toy", "'toy' is no option"),
        ("rows=many", "rows=many is not of type int"),
        ("toy=1", "toy=1 is neither true nor false"),
        ("device=tpu", "device=tpu is not known; allowed: cpu, cuda"),
        ("repeats=0", "repeats=0 measures nothing"),
    ],
)
def test_what_an_option_cannot_be_is_refused(argument: str, message: str) -> None:
    with pytest.raises(UserError, match=message.replace("|", r"\|")) as caught:
        harness.parse_options(Some, [argument])
    assert "\n" not in str(caught.value)


def test_processes_end_soon() -> None:
    started = time.perf_counter()
    with Contestant(build_counter, 1.0) as side:
        assert side() == 1.0
    assert not side.process.is_alive()
    assert side.process.exitcode == 0
    assert time.perf_counter() - started < 30
