"""The manifests of a release: which files a checkpoint has, and what it descends from; written, and checked.

    <release>/release.json            {"checkpoints": {<name>: SHA-256 of its release.json}}
    <release>/<name>/release.json     run, seeds, step, corpus, weights before the first step, predecessor, files

A name ends in its seeds and its step, as published ones do: ``seed_1-step_900k``, and ``seed_1`` at the end [MultiBERTs].
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from selfpretrain.config import SEED_FACTORS, UserError
from selfpretrain.files import compute_checksum, read_json, write_json
from selfpretrain.interop.huggingface import load_huggingface
from selfpretrain.interop.weights import WEIGHTS
from selfpretrain.runs import identity
from selfpretrain.stages.lineage import Checkpoint

MANIFEST = identity.RELEASE_MANIFEST
FORMAT = 1
# what is read of them, each with its type
INDEX = {"checkpoints": dict}
PREDECESSOR = {"name": str, "weights": str}
CHECKPOINT: dict[str, Any] = {
    "name": str, "run": str, "seeds": dict.fromkeys(SEED_FACTORS, int), "step": int, "total_steps": int, "start": str,
    "initial_weights": str, "files": {WEIGHTS: str},
}  # fmt: skip


def name_seeds(seeds: dict[str, int]) -> str:
    """seed_1, or of a run whose kinds of chance have seeds of their own init_0-data_1-mask_0."""
    if len(set(seeds.values())) == 1:
        return f"seed_{seeds['init']}"
    return "-".join(f"{kind}_{seed}" for kind, seed in seeds.items())


def name_step(step: int, is_last: bool) -> str:
    """-step_900k, -step_1250; nothing at the end, which goes by its seed alone."""
    if is_last:
        return ""
    return f"-step_{step // 1000}k" if step % 1000 == 0 else f"-step_{step}"


def write_manifest(
    folder: Path, name: str, checkpoint: Checkpoint, predecessor: str | None, before: Path | None
) -> None:
    """Add the manifest to a checkpoint's files; ``before`` is the folder of the checkpoint ``predecessor``."""
    settings = checkpoint.settings
    content: dict[str, Any] = {
        "format": FORMAT,
        "name": name,
        "run": checkpoint.run.id,
        "seeds": checkpoint.seeds,
        "step": checkpoint.step,
        "total_steps": checkpoint.total_steps,
        "model": settings.model.preset,
        "corpus": checkpoint.run.read_result()["corpus"],
        "start": identity.identify_start(settings.start),
        "initial_weights": checkpoint.initial_weights,
        "predecessor": None if before is None else {"name": predecessor, "weights": compute_checksum(before / WEIGHTS, "sha256")},
        "selfpretrain": checkpoint.list_versions("selfpretrain"),
        "commits": checkpoint.list_versions("commit"),
        "files": {file.name: compute_checksum(file, "sha256") for file in sorted(folder.iterdir())},
    }  # fmt: skip
    write_json(folder / MANIFEST, content)


def write_index(folder: Path, names: list[str]) -> None:
    """The manifest of the whole: those of its checkpoints, by name."""
    sums = {name: compute_checksum(folder / name / MANIFEST, "sha256") for name in names}
    write_json(folder / MANIFEST, {"format": FORMAT, "checkpoints": sums})


def read_manifest(folder: Path, form: dict[str, Any]) -> dict[str, Any]:
    """A manifest, of a checkpoint (CHECKPOINT) or of the whole (INDEX); UserError where it is missing, damaged or another."""
    path = folder / MANIFEST
    try:
        found = read_json(path)
    except (OSError, ValueError):
        raise UserError(f"{path} is missing or damaged; get it again, or release into another folder") from None
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise UserError(f"{path} is no manifest of format {FORMAT}; runtime.release_dir=<folder of a release>")
    for key, kind in form.items():
        if not _fits(found.get(key), kind):
            whose = "a whole release" if form is INDEX else "a checkpoint"
            raise UserError(
                f"{path} has no {key} as the manifest of {whose} has it; set runtime.release_dir to the folder of a whole "
                "release, or get it again"
            )
    return found


def _fits(value: Any, form: Any) -> bool:
    """Whether a value is of a type, or a dict whose values fit those of the form."""
    if isinstance(form, type):
        return isinstance(value, form)
    return isinstance(value, dict) and all(_fits(value.get(key), kind) for key, kind in form.items())


def check_files(folder: Path) -> dict[str, Any]:
    """The manifest of a checkpoint whose every file is as it was released, and none is missing or added; UserError else."""
    manifest = read_manifest(folder, CHECKPOINT)
    if manifest.get("predecessor") is not None:
        manifest = read_manifest(folder, CHECKPOINT | {"predecessor": PREDECESSOR})
    found = {path.name for path in folder.iterdir()} - {MANIFEST}
    for name in sorted(found ^ manifest["files"].keys()):
        what = "is not in its manifest" if name in found else "is missing"
        raise UserError(f"{folder / name} {what}; get the checkpoint again")
    for name, checksum in manifest["files"].items():
        if compute_checksum(folder / name, "sha256") != checksum:
            raise UserError(f"{folder / name} is not what was released: its SHA-256 is another; get it again")
    return manifest


def check_release(folder: Path) -> list[str]:
    """The names of a release's checkpoints: each is what its name and its manifest say, loads, and descends from what it names.

    Raises UserError, which names the file, for the first that is not so.
    """
    sums = read_manifest(folder, INDEX)["checkpoints"]
    there = {path.name for path in folder.iterdir() if not path.name.startswith(".")} - {MANIFEST}
    for name in sorted(there ^ sums.keys()):
        what = "is not in the release's manifest" if name in there else "is missing"
        raise UserError(f"{folder / name} {what}; get the release again")
    manifests = {}
    for name, checksum in sums.items():
        path = folder / name / MANIFEST
        if not path.is_file():
            raise UserError(f"{path} is missing; get the checkpoint again")
        if compute_checksum(path, "sha256") != checksum:
            raise UserError(f"{path} is not what was released: its SHA-256 is another; get it again")
        manifests[name] = check_files(folder / name)
        _check_content(folder / name, manifests[name])
    for name, manifest in manifests.items():
        if fault := _find_break(name, manifest, manifests):
            raise UserError(f"{folder / name / MANIFEST}: the lineage is broken: {fault}; get the release again")
    return list(sums)


def _check_content(folder: Path, manifest: dict[str, Any]) -> None:
    ending = name_seeds(manifest["seeds"]) + name_step(manifest["step"], manifest["step"] == manifest["total_steps"])
    if manifest["name"] != folder.name or not f"-{folder.name}".endswith(f"-{ending}"):
        raise UserError(
            f"{folder} is called otherwise than what it holds: {manifest['name']}, which ends in {ending}; call it by that name"
        )
    load_huggingface(str(folder))


def _find_break(name: str, manifest: dict[str, Any], manifests: dict[str, dict[str, Any]]) -> str:
    """What is wrong with a checkpoint's descent; empty where it is whole."""
    of_run = sorted((m["step"], other) for other, m in manifests.items() if m["run"] == manifest["run"])
    earlier = [other for step, other in of_run if step < manifest["step"]]
    named = manifest.get("predecessor") or {}
    if not manifest["initial_weights"]:
        return "the weights before its first step are not known"
    if named and named["name"] not in manifests:
        return f"its predecessor {named['name']} is not in the release"
    if earlier and named.get("name") != earlier[-1]:
        return f"its predecessor is {earlier[-1]}, and it names {named.get('name')}"
    if not named:
        return (
            f"it starts from {manifest['start']}, which is not in the release"
            if manifest["start"].startswith("run:")
            else ""
        )
    before = manifests[named["name"]]
    if before["files"][WEIGHTS] != named["weights"]:
        return f"it descends from weights {named['weights'][:12]}, and {named['name']} has others"
    if before["files"][WEIGHTS] == manifest["files"][WEIGHTS]:
        return f"it has the weights of {named['name']}, which is another step"
    if earlier:
        same = before["initial_weights"] == manifest["initial_weights"] and before["seeds"] == manifest["seeds"]
        return "" if same else f"{named['name']} began from other weights or has other seeds"
    return (
        "" if manifest["start"].partition("@")[0] == f"run:{before['run']}" else f"it starts from {manifest['start']}"
    )
