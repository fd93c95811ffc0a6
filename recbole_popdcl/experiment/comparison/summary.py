"""Several runs as one table: mean and standard deviation over seeds, from the result.json of each."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from recbole_popdcl.errors import PopDCLError, shown
from recbole_popdcl.evaluation.objective import Objective
from recbole_popdcl.experiment.run import RESULT
from recbole_popdcl.storage.files import read_json


def read_result(run_dir: str | Path) -> dict[str, Any]:
    """Return a run's result.json.

    Raises:
        PopDCLError: the file is missing or not the result of a run, or a result is no number.
    """
    result = read_json(Path(run_dir) / RESULT)
    if not isinstance(result, dict) or not all(isinstance(result.get(part), dict) for part in ("valid", "test")):
        raise PopDCLError(f"{Path(run_dir) / RESULT} is not the result of a run")
    for name, value in {**result["valid"], **result["test"]}.items():
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) < 2**63:
            raise PopDCLError(f"{Path(run_dir) / RESULT}: '{name}' is {shown(value)}, not a number")
    return result


def valid_score(result: Mapping[str, Any]) -> float:
    """Return what a run's best epoch reached in its valid_metric.

    Raises:
        PopDCLError: the result lacks it.
    """
    objective = Objective.parse(str(result.get("valid_metric")), f"{RESULT}: valid_metric")
    try:
        return objective.value({**result["valid"], **result["test"]})
    except KeyError as error:
        raise PopDCLError(f"a run of {result.get('model')} has no result {error}") from error


def mean_and_deviation(results: Sequence[Mapping[str, Any]], key: str) -> tuple[float, float | None]:
    """Return mean and sample standard deviation (None for one result) of a result key over runs.

    Raises:
        PopDCLError: a run lacks the key.
    """
    try:
        values = [{**result["valid"], **result["test"]}[key] for result in results]
    except KeyError as error:
        raise PopDCLError(f"a run of {results[0].get('model')} has no result '{key}'") from error
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None


def markdown_table(
    rows: Mapping[str, Sequence[Mapping[str, Any]]], columns: Mapping[str, str], decimals: int = 4
) -> str:
    """Return a Markdown table: a row a group of runs (the same settings, several seeds), a column a result key.

    The best mean of a column is bold, the second best in italics.

    Args:
        rows: {label: results of its runs}.
        columns: {heading: result key}.
        decimals: digits after the point.
    """
    cells = {label: [mean_and_deviation(results, key) for key in columns.values()] for label, results in rows.items()}
    lines = ["| | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
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
