"""Libraries of others that the page holds, as they were published; their licences lie beside them."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources


@dataclass(frozen=True)
class Library:
    """A script of somebody else."""

    name: str
    version: str
    package: str  # as its publisher names it
    file: str
    licence: str
    sha256: str


LIBRARIES = (
    Library(
        "D3", "7.9.2", "d3", "d3.min.js", "d3.LICENSE",
        "912111098ea99503a6f4967361d2bbdc9dbf58cf9c678c8e27e5b02d1a07f0c1",
    ),
    Library(
        "Observable Plot", "0.6.17", "@observablehq/plot", "plot.umd.min.js", "plot.LICENSE",
        "4358086467740777dd788d6b27a95cebdbaefdd50c730a3060117073bd7134cb",
    ),
)  # fmt: skip


def read_library(library: Library) -> str:
    """Its script, below its licence."""
    files = resources.files(__name__)
    licence, script = ((files / name).read_text(encoding="utf-8") for name in (library.licence, library.file))
    return f"/*\n{licence}*/\n{script}"
