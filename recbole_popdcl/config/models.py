"""From the name given by ``--model`` to a model class: our table first, then RecBole's own models."""

from __future__ import annotations

import importlib
from pathlib import Path

import recbole
from recbole.utils import get_model

from recbole_popdcl.compat import repaired
from recbole_popdcl.errors import PopDCLError, nearest

MODELS = {
    # the paper's
    "LightGCN": "recbole_popdcl.model.lightgcn",
    "IPSCN": "recbole_popdcl.model.ips_cn",
    "CausE": "recbole_popdcl.model.cause",
    "SamReg": "recbole_popdcl.model.sam_reg",
    "MACR": "recbole_popdcl.model.macr",
    "BCLoss": "recbole_popdcl.model.bc_loss",
    "SSM": "recbole_popdcl.model.ssm",
    "DCL": "recbole_popdcl.model.dcl",
    "HCL": "recbole_popdcl.model.hcl",
    "PopDCL": "recbole_popdcl.model.popdcl",
    # beyond the paper
    "AdvInfoNCE": "recbole_popdcl.model.adv_infonce",
    "BSL": "recbole_popdcl.model.bsl",
    "CCL": "recbole_popdcl.model.ccl",
    "DICE": "recbole_popdcl.model.dice",
    "DirectAU": "recbole_popdcl.model.direct_au",
    "PD": "recbole_popdcl.model.pd",
    "PDA": "recbole_popdcl.model.pda",
    "PSL": "recbole_popdcl.model.psl",
    "SLatK": "recbole_popdcl.model.sl_at_k",
}
# Kinds of models in RecBole; those that need sequences, features or a knowledge graph cannot be ranked here.
KINDS = ("general", "context_aware", "sequential", "knowledge_aware")
# General models of RecBole that cannot run here, and why.
UNSUPPORTED = {
    "RaCT": "is trained in three runs of RecBole, of which each reads the checkpoint of the one before",
    "AsymKNN": "needs RecBole 1.2.1, which is not supported because it requires ray 2.6.3 or older",
}
# General models of RecBole that need a package which this one does not bring; {model: module}.
NEEDED_PACKAGES = {"NCL": "faiss"}


def model_names() -> list[str]:
    """Return the names of our models."""
    return list(MODELS)


def find_model(name: str, missing_ok: bool = False) -> type | None:
    """Return the model class of a name, in any letter case; RecBole's own come repaired (recbole_popdcl/compat.py).

    Raises:
        PopDCLError: no such model (None instead with ``missing_ok``), or a RecBole model that cannot be ranked here.

    Examples:
        >>> find_model("popdcl").__name__
        'PopDCL'
    """
    by_lower = {ours.lower(): ours for ours in MODELS}
    if name.lower() in by_lower:
        ours = by_lower[name.lower()]
        return getattr(importlib.import_module(MODELS[ours]), ours)
    kind = _stock_kinds().get(name.lower())
    if kind is None and missing_ok:
        return None
    general = {stock.lower(): stock for stock in (*UNSUPPORTED, *general_models())}
    stock = general.get(name.lower(), name)
    if stock in UNSUPPORTED:
        raise PopDCLError(f"model '{stock}' is not supported: it {UNSUPPORTED[stock]}")
    if kind is None:
        raise PopDCLError(f"unknown model {name!r}{nearest(name, [*MODELS, *general.values()])}")
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
