"""The shared display: rows on a terminal, lines above them, and nothing anywhere else."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys

import pytest

from selfpretrain.progress import show_progress

TWO_ROWS = """
import time
from selfpretrain.progress import show_progress
with show_progress("study x", 3, 1) as outer:
    with show_progress("pretrain y", 500) as inner:
        inner(120, "12.3k tokens/s")
        inner(121, "")
        time.sleep(0.5)  # drawn ten times a second
        print("a line")
    outer(2, "about 5 min left")
print("the end")
"""


def show(*, piped: bool = False, **environment: str) -> tuple[str, str]:
    """What the two rows leave on a terminal, and on standard output where that is ``piped``."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", TWO_ROWS], stdin=theirs, stderr=theirs, stdout=subprocess.PIPE if piped else theirs,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "120", **environment}, text=True,
    )  # fmt: skip
    out, _ = process.communicate(timeout=60)
    os.close(theirs)
    seen = b""
    try:
        while part := os.read(ours, 1 << 16):
            seen += part
    except OSError:  # the terminal is closed and read to its end
        pass
    os.close(ours)
    assert process.returncode == 0
    return re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "", seen.decode()), out or ""


def test_a_terminal_shows_all_rows_and_lines_above_them():
    screen, _ = show()
    assert "study x" in screen and "1/3" in screen and "about 5 min left" in screen
    assert "pretrain y" in screen and "121/500 12.3k tokens/s" in screen
    frame = screen.rpartition("a line")[2]
    assert frame.index("study x") < frame.index("pretrain y")  # drawn anew below the line
    assert screen.endswith("the end\r\n")


def test_piped_lines_stay_out_of_the_terminal():
    screen, out = show(piped=True)
    assert out == "a line\nthe end\n"
    assert "study x" in screen and "a line" not in screen


def test_other_ranks_show_nothing():
    assert show(RANK="1") == ("a line\r\nthe end\r\n", "")


@pytest.mark.parametrize("is_shown", [True, False])
def test_nothing_is_shown_without_a_terminal(capfd, is_shown):
    with show_progress("study x", 3, is_shown=is_shown) as advance:
        advance(2, "about 5 min left")
    assert capfd.readouterr() == ("", "")
