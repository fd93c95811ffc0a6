"""Checkpoints of tensors and plain values: written whole, loaded with weights_only=True."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch

from recbole_popdcl.errors import PopDCLError, reason
from recbole_popdcl.files import written_whole

FORMAT = 1
KIND = "__kind__"  # marks a dict that stands for an array or a sparse matrix


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
    with written_whole(path) as temporary:
        try:
            with open(temporary, "wb") as file:
                torch.save({"format": FORMAT, "state": plain}, file)
        except RuntimeError as error:  # what torch makes of a full disk, and of Ctrl-C
            if isinstance(error.__context__, KeyboardInterrupt):
                raise KeyboardInterrupt from None
            raise PopDCLError(f"cannot write {path}: {reason(error)}") from error


def load_checkpoint(path: str | Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """Read a checkpoint; nothing in the file is executed.

    Raises:
        PopDCLError: the file is missing, damaged, of another format, or holds objects.
    """
    try:
        content = torch.load(path, map_location=device, weights_only=True)
    except FileNotFoundError as error:
        raise PopDCLError(f"no checkpoint {path}") from error
    except pickle.UnpicklingError as error:
        raise PopDCLError(f"checkpoint {path} is damaged or holds more than tensors and plain values") from error
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:120]
        raise PopDCLError(f"checkpoint {path} is damaged: {reason}") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT or "state" not in content:
        raise PopDCLError(f"{path} is not a checkpoint of recbole-popdcl (format {FORMAT})")
    state = _decode(content["state"])
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
    if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
        kind = "matrix" if isinstance(value, np.matrix) else "array"
        return {KIND: kind, "values": torch.from_numpy(np.ascontiguousarray(value))}
    if sp.issparse(value):
        csr = value.tocsr()
        parts = {name: torch.from_numpy(getattr(csr, name)) for name in ("data", "indices", "indptr")}
        return {KIND: "sparse", "format": value.format, "shape": list(csr.shape), **parts}
    raise TypeError(f"{where} is a {type(value).__name__}, which a checkpoint does not hold")


def _decode(value: Any) -> Any:
    if isinstance(value, dict) and KIND in value:
        if value[KIND] == "sparse":
            parts = tuple(value[name].numpy() for name in ("data", "indices", "indptr"))
            return sp.csr_matrix(parts, shape=tuple(value["shape"])).asformat(value["format"])
        array = value["values"].numpy()
        return np.asmatrix(array) if value[KIND] == "matrix" else array
    if isinstance(value, dict):
        return {key: _decode(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_decode(part) for part in value)
    return value
