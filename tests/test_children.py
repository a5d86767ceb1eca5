"""Work in several processes: in order, with the user's mistakes raised here, and no process left."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from selfpretrain.children import ChildEnded, map_in_children
from selfpretrain.config import UserError


def double(number: int, unit: str) -> str:
    if number == 13:
        raise UserError("13 is unlucky")
    if number == 17:
        raise SystemExit(5)
    return f"{2 * number} {unit}"


def ask(monkeypatch, numbers):
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    with closing(map_in_children("test_children:double", ["km"], 2, numbers)) as answers:
        return list(answers)


def test_answers_come_in_the_order_of_the_questions(monkeypatch):
    assert ask(monkeypatch, range(12)) == [f"{2 * number} km" for number in range(12)]


def test_a_mistake_of_the_users_is_raised_here(monkeypatch):
    with pytest.raises(UserError, match="13 is unlucky"):
        ask(monkeypatch, range(10, 16))


def test_a_child_that_dies_is_told_by_its_code(monkeypatch):
    with pytest.raises(ChildEnded, match="5"):
        ask(monkeypatch, range(14, 20))
