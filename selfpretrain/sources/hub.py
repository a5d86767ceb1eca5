"""Data sets of the Hugging Face hub, or their mirror under ``$SELFPRETRAIN_DATA``, which is read first.

From the hub only Parquet and other plain data are read, never a script (``datasets`` runs none since 4.0).
The mirror holds ``<mirror>/<split>.jsonl.gz`` (or any other format of ``selfpretrain.sources.tables``) with the hub's column
names, and needs no network.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from selfpretrain.config import TaskConfig, UserError
from selfpretrain.kinds import CLASSES, get_kind
from selfpretrain.sources.columns import get_columns
from selfpretrain.sources.tables import FORMATS, Table, read_table

TOKENIZER = "tokenizer.json"
CONVERTED = "refs/convert/parquet"  # the hub's own Parquet copy of a data set whose main branch is a script


def find_mirror() -> Path | None:
    """The folder ``$SELFPRETRAIN_DATA``; None where it is not set, UserError where it does not exist."""
    value = os.environ.get("SELFPRETRAIN_DATA")
    if not value:
        return None
    folder = Path(value).expanduser()
    if not folder.is_dir():
        raise UserError(f"SELFPRETRAIN_DATA={value} is not a folder; set it to the folder of the mirror, or unset it")
    return folder


def read_splits(task: TaskConfig) -> tuple[dict[str, Table], list[str]]:
    """The tables of a card's splits (train, and validation and test where the card names them), and notes."""
    assert "train" in task.splits, f"card {task.name} names no training split"
    if files := find_mirror_files(task):
        return _read_mirror(task, files)
    if task.hub_id is None:
        raise UserError(
            f"task={task.name} cannot be downloaded from the hub ({task.source}): put "
            f"{' and '.join(f'{split}.jsonl.gz' for split in task.splits.values())} into the folder {task.mirror} "
            f"and set SELFPRETRAIN_DATA to the folder above it"
        )
    return {split: _read_hub(task, split, source) for split, source in task.splits.items()}, []


def find_mirror_files(task: TaskConfig) -> dict[str, Path]:
    """The mirror's file of each split; none where there is no mirror of this task, UserError where one is missing."""
    mirror = find_mirror()
    folder = mirror / task.mirror if mirror and task.mirror else None
    if folder is None or not folder.is_dir():
        return {}
    files = {}
    for split, source in task.splits.items():
        found = [folder / f"{source}{ending}" for fmt in FORMATS for ending in (fmt, f"{fmt}.gz")]
        path = next((candidate for candidate in found if candidate.is_file()), None)
        if path is None:
            raise UserError(
                f"task={task.name}: {folder} has no {source}.jsonl.gz, which is its {split} split; "
                f"add the file, or unset SELFPRETRAIN_DATA to read the hub"
            )
        files[split] = path
    return files


def _read_mirror(task: TaskConfig, files: dict[str, Path]) -> tuple[dict[str, Table], list[str]]:
    tables, notes = {}, []
    for split, path in files.items():
        table = read_table(path, "SELFPRETRAIN_DATA")
        tables[split] = dataclasses.replace(table, name=f"{task.mirror}/{path.name}")
        official = task.num_rows.get(split)
        if official is not None and table.num_rows != official:
            notes.append(
                f"{split}: the mirror holds {table.num_rows} of {official} official rows; not the published data set"
            )
    return tables, notes


def _read_hub(task: TaskConfig, split: str, source: str) -> Table:
    assert task.hub_id is not None
    data = load_hub_split(task.hub_id, task.hub_config, task.revision, source)
    name = f"{task.hub_id} {source}"
    official = task.num_rows.get(split)
    if official is not None and len(data) != official:
        raise UserError(
            f"{name} has {len(data)} rows on the hub, its card says {official}: the data set has changed; "
            f"pin an older one with task.revision=<commit>, or accept it with task.num_rows.{split}={len(data)}"
        )
    wanted = [*get_columns(task.text), *get_columns(task.label), *get_columns(task.options), *task.corpus_columns]
    for column in wanted:
        if column not in data.column_names:
            raise UserError(f"{name} has no column {column!r}; its columns are {', '.join(data.column_names)}")
    is_class = task.label_kind is not None and get_kind(task.label_kind).form is CLASSES
    for column in get_columns(task.label):
        names = getattr(data.features[column], "names", None)
        if names and is_class and not task.label_values and list(names) != task.label_names:
            raise UserError(
                f"{name}: classes {names} are not the card's {task.label_names}; set task.label_names={names}"
            )
    return Table(name, {column: data[column][:] for column in dict.fromkeys(wanted)}, len(data))


def load_hub_split(hub_id: str, config: str | None, revision: str | None, split: str) -> Any:
    """One split as a ``datasets.Dataset``; UserError in one line where it cannot be had."""
    return _ask_hub("load_dataset", hub_id, config, revision, split, split=split)


def resolve_commit(hub_id: str, config: str | None, revision: str | None, split: str) -> str:
    """The commit that a revision stands for now, or that was downloaded where there is no network."""
    return str(_ask_hub("load_dataset_builder", hub_id, config, revision, split).hash)


def _ask_hub(
    function: str, hub_id: str, config: str | None, revision: str | None, split: str, /, **arguments: Any
) -> Any:
    """What a function of ``datasets`` gives; UserError, in one line that says what failed and what to set."""
    import datasets

    # the converter's layout; read as plain files, because that branch declares no configurations
    files = {"data_files": {split: f"{config or 'default'}/{split}/*.parquet"}}
    arguments |= files if revision == CONVERTED else {"name": config}
    try:
        return getattr(datasets, function)(hub_id, revision=revision, **arguments)
    except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(
            f"{hub_id}@{revision or 'main'} cannot be read from the hub: {reason}; without a network set "
            f"SELFPRETRAIN_DATA=<folder of a mirror>, or HF_HUB_OFFLINE=1 if it was downloaded before"
        ) from error


def fetch_tokenizer(name: str) -> Path:
    """The file tokenizer.json of ``<repo>@<commit>``: from the hub's cache if it is there, else downloaded.

    Raises UserError, within seconds where there is no network.
    """
    import huggingface_hub

    repo, _, commit = name.partition("@")
    if not repo or not commit:
        raise UserError(f"tokenizer.released={name} names no commit; set tokenizer.released=<repo>@<commit>")
    cure = "set tokenizer.source=general to learn one from general text, or tokenizer.path=<folder of a copy>"
    with explain_download_errors(f"tokenizer.released={name}", cure):
        found = huggingface_hub.try_to_load_from_cache(repo, TOKENIZER, revision=commit)
        if not isinstance(found, str):
            # asked once: a download asks again and again for half a minute
            huggingface_hub.get_hf_file_metadata(
                huggingface_hub.hf_hub_url(repo, TOKENIZER, revision=commit), timeout=2
            )
            found = huggingface_hub.hf_hub_download(repo, TOKENIZER, revision=commit)
    return Path(found)


@contextmanager
def explain_download_errors(what: str, cure: str) -> Iterator[None]:
    """One line for what cannot be downloaded; ``cure`` is what to do without a network."""
    from huggingface_hub.errors import HTTPError

    try:
        yield
    except (OSError, ValueError, HTTPError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(f"{what} cannot be downloaded: {reason.rstrip('.')}; without a network {cure}") from None
