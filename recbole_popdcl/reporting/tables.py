"""Tables of a report: data sets, results, segments, paired tests, agreement, searches; for the page, CSV and LaTeX."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from recbole_popdcl.evaluation.bootstrap import DRAWS, LEVEL
from recbole_popdcl.evaluation.keys import ResultKey
from recbole_popdcl.evaluation.per_user import read_per_user
from recbole_popdcl.experiment.comparison.agreement import (
    LEAST_MODELS,
    Matrix,
    keys_of_tests,
    matrices,
)
from recbole_popdcl.experiment.comparison.agreement import agreement as tau_of_tests
from recbole_popdcl.experiment.comparison.significance import paired_tests
from recbole_popdcl.experiment.comparison.summary import TEST_SETS, accuracy_keys, heading
from recbole_popdcl.experiment.search.trials import ERROR, TRIAL
from recbole_popdcl.reporting.runs import FinishedSearch, Group, segments_of
from recbole_popdcl.storage.files import written_whole

PERMILLE = 0.001


@dataclass
class Table:
    """A table as text, with the numbers behind it.

    Attributes:
        name: of its files.
        title, note: what a reader needs to understand it.
        text: the cells [rows, columns].
        numbers: what CSV gets.
        best, second: bool [rows, columns], cells to mark; None marks nothing.
        of: what its rows are.
        foot: number of rows at the end that belong there, however the others are sorted.
    """

    name: str
    title: str
    note: str
    text: pd.DataFrame
    numbers: pd.DataFrame
    best: pd.DataFrame | None = None
    second: pd.DataFrame | None = None
    of: tuple[str, ...] = ("model",)
    foot: int = 0
    kind: ClassVar[str] = "table"

    @property
    def files(self) -> list[str]:
        """Its files."""
        return [f"{self.name}.csv", f"{self.name}.tex"]

    @property
    def sortable(self) -> bool:
        """Whether a column can be sorted by; a matrix is read as it stands."""
        return self.text.index.nlevels == 1 and len(self.text) - self.foot > 1

    def head(self) -> list[list[tuple[str, int]]]:
        """Return the rows of its head for a page, each of texts and the number of columns that they span."""
        levels = [self.text.columns.get_level_values(level) for level in range(self.text.columns.nlevels)]
        spans = []
        for depth in range(1, len(levels) + 1):
            above = list(zip(*levels[:depth]))
            if depth == len(levels):
                spans.append([(str(column[-1]), 1) for column in above])
            else:
                spans.append([(str(column[-1]), len(list(same))) for column, same in itertools.groupby(above)])
        return spans

    def rows(self) -> list[dict[str, Any]]:
        """Return its rows for a page: ``heads``, of texts and how many rows they span, and ``cells``.

        A cell has ``text``, the ``value`` that it is sorted by, None where it has none, and a ``mark``.
        """
        heads = [entry if isinstance(entry, tuple) else (entry,) for entry in self.text.index]
        rows = []
        for place, head in enumerate(heads):
            spans = [self._rows_from(heads, place, level) for level in range(len(head))]
            rows.append({
                "heads": [(str(text), span) for text, span in zip(head, spans) if span],
                "cells": [
                    {"text": text, "value": sort_value(text), "mark": self._mark(place, column)}
                    for column, text in enumerate(map(str, self.text.iloc[place]))
                ],
            })  # fmt: skip
        return rows

    @staticmethod
    def _rows_from(heads: Sequence[tuple], place: int, level: int) -> int:
        """How many rows share a head from this one on, 0 where the row before has it; the last level is each row's."""
        if level == len(heads[place]) - 1:
            return 1
        if place and heads[place - 1][: level + 1] == heads[place][: level + 1]:
            return 0
        return sum(1 for _ in itertools.takewhile(lambda head: head[level] == heads[place][level], heads[place:]))

    def _mark(self, place: int, column: int) -> str:
        if self.best is None or self.second is None:
            return ""
        return "best" if self.best.iloc[place, column] else "second" if self.second.iloc[place, column] else ""

    def latex(self) -> str:
        """Return a LaTeX table for the booktabs and multirow packages."""
        text = self._styled().to_latex(
            hrules=True, convert_css=True, caption=_latex(self.title), label=f"tab:{self.name}",
            column_format="l" * self.text.index.nlevels + "r" * self.text.shape[1], multicol_align="c",
        )  # fmt: skip
        return text.replace("τ", r"$\tau$").replace("±", r"$\pm$").replace("−", "$-$").replace("Δ", r"$\Delta$")

    def write(self, folder: Path) -> None:
        """Write ``<name>.csv`` and ``<name>.tex`` into a folder."""
        with written_whole(folder / self.files[0]) as temporary:
            self.numbers.to_csv(temporary)
        with written_whole(folder / self.files[1]) as temporary:
            temporary.write_text(self.latex(), encoding="utf-8")

    def _styled(self) -> Any:
        styled = self.text.style.format(escape="latex")
        for axis in (0, 1):
            styled = styled.format_index(escape="latex", axis=axis).hide(names=True, axis=axis)
        if self.best is not None:
            styled = styled.apply(lambda _: _css(self.best, "font-weight: bold"), axis=None)
            styled = styled.apply(lambda _: _css(self.second, "font-style: italic"), axis=None)
        return styled


def sort_value(text: str) -> float | None:
    """Return the number that a cell begins with, as the reader sees it; None where it has none.

    Examples:
        >>> sort_value("1,152"), sort_value("−0.00123 (p < 0.001)"), sort_value("0.2500 ± 0.0100"), sort_value("–")
        (1152.0, -0.00123, 0.25, None)
    """
    number = re.match(r"[+−-]?(?:\d[\d,]*\.?\d*|\.\d+)(?:e[+-]?\d+)?(?![\w.])", text)
    return float(number[0].replace("−", "-").replace(",", "")) if number else None


def _css(marked: pd.DataFrame, style: str) -> pd.DataFrame:
    return marked.replace({True: style, False: ""}).astype(object)


def _latex(text: str) -> str:
    signs = {**{sign: f"\\{sign}" for sign in "&%$#_{}"}, "\\": r"\textbackslash{}", "^": r"\^{}", "~": r"\~{}"}
    return "".join(signs.get(letter, letter) for letter in text)


def file_name(*parts: str) -> str:
    """Return a name for files and places in the page, of letters, digits and dashes alone."""
    return re.sub(r"[^\w-]+", "-", "-".join(parts))


def data_sets(groups: Sequence[Group]) -> Table:
    """The paper's Table 2: users, items, interactions and sparsity of each data set, and its parts."""
    rows = {}
    for group in groups:
        data = group.runs[0].result["data"]
        total = sum(data["interactions"].values())
        rows[group.dataset] = {
            "users": data["users"],
            "items": data["items"],
            "interactions": total,
            "sparsity": total / max(data["users"] * data["items"], 1),
            **data["interactions"],
        }
    numbers = pd.DataFrame.from_dict(rows, orient="index")
    return Table(
        name="datasets",
        title="Data sets",
        note="Interactions of all parts together; sparsity is interactions / (users × items). Parts: training, "
        "validation, imbalanced and balanced test.",
        text=numbers.apply(lambda column: column.map(lambda value: _count(column.name, value))),
        numbers=numbers,
        of=("data set",),
    )


def _count(column: str, value: float) -> str:
    if pd.isna(value):
        return "–"
    return f"{value:.6f}" if column == "sparsity" else f"{int(value):,}"


def results(groups: Sequence[Group], k: int, *, reference: str) -> Table:
    """The paper's Table 3: Recall and NDCG at k of both tests, a row a model, with the reference's gain at the end."""
    datasets = list(dict.fromkeys(group.dataset for group in groups))
    columns = {(dataset, key.set, heading(key)): (dataset, key) for dataset in datasets for key in accuracy_keys(k)}
    seeds = sorted({len(group.runs) for group in groups})
    note = f"Mean ± sample standard deviation over {_seeds(seeds)}. Bold: best, italics: second."
    if reference in [group.label for group in groups]:
        note += f" Δ: gain of {reference} over the best other row."
    metrics = " and ".join(dict.fromkeys(heading(key) for key in accuracy_keys(k)))
    means, deviations = _means(groups, columns)
    return _results_table(
        means, deviations, name="results", title=f"{metrics} on the balanced and the imbalanced test", note=note,
        reference=reference,
    )  # fmt: skip


def segments(groups: Sequence[Group], k: int) -> Table:
    """The paper's Table 4: NDCG at k of each segment and of all items, of the runs of one data set."""
    dataset = groups[0].dataset
    keys = [
        ResultKey(set=name, segment=segment, metric="ndcg", k=k)
        for name in TEST_SETS
        for segment in segments_of(groups)
    ]
    means, deviations = _means(groups, {(key.set, key.segment or "all"): (dataset, key) for key in keys})
    return _results_table(
        means,
        deviations,
        name=file_name("segments", dataset),
        title=f"{dataset}: {heading(keys[0])} by segment",
        note="Segments of items by popularity, head to tail or in numbers from the most popular, are cut as segment_by "
        "and segments say; a segment's value is over its own items to find. Groups of users (niche, diverse, "
        "blockbuster) have the share of popular items in training as their order. Bold: best, italics: second.",
    )


def _seeds(counts: Sequence[int]) -> str:
    several = f"{counts[0]} to {counts[-1]} seeds" if len(counts) > 1 else f"{counts[0]} seeds"
    return "one seed" if list(counts) == [1] else several


def _means(
    groups: Sequence[Group], columns: Mapping[tuple, tuple[str, ResultKey]]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Means and deviations over seeds, a row a label; columns that no group has are left out.

    Args:
        groups: the rows, of any data set.
        columns: {heading: data set and result key}.
    """
    labels = list(dict.fromkeys(group.label for group in groups))
    means = pd.DataFrame(np.nan, index=labels, columns=pd.MultiIndex.from_tuples(columns))
    deviations = means.copy()
    for group in groups:
        for head, (dataset, key) in columns.items():
            value = group.value(key) if dataset == group.dataset else None
            if value:
                means.loc[group.label, head] = value[0]
                deviations.loc[group.label, head] = np.nan if value[1] is None else value[1]
    present = means.columns[means.notna().any()]
    return means[present], deviations[present]


def _results_table(
    means: pd.DataFrame, deviations: pd.DataFrame, *, name: str, title: str, note: str, reference: str | None = None
) -> Table:
    """A table of means ± deviations with best and second marked, and the reference's gain as its last row."""
    labels = means.index
    text = pd.DataFrame(
        [
            [_cell(mean, deviation) for mean, deviation in zip(means.loc[label], deviations.loc[label])]
            for label in labels
        ],
        index=labels, columns=means.columns,
    )  # fmt: skip
    ranks = means.round(4).rank(ascending=False, method="min")
    best, second = ranks == 1, (ranks == 2) & (len(labels) > 2)
    gain = _gain(means, reference)
    if gain is not None:
        label = f"Δ {reference}"
        text.loc[label] = [f"{value:+.1%}".replace("-", "−") if np.isfinite(value) else "–" for value in gain]
        best.loc[label], second.loc[label] = False, False
        means = means.copy()
        means.loc[label] = gain
    numbers = pd.concat({"mean": means, "deviation": deviations}, axis=1)
    numbers.columns = [" ".join((*head[1:], head[0])) for head in numbers.columns]
    return Table(
        name=name,
        title=title,
        note=note,
        text=text,
        numbers=numbers,
        best=best,
        second=second,
        foot=int(gain is not None),
    )


def _cell(mean: float, deviation: float) -> str:
    if np.isnan(mean):
        return "–"
    return f"{mean:.4f}" + ("" if np.isnan(deviation) else f" ± {deviation:.4f}")


def _gain(means: pd.DataFrame, reference: str | None) -> pd.Series | None:
    """What the reference gains over the best of the others, relative to it, in each column."""
    if reference not in means.index or len(means) < 2:
        return None
    others = means.drop(index=reference).max()
    return means.loc[reference] / others.where(others > 0) - 1


def tests(groups: Sequence[Group], k: int, *, reference: str, correction: str = "holm") -> Table | None:
    """Paired tests over the users of one data set: the reference against each other row.

    Returns None where there is nothing to compare.

    Raises:
        PopDCLError: a run lacks the values of its users, or the runs were measured on different users.
    """
    if reference not in [group.label for group in groups] or len(groups) < 2:
        return None
    frames = {group.label: [read_per_user(run.folder.per_user) for run in group.runs] for group in groups}
    parts = {
        key: paired_tests(frames, reference, key=key, correction=correction)
        for key in accuracy_keys(k)
        if all(group.value(key) for group in groups)
    }
    if not parts:
        return None
    text = pd.DataFrame(
        {(key.set, heading(key)): [_test(row) for row in part.itertuples()] for key, part in parts.items()}
    )
    text.index = next(iter(parts.values()))["model"].rename(None)
    dataset = groups[0].dataset
    return Table(
        name=file_name("tests", dataset),
        title=f"{dataset}: {reference} against each model, user by user",
        note=f"Difference of the means over users, {reference} minus the row, its {100 * LEVEL:.0f} % interval over "
        f"{DRAWS:,} bootstrap draws of users, and p of Wilcoxon's signed-rank test "
        "over users (each with the mean of its seeds), corrected over the rows "
        f"({'Holm' if correction == 'holm' else 'Benjamini-Hochberg'}). The CSV file has Student's t too.",
        text=text,
        numbers=pd.concat([part.assign(key=str(key)) for key, part in parts.items()]).set_index(["key", "model"]),
    )


def _test(row: Any) -> str:
    p = row.wilcoxon_p_corrected
    interval = f"[{row.low:+.5f}, {row.high:+.5f}]"
    return f"{row.difference:+.5f} {interval} (p {'< 0.001' if p < PERMILLE else f'= {p:.3f}'})".replace("-", "−")


def agreement(groups: Sequence[Group], k: int) -> tuple[Table, list[Matrix]] | None:
    """Kendall's tau between the orders of the rows of one data set by each pair of tests, and the matrices of a figure.

    Returns None where there are too few rows or tests.

    Raises:
        PopDCLError: a run lacks the values of its users, or the runs were measured on different users.
    """
    if len(groups) < LEAST_MODELS:
        return None
    frames = {group.label: [read_per_user(run.folder.per_user) for run in group.runs] for group in groups}
    columns = dict.fromkeys(key.column for key in accuracy_keys(k))
    numbers = pd.concat([tau_of_tests(frames, keys_of_tests(frames, column)) for column in columns], ignore_index=True)
    parts = matrices(numbers)
    if not parts:
        return None
    dataset = groups[0].dataset
    table = Table(
        name=file_name("agreement", dataset),
        title=f"{dataset}: agreement of the tests on the order of the models",
        note=f"Kendall's τ-b between the orders of the {len(groups)} rows by each pair of tests: 1 where both give the "
        f"same order, −1 where one gives the reverse. In brackets its {100 * LEVEL:.0f} % interval over {DRAWS:,} "
        "bootstrap draws of users.",
        text=pd.concat({part.metric: part.text for part in parts}),
        numbers=numbers.set_index(["test", "other"]),
        of=("metric", "test"),
    )
    return table, parts


def trials(search: FinishedSearch, number: int) -> Table:
    """The trials of a search, best first."""
    frame = search.trials.set_index(TRIAL) if TRIAL in search.trials else search.trials
    if ERROR in frame and frame[ERROR].isna().all():
        frame = frame.drop(columns=ERROR)
    return Table(
        name=f"search-{number}",
        title=f"Search {number}: {search.properties.get('model')} on {search.properties.get('dataset')}",
        note=f"Score: {search.properties.get('valid_metric')} of the best validation.",
        text=frame.apply(lambda column: column.map(_plain)),
        numbers=frame,
        of=("trial",),
    )


def _plain(value: object) -> str:
    if isinstance(value, float):
        return "–" if np.isnan(value) else f"{value:.5g}"
    return str(value)
