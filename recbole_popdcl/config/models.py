"""From the name given by ``--model`` to a model class: ours first, then RecBole's own models, then classes of the
user's own, which are imported only where their user types them."""

from __future__ import annotations

import functools
import importlib
import math
import re
import sys
from pathlib import Path

import recbole
from recbole.model.abstract_recommender import AbstractRecommender, GeneralRecommender
from recbole.utils import ModelType, get_model

from recbole_popdcl.compat import repaired
from recbole_popdcl.config.registry import classes_in
from recbole_popdcl.errors import PopDCLError, nearest, reason, shown

# Kinds of models in RecBole; those that need sequences, features or a knowledge graph cannot be ranked here.
KINDS = ("general", "context_aware", "sequential", "knowledge_aware")
# General models of RecBole that cannot run here, and why.
UNSUPPORTED = {
    "RaCT": "is trained in three runs of RecBole, of which each reads the checkpoint of the one before",
    "AsymKNN": "needs RecBole 1.2.1, which is not supported because it requires ray 2.6.3 or older",
}
# General models of RecBole that need a package which this one does not bring; {model: module}.
NEEDED_PACKAGES = {"NCL": "faiss"}
# General models of RecBole that are worked out before the first epoch, beside those that it calls traditional.
NOT_TRAINED = ("NCEPLRec",)
PATH = re.compile(r"[^\W\d]\w*(?:\.[^\W\d]\w*)*:[^\W\d]\w*")  # package.module:Class


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


def is_own(model: type) -> bool:
    """Return whether a class is one of ours, or derives from one."""
    return any(base.__module__.startswith("recbole_popdcl.model.") for base in model.__mro__)


def takes_steps(model: type) -> bool:
    """Return whether a model is trained by steps of an optimiser; others are worked out in one pass."""
    return getattr(model, "type", None) != ModelType.TRADITIONAL and model.__name__ not in NOT_TRAINED


def model_names() -> list[str]:
    """Return the names of our models, in the order of ``own_models``."""
    return list(own_models())


def find_model(name: str, *, missing_ok: bool = False) -> type | None:
    """Return the model class of a name, in any letter case; RecBole's own come repaired (recbole_popdcl/compat.py).

    Nothing is imported for a name but models of this package and of RecBole: the name may stand in a file of somebody
    else's. What a user types goes through ``typed_model``.

    Raises:
        PopDCLError: no such model (None instead with ``missing_ok``), a RecBole model that cannot be ranked here, or
            the path of a class.

    Examples:
        >>> find_model("popdcl").__name__
        'PopDCL'
    """
    if ":" in name:
        raise not_imported(name)
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


def typed_model(model: str | type) -> type:
    """Return the model class that a user names: a class, a name, or ``package.module:Class``, which is imported.

    The current folder is among those that the module is looked for in. Never for what stands in a file: importing a
    module runs its code.

    Raises:
        PopDCLError: as find_model; or the module cannot be imported, has no such class, or it is no general model.
    """
    if isinstance(model, str) and ":" not in model:
        return find_model(model)  # type: ignore[return-value]  # it raises where there is none
    owner = _imported(model) if isinstance(model, str) else model
    if not issubclass(owner, AbstractRecommender):
        raise PopDCLError(f"{class_path(owner)} is not a model: it does not derive from RecBole's GeneralRecommender")
    if not issubclass(owner, GeneralRecommender):
        raise PopDCLError(f"{class_path(owner)} is not a general model; only those that derive from RecBole's "
                          "GeneralRecommender rank here")  # fmt: skip
    return repaired(owner)


def _imported(path: str) -> type:
    """The class that ``package.module:Class`` names."""
    if not PATH.fullmatch(path):
        raise PopDCLError(f"model {shown(path)} is not of the form package.module:Class")
    module, _, name = path.partition(":")
    if str(Path.cwd()) not in sys.path:  # a console script does not look there
        sys.path.append(str(Path.cwd()))
    try:
        owner = getattr(importlib.import_module(module), name, None)
    except Exception as error:  # whatever the user's module does when it is imported
        raise PopDCLError(f"model {path}: cannot import {module}: {type(error).__name__}: {reason(error)}") from error
    if not isinstance(owner, type):
        raise PopDCLError(f"model {path}: {module} has no class '{name}'")
    return owner


def class_path(owner: type) -> str:
    """Return ``package.module:Class`` of a class; of one within a function or in a notebook nobody can import it."""
    return f"{owner.__module__}:{owner.__qualname__}"


@functools.cache
def is_packaged(owner: type) -> bool:
    """Whether a class is what its name gives, or of this package: not one of the user's."""
    if owner.__module__.partition(".")[0] == "recbole_popdcl":
        return True
    try:
        return find_model(owner.__name__, missing_ok=True) is owner
    except PopDCLError:  # the name of a RecBole model that cannot be ranked here
        return False


def not_imported(path: str) -> PopDCLError:
    """Return the error for a class of somebody's own that a file names.

    Args:
        path: what the file says, ``package.module:Class`` or anything.
    """
    importable = PATH.fullmatch(path) and not path.startswith("__main__:")
    typed = f"type --model={path}" if importable else "type --model=package.module:Class"
    return PopDCLError(
        f"model {shown(path)} is a class of somebody's own, which no file can have imported; if you trust its code, "
        f"{typed}, or give the class itself as model= in Python"
    )


@functools.cache
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
