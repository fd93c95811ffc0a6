"""Search spaces: a property to a list of values, or to a distribution by name with its bounds."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from recbole_popdcl.config.config import Config
from recbole_popdcl.config.properties import IN_SEARCH, check_value, declared, stage_of, table, why_no_effect
from recbole_popdcl.config.reading import properties_folder, read_yaml
from recbole_popdcl.errors import PopDCLError, nearest

# Distribution -> the bounds it takes; the names are Ray Tune's.
DISTRIBUTIONS = {
    "uniform": ("low", "high"),
    "loguniform": ("low", "high"),
    "quniform": ("low", "high", "q"),
    "randint": ("low", "high"),
    "qrandint": ("low", "high", "q"),
}


def read_space(config: Config, path: str | Path | None) -> tuple[dict[str, Any], str]:
    """Read and check the search space of a model.

    Args:
        config: the configuration that the trials share.
        path: yaml file; by default that of the model in ``properties/tune/``, or of a class that it derives from.

    Returns:
        {property: list of values or mapping with ``distribution`` and its bounds}, and where it came from.

    Raises:
        PopDCLError: no file, no property of the model, a property that the trials share, or values out of its range.
    """
    model = config["model"]
    if path is None:
        path = _packaged_space(config)
        if path is None:
            raise PopDCLError(f"there is no search space for {model} in the package: write one and name it by --space")
    space = read_yaml(Path(path))
    if not space:
        raise PopDCLError(f"search space {path} is empty: it holds lines 'property: [values]'")
    for name, values in space.items():
        _check(config, name, values, f"search space {path}")
        reason = (
            why_no_effect(table()[name], config.model_class, values=config.final_config_dict) if name in table() else ""
        )
        if reason and "encoder" not in space:
            raise PopDCLError(f"search space {path}: property '{name}' has no effect here: {reason}")
    return space, str(path)


def _packaged_space(config: Config) -> Path | None:
    """The file of the model, else of the nearest class that it derives from."""
    files = (properties_folder() / "tune" / f"{owner.__name__}.yaml" for owner in config.model_class.__mro__)
    return next((file for file in files if file.is_file()), None)


def _check(config: Config, name: str, values: Any, where: str) -> None:
    own = {entry.name: entry for entry in declared(config.model_class)}  # of a class of the user's, not in the table
    if stage_of(name, config.model_class) not in IN_SEARCH:
        raise PopDCLError(f"{where}: property '{name}' is the same for all trials and cannot be searched")
    if name not in config.final_config_dict and name not in own:
        raise PopDCLError(
            f"{where}: {config['model']} has no property '{name}'{nearest(name, config.final_config_dict)}"
        )
    if isinstance(values, list) and values:
        candidates = values
    elif isinstance(values, Mapping) and values.get("distribution") in DISTRIBUTIONS:
        candidates = _bounds(name, values, where)
    else:
        raise PopDCLError(
            f"{where}: property '{name}' must be a list of values, or a mapping such as "
            "{distribution: uniform, low: 0.1, high: 0.3} with one of " + ", ".join(DISTRIBUTIONS)
        )
    for candidate in candidates:
        check_value(own.get(name) or table().get(name), candidate, where=where)


def _bounds(name: str, values: Mapping[str, Any], where: str) -> list[Any]:
    kind = values["distribution"]
    wanted = DISTRIBUTIONS[kind]
    numbers: list[Any] = [values.get(bound) for bound in wanted]
    real = all(isinstance(number, (int, float)) and not isinstance(number, bool) for number in numbers)
    if set(values) != {"distribution", *wanted} or not real:
        raise PopDCLError(f"{where}: property '{name}': {kind} takes the numbers {', '.join(wanted)} and nothing else")
    low, high = numbers[:2]
    if low >= high or (kind == "loguniform" and low <= 0):
        above = ", and low above 0" if kind == "loguniform" else ""
        raise PopDCLError(f"{where}: property '{name}': low must be below high{above}, not {low} and {high}")
    return [low, high - 1 if kind == "randint" else high]


def size_of(space: Mapping[str, Any]) -> int | None:
    """Return the number of points of a grid, None where a property has a distribution."""
    total = 1
    for values in space.values():
        if not isinstance(values, list):
            return None
        total *= len(values)
    return total
