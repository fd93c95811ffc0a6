"""Several runs as one table: mean and standard deviation over seeds, from the result.json of each."""

from __future__ import annotations

import statistics
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from recbole_popdcl.errors import PopDCLError
from recbole_popdcl.evaluation.keys import ResultKey
from recbole_popdcl.evaluation.metrics import find_metric
from recbole_popdcl.experiment.result import all_results

TEST_SETS = ("balanced", "imbalanced")  # as result keys name them
METRICS = ("recall", "ndcg")  # those of the paper's tables


def accuracy_keys(k: int) -> list[ResultKey]:
    """Return the keys of the paper's Table 3: each of METRICS at k on each of TEST_SETS, over all items."""
    return [ResultKey(set=name, segment="", metric=metric, k=k) for name in TEST_SETS for metric in METRICS]


def heading(key: ResultKey) -> str:
    """Return metric and K as tables and axes show them.

    Examples:
        >>> heading(ResultKey(set="balanced", segment="tail", metric="ndcg", k=20))
        'NDCG@20'
    """
    name = find_metric(key.metric, "result key").name
    return name if key.k is None else f"{name}@{key.k}"


def mean_and_deviation(results: Sequence[Mapping[str, Any]], key: ResultKey) -> tuple[float, float | None]:
    """Return mean and sample standard deviation (None for one result) over runs.

    Args:
        results: result.json of each run.
        key: of what is averaged.

    Raises:
        PopDCLError: a run lacks the key.
    """
    try:
        values = [all_results(result)[str(key)] for result in results]
    except KeyError as error:
        raise PopDCLError(f"a run of {results[0].get('model')} has no result '{key}'") from error
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None


def markdown_table(
    rows: Mapping[str, Sequence[Mapping[str, Any]]], columns: Mapping[str, ResultKey], *, decimals: int = 4
) -> str:
    """Return a Markdown table: a row a group of runs (the same settings, several seeds), a column a result key.

    The best mean of a column is bold, the second best in italics.

    Args:
        rows: {label: results of its runs}.
        columns: {heading: result key}.
        decimals: digits after the point.

    Raises:
        PopDCLError: as mean_and_deviation.
    """
    cells = {label: [mean_and_deviation(results, key) for key in columns.values()] for label, results in rows.items()}
    lines = table_head(columns)
    ranked = [sorted((column[place][0] for column in cells.values()), reverse=True) for place in range(len(columns))]
    for label, values in cells.items():
        texts = []
        for place, (mean, deviation) in enumerate(values):
            text = f"{mean:.{decimals}f}"
            if mean == ranked[place][0]:
                text = f"**{text}**"
            elif len(cells) > 2 and mean == ranked[place][1]:
                text = f"*{text}*"
            texts.append(text + (f" ± {deviation:.{decimals}f}" if deviation is not None else ""))
        lines.append(f"| {label} | " + " | ".join(texts) + " |")
    return "\n".join(lines)


def table_head(headings: Collection[str]) -> list[str]:
    """Return the first two lines of a Markdown table whose first column has no heading."""
    return ["| | " + " | ".join(headings) + " |", "|---" * (len(headings) + 1) + "|"]
