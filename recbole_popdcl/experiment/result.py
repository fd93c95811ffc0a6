"""result.json: one form for runs and for searches, written and read here alone."""

from __future__ import annotations

import importlib.metadata
import logging
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

import recbole_popdcl
from recbole_popdcl.compute import distributed
from recbole_popdcl.config.config import Config
from recbole_popdcl.data.loading import Data
from recbole_popdcl.errors import PopDCLError, shown
from recbole_popdcl.evaluation.keys import ResultKey
from recbole_popdcl.evaluation.objective import Objective
from recbole_popdcl.storage.files import read_json, write_json
from recbole_popdcl.storage.layout import RESULT
from recbole_popdcl.training.determinism import not_deterministic

PACKAGES = ("recbole", "torch", "numpy", "pandas", "scipy")  # whose versions a result depends on


def write_result(
    folder: str | Path,
    config: Config,
    *,
    data: Data,
    results: Mapping[str, float],
    best_epoch: int,
    epochs: int,
    seconds: Mapping[str, float],
    resumed: bool,
    chosen: Mapping[str, Any],
    search: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Write result.json of a run, or of the best trial of a search.

    Args:
        folder: of the run or of the search.
        config: of the run; of the best trial's run.
        data: that it was trained and evaluated on.
        results: flat results of all sets, {result key: value}.
        best_epoch: whose weights were evaluated, from 0.
        epochs: number of epochs trained.
        seconds: {what: seconds it took}.
        resumed: whether the run, or the search, went on with an interrupted one.
        chosen: what was chosen in training of properties that are auto, {property: value}.
        search: of a search ``settings``, the ``trial`` that they are of, and the number of ``trials``.

    Returns:
        What stands in the file.

    Raises:
        PopDCLError: the file cannot be written.
    """
    result = {
        "model": config["model"],
        "dataset": config["dataset"],
        "seed": config["seed"],
        **(search or {}),
        **({"chosen": dict(chosen)} if chosen else {}),
        "best_epoch": best_epoch,
        "epochs": epochs,
        **_measured(config, results),
        "seconds": _rounded(seconds),
        "resumed": resumed,
        "data": {"fingerprint": data.fingerprint, **_sizes(data)},
        "not_deterministic": not_deterministic(config),
        "versions": _versions(),
    }
    return _written(folder, result)


def write_judged_result(
    folder: str | Path,
    config: Config,
    *,
    name: str,
    data: Data,
    results: Mapping[str, float],
    seconds: Mapping[str, float],
    lists: Mapping[str, Any],
) -> dict[str, Any]:
    """Write result.json of lists that another system has made, and return what stands in it.

    Args:
        folder, config, data, results, seconds: as write_result.
        name: of the system, in the place of the model.
        lists: their file, and what was counted in it.

    Raises:
        PopDCLError: the file cannot be written.
    """
    result = {
        "model": name,
        "dataset": config["dataset"],
        "seed": config["seed"],
        "lists": dict(lists),
        **_measured(config, results),
        "seconds": _rounded(seconds),
        "data": {"fingerprint": data.fingerprint, **_sizes(data)},
        "versions": _versions(),
    }
    return _written(folder, result)


def _measured(config: Config, results: Mapping[str, float]) -> dict[str, Any]:
    of_validation = {key for key in results if ResultKey.parse(key, "result").set_name.startswith("valid")}
    return {
        "valid_metric": config["valid_metric"],
        "valid": {key: value for key, value in results.items() if key in of_validation},
        "test": {key: value for key, value in results.items() if key not in of_validation},
    }


def _rounded(seconds: Mapping[str, float]) -> dict[str, float]:
    return {name: round(value, 3) for name, value in seconds.items()}


def _written(folder: str | Path, result: dict[str, Any]) -> dict[str, Any]:
    path = Path(folder) / RESULT
    write_json(path, result)
    logging.getLogger().info("finished: %s", path)
    return result


def _sizes(data: Data) -> dict[str, Any]:
    """Numbers of users, of items, and of interactions in each set."""
    sizes = {"train": len(data.evaluation.train), **{name: len(part) for name, part in data.evaluation.sets.items()}}
    return {"users": data.dataset.user_num - 1, "items": data.dataset.item_num - 1, "interactions": sizes}


def _versions() -> dict[str, str]:
    """Versions and numbers that a result depends on, to the last bit."""
    return {
        "recbole-popdcl": recbole_popdcl.__version__,
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in PACKAGES},
        "threads": str(torch.get_num_threads()),
        "processes": str(distributed.size()),
    }


def read_result(folder: str | Path) -> dict[str, Any]:
    """Read and check result.json of a run or a search.

    Args:
        folder: of the run or of the search.

    Returns:
        What ``write_result`` has written.

    Raises:
        PopDCLError: the file is missing, or is not of that form; says what is wrong.
    """
    path = Path(folder) / RESULT
    result = read_json(path)
    if not isinstance(result, dict) or not all(isinstance(result.get(part), dict) for part in ("valid", "test")):
        raise PopDCLError(f"{path} is not the result of a run")
    for name, value in all_results(result).items():
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) < 2**63:
            raise PopDCLError(f"{path}: '{name}' is {shown(value)}, not a number")
    for name, kind in (("model", str), ("dataset", str), ("seed", int)):
        if not isinstance(result.get(name), kind):
            raise PopDCLError(f"{path}: '{name}' is {shown(result.get(name))}")
    _objective(result)
    try:
        _check_data(result["data"])
    except (KeyError, TypeError, AttributeError) as error:
        raise PopDCLError(f"{path} does not say what data the run had: {error}") from error
    return result


def _check_data(data: Mapping[str, Any]) -> None:
    sizes = [data["users"], data["items"], *data["interactions"].values()]
    if not all(isinstance(size, int) and 0 <= size < 2**53 for size in sizes):
        raise TypeError(f"its sizes are {shown(sizes)}")
    if not isinstance(data["fingerprint"], str):
        raise TypeError("its fingerprint is not a text")


def all_results(result: Mapping[str, Any]) -> dict[str, float]:
    """Return the flat results of the validation and the test sets, {result key: value}."""
    return {**result["valid"], **result["test"]}


def _objective(result: Mapping[str, Any]) -> Objective:
    text = result.get("valid_metric")
    if not isinstance(text, str):
        raise PopDCLError(f"{RESULT}: valid_metric must be a result key, not {shown(text)}")
    return Objective.parse(text, f"{RESULT}: valid_metric")


def valid_score(result: Mapping[str, Any]) -> float:
    """Return what the best epoch reached in the property ``valid_metric``.

    Raises:
        PopDCLError: the result lacks it, as that of a run without a validation set does.
    """
    try:
        return _objective(result).value(all_results(result))
    except KeyError as error:
        raise PopDCLError(f"a run of {result.get('model')} has no result {error}") from error
