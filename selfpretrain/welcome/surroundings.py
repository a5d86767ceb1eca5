"""What stands around a study: optional packages, the mirror, the hub, W&B, each as a :class:`Finding`."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import netrc
import os
import shutil
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from selfpretrain.config import MissingData, RuntimeConfig, UserError
from selfpretrain.welcome.machine import NOTE, OK, PROBLEM, Finding

HUB_SECONDS = 2.0
HUB, WANDB = "https://huggingface.co", "https://api.wandb.ai"
FAIRSEQ_READY = "installed"  # the file that launch/fairseq_env.sh leaves at its end


def look_at_extras(runtime: RuntimeConfig) -> Iterator[Finding]:
    """Packages that some settings need and most studies do not."""
    for extra, package, purpose in (
        ("hf", "transformers", "released checkpoints and export"),
        ("slurm", "hydra-submitit-launcher", "hydra/launcher=slurm"),
        ("ray", "ray", "hydra/launcher=ray, runtime.corpus_engine=ray"),
    ):
        try:
            seen = f"{package} {importlib.metadata.version(package)}"
        except importlib.metadata.PackageNotFoundError:
            yield Finding(NOTE, extra, f"not installed; for {purpose}", f'pip install "selfpretrain[{extra}]"')
            continue
        if extra == "slurm" and shutil.which("sbatch") is None:
            yield Finding(NOTE, extra, f"{seen}, but no sbatch here", "start it on a login node of the cluster")
        else:
            yield Finding(OK, extra, seen)
    folder = Path(runtime.fairseq_env)
    if (folder / FAIRSEQ_READY).is_file():
        yield Finding(OK, "fairseq", f"in {folder}")
    else:
        fix = f"launch/fairseq_env.sh {folder}"
        yield Finding(
            NOTE, "fairseq", f"none in {folder}; for pretrain.engine=fairseq and finetune.engine=fairseq", fix
        )


def look_at_mirror() -> Iterator[Finding]:
    """``$SELFPRETRAIN_DATA``: whether it is there, and which cards it has data for."""
    from selfpretrain.cards import list_cards, load_task_card
    from selfpretrain.door import choose_general
    from selfpretrain.sources.hub import find_mirror, find_mirror_files

    try:
        mirror = find_mirror()
    except UserError as error:
        seen, _, fix = str(error).partition("; ")
        yield Finding(PROBLEM, "mirror", seen, fix)
        return
    general = f"the general text is {choose_general('auto')}"
    if mirror is None:
        yield Finding(
            NOTE, "mirror", f"none, data come from the hub; {general}", "SELFPRETRAIN_DATA=<folder of a mirror>"
        )
        return
    whole, partly = [], []
    for name in list_cards("task"):
        try:
            whole += [name] if find_mirror_files(load_task_card(name)) else []
        except MissingData:
            partly.append(name)
    seen = f"{mirror}: {', '.join(whole) or 'no data set'}; {general}"
    if partly:
        yield Finding(
            NOTE, "mirror", f"{seen}; lacking a split: {', '.join(partly)}", "add the files that a study names"
        )
    else:
        yield Finding(OK, "mirror", seen)


def look_at_hub() -> Finding:
    """Whether the hub answers; offline it is not asked."""
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        return Finding(
            NOTE, "hub", "not asked, as HF_HUB_OFFLINE is set; only what was downloaded is read", "unset HF_HUB_OFFLINE"
        )
    address = os.environ.get("HF_ENDPOINT") or HUB
    try:
        with urllib.request.urlopen(urllib.request.Request(address, method="HEAD"), timeout=HUB_SECONDS):
            return Finding(OK, "hub", f"{address} answers")
    except urllib.error.HTTPError as error:
        return Finding(OK, "hub", f"{address} answers ({error.code})")
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        fix = "SELFPRETRAIN_DATA=<folder of a mirror>, or HF_HUB_OFFLINE=1 for what was downloaded before"
        return Finding(NOTE, "hub", f"{address} does not answer: {reason}", fix)


def look_at_wandb() -> Finding:
    """Whether runs of ``tracking=wandb`` would go online. W&B itself is not imported: a key is in the environment or in .netrc."""
    try:
        seen = f"wandb {importlib.metadata.version('wandb')}"
    except importlib.metadata.PackageNotFoundError:
        return Finding(NOTE, "wandb", "not installed; for tracking=wandb", "pip install wandb")
    mode = os.environ.get("WANDB_MODE", "").lower()
    if mode in ("offline", "dryrun", "disabled"):
        return Finding(NOTE, "wandb", f"{seen}, {mode} by WANDB_MODE", "unset WANDB_MODE")
    if os.environ.get("WANDB_API_KEY") or has_login(os.environ.get("WANDB_BASE_URL") or WANDB):
        return Finding(OK, "wandb", f"{seen}, logged in")
    if mode == "online":
        return Finding(
            NOTE, "wandb", f"{seen}, online by WANDB_MODE and not logged in; tracking=wandb would fail", "wandb login"
        )
    return Finding(NOTE, "wandb", f"{seen}, not logged in; tracking=wandb writes offline folders", "wandb login")


def has_login(address: str) -> bool:
    """Whether .netrc has a key for this host."""
    files = [os.environ.get("NETRC"), *(str(Path.home() / name) for name in (".netrc", "_netrc"))]
    path = next((Path(file) for file in files if file and Path(file).is_file()), None)
    try:
        return path is not None and netrc.netrc(path).authenticators(urlsplit(address).hostname or "") is not None
    except (netrc.NetrcParseError, OSError):
        return False
