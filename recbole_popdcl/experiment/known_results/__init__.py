"""What the models of this package reach on a data set, for whoever runs one of them there: a JSON file a data set.

``python -m benchmarks.models --known`` writes such a file, from the runs of its tables.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from recbole_popdcl.config.config import Config
from recbole_popdcl.config.reading import read_yaml
from recbole_popdcl.experiment.comparison.summary import accuracy_keys, heading, mean_and_deviation
from recbole_popdcl.experiment.result import all_results
from recbole_popdcl.storage.files import read_json, write_json
from recbole_popdcl.storage.layout import CONFIG

FOLDER = Path(__file__).parent
MEASURED_BY = ("eval_mask", "cold_items")  # properties that change what a list is worth, not what was trained
K = 20


def write_known_results(
    path: str | Path, rows: Mapping[str, Sequence[Mapping[str, Any]]], *, config: Config, command: str
) -> None:
    """Write the file of a data set.

    Args:
        path: of the file, ``<dataset>.json``.
        rows: {model: result.json of its runs, a seed each}, all on the same data.
        config: of one of the runs.
        command: that makes the file again.
    """
    first = next(iter(rows.values()))[0]
    models = {
        model: {str(key): round(mean_and_deviation(results, key)[0], 6) for key in accuracy_keys(K)}
        for model, results in rows.items()
    }
    measured = {name: config[name] for name in MEASURED_BY}
    known = {"command": command, "fingerprint": first["data"]["fingerprint"], "measured": measured, "models": models}
    write_json(path, known)


def known_results(result: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Return {model: {result key: mean over seeds}} of a run's data set; nothing where data or measuring differ.

    Args:
        result: of a finished run, with its ``run_dir``.
    """
    path = FOLDER / f"{result['dataset']}.json"
    if not path.is_file():
        return {}
    known, config = read_json(path), read_yaml(Path(result["run_dir"]) / CONFIG)
    same_data = known["fingerprint"] == result["data"]["fingerprint"]
    same_measure = all(config[name] == value for name, value in known["measured"].items())
    return known["models"] if same_data and same_measure else {}


def compared_with_known(result: Mapping[str, Any], decimals: int = 4) -> str:
    """Return a line a test set: what a run reached beside the best model on the same data; "" where none is known.

    Args:
        result: of a finished run, with its ``run_dir``.
        decimals: digits after the point.
    """
    models, values = known_results(result), all_results(result)
    lines = []
    for key in accuracy_keys(K):
        if not models or key.metric != "recall" or str(key) not in values:
            continue
        of_models = {model: known[str(key)] for model, known in models.items()}
        best, own = max(of_models, key=of_models.__getitem__), result["model"]
        beside = f", {own} {of_models[own]:.{decimals}f}" if own in of_models and own != best else ""
        lines.append(
            f"{key.set} {heading(key)}: {values[str(key)]:.{decimals}f}; best of {len(models)} tuned models "
            f"{of_models[best]:.{decimals}f} ({best}){beside}"
        )
    return "\n".join(lines)
