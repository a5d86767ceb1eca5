"""What make installs is pinned to the version, whatever a package's dependencies are next month."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from selfpretrain.sources.docs_extract import DISTRIBUTIONS

ROOT = Path(__file__).resolve().parent.parent
GPU_LIBRARIES = ("nvidia-", "cuda-", "triton")  # chosen by torch's own build; no text is cut from them


def read_lock(python: str | None = None) -> dict[str, Requirement]:
    """The pins by name, for this Python or another."""
    environment = {} if python is None else {"python_version": python}
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [Requirement(line) for line in lines if line and not line.startswith("#")]
    valid = [pin for pin in pins if pin.marker is None or pin.marker.evaluate(environment)]
    assert len({canonicalize_name(pin.name) for pin in valid}) == len(valid), "a package is pinned twice"
    return {canonicalize_name(pin.name): pin for pin in valid}


def iter_needed(name: str, extra: str = "") -> Iterator[Requirement]:
    """What a package needs here, directly."""
    for line in metadata.requires(name) or []:
        needed = Requirement(line)
        if needed.marker is None or needed.marker.evaluate({"extra": extra}):
            yield needed


def find_all_needed() -> dict[str, list[Requirement]]:
    """Everything that ``.[test]`` brings, by name, with the ranges asked for."""
    found: dict[str, list[Requirement]] = {}
    visited: set[tuple[str, str]] = set()
    open_ones = list(iter_needed("selfpretrain", "test"))
    while open_ones:
        needed = open_ones.pop()
        name = canonicalize_name(needed.name)
        if name.startswith(GPU_LIBRARIES):
            continue
        found.setdefault(name, []).append(needed)
        for part in {(name, extra) for extra in ("", *needed.extras)} - visited:
            visited.add(part)
            open_ones += iter_needed(*part)
    return found


def test_every_package_has_one_exact_version_on_each_python():
    for python in ("3.10", "3.11", "3.12", "3.13"):
        for pin in read_lock(python).values():
            assert re.fullmatch(r"==[^*,+]+", str(pin.specifier)), pin


def test_everything_that_comes_along_is_pinned_within_the_ranges():
    lock, needed = read_lock(), find_all_needed()
    assert len(needed) > 60 and {"torch", "pytest", "sympy", "idna"} <= set(needed)
    assert not set(needed) - set(lock)
    for name, ranges in needed.items():
        (version,) = lock[name].specifier
        assert all(asked.specifier.contains(version.version, prereleases=True) for asked in ranges), (name, ranges)


def test_every_package_the_text_is_cut_from_is_pinned():
    installed = {canonicalize_name(found.metadata["Name"]) for found in metadata.distributions()}
    sources = {canonicalize_name(name) for name in DISTRIBUTIONS.values()} & installed
    assert len(sources) > 40
    assert not sources - set(read_lock())


def test_make_installs_nothing_without_the_lock():
    installs = [line for line in (ROOT / "Makefile").read_text().splitlines() if "pip install" in line]
    assert len(installs) == 2
    assert all("--constraint constraints.txt" in line for line in installs)
