"""Names given on the command line arrive as they were typed."""

from __future__ import annotations

import random

import pytest

from selfpretrain.door import compose_settings
from selfpretrain.overrides import quote_override, to_typed

NAMES = [
    "my data (1).csv", "run=3.csv", "a,b.csv", "50%.csv", "me@home.csv", "données été.csv", "it's.csv", "x{1}.csv",
    "[final].csv", "c#.csv", "a&b.csv", "./~backup.csv", "2024.csv", "2024_05_01", "1e3", "true", "0x10", "${x}", "a:b",
    "$HOME", 'say "so".csv', "back\\slash", "ends in \\", "\\'", "{a: 1}", "a\tb", "!x", "*?", "текст", "+1", "nan",
    "\\${x}", "range(3)", "choice(a,b)", "-", "'", '"', " ", "a b ", " a", "''a",
]  # fmt: skip
COLUMNS = ["review text (en)", "Class Index", 'is it "spam"?', "a=b", "x,y", "label:1", "текст", "label%", "null", "true",
           "0", "1.0", "[a", "a]b", "2024-01-01"]  # fmt: skip


def read(*overrides: str):
    return compose_settings("finetune", ["task=local", *(quote_override(override) for override in overrides)])


@pytest.mark.parametrize("name", NAMES)
def test_a_file_name_arrives_as_typed(name):
    assert read(f"task.path={name}").task.path == name


def test_a_folder_that_looks_like_a_number_stays_text():
    assert read("runtime.runs_dir=2024_05_01").runtime.runs_dir == "2024_05_01"


@pytest.mark.parametrize("name", COLUMNS)
def test_a_column_arrives_as_typed(name):
    assert read(f"task.label={name}").task.label in (name, [name])


def test_two_columns_stay_a_list_and_quotes_keep_a_comma():
    assert read("task.text=[question,answer]").task.text == ["question", "answer"]
    assert read("task.text=['x,y','0']").task.text == ["x,y", "0"]


def test_any_text_arrives_as_typed_and_is_pasted_back():
    rng = random.Random(0)
    for _ in range(40):
        name = "x" + "".join(rng.choice("ab \\'\"$[]{},=%~#@:()|1é") for _ in range(rng.randrange(1, 9))) + "x"
        assert read(f"task.path={name}").task.path == name, repr(name)
        assert to_typed(quote_override(f"task.path={name}")) == f"task.path={name}", repr(name)


def test_a_sweep_parts_values_at_commas_outside_of_quotes():
    assert quote_override("task.path=a.csv,b c.csv", is_sweep=True) == "task.path='a.csv','b c.csv'"
    assert quote_override("task.path='a,b.csv'", is_sweep=True) == "task.path='a,b.csv'"
    assert quote_override("finetune.peak_lr=1e-5,2e-5", is_sweep=True) == "finetune.peak_lr=1e-5,2e-5"


def test_home_is_what_the_shell_would_have_it_and_a_file_of_that_name_stays(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "~backup.csv").write_text("")

    def open_path(path):
        names = [quote_override(f"task.path={path}"), quote_override(f"runtime.runs_dir={path}"), "task.text=a"]
        settings = compose_settings("study", ["task=local", "task.label=b", *names])
        assert settings.task.path == settings.runtime.runs_dir
        return settings.task.path

    assert open_path("~/it's.csv") == f"{tmp_path}/it's.csv"
    assert open_path("~backup.csv") == "~backup.csv"
    assert open_path("~nobody-of-that-name/x.csv") == "~nobody-of-that-name/x.csv"


def test_the_command_of_a_report_can_be_pasted_back():
    import shlex

    typed = ["task.path=a $b (1)'s,2.csv", "task.text=[question,x y]", "finetune.lr_grid=[1e-3,3e-3]", "task=local"]
    given = [quote_override(override) for override in typed]
    pasted = shlex.split(shlex.join(map(to_typed, given)))
    assert [quote_override(override) for override in pasted] == given


def test_mappings_take_keys_of_the_user():
    given = "study.models_of={local: [roberta_tiny]}"
    assert quote_override(given) == f"++{given}" and to_typed(f"++{given}") == given
    settings = compose_settings(
        "study", [quote_override(given), quote_override("task.finetune={roberta: {epochs: 3}}")]
    )
    assert settings.study.models_of == {"local": ["roberta_tiny"]} and settings.task.finetune == {
        "roberta": {"epochs": 3}
    }
    assert quote_override("hydra.sweeper.resources.corpus.mem_gb=3") == "++hydra.sweeper.resources.corpus.mem_gb=3"
    assert quote_override("finetune.epochs=3") == "finetune.epochs=3"


@pytest.mark.parametrize("name", ["it's.yaml", "日本.yaml", "a#b.yaml", "p[1].yaml", "a,b.yaml", "a b.yaml"])
def test_a_study_file_of_any_name(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).write_text("study: {name: mine}")
    assert compose_settings("study", [quote_override(f"study={name}")]).study.name == "mine"
    assert quote_override("study=quickstart") == "study=quickstart"
