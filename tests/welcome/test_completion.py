"""Tab completion: what may follow, from the commands' own tables, and bash's own function on it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from selfpretrain.__main__ import BARE, COMMANDS, USAGE
from selfpretrain.config import Settings, iter_settings
from selfpretrain.door import list_choices
from selfpretrain.welcome.completion import SHELLS, complete, list_groups

ROOT = Path(__file__).resolve().parents[2]


def ask(line: str) -> list[str]:
    return complete(line, COMMANDS)


def test_commands_and_their_second_words():
    assert ask("selfpretrain ") == sorted({name.split()[0] for name in COMMANDS})
    assert ask("selfpretrain st") == ["study"]
    assert "audit" in ask("selfpretrain corpus ") and "audit" not in ask("selfpretrain corpus task=agnews ")
    assert "task=" in ask("selfpretrain corpus audit ") and "audit" not in ask("selfpretrain corpus audit ")
    assert ask("selfpretrain stdy ") == []


def test_groups_are_those_of_the_command():
    for name in COMMANDS.keys() - BARE.keys():
        offered = {word[:-1] for word in ask(f"selfpretrain {name} ") if word.endswith("=")}
        assert set(list_groups(name)) <= offered, name
    assert {"study", "effort", "model"} <= set(list_groups("study")) and "study" not in list_groups("pretrain")


def test_choices_settings_and_values(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for group in ("study", "model", "task"):
        assert ask(f"selfpretrain study {group}=") == [f"{group}={name}" for name in list_choices(group)]
    keys = {name for name, *_ in iter_settings(Settings())}
    assert {word[:-1] for word in ask("selfpretrain plan pretrain.")} == {
        key for key in keys if key.startswith("pretrain.")
    }
    assert ask("selfpretrain plan model.family=") == [
        "model.family=bert",
        "model.family=electra",
        "model.family=roberta",
    ]
    assert ask("selfpretrain plan objective.name=r") == ["objective.name=rtd"]
    assert ask("selfpretrain plan runtime.compile=") == ["runtime.compile=false", "runtime.compile=true"]
    assert ask("selfpretrain plan task.gone=") == [] and ask("selfpretrain plan pretrain.total_steps=") == []
    assert ask("selfpretrain plan --c") == ["--cfg", "--config-dir"]
    assert ask("selfpretrain settings mod") == ["model"] and ask("selfpretrain completion ") == sorted(SHELLS)
    assert {word.partition(".")[0] for word in ask("selfpretrain doctor ")} == {"runtime"}


def test_files_where_a_file_is_meant(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rows").mkdir()
    for name in ("reviews.csv", "reviews.yaml", "rows/more.csv", ".hidden.csv"):
        (tmp_path / name).write_text("")
    assert ask("selfpretrain init re") == ["reviews.csv", "reviews.yaml"]
    assert ask("selfpretrain init rows/") == ["rows/more.csv"]
    assert ask("selfpretrain study study=re") == ["study=reviews.yaml"]
    assert ask("selfpretrain study task.path=") == [
        "task.path=reviews.csv",
        "task.path=reviews.yaml",
        "task.path=rows/",
    ]


@pytest.mark.parametrize("name", BARE)
def test_help_of_a_command_without_hydra(command, name):
    outcome = command(name, "--help")
    assert outcome.code == 0 and COMMANDS[name] in outcome.out and f"selfpretrain {name} {USAGE[name]}" in outcome.out


def test_a_word_needs_nothing_heavy():
    heavy = ["torch", "hydra", "omegaconf", "numpy", "yaml"]
    code = (
        "import sys; sys.argv = ['selfpretrain', 'completion', 'words', 'selfpretrain study study=qu'];"
        "from selfpretrain.__main__ import main; main();"
        f"sys.exit(any(name in sys.modules for name in {heavy}))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


def test_an_unknown_shell_is_refused(command):
    wrong = command("completion", "tcsh")
    assert (wrong.code, wrong.out) == (2, "") and "bash, zsh, fish" in wrong.err


BASH = """
eval "$(selfpretrain completion bash)"
try() {
    COMP_LINE=$1 COMP_POINT=${#1} COMP_WORDBREAKS=$' \\t\\n"\\'><=;|&(:'
    COMPREPLY=(); _selfpretrain selfpretrain
    printf '%s\\n' "${COMPREPLY[@]}" -
}
try 'selfpretrain stu'; try 'selfpretrain study study=quick'; try 'selfpretrain init my'; try 'selfpretrain plan model.fam'
"""


@pytest.fixture
def shells(tmp_path):
    """An environment in which ``selfpretrain`` is a command."""
    program = tmp_path / "bin" / "selfpretrain"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m selfpretrain "$@"\n')
    program.chmod(0o755)
    (tmp_path / "my file.csv").write_text("")
    return {
        **os.environ,
        "PATH": f"{program.parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "HOME": str(tmp_path),
    }


def test_bash(shells, tmp_path):
    done = subprocess.run(["bash", "--norc", "-c", BASH], env=shells, cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout.split("\n-\n") == ["study", "quickstart", "my\\ file.csv", "model.family=", ""], done
    assert "compopt" in done.stderr or not done.stderr  # outside of a completion bash has no options to set


ZSH = """
compdef() { :; }
compadd() { while [[ $1 != -- ]]; do shift; done; shift; print -l -- $@; }
eval "$(selfpretrain completion zsh)"
words=(selfpretrain study) LBUFFER='selfpretrain study study=quick' _selfpretrain
words=(selfpretrain) LBUFFER='selfpretrain stu' _selfpretrain
"""


@pytest.mark.skipif(shutil.which("zsh") is None, reason="no zsh here")
def test_zsh(shells, tmp_path):
    done = subprocess.run(["zsh", "-f", "-c", ZSH], env=shells, cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout.split() == ["study=quickstart", "study"], done


@pytest.mark.skipif(shutil.which("fish") is None, reason="no fish here")
def test_fish(shells, tmp_path):
    script = "selfpretrain completion fish | source; complete -C 'selfpretrain study study=quick'; complete -C 'selfpretrain stu'"
    done = subprocess.run(["fish", "-N", "-c", script], env=shells, cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout.split() == ["study=quickstart", "study"], done
