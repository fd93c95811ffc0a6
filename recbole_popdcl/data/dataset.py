"""RecBole's Dataset with named evaluation sets: prepared files where they exist, else the paper's split in memory."""

from __future__ import annotations

import glob
import hashlib
from collections.abc import Mapping, Sequence
from logging import getLogger
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from recbole.data.interaction import cat_interactions
from recbole.utils import FeatureSource, FeatureType

from recbole_popdcl.data.atomic import Header, finite_numbers, line_of_row, read_interactions
from recbole_popdcl.data.labels import first_negative, label_column
from recbole_popdcl.data.pairs import Pairs
from recbole_popdcl.data.set_names import (
    SETS,
    SHIFTED_FROM,
    SPLIT_SETS,
    UNBIASED_SETS,
    is_shift_test,
    sets_in_order,
    shift_test_name,
)
from recbole_popdcl.data.side_information import SideInformation
from recbole_popdcl.data.split import balanced_split, first_occurrences, k_core, shift_tests
from recbole_popdcl.errors import PopDCLError, nearest
from recbole_popdcl.storage import progress

DEFAULT_LABEL = "label"  # of RecBole's LABEL_FIELD


class SplitDataset(SideInformation):
    """Interactions of one dataset and their split into SETS.

    Prepared files ``<dataset>.<set>.inter``, of the sets in SETS and of shift tests, are taken as they are (all but
    train may be missing; ``.test.inter`` stands for test_imbalanced, and only one of the two may be there). The
    property ``benchmark_filename`` names other files (``_named_sets``). Without prepared files ``<dataset>.inter`` is
    filtered (duplicates, RecBole's filters, k-core) and split in memory.

    A file of UNBIASED_SETS holds everything that users were shown at random, with a column of labels, of which those
    above 0 were liked; without labels the property ``unbiased_rating`` says which ratings are.

    The shift tests that the property ``shift_tests`` names are drawn from the two tests, where no file has them.

    Attributes:
        set_names: the sets at hand, in the order of SETS, shift tests behind them.
        drawn: those of them that were drawn from others of them, in ``build``.

    Raises:
        PopDCLError: no such dataset, a damaged file, or nothing left after the filters.
    """

    _pairs: Pairs | None = None
    drawn: Sequence[str] = ()
    _is_liked: np.ndarray | None = None  # of each interaction of UNBIASED_SETS

    def _get_preset(self) -> None:
        super()._get_preset()
        self.set_names = list(SETS)
        files = self.config["benchmark_filename"]
        if files is None:
            self.benchmark_filename_list = None
            self._find_prepared_files()
            if self.benchmark_filename_list is None:
                self.set_names = list(SPLIT_SETS[: len(self.config["split_ratio"])])
        else:
            named = _named_sets(files)
            self.set_names, self.benchmark_filename_list = list(named), list(named.values())

    def _file(self, middle: str = "") -> Path:
        return Path(self.dataset_path) / f"{self.dataset_name}{middle and '.' + middle}.inter"

    def _find_prepared_files(self) -> None:
        candidates = {"test_imbalanced": ("test_imbalanced", "test")}
        found = {}
        beside = Path(self.dataset_path).glob(f"{glob.escape(self.dataset_name)}.test_shift_*.inter")
        shifted = [path.name[len(self.dataset_name) + 1 : -len(".inter")] for path in beside]
        for name in filter(lambda name: not is_shift_test(name), shifted):
            getLogger().warning(
                "%s is left aside: no set has this name, which ends in a strength such as 0.5", self._file(name)
            )
        for name in (*SETS, *sets_in_order(filter(is_shift_test, shifted))):
            files = [file for file in candidates.get(name, (name,)) if self._file(file).is_file()]
            if len(files) > 1:
                both = " and ".join(str(self._file(file)) for file in files)
                raise PopDCLError(f"{both} are both the set {name}: keep one, or say which with benchmark_filename")
            if files:
                found[name] = files[0]
        if "train" in found:
            self.set_names = list(found)
            self.benchmark_filename_list = list(found.values())
        elif found and self._file().is_file():
            left = ", ".join(self._file(file).name for file in found.values())
            getLogger().warning(
                "%s: left aside, as there is no %s; %s is split", left, self._file("train").name, self._file().name
            )

    def _load_data(self, token: str, dataset_path: str) -> None:
        wanted = [self._file(file) for file in self.benchmark_filename_list or [""]]
        missing = [path for path in wanted if not path.is_file()]
        if missing:
            raise self._not_there(token, missing[0])
        super()._load_data(token, dataset_path)

    def _not_there(self, token: str, missing: Path) -> PopDCLError:
        """The error for a file that is missing, with the name that may have been meant: of a set, or of a dataset."""
        folder = missing.parent
        if self.config["benchmark_filename"] is not None and folder.is_dir():
            start = len(f"{token}.")
            parts = [path.name[start : -len(".inter")] for path in folder.glob(f"{glob.escape(token)}.?*.inter")]
            asked = missing.name[start : -len(".inter")]
            names = (
                f"it names files of {folder}: {', '.join(sorted(parts))}" if parts else f"{folder} holds no split files"
            )
            return PopDCLError(f"property 'benchmark_filename': no file {missing}{nearest(asked, parts)}; {names}")
        datasets = [path.name for path in folder.parent.iterdir() if path.is_dir()] if folder.parent.is_dir() else []
        there = sorted(path.name for path in folder.glob("*.inter")) if folder.is_dir() else []
        hint = nearest(token, {*datasets, "ml-100k"} - {token})
        if there:  # the folder is right, and the names of the files are not
            hint = f", but {', '.join(there[:5])}"
        return PopDCLError(
            f"dataset '{token}': no file {missing}{hint}; set --data_path to the folder that holds the dataset's "
            f"folder, or prepare it: recbole-popdcl prepare --input FILE --name {token}"
        )

    def _load_inter_feat(self, token: str, dataset_path: str) -> None:
        files = [self._file(name) for name in self.benchmark_filename_list or [""]]
        with progress.reading(files, shown=self.config["show_progress"]):
            self._load_files(token, dataset_path)

    def _load_files(self, token: str, dataset_path: str) -> None:
        if self.benchmark_filename_list is None:
            super()._load_inter_feat(token, dataset_path)
            return
        frames: list[Any] = []
        lengths = dict(self.field2seqlen)
        self._liked_of: dict[str, np.ndarray] = {}
        for name, file in zip(self.set_names, self.benchmark_filename_list):
            if name in UNBIASED_SETS:
                self._liked_of[name] = self._labels(self._file(file))
            frames.append(self._load_feat(str(self._file(file)), FeatureSource.INTERACTION))
            for field, length in self.field2seqlen.items():
                lengths[field] = max(lengths.get(field, 0), length)
        for field in (self.uid_field, self.iid_field):
            self._unite_categories(frames, field)
        self.inter_feat, self.file_size_list = pd.concat(frames, ignore_index=True), [len(frame) for frame in frames]
        self.field2seqlen = lengths

    @staticmethod
    def _unite_categories(frames: list[pd.DataFrame], field: str) -> None:
        """Give the frames the same categories, without which pandas spells out every row when it joins them."""
        if all(isinstance(frame[field].dtype, pd.CategoricalDtype) for frame in frames):
            categories = pd.unique(np.concatenate([frame[field].cat.categories for frame in frames]))
            for frame in frames:
                frame[field] = frame[field].cat.set_categories(categories)

    def _load_feat(self, filepath: str, source: FeatureSource | str) -> pd.DataFrame | None:
        path = Path(filepath)
        header, columns = self._fields_to_load(path, source)
        if source == FeatureSource.INTERACTION and path not in self._unbiased_files():
            self._check_labels(path, header)
        if source != FeatureSource.INTERACTION or any(header.fields[name].endswith("_seq") for name in columns):
            return super()._load_feat(filepath, source)
        for name in columns:
            self._set_properties(name, FeatureType(header.fields[name]), source, 1)
        frame = self._read(path, columns)
        for name in columns:
            if name not in (self.uid_field, self.iid_field) and frame[name].dtype == "category":
                frame[name] = frame[name].astype(object)  # RecBole sorts and joins texts
        if frame.empty and filepath.endswith(f"{self.dataset_name}.inter"):
            raise PopDCLError(f"{filepath} holds no interactions")
        return frame

    def _read(self, path: Path, columns: list[str]) -> pd.DataFrame:
        separator, encoding = self.config["field_separator"], self.config["encoding"] or "utf-8"
        return read_interactions(path, columns, separator=separator, encoding=encoding)

    def _unbiased_files(self) -> list[Path]:
        named = zip(self.set_names, self.benchmark_filename_list or [])
        return [self._file(file) for name, file in named if name in UNBIASED_SETS]

    def _labels(self, path: Path) -> np.ndarray:
        """Which interactions of a file of UNBIASED_SETS were liked, bool [n].

        Raises:
            PopDCLError: no column says it, or a value is no number; names the line.
        """
        header, least = self._fields_to_load(path, FeatureSource.INTERACTION)[0], self.config["unbiased_rating"]
        name = self._label_of(header) if least is None else self.config["RATING_FIELD"]
        if name not in header.fields:
            wanted = (
                f"no column of labels, such as {DEFAULT_LABEL}:float, that says what was liked; or set "
                f"--unbiased_rating to the least liked {self.config['RATING_FIELD']}"
                if least is None
                else f"no column '{name}', which unbiased_rating is of"
            )
            raise PopDCLError(f"{path} has {wanted}")
        numbers, row, problem = self._numbers(path, header, name=name)
        if row >= 0:
            raise PopDCLError(f"{path}, line {self._line(path, header, row=row)}: '{name}' {problem}")
        return numbers > 0 if least is None else numbers >= least

    def _label_of(self, header: Header) -> str | None:
        """The column of labels; where LABEL_FIELD keeps RecBole's default, one of another usual name too."""
        return label_column(header.fields) if self.label_field == DEFAULT_LABEL else self.label_field

    def _numbers(self, path: Path, header: Header, *, name: str) -> tuple[np.ndarray, int, str]:
        """A column as numbers, the first row that holds none (-1 if all do), and what is wrong with that."""
        values = self._read(path, [name])[name]
        if header.fields[name] == "float":  # which _read has checked
            return values.to_numpy(), -1, ""
        numbers, row = finite_numbers(pa.array(values).dictionary_decode())
        return numbers, row, f"is {values.iloc[row]!r}, not a finite number" if row >= 0 else ""

    def _line(self, path: Path, header: Header, *, row: int) -> int:
        return line_of_row(path, header, row=row, encoding=self.config["encoding"] or "utf-8")

    def _check_labels(self, path: Path, header: Header) -> None:
        """Refuse a label of 0, which says that a row is no interaction, unless an interval says which labels to take.

        Raises:
            PopDCLError: names the line.
        """
        name = self._label_of(header)
        if name not in header.fields or name in (self.config["val_interval"] or {}) or self.config["threshold"]:
            return
        labels, row, problem = self._numbers(path, header, name=name)
        if row < 0:
            row = first_negative(labels)
            if row < 0:
                return
            problem = f"is {labels[row]:g}, which says that this is no interaction"
        line = self._line(path, header, row=row)
        ids = f"'{self.uid_field}', '{self.iid_field}', '{name}'"
        wanted = "'[1,inf)'" if header.fields[name] == "float" else "['1']"
        chosen = f"--load_col=\"{{'inter': [{ids}]}}\" --val_interval=\"{{'{name}': {wanted}}}\""
        raise PopDCLError(
            f"{path}, line {line}: '{name}' {problem}; take the others with {chosen}, or set --LABEL_FIELD to another "
            "name"
        )

    def _data_processing(self) -> None:
        if self.benchmark_filename_list is not None:
            self._restrict_catalogue()
        super()._data_processing()

    def _data_filtering(self) -> None:
        self._filter_by_threshold()
        n = len(self.inter_feat)
        super()._data_filtering()
        if len(self.inter_feat) < n:
            getLogger().info(
                "%d of %d interactions kept by val_interval, filter_inter_by_user_or_item, rm_dup_inter and the like",
                len(self.inter_feat), n,
            )  # fmt: skip
        users, items = (pd.factorize(self.inter_feat[field])[0] for field in (self.uid_field, self.iid_field))
        distinct = np.flatnonzero(first_occurrences(users, items))
        repeated = len(users) - len(distinct)
        k = self.config["k_core"] or 0
        kept = distinct[k_core(users[distinct], items[distinct], k=k)]
        log = getLogger()
        if repeated:
            log.info("%d repeated (user, item) rows dropped, the first of each kept", repeated)
        if len(kept) < len(distinct):
            log.info("%d-core: %d of %d interactions kept", k, len(kept), len(distinct))
        if not len(kept):
            raise PopDCLError(
                f"dataset '{self.dataset_name}': the {k}-core of its {len(distinct)} interactions is empty; "
                "set a smaller --k_core"
            )
        self.inter_feat = self.inter_feat.iloc[kept].reset_index(drop=True)
        self._restrict_catalogue()

    def _restrict_catalogue(self) -> None:
        """Drop the users and items of ``.user`` and ``.item`` files that have no interaction, unless k_core is 0."""
        if not self.config["k_core"]:
            return
        for suffix, field in (("user", self.uid_field), ("item", self.iid_field)):
            feat = getattr(self, f"{suffix}_feat")
            if feat is None:
                continue
            there = feat[field].isin(self.inter_feat[field].unique())
            if not there.all():
                file = f"{self.dataset_name}.{suffix}"
                getLogger().info("%d rows of %s without interactions dropped", (~there).sum(), file)
                setattr(self, f"{suffix}_feat", feat[there].reset_index(drop=True))

    def build(self) -> list[SplitDataset]:
        """Return one Dataset a set, in the order of ``set_names``."""
        if self.benchmark_filename_list is not None:
            parts = super().build()
            for name, part in zip(self.set_names, parts):
                part._is_liked = self._liked_of.get(name)
        else:
            self._change_feat_format()
            self._drop_unused_col()
            items = self.inter_feat[self.iid_field].numpy()
            codes = balanced_split(items, self.config["split_ratio"], seed=self.config["split_seed"])
            parts = [self.copy(self.inter_feat[np.flatnonzero(codes == code)]) for code in range(len(self.set_names))]
        parts += self._drawn_shift_tests(dict(zip(self.set_names, parts)))
        self.set_names += self.drawn
        self._check_parts(parts)
        return parts

    def _drawn_shift_tests(self, parts: Mapping[str, SplitDataset]) -> list[SplitDataset]:
        """The shift tests that no file has, as far as there are the tests to draw them from."""
        strengths = [a for a in self.config["shift_tests"] or () if shift_test_name(a) not in parts]
        if not strengths or not all(len(parts.get(name, ())) for name in SHIFTED_FROM):
            return []  # loading.check_asked says so
        places = shift_tests(
            {name: part.ids()[1] for name, part in parts.items()}, strengths, seed=self.config["split_seed"]
        )
        both = cat_interactions([parts[name].inter_feat for name in SHIFTED_FROM])
        self.drawn = list(places)
        return [self.copy(both[rows]) for rows in places.values()]

    def _check_parts(self, parts: list[SplitDataset]) -> None:
        pairs = {name: part.pairs() for name, part in zip(self.set_names, parts)}
        train = pairs["train"].keys
        if not len(train):
            raise PopDCLError(f"dataset '{self.dataset_name}': the training set is empty")
        for name, part in pairs.items():
            repeated = len(part.rows[0]) - len(part)
            if repeated:
                getLogger().warning("%s holds %d repeated (user, item) rows", name, repeated)
            keys = part.row_keys() if repeated else part.keys
            apart = name == "train" or name in UNBIASED_SETS  # of what was shown, loading.py tells
            seen = 0 if apart else int((train[np.searchsorted(train[:-1], keys)] == keys).sum())
            if seen:
                getLogger().warning("%d pairs of %s are training pairs too and can never be hit", seen, name)

    def pairs(self) -> Pairs:
        """Return the (user, item) pairs of the interactions; made once."""
        if self._pairs is None:
            self._pairs = Pairs(*self.ids(), n_users=self.user_num, n_items=self.item_num)
        return self._pairs

    @property
    def is_liked(self) -> np.ndarray | None:
        """Which interactions are liked, bool [n], of UNBIASED_SETS; None of any other set, whose are all."""
        return self._is_liked

    def liked(self) -> Pairs:
        """Return the pairs to find: of UNBIASED_SETS the liked ones, of any other set all."""
        if self._is_liked is None:
            return self.pairs()
        liked = self._is_liked & first_occurrences(*self.ids())  # of a pair that is there twice, the first counts
        ids = (side[liked] for side in self.ids())
        return Pairs(*ids, n_users=self.user_num, n_items=self.item_num)

    def copy(self, new_inter_feat: Any) -> SplitDataset:
        """Return a dataset of the same fields with other interactions, as RecBole's; its pairs are its own."""
        other = super().copy(new_inter_feat)
        other._pairs = other._is_liked = None
        return other

    def ids(self) -> tuple[np.ndarray, np.ndarray]:
        """Return internal user ids and item ids [n] of the interactions (0 is RecBole's padding and never occurs)."""
        return self.inter_feat[self.uid_field].numpy(), self.inter_feat[self.iid_field].numpy()


def _named_sets(files: Sequence[str] | Mapping[str, str]) -> dict[str, str]:
    """Return {set: file} of the property ``benchmark_filename``, in the order of SETS.

    A list of two files is a training and a test set; a longer one is in the order of SETS. A mapping may name shift
    tests too.

    Raises:
        PopDCLError: an unknown set, too many files, or no training set.
    """
    if not isinstance(files, Mapping):
        if len(files) > len(SETS):
            raise PopDCLError(f"property 'benchmark_filename' names at most {len(SETS)} files: {', '.join(SETS)}")
        return dict(zip((SETS[0], SETS[2]) if len(files) == 2 else SETS, files))
    for name in files:
        if name not in SETS and not is_shift_test(name):
            raise PopDCLError(
                f"property 'benchmark_filename': no set '{name}'{nearest(name, SETS)} of {', '.join(SETS)}"
            )
    if "train" not in files:
        raise PopDCLError("property 'benchmark_filename' names no training set, train")
    return {name: files[name] for name in sets_in_order(files)}


def fingerprint(dataset: SplitDataset, parts: list[SplitDataset]) -> str:
    """Return a sha256 over raw ids and the interactions of every set: equal exactly if runs saw the same data.

    Sets that are drawn from others are no other data.
    """
    digest = hashlib.sha256()
    for field in (dataset.uid_field, dataset.iid_field):
        digest.update("\n".join(dataset.field2id_token[field].tolist()).encode("utf-8", "surrogatepass"))
    for name, part in zip(dataset.set_names, parts):
        if name in dataset.drawn:
            continue
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(part.pairs().row_keys(), dtype="<i8").tobytes())
        if part._is_liked is not None:
            digest.update(part._is_liked.tobytes())
    return digest.hexdigest()
