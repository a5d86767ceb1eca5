"""Where and with what a run was made: a list of its starts, the oldest first."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from selfpretrain import __version__
from selfpretrain.files import read_json

PACKAGES = ("torch", "numpy", "tokenizers", "datasets", "safetensors", "hydra-core")


def read_starts(folder: Path) -> list[dict[str, Any]]:
    """The provenance of every start of the run in ``folder``, the oldest first; empty before the first."""
    file = folder / "provenance.json"
    return read_json(file) if file.is_file() else []


def collect_provenance() -> dict[str, Any]:
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = "absent"
    return {
        "selfpretrain": __version__,
        "commit": read_commit(),
        "python": platform.python_version(),
        "machine": describe_machine(),
        "versions": versions,
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "argv": sys.argv[1:],
    }


def describe_machine() -> str:
    """System, processor and number of cores, in words."""
    processor = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        lines = info.read_text().splitlines()
        names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
        processor = next(names, processor)
    return f"{platform.system()}, {os.cpu_count()} cores of {processor}"


def read_commit() -> str:
    """The checkout's commit (with + when it has changes); empty outside a checkout."""
    try:
        found = subprocess.run(
            ["git", "describe", "--always", "--dirty=+", "--abbrev=10"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            timeout=10,
        )
    except (OSError, subprocess.TimeoutExpired):  # no git, or a file system too slow to ask
        return ""
    return found.stdout.strip() if found.returncode == 0 else ""
