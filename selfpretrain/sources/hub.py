"""Data sets of the Hugging Face hub, or their mirror under ``$SELFPRETRAIN_DATA``, which is read first.

From the hub only Parquet and other plain data are read, never a script (``datasets`` runs none since 4.0).
The mirror holds ``<mirror>/<split>.jsonl.gz`` (or any other format of ``selfpretrain.sources.tables``) with the hub's column
names, and needs no network. It is its owner's choice: rows that are fewer than the official ones are a note there, and an
error where the hub gives them.
"""

from __future__ import annotations

import dataclasses
import errno
import os
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

from selfpretrain.config import MissingData, TaskConfig, UserError
from selfpretrain.files import WRITE_ERRORS
from selfpretrain.kinds import CLASSES, TAGS, get_kind
from selfpretrain.sources.columns import get_columns
from selfpretrain.sources.strings import BLOCK_ROWS, Gatherer
from selfpretrain.sources.tables import FORMATS, Table, read_table

TOKENIZER = "tokenizer.json"
CONVERTED = "refs/convert/parquet"  # the hub's own Parquet copy of a data set whose main branch is a script
READ_ROWS, READ_BYTES = 500, 1 << 20  # of a Parquet file, at once
WAIT_SECONDS = 2  # for the hub's first answer; its libraries would ask again and again for half a minute
# what this process has read of the hub: <id>@<revision>, and the commit that this stood for when it was first asked
commits: dict[str, str] = {}
CURE = "set SELFPRETRAIN_DATA=<folder of a mirror>, or HF_HUB_OFFLINE=1 if it was downloaded before"

T = TypeVar("T")


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
    """The tables of the splits that a card names, and notes; MissingData where they cannot be got."""
    if files := find_mirror_files(task):
        return _read_mirror(task, files)
    if task.hub_id is None:
        wanted, mirror = (f"{split}.jsonl.gz" for split in task.splits.values()), find_mirror() or Path("<folder>")
        raise MissingData(
            f"task={task.name} has to be downloaded by hand: get {task.source}; put {' and '.join(wanted)} (or .csv, "
            f".parquet, .conll) into {mirror / str(task.mirror)} and set SELFPRETRAIN_DATA={mirror}",
            "to be downloaded by hand",
        )
    notes: list[str] = []
    return {split: _read_hub(task, split, source, notes) for split, source in task.splits.items()}, notes


def find_mirror_files(task: TaskConfig) -> dict[str, Path]:
    """The mirror's file of each split; none where there is no mirror of this task, MissingData where it lacks one."""
    mirror = find_mirror()
    folder = mirror / task.mirror if mirror and task.mirror else None
    if folder is None or not folder.is_dir():
        return {}
    files = {}
    for split, source in task.splits.items():
        found = [folder / f"{source}{ending}" for fmt in FORMATS for ending in (fmt, f"{fmt}.gz")]
        path = next((candidate for candidate in found if candidate.is_file()), None)
        if path is None:
            raise MissingData(
                f"task={task.name}: {folder} has no {source}.jsonl.gz, which is its {split} split; "
                f"add the file, or unset SELFPRETRAIN_DATA to read the hub",
                f"the mirror has no {split} split",
            )
        files[split] = path
    return files


def list_sources(task: TaskConfig) -> list[Path | str] | None:
    """The data set of the hub at its commit, or the files of a folder in its layout; None for one got by hand.

    Raises UserError as :func:`resolve_commit` does.
    """
    if task.hub_id is None:
        return None
    if Path(task.hub_id).is_dir():
        return [path for path in sorted(Path(task.hub_id).rglob("*")) if path.is_file()]
    return [
        f"{task.hub_id}@{resolve_commit(task.hub_id, task.hub_config, task.revision, next(iter(task.splits.values())))}"
    ]


def _read_mirror(task: TaskConfig, files: dict[str, Path]) -> tuple[dict[str, Table], list[str]]:
    tables, notes = {}, []
    for split, path in files.items():
        table = read_table(path, "SELFPRETRAIN_DATA")
        tables[split] = dataclasses.replace(table, name=f"{task.mirror}/{path.name}")
        if lack := _describe_lack(task, split, table.num_rows):
            notes.append(f"{split}: the mirror holds {lack}; not the published data set")
    return tables, notes


def _describe_lack(task: TaskConfig, split: str, num_rows: int) -> str:
    """How many rows there are of how many official ones; empty where these are all, or the card names no number."""
    official = task.num_rows.get(split, num_rows)
    return "" if num_rows == official else f"{num_rows} of {official} official rows"


def _read_hub(task: TaskConfig, split: str, source: str, notes: list[str]) -> Table:
    assert task.hub_id is not None
    given = task.hub_id, task.hub_config, task.revision, source
    data, name = load_hub_split(*given), f"{task.hub_id} {source}"
    if lack := _describe_lack(task, split, len(data)):
        if not task.allow_partial:
            raise UserError(
                f"{name}: the hub holds {lack} of the card: the data set has changed; pin an older one with "
                f"task.revision=<commit>, or accept it, as partial, with task.allow_partial=true"
            )
        notes.append(f"{split}: the hub holds {lack}; not the published data set")
    wanted = [*get_columns(task.text), *get_columns(task.label), *get_columns(task.options), *task.corpus_columns]
    wanted += get_columns(task.group)
    for column in wanted:
        if column not in data.column_names:
            raise UserError(f"{name} has no column {column!r}; its columns are {', '.join(data.column_names)}")
    form = None if task.label_kind is None else get_kind(task.label_kind).form
    named: dict[str, list[str]] = {}
    for column in get_columns(task.label):
        feature = data.features[column]
        names = getattr(getattr(feature, "feature", None) if form is TAGS else feature, "names", None)
        if names and form is TAGS and not task.label_names:
            named[column] = list(names)
        elif names and form in (CLASSES, TAGS) and not task.label_values and list(names) != task.label_names:
            raise UserError(
                f"{name}: classes {names} are not the card's {task.label_names}; set task.label_names={names}"
            )
    gatherers = {column: Gatherer() for column in wanted}
    for batch in data.select_columns(list(gatherers)).iter(BLOCK_ROWS):
        for column, gatherer in gatherers.items():
            cells = batch[column]
            if names := named.get(column):  # a card that names no tags has the hub's; -1: withheld
                cells = [row and [names[n] if n >= 0 else n for n in row] for row in cells]
            gatherer.extend(cells)
    columns = {column: gatherer.finish() for column, gatherer in gatherers.items()}
    return Table(name, columns, len(data), f"commit {resolve_commit(*given)}")


def load_hub_split(hub_id: str, config: str | None, revision: str | None, split: str) -> Any:
    """One split as a ``datasets.Dataset``, at :func:`resolve_commit`; UserError in one line where it cannot be had."""
    commit = resolve_commit(hub_id, config, revision, split)
    return _ask_hub(lambda builder: _load_split(builder, split), hub_id, config, revision, split, commit)


def _load_split(builder: Any, split: str) -> Any:
    """As ``datasets.load_dataset`` does, which however reads far ahead in a Parquet file, by up to a gigabyte."""
    if hasattr(builder.config, "fragment_scan_options"):
        builder._generate_tables = partial(_iter_tables, builder._cast_table)
    builder.download_and_prepare()
    return builder.as_dataset(split=split)


def _iter_tables(cast: Callable[[Any], Any], files: Iterable[Any], **_: Any) -> Iterator[tuple[Any, Any]]:
    """The rows of Parquet files, some at a time, each table with a key; ``files`` are paths, or lists of them (``datasets`` 4)."""
    import pyarrow
    import pyarrow.parquet

    for path in chain.from_iterable([file] if isinstance(file, str) else file for file in files):
        with pyarrow.parquet.ParquetFile(path, buffer_size=READ_BYTES, pre_buffer=False) as file:
            for number, batch in enumerate(file.iter_batches(BLOCK_ROWS, use_threads=False)):
                yield (path, number), cast(pyarrow.Table.from_batches([batch]))


def resolve_commit(hub_id: str, config: str | None, revision: str | None, split: str) -> str:
    """The commit that a revision stood for when this process first asked, or that was downloaded if HF_HUB_OFFLINE is set.

    Raises UserError, within seconds where there is no network.
    """
    name = f"{hub_id}@{revision or 'main'}"
    if name not in commits:
        commit = _ask_commit(hub_id, revision)
        commits[name] = commit or _ask_hub(lambda builder: str(builder.hash), hub_id, config, revision, split)
    return commits[name]


def resolve_files(hub_id: str, config: str | None, revision: str | None, split: str) -> str:
    """:func:`resolve_commit` of what :func:`fetch_files` gives; where HF_HUB_OFFLINE is set, of what it downloaded before."""
    from huggingface_hub import constants

    if not constants.HF_HUB_OFFLINE or Path(hub_id).is_dir():
        return resolve_commit(hub_id, config, revision, split)
    name = f"{hub_id}@{revision or 'main'}"
    if name not in commits:
        commits[name] = _fetch_folder(hub_id, revision, _get_layout(config, revision, split)).name
    return commits[name]


def fetch_files(hub_id: str, config: str | None, revision: str | None, split: str) -> list[Path]:
    """The Parquet files of a split, in order, at :func:`resolve_files`: those of the hub's cache, where others are added.

    A download that was cut short goes on where it ended. Raises UserError in one line.
    """
    layout = _get_layout(config, revision, split)
    folder = Path(hub_id)
    if not folder.is_dir():
        folder = _fetch_folder(hub_id, resolve_files(hub_id, config, revision, split), layout)
    paths = sorted(folder.glob(layout))
    if not paths:
        raise UserError(
            f"{hub_id}@{revision or 'main'} holds no {layout}; the data set has changed, pin an older commit"
        )
    numbered = re.search(r"-of-([0-9]+)\.parquet$", paths[0].name)
    if numbered and int(numbered[1]) != len(paths):
        raise UserError(
            f"{hub_id}@{revision or 'main'}: {len(paths)} of {numbered[1]} files of {layout} are here; "
            "unset HF_HUB_OFFLINE to download the rest"
        )
    return paths


def _get_layout(config: str | None, revision: str | None, split: str) -> str:
    """Where a split's files lie: as the hub's converter writes them, or as ``datasets`` does."""
    return (
        f"{config or 'default'}/{split}/*.parquet" if revision == CONVERTED else f"{config or 'data'}/{split}-*.parquet"
    )


def _fetch_folder(hub_id: str, revision: str | None, layout: str) -> Path:
    from huggingface_hub import snapshot_download

    with explain_download_errors(f"{hub_id}@{revision or 'main'}", CURE):
        return Path(snapshot_download(hub_id, repo_type="dataset", revision=revision, allow_patterns=layout))


def iter_column(path: Path, column: str) -> Iterator[Any]:
    """The cells of one column of a Parquet file, some rows in memory at a time.

    Raises UserError for a file without that column, and for one that is damaged.
    """
    import pyarrow
    import pyarrow.parquet

    try:
        # otherwise a whole file is read ahead, or a row group at once
        with pyarrow.parquet.ParquetFile(path, buffer_size=READ_BYTES, pre_buffer=False) as file:
            if column not in file.schema_arrow.names:
                raise UserError(
                    f"{path} has no column {column!r}; its columns are {', '.join(file.schema_arrow.names)}"
                )
            for batch in file.iter_batches(READ_ROWS, columns=[column], use_threads=False):
                yield from batch.column(0).to_pylist()
    except (pyarrow.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(
            f"{path} cannot be read as Parquet: {reason}; delete it, so that it is fetched again"
        ) from error


def _ask_commit(hub_id: str, revision: str | None) -> str | None:
    """The commit of a revision, asked once; None where ``datasets`` is to look: for a copy, or for what the hub's refusal
    means.
    """
    from huggingface_hub import HfApi, constants
    from huggingface_hub.errors import HfHubHTTPError
    from huggingface_hub.utils import get_session

    if constants.HF_HUB_OFFLINE or Path(hub_id).is_dir():
        return None
    with explain_download_errors(f"{hub_id}@{revision or 'main'}", CURE):
        get_session().head(constants.ENDPOINT, timeout=WAIT_SECONDS)  # is there a network?
        try:
            return HfApi().dataset_info(hub_id, revision=revision, timeout=constants.HF_HUB_ETAG_TIMEOUT).sha
        except HfHubHTTPError:
            return None


def _ask_hub(
    take: Callable[[Any], T],
    hub_id: str,
    config: str | None,
    revision: str | None,
    split: str,
    commit: str | None = None,
) -> T:
    """What ``take`` makes of the builder of ``datasets``; UserError, in one line that says what failed and what to set."""
    import datasets

    # the converter's layout; read as plain files, because that branch declares no configurations
    files = {"data_files": {split: f"{config or 'default'}/{split}/*.parquet"}}
    layout = files if revision == CONVERTED else {"name": config}
    try:
        return take(datasets.load_dataset_builder(hub_id, revision=commit or revision, **layout))
    except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        line = f"{hub_id}@{revision or 'main'} cannot be read from the hub: {reason}; without a network {CURE}"
        raise (MissingData(line, "cannot be read from the hub") if _is_absence(error) else UserError(line)) from error


def _is_absence(error: Exception) -> bool:
    """Whether data did not come, and not a wrong name or a full disk kept them away; offline every failure is that."""
    from huggingface_hub import constants
    from huggingface_hub.errors import HTTPError

    if getattr(error, "errno", None) in WRITE_ERRORS:
        return False
    return constants.HF_HUB_OFFLINE or isinstance(error, (OSError, HTTPError))


def resolve_checkpoint(repo: str, revision: str) -> str:
    """The commit of a model's repository that a revision stood for when this process first asked; where HF_HUB_OFFLINE is set,
    or a commit is named, that which was downloaded before. MissingData where neither the hub nor the cache has it.
    """
    import huggingface_hub
    from huggingface_hub import constants
    from huggingface_hub.utils import get_session

    name = f"{repo}@{revision}"
    if name not in commits:
        with explain_download_errors(
            f"init=hf:{name}", "use a copy, init=hf:<folder>, or HF_HUB_OFFLINE=1 if it is in the cache"
        ):
            cached = huggingface_hub.try_to_load_from_cache(repo, "config.json", revision=revision)
            if isinstance(cached, str) and (constants.HF_HUB_OFFLINE or Path(cached).parent.name == revision):
                commits[name] = Path(cached).parent.name
            else:
                if not constants.HF_HUB_OFFLINE:
                    get_session().head(constants.ENDPOINT, timeout=WAIT_SECONDS)  # is there a network?
                timeout = constants.HF_HUB_ETAG_TIMEOUT
                commits[name] = str(huggingface_hub.HfApi().model_info(repo, revision=revision, timeout=timeout).sha)
    return commits[name]


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
            # asked once: a download asks again and again
            huggingface_hub.get_hf_file_metadata(
                huggingface_hub.hf_hub_url(repo, TOKENIZER, revision=commit), timeout=WAIT_SECONDS
            )
            found = huggingface_hub.hf_hub_download(repo, TOKENIZER, revision=commit)
    return Path(found)


@contextmanager
def explain_download_errors(what: str, cure: str) -> Iterator[None]:
    """One line for what cannot be downloaded (MissingData, unless it is named wrongly); ``cure`` is what to do without a
    network.
    """
    from huggingface_hub.errors import HTTPError

    try:
        yield
    except (OSError, ValueError, HTTPError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
            cure = "free some space, or set HF_HOME to a folder on another disk"
            raise UserError(f"{what} cannot be downloaded: the disk is full; {cure}") from None
        line = f"{what} cannot be downloaded: {reason.rstrip('.')}; without a network {cure}"
        raise (MissingData(line, "cannot be downloaded") if _is_absence(error) else UserError(line)) from None
