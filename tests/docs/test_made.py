"""What pages are made of: settings, and what their code prints."""

from __future__ import annotations

import pytest

from selfpretrain.config import Settings, iter_settings
from tests.docs.conftest import ROOT, list_blocks, read_page


@pytest.mark.parametrize("name", ["settings.md", "stats.ipynb", "verdict.md"])
def test_pages_are_up_to_date(build, name):
    assert set(build.BUILDERS) == {"settings.md", "stats.ipynb", "verdict.md"}
    text = read_page(f"docs/{name}")
    assert build.BUILDERS[name](text) == text, f"docs/{name} is out of date: {build.COMMAND} writes it"


def test_another_default_makes_the_settings_out_of_date(build, monkeypatch):
    changed = [
        (key, field, 7 if key == "pretrain.total_steps" else value) for key, field, value in iter_settings(Settings())
    ]
    monkeypatch.setattr(build, "iter_settings", lambda _: changed)
    assert "`pretrain.total_steps=7`" in build.build_settings() != read_page("docs/settings.md")


def test_another_number_makes_a_page_out_of_date(build):
    text = read_page("docs/verdict.md")
    changed = text.replace("margin 0.025: undecided", "margin 0.025: better")
    assert changed != text and build.build_page(changed) == text


def test_every_block_of_code_is_executed(build):
    """Each has what it prints behind it, or nothing would compare it."""
    for name in build.EXECUTED:
        text = read_page(f"docs/{name}")
        kinds = [block.language for block in list_blocks(text)]
        assert kinds == ["python", "text"] * (len(kinds) // 2) and len(build._PRINTED.findall(text)) == len(kinds) // 2


def test_the_notebook_names_no_folder_of_a_machine():
    text = read_page("docs/stats.ipynb")
    assert str(ROOT) not in text and "/tmp" not in text and "/home" not in text and "/root" not in text
