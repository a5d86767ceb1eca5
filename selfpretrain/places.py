"""Where the choices of the command line lie: ``conf`` (presets and the commands' roots) and ``corpora`` (cards)."""

from __future__ import annotations

from pathlib import Path


def find_folder(name: str) -> Path:
    """The folder ``conf`` or ``corpora``: inside the installed package, or beside it in a checkout."""
    package = Path(__file__).resolve().parent
    inside, beside = package / name, package.parent / name
    return inside if inside.is_dir() else beside


def list_choices(group: str) -> list[str]:
    """The options of a Hydra group: presets under ``conf``, cards under ``corpora``."""
    return sorted(path.stem for name in ("conf", "corpora") for path in (find_folder(name) / group).glob("*.yaml"))


def list_groups() -> list[str]:
    """The groups of which one option is chosen on the command line, those of Hydra itself left out."""
    folders = [folder for name in ("conf", "corpora") for folder in find_folder(name).iterdir() if folder.is_dir()]
    return sorted({folder.name for folder in folders} - {"hydra", "published", "text"})
