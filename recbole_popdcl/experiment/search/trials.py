"""The trials of a search as a table: a row each, best first."""

from __future__ import annotations

import csv
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from recbole_popdcl.config.config import Config
from recbole_popdcl.errors import PopDCLError, reason
from recbole_popdcl.evaluation.keys import ResultKey, set_key
from recbole_popdcl.evaluation.metrics import ACCURACY, find_metrics
from recbole_popdcl.evaluation.objective import Objective
from recbole_popdcl.storage.files import regular_file, written_whole

# Columns of trials.csv, beside the searched properties and the results of the best validation.
TRIAL, SCORE, VALIDATIONS, SECONDS, ERROR = "trial", "score", "validations", "seconds", "error"
# What a trial reports to Ray after each validation, beside VALIDATIONS and the results of the best one.
LAST_SCORE, BEST_SCORE = "score", "best_score"
NO_MESSAGE = "the trial's process ended without a word"


def trial_name(trial_id: str) -> str:
    """Return the name of a trial, which its folder has too, from the id that Ray gave it."""
    return f"trial-{trial_id.rsplit('_', 1)[-1]}"


def trial_rows(trials: Sequence[Any], config: Config, *, space: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return {column: value} of each trial, best first; those without a score, which have failed, last.

    Args:
        trials: Ray's trials, whose cluster still runs.
        config: what the trials share.
        space: whose properties were searched.
    """
    objective = Objective.parse(config["valid_metric"], "property 'valid_metric'")
    keys = [
        str(ResultKey(set=set_key(name), metric=metric.key, k=k))
        for name in objective.set_names
        for metric in find_metrics(config["metrics"], "property 'metrics'")
        if metric.kind == ACCURACY
        for k in config["topk"]
    ]
    rows = [_row(trial, keys, space) for trial in trials]
    return sorted(rows, key=lambda row: (row[SCORE] is None, -(row[SCORE] or 0.0), row[TRIAL]))


def _row(trial: Any, keys: Sequence[str], space: Mapping[str, Any]) -> dict[str, Any]:
    last = trial.last_result or {}
    return {
        TRIAL: trial_name(trial.trial_id),
        **{name: trial.config.get(name) for name in space},
        SCORE: last.get(BEST_SCORE),
        **{key: last.get(key) for key in keys},
        VALIDATIONS: last.get(VALIDATIONS, 0),
        SECONDS: round(last.get("time_total_s", 0.0), 1),
        ERROR: _error(trial),
    }


def _error(trial: Any) -> str:
    """Last line of what a failed trial left, such as the PopDCLError it ended with; nothing for the others."""
    if trial.status != "ERROR":
        return ""
    last = next((line.strip() for line in reversed(error_text(trial).split("\n")) if line.strip()), NO_MESSAGE)
    return NO_MESSAGE if "its worker process has died" in last else last  # Ray guesses at the reasons after that


def error_text(trial: Any) -> str:
    """Return what Ray wrote down of a trial's failures; nothing where there were none."""
    try:
        return Path(trial.error_file).read_text(encoding="utf-8", errors="replace")
    except (OSError, TypeError):
        return ""


def trials_table(rows: Sequence[Mapping[str, Any]], decimals: int = 4) -> str:
    """Return the rows as a text table.

    Args:
        rows: as trial_rows returns them.
        decimals: digits after the point of scores and results.
    """
    columns = [name for name in rows[0] if name != ERROR or any(row[ERROR] for row in rows)]
    measured = columns[columns.index(SCORE) : columns.index(VALIDATIONS)]
    texts = [columns] + [[_cell(row[name], decimals if name in measured else None) for name in columns] for row in rows]
    widths = [max(len(line[place]) for line in texts) for place in range(len(columns))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in texts)


def _cell(value: Any, decimals: int | None) -> str:
    if not isinstance(value, float):
        return "-" if value is None else str(value)
    return f"{value:.5g}" if decimals is None else f"{value:.{decimals}f}"


def write_trials(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write the rows as CSV.

    Raises:
        PopDCLError: the file cannot be written.
    """
    with written_whole(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]) if rows else [TRIAL])
        writer.writeheader()
        writer.writerows(rows)


def read_trials(path: Path, space: Collection[str]) -> pd.DataFrame:
    """Read what ``write_trials`` wrote; infinite numbers become NaN.

    Args:
        path: of the file.
        space: names of the searched properties, whose columns may hold anything.

    Raises:
        PopDCLError: the file cannot be read, lacks a column, or has something else than numbers in one of results.
    """
    try:
        trials = pd.read_csv(regular_file(path)).replace([np.inf, -np.inf], np.nan)
    except (OSError, ValueError) as error:
        raise PopDCLError(f"cannot read {path}: {reason(error)}") from error
    missing = {*space, SCORE} - set(trials.columns)
    if missing:
        raise PopDCLError(f"{path} lacks the column {min(missing)}")
    for name in trials:
        if name not in {TRIAL, ERROR, *space} and not pd.api.types.is_numeric_dtype(trials[name]):
            raise PopDCLError(f"{path}: the column '{name}' holds other things than numbers")
    return trials
