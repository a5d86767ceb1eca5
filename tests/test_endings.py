"""A job's failure is its own; the failures come last, with the right code."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from selfpretrain.config import UserError
from selfpretrain.endings import FAILED, PIPE_CLOSED, WRONG_INPUT, Outcome, end_sweep, run_job


def refuse():
    raise UserError("task.path=x is not there")


def test_a_failing_job_is_an_outcome_under_its_settings(capsys):
    outcome = run_job(["task.path=x"], refuse)
    assert outcome == Outcome(("task.path=x",), "task.path=x is not there", WRONG_INPUT)
    assert capsys.readouterr().out.splitlines()[0] == "task.path=x:"


def test_a_fault_of_one_job_is_caught_by_name(capsys):
    assert run_job(["a=1"], lambda: 1 / 0).code == FAILED
    assert "ZeroDivisionError" in capsys.readouterr().err


def test_an_interruption_ends_the_sweep():
    def interrupt():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_job([], interrupt)


@pytest.mark.parametrize("codes, expected", [((0, 2), 1), ((2, 2), 2), ((2, 1), 1)])
def test_a_sweep_exits_with_2_only_where_wrong_input_is_all_there_is(codes, expected, capsys):
    outcomes = [Outcome((f"a={i}",), "broken" if code else "", code) for i, code in enumerate(codes)]
    with pytest.raises(SystemExit) as ended:
        end_sweep(outcomes)
    assert ended.value.code == expected
    assert capsys.readouterr().err.splitlines()[-1] == f"  a={len(codes) - 1}: broken"


def test_a_sweep_without_failures_just_ends():
    end_sweep([Outcome(("a=1",))])


def run(*words, **environment):
    return subprocess.Popen(
        [sys.executable, "-m", "selfpretrain", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env={**os.environ, **environment},
    )  # fmt: skip


def test_an_ascii_terminal_shows_a_number_for_a_character():
    process = run("finetune", "task=local", "task.path=/données.csv", "task.text=a", "task.label=b",
                  PYTHONIOENCODING="ascii", PYTHONUTF8="0")  # fmt: skip
    _, complaint = process.communicate(timeout=120)
    assert process.returncode == 2 and b"Traceback" not in complaint and rb"donn\xe9es" in complaint


def test_a_closed_pipe_ends_without_a_trace():
    process = run("finetune", "--help")
    process.stdout.close()
    complaint = process.stderr.read()
    process.stderr.close()
    assert process.wait(timeout=120) == PIPE_CLOSED and b"Traceback" not in complaint
