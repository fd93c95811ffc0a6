"""Vectors of a finished run's users and items, by whose inner products any index gives the run's lists."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from recbole_popdcl.errors import PopDCLError
from recbole_popdcl.evaluation.ranking import score_all_items
from recbole_popdcl.experiment.finished import OF_MEASURING, FinishedRun, load_run
from recbole_popdcl.experiment.raw_ids import ITEM, USER, RawIds
from recbole_popdcl.model.base import EncoderRecommender
from recbole_popdcl.storage.files import written_whole

CHECKED_USERS = 64
TOLERANCE = 1e-4  # of a score, relative to the largest; float32 rounds to about 1e-7 in each of some dimensions

Vectors = dict[str, tuple[np.ndarray, np.ndarray]]  # {USER or ITEM: raw ids, texts [n], and vectors, float32 [n, d]}


def export(
    run_dir: str | Path,
    output: str | Path,
    *,
    arguments: Sequence[str] = (),
    model: str | type | None = None,
) -> list[Path]:
    """Write the vectors of all users and items with their raw ids.

    The inner product of a user's and an item's vector ranks items as ``recommend`` does: the score normalisation is in
    the items' vectors, what else a model does to scores in both. Only the candidates of the ranking are there. An index
    knows nothing of hidden items: leave the user's training items out of what it finds.

    Args:
        run_dir: the run's folder.
        output: by its suffix. ``.parquet``: columns kind (user or item), id, vector. ``.npy``: ``<name>.users.npy`` and
            ``<name>.items.npy``, float32 [n, d]. ``.safetensors``: tensors ``users`` and ``items``. Beside the last two
            ``<name>.users.txt`` and ``<name>.items.txt`` hold the raw ids, a line a vector.
        arguments: as load_run.
        model: as load_run.

    Returns:
        The files.

    Raises:
        PopDCLError: as load_run; an output of another kind, or a model whose score is no inner product.
    """
    output = Path(output)
    suffix = output.suffix.lower()
    if suffix not in WRITERS:
        raise PopDCLError(f"--output {output}: the file must end in {', '.join(WRITERS)}")
    if suffix == ".safetensors":
        _safetensors()
    run = load_run(run_dir, arguments, model=model, without_effect=(*OF_MEASURING, "eval_mask"))
    files = WRITERS[suffix](output, folded_vectors(run))
    log = logging.getLogger()
    log.info("vectors written to %s", ", ".join(map(str, files)))
    return files


def folded_vectors(run: FinishedRun) -> Vectors:
    """Return raw ids and vectors of all users, and of the items that are ranked.

    Raises:
        PopDCLError: no inner product ranks as the model does.
    """
    name = run.config["model"]
    if not isinstance(run.model, EncoderRecommender):
        raise PopDCLError(f"the vectors of {name} cannot be exported: it ranks in a way of its own, as RecBole has it")
    with torch.no_grad():
        try:
            users, items = run.model.inner_product_tables()
        except PopDCLError as error:
            raise PopDCLError(f"the vectors of {name} cannot be exported: {error}") from error
        _check_order(run, users, items)
    ids, candidates = RawIds(run.data.dataset), np.flatnonzero(run.data.evaluation.candidates)
    user_vectors, item_vectors = (np.ascontiguousarray(part.detach().float().cpu().numpy()) for part in (users, items))
    return {USER: (ids.users[1:], user_vectors[1:]), ITEM: (ids.items[candidates], item_vectors[candidates])}


def _check_order(run: FinishedRun, users: torch.Tensor, items: torch.Tensor) -> None:
    """Check for some users that the items by descending inner product have the model's scores in descending order.

    Raises:
        PopDCLError: they have not, as where a class of the user's own scores in another way.
    """
    some = torch.linspace(1, len(users) - 1, min(CHECKED_USERS, len(users) - 1)).long().to(users.device)
    scores = score_all_items(run.model, some, n_items=len(items))[:, 1:]
    order = (users[some] @ items[1:].T).argsort(dim=1, descending=True)
    ranked = scores.gather(1, order)
    best = scores.sort(dim=1, descending=True).values
    if not ((ranked - best).abs() <= TOLERANCE * scores.abs().amax().clamp(min=1e-30)).all():
        raise PopDCLError(
            f"the vectors of {run.config['model']} cannot be exported: its scores do not rank as their inner products"
        )


# -- files ---------------------------------------------------------------------------------------------------------


def _write_npy(output: Path, vectors: Vectors) -> list[Path]:
    tables = {_beside(output, kind, ".npy"): vectors[kind][1] for kind in vectors}
    with contextlib.ExitStack() as stack:  # all is written before the first file is in its place
        for path, table in tables.items():
            with open(stack.enter_context(written_whole(path, make_folder=True)), "wb") as file:
                np.save(file, table)
        return [*tables, *_write_ids(output, vectors, stack)]


def _write_safetensors(output: Path, vectors: Vectors) -> list[Path]:
    save = _safetensors()
    with contextlib.ExitStack() as stack:
        temporary = stack.enter_context(written_whole(output, make_folder=True))
        save({f"{kind}s": table for kind, (_, table) in vectors.items()}, str(temporary))
        return [output, *_write_ids(output, vectors, stack)]


def _safetensors() -> Callable[..., None]:
    try:
        from safetensors.numpy import save_file
    except ImportError as error:
        raise PopDCLError("a .safetensors file needs safetensors: pip install 'recbole-popdcl[export]'") from error
    return save_file


def _write_ids(output: Path, vectors: Vectors, stack: contextlib.ExitStack) -> list[Path]:
    paths = []
    for kind, (ids, _) in vectors.items():
        paths.append(_beside(output, kind, ".txt"))
        temporary = stack.enter_context(written_whole(paths[-1], make_folder=True))
        temporary.write_bytes("".join(f"{token}\n" for token in ids).encode("utf-8", "surrogatepass"))
    return paths


def _beside(output: Path, kind: str, suffix: str) -> Path:
    return output.with_suffix(f".{kind}s{suffix}")


def _write_parquet(output: Path, vectors: Vectors) -> list[Path]:
    parts = []
    for kind, (ids, table) in vectors.items():
        columns = {
            "kind": pa.repeat(pa.scalar(kind), len(ids)),
            "id": pa.array(ids, pa.string()),
            "vector": pa.FixedSizeListArray.from_arrays(pa.array(table.ravel()), table.shape[1]),
        }
        parts.append(pa.table(columns))
    with written_whole(output, make_folder=True) as temporary:
        pq.write_table(pa.concat_tables(parts), temporary)
    return [output]


WRITERS = {".npy": _write_npy, ".safetensors": _write_safetensors, ".parquet": _write_parquet}
