"""Titles of items, for people who read lists: from the item file that RecBole's data sets come with."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pyarrow as pa
from recbole.data.dataset import Dataset

from recbole_popdcl.data.atomic import read_by_arrow, read_header
from recbole_popdcl.errors import PopDCLError

KINDS = ("token", "token_seq")
PATTERNS = (r"(^|_)title$", r"^((item|app)_)?name$")  # of the field, the better one first; brand_name is no title


def item_titles(dataset: Dataset) -> pd.Series | None:
    """Return the titles in ``<dataset>.item``, {raw item id: title}; an id that the file does not have has none.

    Args:
        dataset: says folder, name, item field, separator and encoding.

    Returns:
        None where there is no such file, or no field of texts in it that is named like a title. A file that cannot be
        understood is warned of, as no result depends on it.
    """
    path = Path(dataset.dataset_path) / f"{dataset.dataset_name}.item"
    if not path.is_file():
        return None
    separator, encoding = dataset.config["field_separator"], dataset.config["encoding"] or "utf-8"
    try:
        header = read_header(path, separator, encoding=encoding)
        texts = [name for name, kind in header.fields.items() if kind in KINDS and name != dataset.iid_field]
        field = _title_field(texts)
        if field is None or dataset.iid_field not in header.fields:
            return None
        kinds = dict.fromkeys((dataset.iid_field, field), pa.string())
        table = read_by_arrow(path, header, kinds=kinds, separator=separator, encoding=encoding)
    except PopDCLError as error:
        logging.getLogger().warning("items without titles: %s", error)
        return None
    frame = table.to_pandas().drop_duplicates(dataset.iid_field)
    return frame.set_index(dataset.iid_field)[field].str.strip()


def _title_field(names: Sequence[str]) -> str | None:
    return next((name for pattern in PATTERNS for name in names if re.search(pattern, name.lower())), None)
