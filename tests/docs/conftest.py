"""The pages: README.md and docs/*.md, and what writes parts of them."""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest

from selfpretrain.door import compose_settings
from selfpretrain.report import plots
from selfpretrain.study import probe
from tests.conftest import TINY, Outcome, make_rows, write_csv

ROOT = Path(__file__).resolve().parent.parent.parent
FOLLOWED = ("extend.md", "tutorial.md")  # from the first command to the last, each by a test of its own
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
# in place of what a page's command leaves out: seconds instead of minutes
SMALL = [*TINY, "study.pretrain_seeds=2", "study.num_replicates=200", "runtime.progress=false"]
UNCONFIGURED = ("settings", "doctor", "init", "completion", "--version", "--help")  # take no settings, or few
# a form to be filled in, and no command; its settings are looked up
FORM = re.compile(r"<\w[^<>]*>|\bNAME\b|\.\.\.|\w\|\w")
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """What stands between fences; ``language`` is empty where none is named."""

    language: str
    text: str


def read_page(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def list_blocks(text: str, *languages: str) -> list[Block]:
    blocks = [Block(*found) for found in _BLOCK.findall(text)]
    return [block for block in blocks if block.language in languages or not languages]


def list_lines(text: str) -> list[str]:
    """The commands of a block of shell: without comments, those over several lines as one."""
    joined = re.sub(r"\\\n\s*", "", text)
    return [line for line in joined.splitlines() if line.strip() and not line.startswith("#")]


def is_ours(line: str) -> bool:
    """Whether a command is the product's, variables before it or not."""
    return re.match(r"(\w+=\S* )*selfpretrain\b", line) is not None


def check_launcher(line: str) -> None:
    """A script that is there, and a study that it may be given."""
    script, *overrides = shlex.split(line)
    assert os.access(ROOT / script, os.X_OK), script
    if "=" in " ".join(overrides) and not FORM.search(line):
        compose_settings("study", [each for each in overrides if not each.startswith("hydra.launcher.")])


@pytest.fixture(scope="session")
def build() -> ModuleType:
    """docs/build.py."""
    spec = importlib.util.spec_from_file_location("build_docs", ROOT / "docs" / "build.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def workplace(tmp_path: Path) -> Path:
    """The folder that the commands of a page are started in, with the files that pages speak of."""
    folder = tmp_path / "workplace"
    folder.mkdir()
    rows = make_rows()
    write_csv(folder / "reviews.csv", rows)
    write_csv(folder / "few.csv", rows[:30])
    write_csv(folder / "one_class.csv", [{**row, "topic": "a"} for row in rows])
    write_csv(
        folder / "gaps.csv", [{**row, "body": "" if number == 6 else row["body"]} for number, row in enumerate(rows)]
    )
    write_csv(
        folder / "unlabelled.csv",
        [{**row, "topic": "" if number == 6 else row["topic"]} for number, row in enumerate(rows)],
    )
    return folder


@pytest.fixture
def type_in(command, workplace, monkeypatch) -> Callable[[str], Outcome]:
    """``type_in("A=b selfpretrain study task=...")``: as a shell in the workplace would have it, but tiny where it does not
    say otherwise.
    """
    monkeypatch.chdir(workplace)
    monkeypatch.delenv("SELFPRETRAIN_DATA", raising=False)
    monkeypatch.setattr(plots, "draw_scores", lambda _: {})  # half of the time of a small report
    monkeypatch.setattr(probe, "MAX_STEPS", 1)  # of what a plan times

    def run(line: str) -> Outcome:
        if not is_ours(line):
            done = subprocess.run(["bash", "-ec", line], cwd=workplace, capture_output=True, text=True)
            return Outcome(done.returncode, done.stdout, done.stderr)
        words = shlex.split(line)
        with monkeypatch.context() as patch:
            while "=" in words[0]:
                patch.setenv(*words.pop(0).split("=", 1))
            assert words.pop(0) == "selfpretrain", line
            given = {word.partition("=")[0] for word in words}
            given |= {"study.pretrain_seeds"} if "study.seed_factors" in given else set()  # which say how many
            is_configured = bool(words) and words[0] not in UNCONFIGURED
            return command(*words, *(each for each in SMALL if is_configured and each.partition("=")[0] not in given))

    return run
