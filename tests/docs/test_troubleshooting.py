"""Every error line that the page quotes is provoked, or at least looked for in the code."""

from __future__ import annotations

import ast
import re

import pytest

from tests.docs.conftest import ROOT, list_blocks, read_page

PAGE = read_page("docs/troubleshooting.md")
# (command, what it says), of which "..." stands for anything
LINES = [
    pair for block in list_blocks(PAGE, "console") for pair in re.findall(r"^\$ (.*)\n(.*)$", block.text, re.MULTILINE)
]
QUOTED = re.findall(r"^\| `([^`]+)` \|", PAGE, re.MULTILINE)


def test_the_page_quotes_lines():
    assert len(LINES) > 25 and len(QUOTED) > 3
    assert all(block.text.count("\n") % 2 == 0 for block in list_blocks(PAGE, "console"))


@pytest.mark.parametrize(("line", "said"), LINES, ids=[line.removeprefix("selfpretrain ") for line, _ in LINES])
def test_the_line_is_what_the_command_says(type_in, line, said):
    outcome = type_in(line)
    assert outcome.code == 2, outcome
    pattern = ".*".join(map(re.escape, said.split("...")))
    assert re.fullmatch(pattern, outcome.err.removesuffix("\n")), outcome.err


def list_strings() -> set[str]:
    """Every string of the code, with {} where a formatted one has a value."""
    found = set()
    for path in (ROOT / "selfpretrain").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.add(node.value)
            elif isinstance(node, ast.JoinedStr):
                found.add("".join(part.value if isinstance(part, ast.Constant) else "{}" for part in node.values))
    return found


def test_the_other_lines_are_in_the_code():
    strings = list_strings()
    for quoted in QUOTED:
        pattern = re.compile(".*".join(map(re.escape, quoted.split("..."))))
        assert any(pattern.search(string) for string in strings), quoted
