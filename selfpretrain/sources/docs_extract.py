"""The docstrings of the installed packages, read from their source (never imported) and cached as one file.

``<runs_dir>/text/docs-<fingerprint>/documents.jsonl`` holds a record per docstring, in the order test,
validation, train, general (see ``get_role``). A paragraph is kept where it occurs first in that order, so no
paragraph of the test text occurs anywhere else.
"""

from __future__ import annotations

import ast
import hashlib
import json
import os
import re
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from contextlib import closing
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

from selfpretrain.children import ChildEnded, map_in_children
from selfpretrain.files import Damaged, build_folder, read_json, write_json
from selfpretrain.progress import show_progress
from selfpretrain.sources.docs_clean import clean_docstring
from selfpretrain.sources.splits import compute_hash, normalise

EXTRACTOR_VERSION = 2  # raised whenever the same packages would give other records
NUM_WORKERS = 2
# The standard library and what this project depends on, directly or through its dependencies. A fixed list, so
# that a package someone adds to an environment changes nothing. Folder: distribution.
_SAME_NAMES = (
    "aiohttp anyio click contourpy datasets dill filelock fsspec httpcore httpx huggingface_hub jinja2 joblib matplotlib "
    "mpmath multiprocess narwhals networkx numpy omegaconf packaging pandas platformdirs pyarrow pydantic pygments "
    "pyparsing requests rich safetensors scipy sympy tokenizers torch tqdm urllib3 wandb"
)
DISTRIBUTIONS = {name: name for name in _SAME_NAMES.split()} | {
    "PIL": "pillow", "antlr4": "antlr4-python3-runtime", "dateutil": "python-dateutil", "fontTools": "fonttools",
    "hydra": "hydra-core", "markdown_it": "markdown-it-py", "mpl_toolkits": "matplotlib", "sklearn": "scikit-learn",
    "torchgen": "torch", "yaml": "pyyaml",
}  # fmt: skip
# tests, copies of other projects, and folders that are not the package's own
SKIPPED_FOLDERS = {
    "__pycache__", "_array_api_compat_vendor", "_external", "_vendor", "_vendored", "array_api_compat",
    "array_api_extra", "config", "dist-packages", "ensurepip", "extern", "externals", "idlelib", "lib2to3",
    "pydoc_data", "site-packages", "test", "testing", "tests", "third_party", "turtledemo", "vendor", "vendored",
}  # fmt: skip
ROLES = (("test", 0.13), ("validation", 0.07), ("train", 0.30), ("general", 0.50))  # shares of the modules

_NAMED = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
_BLOCKS = ("body", "handlers", "orelse", "finalbody", "cases")  # the fields that hold statements
_SURROGATE = re.compile("[\ud800-\udfff]")


class Package(NamedTuple):
    """A folder of Python source."""

    name: str
    version: str
    root: str


def find_packages() -> list[Package]:
    """The standard library and those packages of ``DISTRIBUTIONS`` that are installed, by name."""
    packages = [Package("stdlib", ".".join(map(str, sys.version_info[:3])), sysconfig.get_paths()["stdlib"])]
    folders = [Path(entry) for entry in sys.path if entry.endswith(("site-packages", "dist-packages"))]
    for name, distribution in DISTRIBUTIONS.items():
        root = next((folder / name for folder in folders if (folder / name).is_dir()), None)
        try:
            if root is not None:
                packages.append(Package(name, metadata.version(distribution), str(root)))
        except metadata.PackageNotFoundError:
            continue  # a folder of that name that belongs to something else
    return sorted(packages)


def compute_packages_fingerprint(packages: Sequence[Package]) -> str:
    """SHA-256 (hex) of names, versions and the extractor's version; no file is read."""
    listed = sorted((package.name, package.version) for package in packages)
    return hashlib.sha256(json.dumps([EXTRACTOR_VERSION, listed]).encode()).hexdigest()


def get_role(module: str) -> str:
    """The one use of a module's text: train, validation or test of every docs task, or the general corpus."""
    position = compute_hash("docs role", module) / 2**64
    for role, share in ROLES:
        position -= share
        if position < 0:
            return role
    return ROLES[-1][0]


def build_documents(runs_dir: str, packages: Sequence[Package]) -> Path:
    """The folder with ``documents.jsonl`` and ``manifest.json``, made on the first call; two callers may race.

    Raises UserError where it cannot be written or no longer is what was written.
    """
    fingerprint = compute_packages_fingerprint(packages)
    folder = Path(runs_dir) / "text" / f"docs-{fingerprint[:12]}"
    return build_folder(folder, lambda new: _write_documents(new, packages, fingerprint), is_whole=_is_whole)


def _is_whole(folder: Path) -> bool:
    try:
        return (folder / "documents.jsonl").stat().st_size == read_json(folder / "manifest.json")["bytes"]
    except (FileNotFoundError, Damaged):
        return False


def iter_records(folder: Path, roles: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Records of :func:`build_documents`, as dicts of the fields that ``_write_documents`` and ``_visit`` set."""
    with (folder / "documents.jsonl").open(encoding="utf-8") as stream:
        yield from (record for record in map(json.loads, stream) if record["role"] in roles)


def list_modules(packages: Sequence[Package]) -> list[tuple[str, str, str, str]]:
    """(role, package, module, path) of every source file, roles in the order of ``ROLES``."""
    modules = []
    for package in packages:
        for folder, folders, files in os.walk(package.root):
            folders[:] = [name for name in folders if name not in SKIPPED_FOLDERS and not name.startswith("config-")]
            for file in files:
                if file.endswith(".py") and not file.startswith(("test_", "conftest")):
                    relative = Path(folder, file).relative_to(package.root).with_suffix("")
                    module = ".".join([package.name, *relative.parts]).removesuffix(".__init__")
                    modules.append((get_role(module), package.name, module, str(Path(folder, file))))
    order = [role for role, _ in ROLES]
    return sorted(modules, key=lambda entry: (order.index(entry[0]), entry))


def extract_module(source: bytes) -> list[dict[str, Any]]:
    """A record per docstring with prose, in the order of the source; [] for what this Python cannot parse."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError):
        return []  # templates, other versions' syntax
    records: list[dict[str, Any]] = []
    _visit(tree, "", records)
    # no UTF-8 file can hold a lone surrogate
    return [record for record in records if not _SURROGATE.search("".join(record["paragraphs"]))]


def _visit(node: ast.AST, name: str, records: list[dict[str, Any]]) -> int:
    """Add the records of a node and what it holds; the number of statements below it, docstrings not counted."""
    position = len(records)
    raw = ast.get_docstring(node, clean=False) if isinstance(node, (ast.Module, *_NAMED)) else None
    statements = -1 if raw is not None else 0  # the docstring itself is one
    for children in _BLOCKS:
        for child in getattr(node, children, ()):
            inner = f"{name}.{child.name}".strip(".") if isinstance(child, _NAMED) else name
            statements += _visit(child, inner, records) + isinstance(child, ast.stmt)
    paragraphs = clean_docstring(raw) if raw else []
    if paragraphs:
        kind = {ast.Module: "module", ast.ClassDef: "class"}.get(type(node), "function")
        record = {"name": name, "line": getattr(node, "lineno", 1), "kind": kind, "paragraphs": paragraphs,
                  "statements": statements}  # fmt: skip
        records.insert(position, record)
    return statements


def _write_documents(folder: Path, packages: Sequence[Package], fingerprint: str) -> None:
    modules = list_modules(packages)
    counts = {role: {"modules": 0, "documents": 0, "characters": 0} for role, _ in ROLES}
    seen: set[int] = set()
    duplicates = 0
    lines = []
    for (role, package, module, _), records in zip(modules, _extract_all(modules), strict=True):
        counts[role]["modules"] += 1
        for record in records:
            keys = [compute_hash("docs paragraph", normalise(paragraph)) for paragraph in record["paragraphs"]]
            fresh = [text for text, key in zip(record["paragraphs"], keys, strict=True) if key not in seen]
            duplicates += len(keys) - len(fresh)
            # a docstring whose first paragraph was dropped begins in the middle
            record = {**record, "package": package, "module": module, "role": role, "paragraphs": fresh,
                      "has_summary": keys[0] not in seen}  # fmt: skip
            seen.update(keys)
            if fresh:
                lines.append(json.dumps(record, ensure_ascii=False) + "\n")
                counts[role]["documents"] += 1
                counts[role]["characters"] += sum(map(len, fresh))
    content = "".join(lines).encode()
    (folder / "documents.jsonl").write_bytes(content)
    manifest = {"fingerprint": fingerprint, "extractor_version": EXTRACTOR_VERSION, "bytes": len(content),
                "sha256": hashlib.sha256(content).hexdigest(), "roles": counts, "duplicate_paragraphs_dropped": duplicates,
                "packages": {package.name: package.version for package in packages}}  # fmt: skip
    write_json(folder / "manifest.json", manifest)


def _extract_all(modules: Sequence[tuple[str, str, str, str]]) -> Iterator[list[dict[str, Any]]]:
    """The records of each module, in order, from ``NUM_WORKERS`` processes, shown as they come."""
    paths = [path for _, _, _, path in modules]
    done = 0
    children = closing(map_in_children(f"{__name__}:read_module", [], NUM_WORKERS, paths))
    try:
        with children as extracted, show_progress("docs: reading docstrings, modules", len(modules)) as advance:
            for done, records in enumerate(extracted, start=1):
                advance(done, "")
                yield records
    except ChildEnded:
        raise RuntimeError(f"a worker that reads docstrings ended before module {modules[done][2]}") from None


def read_module(path: str) -> list[dict[str, Any]]:
    """The records of one source file."""
    return extract_module(Path(path).read_bytes())
