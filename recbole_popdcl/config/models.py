"""From the name given by ``--model`` to a model class: ours first, then RecBole's own models."""

from __future__ import annotations

import functools
import importlib
import math
from pathlib import Path

import recbole
from recbole.model.abstract_recommender import GeneralRecommender
from recbole.utils import get_model

from recbole_popdcl.compat import repaired
from recbole_popdcl.config.registry import classes_in
from recbole_popdcl.errors import PopDCLError, nearest

# Kinds of models in RecBole; those that need sequences, features or a knowledge graph cannot be ranked here.
KINDS = ("general", "context_aware", "sequential", "knowledge_aware")
# General models of RecBole that cannot run here, and why.
UNSUPPORTED = {
    "RaCT": "is trained in three runs of RecBole, of which each reads the checkpoint of the one before",
    "AsymKNN": "needs RecBole 1.2.1, which is not supported because it requires ray 2.6.3 or older",
}
# General models of RecBole that need a package which this one does not bring; {model: module}.
NEEDED_PACKAGES = {"NCL": "faiss"}


@functools.cache
def own_models() -> dict[str, type]:
    """Return our models by name: those of the paper's tables in their order there, then by the alphabet.

    A model is a class in ``recbole_popdcl/model/`` with a loss of its own; ``paper_row`` is its row in those tables.
    """
    models = [owner for owner in classes_in("recbole_popdcl.model") if issubclass(owner, GeneralRecommender)]
    found = [owner for owner in models if any("calculate_loss" in vars(base) for base in _bases(owner))]
    return {owner.__name__: owner for owner in sorted(found, key=_place)}


def _bases(model: type) -> list[type]:
    return [base for base in model.__mro__ if base.__module__.startswith("recbole_popdcl.")]


def _place(owner: type) -> tuple[float, str]:
    row = getattr(owner, "paper_row", None)
    return (math.inf if row is None else row, owner.__name__.lower())


def is_packaged(model: type) -> bool:
    """Return whether a class is what its name gives, ours or RecBole's; no class of the user's own is."""
    return find_model(model.__name__, missing_ok=True) is model


def is_own(model: type) -> bool:
    """Return whether a class is one of ours, or derives from one."""
    return any(base.__module__.startswith("recbole_popdcl.model.") for base in model.__mro__)


def model_names() -> list[str]:
    """Return the names of our models, in the order of ``own_models``."""
    return list(own_models())


def find_model(name: str, *, missing_ok: bool = False) -> type | None:
    """Return the model class of a name, in any letter case; RecBole's own come repaired (recbole_popdcl/compat.py).

    Raises:
        PopDCLError: no such model (None instead with ``missing_ok``), or a RecBole model that cannot be ranked here.

    Examples:
        >>> find_model("popdcl").__name__
        'PopDCL'
    """
    by_lower = {ours.lower(): owner for ours, owner in own_models().items()}
    if name.lower() in by_lower:
        return by_lower[name.lower()]
    kind = _stock_kinds().get(name.lower())
    if kind is None and missing_ok:
        return None
    general = {stock.lower(): stock for stock in (*UNSUPPORTED, *general_models())}
    stock = general.get(name.lower(), name)
    if stock in UNSUPPORTED:
        raise PopDCLError(f"model '{stock}' is not supported: it {UNSUPPORTED[stock]}")
    if kind is None:
        raise PopDCLError(f"unknown model {name!r}{nearest(name, [*own_models(), *general.values()])}")
    if kind != "general":
        raise PopDCLError(f"model {name!r} is a {kind.split('_')[0]} model; only general models rank here")
    return repaired(get_model(stock))


def _stock_kinds() -> dict[str, str]:
    """Map lower-case names of RecBole's models to their kind, by file name: importing the sequential ones would turn
    on torch's anomaly detection, which slows every model down."""
    folder = Path(recbole.__file__).parent / "model"
    return {
        file.stem.lower(): kind for kind in KINDS for file in (folder / f"{kind}_recommender").glob("[a-z]*.py")
    }  # fmt: skip


def general_models() -> list[str]:
    """Return the names of RecBole's general models."""
    package = importlib.import_module("recbole.model.general_recommender")
    return [name for name, value in vars(package).items() if isinstance(value, type)]
