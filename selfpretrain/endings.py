"""How commands end: what a user can cause is one line and an exit code, whatever the work was.

0 done   1 a run failed, or data of a study are missing   2 wrong input   69 one of several ranks is gone   75 stopped by SIGTERM   130 by Ctrl-C   141 nobody reads the output any more
"""

from __future__ import annotations

import io
import os
import shlex
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from rich.console import Console

from selfpretrain.config import UserError
from selfpretrain.files import WRITE_ERRORS

WRONG_INPUT, FAILED, RANK_GONE, STOPPED, INTERRUPTED, PIPE_CLOSED = 2, 1, 69, 75, 130, 141


class Stopped(SystemExit):
    """SIGTERM outside of training, which saves first."""

    message = "stopped; the same command continues where it was"


class Terminal(Console):
    """A console that leaves a closed pipe to :func:`guard`; rich itself would end the process without a word."""

    def on_broken_pipe(self) -> NoReturn:
        self.quiet = True
        raise BrokenPipeError


def guard(function: Callable[[], Any]) -> Any:
    """What the function returns; what a user can cause ends the process with one line and its exit code."""
    try:
        return function()
    except KeyboardInterrupt:
        fail(Stopped.message, INTERRUPTED)
    except SystemExit as stop:
        if hasattr(stop, "message"):
            fail(stop.message, int(str(stop.code)), is_shared=True)
        raise
    except BrokenPipeError:
        _forget_output()
        fail("its output is closed; the same command continues where it was", PIPE_CLOSED)
    except Exception as error:
        if not (explained := explain(error)):
            raise
        fail(*explained, is_shared=explained[1] == FAILED)


def explain(error: Exception) -> tuple[str, int] | None:
    """The line and the exit code for an error that a user can cause; None for a fault of ours."""
    if isinstance(error, UserError):
        return str(error), WRONG_INPUT
    if isinstance(error, OSError) and error.errno in WRITE_ERRORS:
        return f"cannot write {error.filename or 'a file'}: {WRITE_ERRORS[error.errno]}", WRONG_INPUT
    if type(error).__name__ == "Diverged":  # named, not imported: torch stays out of commands that need none
        return str(error), FAILED
    return None


def fail(message: str, code: int, is_shared: bool = False) -> NoReturn:
    """End with one line; what all of several ranks end with is said by the first."""
    if not is_shared or os.environ.get("RANK", "0") == "0":
        print(f"selfpretrain: {message}", file=sys.stderr)
    raise SystemExit(code) from None


@dataclass(frozen=True)
class Outcome:
    """What became of one job of a sweep; a launcher may bring it from another process."""

    overrides: tuple[str, ...]
    message: str = ""  # why it failed; empty: it did not
    code: int = 0


def run_job(overrides: Sequence[str], function: Callable[[], Any]) -> Outcome:
    """Carry out one job of several: its settings are printed above its result, and its failure is not theirs."""
    print(f"{shlex.join(overrides) or 'no overrides'}:", flush=True)
    try:
        function()
    except (BrokenPipeError, KeyboardInterrupt):
        raise
    except Exception as error:  # noqa: BLE001 - of this job alone; the sweep lists it at its end
        if not (explained := explain(error)):
            traceback.print_exc()
        message, code = explained or (f"{type(error).__name__}: {error}", FAILED)
        print(f"failed: {message}", flush=True)
        return Outcome(tuple(overrides), message, code)
    return Outcome(tuple(overrides))


def report_refusal(function: Callable[[], Any]) -> Any:
    """What the function returns, or as an Outcome what a user can cause: the process that asked for it says so."""
    try:
        return function()
    except Exception as error:
        if not (explained := explain(error)):
            raise
        return Outcome((), *explained)


def end_sweep(outcomes: Sequence[Outcome]) -> None:
    """List the failures, last; exit 1 if there are any, 2 if wrong input is all there is."""
    failures = [outcome for outcome in outcomes if outcome.message]
    if not failures:
        return
    print(f"selfpretrain: {len(failures)} of {len(outcomes)} jobs failed:", file=sys.stderr)
    for failure in failures:
        print(f"  {shlex.join(failure.overrides)}: {failure.message}", file=sys.stderr)
    only_input = len(failures) == len(outcomes) and all(failure.code == WRONG_INPUT for failure in failures)
    raise SystemExit(WRONG_INPUT if only_input else FAILED)


def prepare_streams() -> None:
    """A log file shows each line when it is printed; a terminal without a character shows its number instead."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(line_buffering=True, errors="backslashreplace")


def flush_output() -> None:
    """Before the interpreter does it, which would complain of a closed pipe and change the exit code."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        _forget_output()
        raise SystemExit(PIPE_CLOSED) from None


def _forget_output() -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
