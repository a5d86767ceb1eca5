"""Predictions on disk: one Parquet file per split, one row per example."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from selfpretrain.files import make_folder, write_bytes


def write_predictions(
    path: Path, ids: list[str], labels: npt.NDArray[np.generic], outputs: npt.NDArray[np.float32]
) -> None:
    """``example_id``, ``label`` (integer, float or list of floats), ``outputs`` (logits or the score)."""
    table = pa.table(
        {
            "example_id": pa.array(ids, pa.string()),
            "label": pa.array(labels.tolist()),
            "outputs": pa.array(list(outputs), pa.list_(pa.float32())),
        }
    )
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    make_folder(path.parent)
    write_bytes(path, buffer.getvalue())
