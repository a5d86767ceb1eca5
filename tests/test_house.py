"""The rules of the house: import layers, owners of libraries, sizes, no word about this or that machine."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SOURCES = [p for folder in ("selfpretrain", "corpora", "hydra_plugins") for p in sorted((ROOT / folder).rglob("*.py"))]

# a module may import modules of its own layer or lower ones
LAYERS = [
    ["config", "seeds"],
    ["door", "files", "overrides", "endings"],
    [
        "corpora",
        "model",
        "stats",
        "tracking",
        "study.runs",
        "study.predictions",
        "train.optim",
        "train.distributed",
        "train.allocator",
    ],
    ["data", "tasks", "train.checkpoint", "study.data", "model.flops"],
    [
        "study.identity",
        "study.budget",
        "train.trainer",
        "train.timing",
        "train.stacked",
        "train.jobs",
        "train.provenance",
        "interop",
    ],
    ["start", "study.results"],
    ["pretrain", "finetune", "study.plan", "study.facts", "study.cost", "report"],
    ["evaluate", "study.probe", "study.sweep", "study.preview"],
    ["__main__", "hydra_plugins"],
]
OWNERS = {
    "wandb": {"selfpretrain.tracking"},
    "hydra": {"selfpretrain.door", "selfpretrain.__main__", "hydra_plugins"},
    "omegaconf": {"selfpretrain.door", "selfpretrain.__main__", "hydra_plugins"},
    "transformers": {"selfpretrain.interop"},
    "huggingface_hub": {"selfpretrain.interop", "corpora"},
    "fairseq": {"selfpretrain.interop"},
    "tokenizers": {"selfpretrain.data.tokenizer"},
    "datasets": {"corpora"},
    "matplotlib": {"selfpretrain.report"},
}
WITHOUT_TORCH = ["selfpretrain.stats", "selfpretrain.study.runs", "selfpretrain.study.plan", "selfpretrain.study.sweep",
                 "selfpretrain.study.budget", "selfpretrain.study.cost", "selfpretrain.model.flops",
                 "selfpretrain.report", "selfpretrain.door", "corpora.documents", "selfpretrain.data.corpus"]  # fmt: skip


def get_module(path: Path) -> str:
    parts = list(path.relative_to(ROOT).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def find_layer(module: str) -> int | None:
    """The layer of the longest entry that is this module or a package above it."""
    name = module.removeprefix("selfpretrain.")
    matches = [
        (len(entry), layer) for layer, entries in enumerate(LAYERS) for entry in entries
        if name == entry or name.startswith(entry + ".")
    ]  # fmt: skip
    return max(matches)[1] if matches else None


def iter_imports(path: Path, inside_functions: bool = True):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = ast.walk(tree) if inside_functions else ast.iter_child_nodes(tree)
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            known = {get_module(p) for p in SOURCES}
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield full if full in known else node.module


@pytest.mark.parametrize("path", SOURCES, ids=get_module)
def test_imports_go_down_the_layers(path):
    own = find_layer(get_module(path))
    if get_module(path) in ("selfpretrain", "selfpretrain.study", "selfpretrain.train"):
        return  # package markers
    assert own is not None, f"{get_module(path)} stands in no layer"
    # a function may import upwards only to keep a command light; the plan of such imports is the sweep's and the commands'
    for name in iter_imports(path, inside_functions=own < 7):
        layer = find_layer(name) if name.split(".")[0] in ("selfpretrain", "corpora") else None
        assert layer is None or layer <= own, f"{get_module(path)} imports {name}, which is above it"


@pytest.mark.parametrize("path", SOURCES, ids=get_module)
def test_every_library_has_one_owner(path):
    module = get_module(path)
    for name in iter_imports(path):
        owners = OWNERS.get(name.split(".")[0])
        assert owners is None or any(module == o or module.startswith(o + ".") for o in owners), (
            f"{module} imports {name}"
        )


@pytest.mark.parametrize("module", WITHOUT_TORCH)
def test_tables_need_no_torch(module):
    code = f"import sys, {module}; sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


def test_commands_are_listed_quickly_without_heavy_imports():
    code = "import sys; sys.argv = ['selfpretrain']; from selfpretrain.__main__ import main; main(); sys.exit('torch' in sys.modules or 'hydra' in sys.modules)"
    shown = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert shown.returncode == 0
    assert "selfpretrain study" in shown.stdout


@pytest.mark.parametrize("path", SOURCES, ids=get_module)
def test_sizes(path):
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") <= 400
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            lines = node.end_lineno - node.body[0].lineno
            if ast.get_docstring(node):  # a public function may be explained at length
                lines = node.end_lineno - node.body[0].end_lineno
            assert lines <= 60, f"{node.name} has {lines} lines"


def test_no_drawers():
    drawers = ("utils", "util", "common", "helpers", "misc")
    assert not [p for p in SOURCES if p.stem in drawers or any(part in drawers for part in p.parts)]


def test_yaml_is_short():
    for folder in ("conf", "corpora"):
        for path in (ROOT / folder).rglob("*.yaml"):
            lines = path.read_text(encoding="utf-8").splitlines()
            assert len([line for line in lines if line.strip() and not line.startswith("#")]) <= 30, path


def test_one_file_unpickles_and_weights_alone():
    forbidden = (
        r"\b(pickle\.loads?|Unpickler|joblib\.load|allow_pickle=True|trust_remote_code=True|weights_only=False)\b"
    )
    for path in SOURCES:
        text = path.read_text(encoding="utf-8")
        assert not re.search(forbidden, text), path
        calls = [
            node for node in ast.walk(ast.parse(text))
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("torch.load")
        ]  # fmt: skip
        assert len(calls) == len(re.findall(r"\btorch\.load\b|\bimport load\b", text)), path
        assert not calls or get_module(path) == "selfpretrain.interop.pickled", path
        for call in calls:
            settings = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
            assert settings.get("weights_only") == "True", path
