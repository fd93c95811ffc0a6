"""Tables of a report: data sets, results, segments, paired tests, searches; as HTML, CSV and LaTeX."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from recbole_popdcl.evaluation.keys import SEGMENTS
from recbole_popdcl.evaluation.per_user import read_per_user
from recbole_popdcl.experiment.comparison.significance import paired_tests
from recbole_popdcl.experiment.run import PER_USER
from recbole_popdcl.report.runs import TESTS, Group, Searched
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
    """

    name: str
    title: str
    note: str
    text: pd.DataFrame
    numbers: pd.DataFrame
    best: pd.DataFrame | None = None
    second: pd.DataFrame | None = None

    @property
    def files(self) -> list[str]:
        """Its files."""
        return [f"{self.name}.csv", f"{self.name}.tex"]

    def html(self) -> str:
        """Return the table as HTML, its text escaped."""
        return self._styled("html").to_html(table_uuid=self.name, sparse_index=True, bold_headers=False)

    def latex(self) -> str:
        """Return a LaTeX table for the booktabs and multirow packages."""
        text = self._styled("latex").to_latex(
            hrules=True, convert_css=True, caption=_latex(self.title), label=f"tab:{self.name}",
            column_format="l" * self.text.index.nlevels + "r" * self.text.shape[1], multicol_align="c",
        )  # fmt: skip
        return text.replace("±", r"$\pm$").replace("−", "$-$").replace("Δ", r"$\Delta$")

    def write(self, folder: Path) -> None:
        """Write ``<name>.csv`` and ``<name>.tex`` into a folder."""
        with written_whole(folder / self.files[0]) as temporary:
            self.numbers.to_csv(temporary)
        with written_whole(folder / self.files[1]) as temporary:
            temporary.write_text(self.latex(), encoding="utf-8")

    def _styled(self, kind: str) -> Any:
        styled = self.text.style.format(escape=kind)
        for axis in (0, 1):
            styled = styled.format_index(escape=kind, axis=axis).hide(names=True, axis=axis)
        if self.best is not None:
            styled = styled.apply(lambda _: _css(self.best, "font-weight: bold"), axis=None)
            styled = styled.apply(lambda _: _css(self.second, "font-style: italic"), axis=None)
        return styled


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
    for one in groups:
        data = one.runs[0].result["data"]
        total = sum(data["interactions"].values())
        rows[one.dataset] = {
            "users": data["users"],
            "items": data["items"],
            "interactions": total,
            "sparsity": total / max(data["users"] * data["items"], 1),
            **data["interactions"],
        }
    numbers = pd.DataFrame.from_dict(rows, orient="index")
    text = numbers.apply(lambda column: column.map(lambda value: _count(column.name, value)))
    note = (
        "Interactions of all parts together; sparsity is interactions / (users × items). Parts: training, validation, "
        "imbalanced and balanced test."
    )
    return Table("datasets", "Data sets", note, text, numbers)


def _count(column: str, value: float) -> str:
    if pd.isna(value):
        return "–"
    return f"{value:.6f}" if column == "sparsity" else f"{int(value):,}"


def results(groups: Sequence[Group], k: int, reference: str) -> Table:
    """The paper's Table 3: Recall and NDCG at k of both tests, a row a model, with the reference's gain at the end."""
    columns = {
        (one.dataset, test, f"{metric}@{k}"): (one.dataset, f"{test}/{metric.lower()}@{k}")
        for one in groups
        for test in TESTS
        for metric in ("Recall", "NDCG")
    }
    seeds = sorted({len(one.runs) for one in groups})
    note = f"Mean ± sample standard deviation over {_seeds(seeds)}. Bold: best, italics: second." + (
        f" Δ: gain of {reference} over the best other row." if reference in [one.label for one in groups] else ""
    )
    return _results("results", f"Recall@{k} and NDCG@{k} on the balanced and the imbalanced test", note, groups,
                    columns, reference)  # fmt: skip


def segments(groups: Sequence[Group], k: int) -> Table:
    """The paper's Table 4: NDCG at k of tail, mid, head and all items, of the runs of one data set."""
    dataset = groups[0].dataset
    columns = {
        (test, part or "all"): (dataset, "/".join(p for p in (test, part, f"ndcg@{k}") if p))
        for test in TESTS
        for part in (*reversed(SEGMENTS), "")
    }
    note = (
        "Items by descending popularity, cut into head, mid and tail of equally many test interactions; a segment's "
        "value is over its own items to find. Bold: best, italics: second."
    )
    return _results(file_name("segments", dataset), f"{dataset}: NDCG@{k} of tail, mid and head", note, groups, columns)


def _seeds(counts: Sequence[int]) -> str:
    several = f"{counts[0]} to {counts[-1]} seeds" if len(counts) > 1 else f"{counts[0]} seeds"
    return "one seed" if list(counts) == [1] else several


def _results(
    name: str,
    title: str,
    note: str,
    groups: Sequence[Group],
    columns: Mapping[tuple, tuple[str, str]],
    reference: str | None = None,
) -> Table:
    labels = list(dict.fromkeys(one.label for one in groups))
    heads = pd.MultiIndex.from_tuples(columns)
    means = pd.DataFrame(np.nan, index=labels, columns=heads)
    deviations = means.copy()
    for one in groups:
        for head, (dataset, key) in columns.items():
            found = one.value(key) if dataset == one.dataset else None
            if found:
                means.loc[one.label, head] = found[0]
                deviations.loc[one.label, head] = np.nan if found[1] is None else found[1]
    kept = means.columns[means.notna().any()]
    means, deviations = means[kept], deviations[kept]
    text = pd.DataFrame(
        [
            [_cell(mean, deviation) for mean, deviation in zip(means.loc[label], deviations.loc[label])]
            for label in labels
        ],
        index=labels, columns=kept,
    )  # fmt: skip
    rounded = means.round(4)
    ranks = rounded.rank(ascending=False, method="min")
    best, second = ranks == 1, (ranks == 2) & (len(labels) > 2)
    gain = _gain(means, reference)
    if gain is not None:
        label = f"Δ {reference}"
        text.loc[label] = [f"{value:+.1%}".replace("-", "−") if np.isfinite(value) else "–" for value in gain]
        best.loc[label], second.loc[label] = False, False
        means.loc[label] = gain
    numbers = pd.concat({"mean": means, "deviation": deviations}, axis=1)
    numbers.columns = [" ".join((*head[1:], head[0])) for head in numbers.columns]
    return Table(name, title, note, text, numbers, best, second)


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


def tests(groups: Sequence[Group], k: int, reference: str, correction: str = "holm") -> Table | None:
    """Paired tests over the users of one data set: the reference against each other row.

    Returns None where there is nothing to compare.

    Raises:
        PopDCLError: a run lacks the values of its users, or the runs were measured on different users.
    """
    if reference not in [one.label for one in groups] or len(groups) < 2:
        return None
    frames = {one.label: [read_per_user(run.folder / PER_USER) for run in one.runs] for one in groups}
    parts = {}
    for test in TESTS:
        for metric in ("Recall", "NDCG"):
            column = f"{metric.lower()}@{k}"
            if all(one.value(f"{test}/{column}") for one in groups):
                parts[(test, f"{metric}@{k}")] = paired_tests(frames, reference, test, column, correction)
    if not parts:
        return None
    text = pd.DataFrame({head: [_test(row) for row in part.itertuples()] for head, part in parts.items()})
    text.index = next(iter(parts.values()))["model"].rename(None)
    numbers = pd.concat([part.assign(key="/".join(head)) for head, part in parts.items()]).set_index(["key", "model"])
    dataset = groups[0].dataset
    note = (
        f"Difference of the means over users, {reference} minus the row, and p of Wilcoxon's signed-rank test over "
        f"users (each with the mean of its seeds), corrected over the rows "
        f"({'Holm' if correction == 'holm' else 'Benjamini-Hochberg'}). The CSV file has Student's t too."
    )
    return Table(
        file_name("tests", dataset), f"{dataset}: {reference} against each model, user by user", note, text, numbers
    )


def _test(row: Any) -> str:
    p = row.wilcoxon_p_corrected
    return f"{row.difference:+.5f} (p {'< 0.001' if p < PERMILLE else f'= {p:.3f}'})".replace("-", "−")


def trials(searched: Searched, number: int) -> Table:
    """The trials of a search, best first."""
    frame = searched.trials.set_index("trial") if "trial" in searched.trials else searched.trials
    frame = frame.drop(columns=[name for name in ("error",) if name in frame and frame[name].isna().all()])
    text = frame.apply(lambda column: column.map(_plain))
    properties = searched.record["properties"]
    title = f"Search {number}: {properties.get('model')} on {properties.get('dataset')}"
    note = f"Score: {properties.get('valid_metric')} of the best validation."
    return Table(f"search-{number}", title, note, text, frame)


def _plain(value: object) -> str:
    if isinstance(value, float):
        return "–" if np.isnan(value) else f"{value:.5g}"
    return str(value)
