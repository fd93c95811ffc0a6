"""From the name given by ``--model`` to a model class: our table first, then RecBole's own models."""

from __future__ import annotations

import importlib
import pkgutil

from recbole.utils import ModelType, get_model

from recbole_popdcl.errors import PopDCLError, nearest

MODELS = {
    "LightGCN": "recbole_popdcl.model.lightgcn",
    "SSM": "recbole_popdcl.model.ssm",
    "PopDCL": "recbole_popdcl.model.popdcl",
}
# Models that rank from user and item ids alone; the others of RecBole need sequences, features or a knowledge graph.
SUPPORTED_TYPES = (ModelType.GENERAL, ModelType.TRADITIONAL)


def model_names() -> list[str]:
    """Return the names of our models."""
    return list(MODELS)


def find_model(name: str, missing_ok: bool = False) -> type | None:
    """Return the model class of a name, in any letter case.

    Raises:
        PopDCLError: no such model (None instead with ``missing_ok``), or a RecBole model that is no general model.
    """
    by_lower = {ours.lower(): ours for ours in MODELS}
    if name.lower() in by_lower:
        ours = by_lower[name.lower()]
        return getattr(importlib.import_module(MODELS[ours]), ours)
    stock = _stock_names()
    if name.lower() not in stock:
        if missing_ok:
            return None
        everything = [*MODELS, *(_class_name(module) for module in stock.values())]
        raise PopDCLError(f"unknown model '{name}'{nearest(name, everything)}")
    model_class = get_model(_class_name(stock[name.lower()]))
    if model_class.type not in SUPPORTED_TYPES:
        raise PopDCLError(f"model '{name}' is a {model_class.type.name.lower()} model; only general models rank here")
    return model_class


def _stock_names() -> dict[str, str]:
    """Map lower-case module names of RecBole's models to their dotted paths."""
    found = {}
    for kind in ("general", "context_aware", "sequential", "knowledge_aware"):
        package = importlib.import_module(f"recbole.model.{kind}_recommender")
        found.update({module.name.lower(): f"{package.__name__}.{module.name}"
                      for module in pkgutil.iter_modules(package.__path__)})  # fmt: skip
    return found


def _class_name(dotted: str) -> str:
    package, _, module = dotted.rpartition(".")
    exported = vars(importlib.import_module(package))
    classes = (name for name, value in exported.items() if isinstance(value, type))
    return next((name for name in classes if name.lower() == module.lower()), module)
