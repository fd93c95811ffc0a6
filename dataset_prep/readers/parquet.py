"""Parquet files."""

from __future__ import annotations

from collections.abc import Generator
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from dataset_prep.columns import ROLES, Columns
from dataset_prep.delimited import as_block, choose_columns
from dataset_prep.evidence import Evidence, Sample
from dataset_prep.interactions import Block
from dataset_prep.layouts import Layout
from recbole_popdcl.errors import PopDCLError, reason
from recbole_popdcl.storage import progress

ROWS = 1 << 21


def read_parquet(path: Path, columns: Columns) -> Generator[Block, None, None]:
    """Yield the interactions of a Parquet file; "line" in messages counts its rows from 1.

    Raises:
        PopDCLError: the file is not a Parquet file, or a column is missing or holds lists.
    """
    try:
        with pq.ParquetFile(path) as file:
            names = choose_columns(file.schema_arrow.names, columns, path=path)
            for role, name in names.items():
                kind = file.schema_arrow.field(name).type
                if pa.types.is_nested(kind):
                    raise PopDCLError(f"{path}: the column '{name}' for the {role} holds {kind}, not single values")
        ids = [names[role] for role in ("user", "item")]
        with pq.ParquetFile(path, read_dictionary=ids) as file:
            start = 1
            for batch in file.iter_batches(batch_size=ROWS, columns=list(dict.fromkeys(names.values()))):
                if batch.num_rows:
                    values = {role: batch.column(name) for role, name in names.items()}
                    yield as_block(path, values, line=partial(int.__add__, start), columns=columns)
                start += batch.num_rows
                progress.has_read_share(path, (start - 1) / max(file.metadata.num_rows, 1))
    except (pa.ArrowException, OSError, MemoryError) as error:
        raise PopDCLError(f"cannot read {path}: {reason(error)}") from error


def _evidence(sample: Sample) -> Evidence:
    if sample.suffix == ".parquet":
        return Evidence.FILE_NAME
    return Evidence.SIGNATURE if sample.start.startswith(b"PAR1") else Evidence.NONE


LAYOUT = Layout(
    description="Parquet files with columns by name, as `csv`",
    read=read_parquet,
    evidence=_evidence,
    roles=ROLES,
)
