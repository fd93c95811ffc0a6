"""Checkpoints of tensors and plain values: written whole, loaded with weights_only=True."""

from __future__ import annotations

import io
import math
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from recbole.model.abstract_recommender import AbstractRecommender

from recbole_popdcl.errors import PopDCLError, reason, shown
from recbole_popdcl.storage.archive import check_archive
from recbole_popdcl.storage.files import written_whole

FORMAT = 1
KIND = "__kind__"  # marks a dict that stands for an array or a sparse matrix
SPARSE = ("csr", "csc", "coo", "lil", "dok")
LARGEST = 1 << 28  # rows and columns of a sparse matrix: a few bytes in the file ask for so many in memory
# What each optimiser keeps of a parameter, as the properties here set it up.
MOMENTS = {
    "Adam": {"step", "exp_avg", "exp_avg_sq"},
    "AdamW": {"step", "exp_avg", "exp_avg_sq"},
    "Adagrad": {"step", "sum"},
    "RMSprop": {"step", "square_avg"},
    "SGD": set(),
}
RESUMED: dict[str, Any] = {
    "config": dict, "fingerprint": str, "epoch": int, "seconds": float, "weights": dict, "optimizer": dict,
    "cur_step": int, "best_epoch": int, "best_valid_score": float, "best_valid_result": (dict, type(None)),
    "train_loss": list, "random": dict, "batches": dict,
}  # fmt: skip


def save_checkpoint(path: str | Path, state: dict[str, Any]) -> None:
    """Write ``state`` to ``path``, whole or not at all.

    Args:
        path: the file.
        state: nested dicts, lists and tuples of tensors, numpy arrays, scipy sparse matrices and plain values.

    Raises:
        PopDCLError: the file cannot be written.
        TypeError: a value of another type, which would need pickle.
    """
    plain = _encode(state, "checkpoint")
    content = io.BytesIO()  # torch would abort if Ctrl-C came while it writes into a file of Python's
    torch.save({"format": FORMAT, "state": plain}, content)
    with written_whole(path) as temporary:
        temporary.write_bytes(content.getbuffer())


def load_checkpoint(path: str | Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """Read a checkpoint; nothing in the file is executed.

    Raises:
        PopDCLError: the file is missing, damaged, of another format, or holds objects.
    """
    try:
        check_archive(path)
        content = torch.load(path, map_location=device, weights_only=True)
        known = isinstance(content, dict) and content.get("format") == FORMAT
        state = _decode(content.get("state")) if known else None
    except FileNotFoundError as error:
        raise PopDCLError(f"no checkpoint {path}") from error
    except pickle.UnpicklingError as error:
        raise PopDCLError(f"checkpoint {path} is damaged or holds more than tensors and plain values") from error
    except RecursionError as error:
        raise PopDCLError(f"checkpoint {path} is damaged: it is nested too deeply") from error
    except Exception as error:  # whatever torch makes of damaged bytes
        raise PopDCLError(f"checkpoint {path} is damaged: {reason(error)[:120]}") from error
    if not known:
        raise PopDCLError(f"{path} is not a checkpoint of recbole-popdcl (format {FORMAT})")
    if not isinstance(state, dict):
        raise PopDCLError(f"checkpoint {path} is damaged: it holds no state")
    return state


def _encode(value: Any, where: str) -> Any:
    if isinstance(value, np.generic):  # before float, which np.float64 is too
        return value.item()
    if isinstance(value, torch.Tensor):
        return value.detach().cpu()
    if isinstance(value, (str, int, float, type(None))):
        return value
    if isinstance(value, dict):
        return {key: _encode(part, f"{where}[{key!r}]") for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_encode(part, f"{where}[{place}]") for place, part in enumerate(value))
    if isinstance(value, np.ndarray) and (value.dtype.kind in "bif" or value.dtype == np.uint8):
        kind = "matrix" if isinstance(value, np.matrix) else "array"
        return {KIND: kind, "values": torch.from_numpy(np.ascontiguousarray(value))}
    if sp.issparse(value):
        csr = value.tocsr()
        parts = {name: torch.from_numpy(getattr(csr, name)) for name in ("data", "indices", "indptr")}
        return {KIND: "sparse", "format": value.format, "shape": list(csr.shape), **parts}
    raise TypeError(f"{where} is a {type(value).__name__}, which a checkpoint does not hold")


def _decode(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        if value.numel() * value.element_size() > value.untyped_storage().nbytes():
            raise ValueError("a tensor in it is longer than its bytes")
        return value
    if isinstance(value, dict) and KIND in value:
        if value[KIND] == "sparse":
            return _sparse(value)
        array = _decode(value["values"]).numpy()
        return np.asmatrix(array) if value[KIND] == "matrix" else array
    if isinstance(value, dict):
        return {key: _decode(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_decode(part) for part in value)
    return value


def _sparse(value: dict[str, Any]) -> sp.spmatrix:
    parts = tuple(_decode(value[name]).numpy() for name in ("data", "indices", "indptr"))
    if value["format"] not in SPARSE or not 0 <= min(value["shape"]) <= max(value["shape"]) < LARGEST:
        raise ValueError("a sparse matrix in it has another format or size than models have")
    matrix = sp.csr_matrix(parts, shape=tuple(value["shape"]))
    matrix.check_format(full_check=True)  # indices out of range are read by scipy's routines as they are
    return matrix.asformat(value["format"])


# -- going on from a checkpoint: what torch, numpy and RecBole take from it without looking -------------------


def load_model(model: AbstractRecommender, state: dict[str, Any]) -> None:
    """Load the weights and, where the checkpoint has them, the other parameters of a model.

    RecBole sets attributes by the names in the file; here only those that the model itself keeps are set.

    Args:
        model: a RecBole model.
        state: ``weights``, and maybe ``other_parameter`` and ``chosen``, what was chosen of properties that are auto.

    Raises:
        ValueError, TypeError, KeyError, AttributeError, RuntimeError: they do not fit the model.
    """
    model.load_state_dict(state["weights"])
    other, own = state.get("other_parameter") or {}, model.other_parameter()
    if other and set(other) != set(own):
        raise ValueError(f"its other parameters are {shown(list(other))}, those of the model {shown(list(own))}")
    for name, value in other.items():
        if own[name] is not None and (type(value), _shape(value)) != (type(own[name]), _shape(own[name])):
            raise ValueError(f"'{name}' is not of the model's type and shape")
    model.load_other_parameter(other)
    for name in getattr(model, "chosen", dict)():
        value = (state.get("chosen") or {}).get(name)
        if not isinstance(value, float) or not math.isfinite(value):
            raise ValueError(f"property '{name}' is auto, but it holds {shown(value)} for it")
        setattr(model, name, value)


def _shape(value: Any) -> tuple[int, ...]:
    return tuple(getattr(value, "shape", ()))


def load_optimizer(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Load the moments of an optimiser; its groups (rates and the like) stay those of the configuration.

    torch takes state tensors of any shape, and its fused kernels read and write them as far as the parameter reaches.

    Args:
        optimizer: a new one for the same parameters.
        state: what its ``state_dict`` was.

    Raises:
        ValueError, TypeError, KeyError, AttributeError: they do not fit the parameters.
    """
    names = MOMENTS[type(optimizer).__name__]
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for place, moments in state["state"].items():
        parameter = parameters[place] if place in range(len(parameters)) else None
        if parameter is None or {name for name, value in moments.items() if value is not None} != names:
            raise ValueError(f"the optimiser's state {shown(place)} is of another optimiser")
        for name in names:
            value = moments[name]
            if not isinstance(value, torch.Tensor) or value.shape != (() if name == "step" else parameter.shape):
                raise ValueError(f"the optimiser's '{name}' is not of its parameter's shape")
            if not value.dtype.is_floating_point:
                raise ValueError(f"the optimiser's '{name}' holds no floating-point numbers")
    optimizer.load_state_dict({"state": state["state"], "param_groups": optimizer.state_dict()["param_groups"]})


def check_resumable(state: dict[str, Any]) -> None:
    """Check the types of what a run goes on from; numpy, for one, takes a position beyond its array.

    Raises:
        ValueError, TypeError, KeyError: a value is missing or of another type; says which.
    """
    for name, kind in RESUMED.items():
        if not isinstance(state[name], kind) or (kind is int and isinstance(state[name], bool)):
            raise ValueError(f"'{name}' is {shown(state[name])}")
    result = state["best_valid_result"] or {}
    if not all(isinstance(key, str) and isinstance(value, (int, float)) for key, value in result.items()):
        raise ValueError("'best_valid_result' holds other things than numbers")
    if not all(isinstance(epoch, int) and isinstance(loss, (int, float)) for epoch, loss in state["train_loss"]):
        raise ValueError("'train_loss' holds other things than epochs and numbers")
    _, words, _ = state["random"]["python"]
    _, keys, position, *_ = state["random"]["numpy"]
    if len(words) != 625 or not all(isinstance(word, int) and 0 <= word < 2**32 for word in words):
        raise ValueError("the state of Python's random numbers is damaged")
    if keys.shape != (624,) or keys.dtype.kind != "i" or not 0 <= position <= 624:
        raise ValueError("the state of numpy's random numbers is damaged")
