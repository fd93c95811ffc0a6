"""Features of users, items and interactions: read, numbered, filled, scaled and padded as whole columns."""

from __future__ import annotations

from collections.abc import Iterable
from logging import getLogger
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import torch
from recbole.data.dataset import Dataset
from recbole.data.interaction import Interaction
from recbole.utils import FeatureSource, FeatureType

from recbole_popdcl.config.kinds import ListOf, Real, Text, Whole
from recbole_popdcl.data.atomic import PADDING, Header, flat, lists, read_features, read_header
from recbole_popdcl.errors import PopDCLError, nearest, shown

NUMBERS = (FeatureType.FLOAT, FeatureType.FLOAT_SEQ)
TOKENS = (FeatureType.TOKEN, FeatureType.TOKEN_SEQ)
SEQUENCES = (FeatureType.TOKEN_SEQ, FeatureType.FLOAT_SEQ)


class SideInformation(Dataset):
    """RecBole's Dataset with features that are right under pandas 3.

    RecBole's own steps write into parts of a frame, which are copies since pandas 3, and call ``agg(len)`` on columns
    of arrays, which is the length of the column by now. Sequences are columns of Arrow lists here, so that every
    step is one on whole arrays. What comes out is what RecBole documents: tokens numbered from 1 as they come and
    0 where they are missing, missing floats as the mean of their column, missing sequences empty.

    Raises:
        PopDCLError: a file or a property that cannot be honoured; names the file or the property, and the field.
    """

    inter_feat: Any  # a frame while it is loaded, then RecBole's Interaction
    field2seqlen: dict[str, int]
    field2type: dict[str, FeatureType]

    # -- reading ----------------------------------------------------------------------------------------------------

    def _get_preset(self) -> None:
        super()._get_preset()
        self._left_out: dict[str, str] = {}  # {field: file that has it}, of fields that are not loaded
        self._columns: dict[str, set[str]] = {}  # {suffix: fields of the files}, loaded or not

    def _load_data(self, token: str, dataset_path: str) -> None:
        if self.benchmark_filename_list is not None:
            self.config.check_before_split()
        super()._load_data(token, dataset_path)
        self._check_load_col()
        self._check_unload_col()
        for field in self.config["seq_len"] or ():
            self._known(field, "seq_len", SEQUENCES)

    def _get_load_and_unload_col(self, source: FeatureSource | str) -> tuple[Any, Any]:
        """RecBole's does not say that a file of its own may have set one of the two."""
        suffix = source.value if isinstance(source, FeatureSource) else source
        load, unload = ((self.config[name] or {}).get(suffix) for name in ("load_col", "unload_col"))
        if unload and load and load != "*":
            raise PopDCLError(
                f"property 'unload_col' cannot be set for '{suffix}' together with 'load_col', which RecBole's file of "
                "the data set may set; add --load_col=None"
            )
        return super()._get_load_and_unload_col(source)

    def _check_load_col(self) -> None:
        """Complain of files that are not read, and of columns that they lack; of several split files one may do."""
        for suffix, fields in (self.config["load_col"] or {}).items():
            if self._check_file(suffix, "load_col") and fields != "*":
                for field in fields or ():
                    self._check_column(field, suffix, "load_col")

    def _check_unload_col(self) -> None:
        """Complain of files that are not read, of columns that they lack, and of ids, which are always read."""
        for suffix, fields in (self.config["unload_col"] or {}).items():
            for field in fields if self._check_file(suffix, "unload_col") else ():
                if field in (self.uid_field, self.iid_field):
                    self.config.complain("unload_col", f"names '{field}', which is always read")
                else:
                    self._check_column(field, suffix, "unload_col")

    def _check_file(self, suffix: str, name: str) -> bool:
        if suffix in self._columns:
            return True
        file = f"{self.dataset_name}.{suffix}"
        there = (Path(self.dataset_path) / file).is_file()
        why = "is read with additional_feat_suffix alone" if there else "does not exist"
        self.config.complain(name, f"names '{suffix}', but {file} {why}{nearest(suffix, self._columns)}")
        return False

    def _check_column(self, field: str, suffix: str, name: str) -> None:
        columns = self._columns[suffix]
        if field not in columns:
            hint = nearest(field, columns)
            self.config.complain(name, f"names '{field}', but {self.dataset_name}.{suffix} has no such column{hint}")

    def _own_ids(self, source: FeatureSource | str) -> set[str]:
        """The ids that a row of a file must have."""
        user, item = {self.uid_field}, {self.iid_field}
        known = {FeatureSource.INTERACTION: user | item, FeatureSource.USER: user, FeatureSource.ITEM: item}
        return known.get(source, set()) if isinstance(source, FeatureSource) else set()

    def _fields_to_load(self, path: Path, source: FeatureSource | str) -> tuple[Header, list[str]]:
        """Return a file's header, and which of its fields to read; none, where it is not to be loaded."""
        header = read_header(path, self.config["field_separator"], encoding=self.config["encoding"] or "utf-8")
        fields = header.fields
        suffix = source.value if isinstance(source, FeatureSource) else source
        self._columns.setdefault(suffix, set()).update(fields)
        wanted, unwanted = self._get_load_and_unload_col(source)
        interactions = source == FeatureSource.INTERACTION
        if wanted == set() and not interactions:
            return header, []
        ids, where = self._own_ids(source), f"{path}, line {header.line}"
        for name in sorted(ids - set(fields)):
            raise PopDCLError(f"{where}: no column '{name}'{nearest(name, fields)}{self._why(name)}")
        columns = [
            name for name in fields if name in ids or (name not in (unwanted or ()) and name in (wanted or fields))
        ]
        for name in columns:
            self._check_new(name, fields[name], ids=ids, where=where, source=source)
        self._left_out.update(dict.fromkeys(set(fields) - set(columns), path.name))
        return header, columns

    def _why(self, name: str) -> str:
        """How to name another column of ids."""
        for field, option in ((self.uid_field, "USER_ID_FIELD"), (self.iid_field, "ITEM_ID_FIELD")):
            if name == field:
                return f"; set --{option} to the column of the {'users' if option[0] == 'U' else 'items'}"
        return ""

    def _check_new(self, name: str, kind: str, *, ids: set[str], where: str, source: FeatureSource | str) -> None:
        if name in ids and kind != "token":
            raise PopDCLError(f"{where}: '{name}' must be of type token, not {kind}")
        other = self.field2source.get(name, source)
        if other != source and name not in ids:  # RecBole keeps one source a field, and leaves the other one raw
            other_file = self._file_name(name)
            raise PopDCLError(f"{where}: '{name}' is in {other_file} too; rename it, or leave it out with unload_col")
        if self.field2type.get(name, FeatureType(kind)) != FeatureType(kind):
            raise PopDCLError(f"{where}: '{name}' is of type {kind}, elsewhere {self.field2type[name].value}")

    def _file_name(self, field: str) -> str:
        source = self.field2source[field]
        suffix = source.value if isinstance(source, FeatureSource) else source
        return f"{self.dataset_name}.{'inter' if suffix in ('user_id', 'item_id') else suffix}"

    def _load_feat(self, filepath: str, source: FeatureSource | str) -> pd.DataFrame | None:
        """RecBole's fills the empty sequences of a copy, and unquotes ids that interactions have with quotes."""
        path = Path(filepath)
        header, columns = self._fields_to_load(path, source)
        if not columns:
            return None
        aliases = {name for who in ("user", "item") for name in self.config[f"alias_of_{who}_id"] or ()}
        ids = self._own_ids(source)
        frame = read_features(
            path,
            header,
            columns=columns,
            ids=ids,
            unique=ids if source in (FeatureSource.USER, FeatureSource.ITEM) else (),
            verbatim=ids | aliases,
            separator=self.config["field_separator"],
            seq_separator=self.config["seq_separator"],
            encoding=self.config["encoding"] or "utf-8",
        )
        for name in columns:
            kind, length = FeatureType(header.fields[name]), 1
            if kind in SEQUENCES:
                frame[name], length = _shortened(frame[name], (self.config["seq_len"] or {}).get(name))
            self._set_properties(name, kind, source, length)
        return frame

    def _set_properties(self, name: str, kind: FeatureType, source: FeatureSource | str, length: int) -> None:
        self.set_field_property(name, kind, source, length)
        if kind in NUMBERS:
            self.field2bucketnum[name] = 2

    # -- numbering --------------------------------------------------------------------------------------------------

    def _init_alias(self) -> None:
        """RecBole's lets aliases pass that are no tokens, and leaves tokens of additional files without numbers."""
        names = {"alias_of_user_id": self.uid_field, "alias_of_item_id": self.iid_field}
        users, items = ({own, *(self.config[name] or ())} for name, own in names.items())
        if both := users & items:
            raise PopDCLError(f"property 'alias_of_item_id': '{min(both)}' is an alias of users too")
        for name in names:
            for field in self.config[name] or ():
                self._known(field, name, TOKENS)
        super()._init_alias()
        aliases = {field for fields in self.alias.values() for field in fields}
        self._rest_fields = [
            field for field, kind in self.field2type.items() if kind in TOKENS and field not in aliases
        ]

    def _remap(self, remap_list: list[tuple[pd.DataFrame, str, FeatureType]]) -> None:
        """RecBole's cuts sequences by ``agg(len)``, and spells out every row of a category."""
        lengths, texts = zip(*(self._parts(feat, field) for feat, field, _ in remap_list))
        codes, found = zip(*(_numbered(part) for part in texts))
        # the distinct tokens of each column in their order, joined, come in the order of the joined columns
        places, distinct = pd.factorize(np.concatenate(found))
        tokens = np.array([PADDING, *distinct])
        numbers = {token: number for number, token in enumerate(tokens)}
        start = 0
        for (feat, field, _), length, code, some in zip(remap_list, lengths, codes, found):
            ids = np.append(places[start : start + len(some)] + 1, 0)[code]  # -1, missing, takes the last one
            start += len(some)
            self.field2id_token[field], self.field2token_id[field] = tokens, numbers
            feat[field] = ids if length is None else lists(length, pa.array(ids, pa.int64()), index=feat.index)

    # -- filters and labels -----------------------------------------------------------------------------------------

    def _parse_intervals_str(self, intervals_str: str | None) -> list[tuple[str, float, float, str]] | None:
        """RecBole's passes over what is no interval, and drops the last row but one instead."""
        found = []
        for text in [] if intervals_str is None else str(intervals_str).split(";"):
            try:
                text = text.strip()
                low, high = map(float, text[1:-1].split(","))
                right = text[0] in "([" and text[-1] in ")]" and low <= high
            except (ValueError, IndexError):
                right = False
            if not right:
                raise PopDCLError(
                    f"{shown(intervals_str)} is not an interval such as '[3,inf)'; separate several with ';'"
                )
            found.append((text[0], low, high, text[-1]))
        return found or None

    def _check_interval(self, name: str, text: str | None) -> None:
        try:
            self._parse_intervals_str(text)
        except PopDCLError as error:
            raise PopDCLError(f"property '{name}': {error}") from error

    def _filter_by_inter_num(self) -> None:
        """RecBole's does not say which property is wrong."""
        for name in ("user_inter_num_interval", "item_inter_num_interval"):
            self._check_interval(name, self.config[name])
        super()._filter_by_inter_num()

    def _filter_by_field_value(self) -> None:
        """RecBole's fails on sequences, and on anything but a list of texts."""
        for field, wanted in (self.config["val_interval"] or {}).items():
            kind = self._known(field, "val_interval", (FeatureType.TOKEN, FeatureType.FLOAT))
            fault = (Text() if kind in NUMBERS else ListOf(Text())).check(wanted)
            if fault:
                raise PopDCLError(f"property 'val_interval': '{field}' must be {fault}, not {shown(wanted)}")
            if kind in NUMBERS:
                self._check_interval(f"val_interval', '{field}", wanted)
        super()._filter_by_field_value()
        for field in self.config["val_interval"] or ():
            if any(feat.empty for feat in self.field2feats(field)):
                raise PopDCLError(f"property 'val_interval': '{field}' leaves no row of {self._file_name(field)}")

    def _filter_by_threshold(self) -> None:
        """Keep the interactions that the property ``threshold`` labels 1; RecBole ranks those labelled 0 as well."""
        for field, value in (self.config["threshold"] or {}).items():
            if not self.label_field:
                raise PopDCLError("property 'threshold': the label that it makes needs a name, LABEL_FIELD")
            if self.label_field in self.field2type:
                raise PopDCLError(
                    f"property 'threshold': the label would replace the field '{self.label_field}'; set LABEL_FIELD to "
                    "another name"
                )
            self._known(field, "threshold", (FeatureType.FLOAT,))
            fault = Real().check(value)
            if fault:
                raise PopDCLError(f"property 'threshold': '{field}' must be {fault}, not {shown(value)}")
            n, kept = len(self.inter_feat), self.inter_feat[field] >= value
            getLogger().info("threshold: %d of %d interactions have a %s of %g or more", kept.sum(), n, field, value)
            self.inter_feat = self.inter_feat[kept].reset_index(drop=True)
            if not len(self.inter_feat):
                raise PopDCLError(f"property 'threshold': no interaction has a '{field}' of {value} or more")

    # -- values -----------------------------------------------------------------------------------------------------

    def _fill_nan(self) -> None:
        """RecBole's fills a copy, and looks for missing sequences where there is no NaN."""
        for name in self.feat_name_list:
            feat = getattr(self, name)
            for field in feat:
                if self.field2type[field] == FeatureType.TOKEN:
                    feat[field] = feat[field].fillna(0).astype(np.int64)
                elif self.field2type[field] == FeatureType.FLOAT and feat[field].isna().any():
                    if feat[field].isna().all():
                        raise PopDCLError(
                            f"{self._file_name(field)}: '{field}' has no value in any row, and so no mean to fill in; "
                            "leave it out with unload_col or load_col"
                        )
                    feat[field] = feat[field].fillna(feat[field].mean())

    def _normalize(self) -> None:
        """RecBole's takes the length of the column for that of each sequence, and fails on equal values in them."""
        chosen, everything = self.config["normalize_field"], self.config["normalize_all"]
        if chosen and everything:
            raise PopDCLError(
                "property 'normalize_field' cannot be set together with 'normalize_all', which RecBole's file of the "
                "data set may set; add --normalize_all=False"
            )
        for field in chosen or (self.float_like_fields if everything else ()):
            self._known(field, "normalize_field", NUMBERS)
            values = self._values(field)
            if not len(values):
                continue
            low, high = values.min(), values.max()
            if low == high:
                getLogger().warning("all values of '%s' are the same, and 1 when normalised", field)
            self._set_values(field, (values - low) / (high - low) if low < high else np.ones_like(values))

    def _discretization(self) -> None:
        """RecBole's cuts sequences by ``agg(len)``; the pairs (weight, index) are made with the tensors here."""
        rules = self.config["discretization"] or {}
        for field in self.config["numerical_features"] or ():
            self._known(field, "numerical_features", NUMBERS)
        for field, rule in rules.items():
            self._known(field, "discretization", NUMBERS)
            if not self._is_numerical(field):
                raise PopDCLError(f"property 'discretization': '{field}' must be among numerical_features too")
            method = rule.get("method") if isinstance(rule, dict) else None
            fault = Whole(1).check(rule.get("bucket")) if method == "ED" else None
            if fault or method not in ("ED", "LD"):
                what = f"'bucket' must be {fault}" if fault else "'method' must be ED or LD"
                raise PopDCLError(f"property 'discretization', '{field}': {what}, not as in {shown(rule)}")
            values = self._values(field)
            index = equal_distance(values, rule["bucket"]) if method == "ED" else logarithmic(values)
            self.field2bucketnum[field] = int(index.max(initial=0)) + 1
            self._set_values(field, index)

    def _is_numerical(self, field: str) -> bool:
        return field in (self.config["numerical_features"] or ())

    def _parts(self, feat: pd.DataFrame, field: str) -> tuple[np.ndarray | None, Any]:
        """None and a column as it is, or the lengths and the parts of its sequences, one sequence after the other."""
        return flat(feat[field]) if self.field2type[field] in SEQUENCES else (None, feat[field])

    def _values(self, field: str) -> np.ndarray:
        """The numbers of a field, float64; raises PopDCLError where their range is too wide for one."""
        values = self._parts(self.field2feats(field)[0], field)[1].to_numpy().astype(np.float64)
        with np.errstate(over="ignore"):
            width = np.ptp(values) if len(values) else 0.0
        if not np.isfinite(width):
            raise PopDCLError(f"{self._file_name(field)}: '{field}' goes from {values.min()} to {values.max()}")
        return values

    def _set_values(self, field: str, values: np.ndarray) -> None:
        feat = self.field2feats(field)[0]
        lengths, _ = self._parts(feat, field)
        feat[field] = values if lengths is None else lists(lengths, pa.array(values), index=feat.index)

    def _preload_weight_matrix(self) -> None:
        """Set a matrix of weights, float64 [tokens] or [tokens, longest sequence], for each pair of fields.

        Of several rows with one id the last one of the frame counts; id 0 keeps zeros. RecBole's gives padding the
        values of rows without id, and fails where their ids are floats.
        """
        for id_field, field in (self.config["preload_weight"] or {}).items():
            self._known(id_field, "preload_weight", (FeatureType.TOKEN,))
            self._known(field, "preload_weight", NUMBERS)
            feat = self.field2feats(id_field)[-1]
            if field not in feat or self._is_numerical(field):
                why = "is among numerical_features" if field in feat else f"is not in the file of '{id_field}'"
                raise PopDCLError(f"property 'preload_weight': '{field}' {why}")
            lengths, values = self._parts(feat, field)
            values = values.to_numpy() if lengths is None else _padded(lengths, values, self.field2seqlen[field])
            matrix = np.zeros((self.num(id_field), *values.shape[1:]))
            matrix[feat[id_field].to_numpy()] = values
            matrix[0] = 0
            self._preloaded_weight[id_field] = matrix

    # -- tensors ----------------------------------------------------------------------------------------------------

    def _dataframe_to_interaction(self, data: pd.DataFrame) -> Interaction:
        """Return the columns as tensors: int64 and float32, sequences padded with 0 to the longest [n, longest].

        Numerical features have pairs (weight, index) in a last dimension: (1, index) if discretised, else (value, 1).
        RecBole's makes a tensor of each row.
        """
        tensors = {}
        for field in data:
            kind = self.field2type[field]
            lengths, parts = self._parts(data, field)
            values = parts.to_numpy()
            if kind in NUMBERS and self._is_numerical(field):
                pair = (values, np.ones_like(values))
                values = np.stack(pair[::-1] if field in (self.config["discretization"] or ()) else pair, axis=-1)
            if lengths is not None:
                values = _padded(lengths, values)
            tensors[field] = torch.from_numpy(values.astype(np.float32 if kind in NUMBERS else np.int64))
        return Interaction(tensors)

    def _drop_unused_col(self) -> None:
        """RecBole's fails on files that are not loaded, drops ids, and passes over names that no field has."""
        for suffix, fields in (self.config["unused_col"] or {}).items():
            feat = getattr(self, f"{suffix}_feat") if f"{suffix}_feat" in self.feat_name_list else None
            if feat is None:
                self.config.complain(
                    "unused_col", f"names '{suffix}', but no file {self.dataset_name}.{suffix} is loaded"
                )
                continue
            for field in fields or ():
                if field in (self.uid_field, self.iid_field):
                    self.config.complain("unused_col", f"names '{field}', which is always used")
                elif field not in feat:
                    hint = nearest(field, feat.columns)
                    self.config.complain("unused_col", f"names '{field}', which is not loaded{hint}")
                else:
                    self._del_col(feat, field)

    def _known(self, field: str, name: str, kinds: Iterable[FeatureType]) -> FeatureType:
        """Return the type of a field that a property names.

        Raises:
            PopDCLError: no such field is loaded, or it has another type than ``kinds``.
        """
        if not isinstance(field, str) or field not in self.field2type:
            where = self._left_out.get(field) if isinstance(field, str) else None
            hint = nearest(field, self.field2type) or "; load_col says which are loaded"
            if where:
                hint = f": {where} has it, but load_col or unload_col leaves it out"
            raise PopDCLError(f"property '{name}': no field {shown(field)} is loaded{hint}")
        kind: Any = self.field2type[field]
        if kind not in kinds:
            wanted = " or ".join(one.value for one in kinds)
            raise PopDCLError(f"property '{name}': '{field}' is of type {kind.value}, not {wanted}")
        return kind


def equal_distance(values: np.ndarray, buckets: int) -> np.ndarray:
    """Return the bucket, from 1 to ``buckets``, of each value, of equally wide buckets.

    The last one ends a little above the largest value, as in RecBole's ED. Where that is lost in rounding, RecBole's
    gives the largest value a bucket more.

    Examples:
        >>> import numpy as np
        >>> equal_distance(np.array([0.0, 2.0, 9.0, 10.0]), 5).tolist()
        [1.0, 1.0, 5.0, 5.0]
    """
    low, high = values.min(initial=np.inf), values.max(initial=-np.inf)
    if low >= high:
        return np.ones_like(values)
    return np.minimum(np.floor((values - low) * buckets / (high + 1e-9 - low) + 1), buckets)


def logarithmic(values: np.ndarray) -> np.ndarray:
    """Return the place of each value's step among the steps there are; those above 2 are floor(ln(x)^2 + 1).

    The steps are those of the winners of the Criteo display advertising challenge (3 Idiots), as in RecBole's LD.

    Examples:
        >>> import numpy as np
        >>> logarithmic(np.array([1.0, 2.0, 20.0, 21.0])).tolist()
        [0, 1, 2, 3]
    """
    steps = np.where(values > 2, np.floor(np.log(np.maximum(values, 1) + 1e-9) ** 2 + 1), values)
    return np.unique(steps, return_inverse=True)[1]


def _shortened(column: pd.Series, most: int | None) -> tuple[pd.Series, int]:
    """A column of lists cut after ``most`` parts, and its longest length."""
    lengths, parts = flat(column)
    if most is not None and len(lengths) and lengths.max() > most:
        parts = parts.filter(pa.array(_places(lengths) < most))
        lengths = np.minimum(lengths, most)
        column = lists(lengths, parts, index=column.index)
    return column, int(lengths.max(initial=0))


def _places(lengths: np.ndarray) -> np.ndarray:
    """The place of every part in its row."""
    return np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)


def _numbered(texts: pd.Series | pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """The distinct texts as they come, and the place of each text among them, -1 where it is missing."""
    if isinstance(texts, pa.Array):
        encoded = pc.dictionary_encode(texts)
        codes, found = encoded.indices.to_numpy(), encoded.dictionary.to_pylist()
    else:
        codes, found = pd.factorize(texts)
    return codes, np.asarray(found, dtype=object)


def _padded(lengths: np.ndarray, parts: np.ndarray | pa.Array, width: int | None = None) -> np.ndarray:
    """Rows of parts one below the other [n, width, ...], with zeros behind those that are shorter."""
    values = parts if isinstance(parts, np.ndarray) else parts.to_numpy()
    shape = (len(lengths), int(lengths.max(initial=0)) if width is None else width, *values.shape[1:])
    padded = np.zeros(shape, dtype=values.dtype)
    padded[np.repeat(np.arange(len(lengths)), lengths), _places(lengths)] = values
    return padded
