"""The pages: README.md and docs/*.md, and what writes parts of them."""

from __future__ import annotations

import importlib.util
import re
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
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


@pytest.fixture(scope="session")
def build() -> ModuleType:
    """docs/build.py."""
    spec = importlib.util.spec_from_file_location("build_docs", ROOT / "docs" / "build.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
