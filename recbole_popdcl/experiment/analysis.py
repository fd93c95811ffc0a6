"""Analyses of a finished run's weights for reports: frontier, popularity of the lists, PopDCL's margins.

Each is a small CSV file in the run's folder, made once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from recbole_popdcl.config.models import model_names, typed_model
from recbole_popdcl.config.reading import read_yaml
from recbole_popdcl.errors import PopDCLError, reason
from recbole_popdcl.experiment.finished import FinishedRun, load_run
from recbole_popdcl.experiment.folder import LISTS, RunFolder
from recbole_popdcl.model.base import EncoderRecommender
from recbole_popdcl.storage.files import written_whole
from recbole_popdcl.storage.layout import FRONTIER, MARGINS, POPULARITY

EXPONENTS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25)
LIST_LENGTH = 20
USER_BINS = 20
SAMPLED_PAIRS = 1000  # as the paper's Figure 5


def frontier(run: FinishedRun, exponents: Sequence[float] = EXPONENTS) -> pd.DataFrame:
    """Rank a run of a model of this package again at each score normalisation exponent, without training.

    Returns:
        A row an exponent: ``exponent`` and every result of the test sets.
    """
    tests = [name for name in run.data.evaluation.sets if not name.startswith("valid")]
    before, rows = run.model.score_norm_exponent, []
    for exponent in exponents:
        run.model.score_norm_exponent = exponent
        rows.append({"exponent": exponent, **run.ranker.rank(run.model, tests, show_progress=run.show_progress)})
    run.model.score_norm_exponent = before
    return pd.DataFrame(rows)


def list_popularity(run: FinishedRun) -> pd.DataFrame:
    """Compare the popularity of what users are recommended with that of what they consumed.

    Users with training items are put into USER_BINS bins of equal size by the mean popularity of those items.

    Returns:
        A row a bin: ``users``, ``consumed`` and ``recommended``, the mean training degree of their training items and
        of the LIST_LENGTH items that they are recommended.
    """
    train = run.data.evaluation.train
    popularity = train.item_counts.astype(np.float64)
    degree = train.user_counts
    users = np.flatnonzero(degree)
    consumed = np.bincount(train.users, weights=popularity[train.items], minlength=train.n_users)[users] / degree[users]
    chosen = torch.from_numpy(users)
    lists = run.ranker.recommend(run.model, chosen, k=LIST_LENGTH, show_progress=run.show_progress)
    items = np.concatenate([items.cpu().numpy() for _, items, _ in lists])
    recommended = popularity[items].sum(axis=1) / np.maximum((items > 0).sum(axis=1), 1)
    order = np.argsort(consumed, kind="stable")
    bins = np.empty(len(users), dtype=np.int64)
    bins[order] = np.arange(len(users)) * min(USER_BINS, len(users)) // len(users)
    frame = pd.DataFrame({"bin": bins, "consumed": consumed, "recommended": recommended})
    return frame.groupby("bin").agg(
        users=("bin", "size"), consumed=("consumed", "mean"), recommended=("recommended", "mean")
    )


def sampled_margins(run: FinishedRun) -> pd.DataFrame:
    """Return PopDCL's margins of random pairs, as the paper's Figure 5 shows them.

    SAMPLED_PAIRS random training pairs are a batch; M+ is of each, M- of its user with the item of the next pair.

    Returns:
        Columns ``margin`` (``M+`` or ``M-``), ``user_popularity``, ``item_popularity`` (training degrees),
        ``value``.
    """
    model = run.model
    n = len(model.train_users)
    chosen = np.random.default_rng(run.config["seed"]).permutation(n)[:SAMPLED_PAIRS]
    users, items = model.train_users[chosen], model.train_items[chosen]
    device = run.config["device"]
    positive, negative = model.margins(torch.from_numpy(users).to(device), torch.from_numpy(items).to(device))
    place = np.arange(len(chosen))
    following = np.roll(place, -1)
    user_popularity = model.train_pairs.user_popularity[users]
    item_popularity = model.item_popularity()[items]
    parts = [
        ("M+", item_popularity, positive.cpu().numpy()),
        ("M-", item_popularity[following], negative.cpu().numpy()[place, following]),
    ]
    return pd.concat(
        pd.DataFrame({"margin": name, "user_popularity": user_popularity, "item_popularity": of_item, "value": value})
        for name, of_item, value in parts
    )


ANALYSES: dict[str, Callable[[FinishedRun], pd.DataFrame]] = {
    FRONTIER: frontier,
    POPULARITY: list_popularity,
    MARGINS: sampled_margins,
}

REQUIRED = {
    FRONTIER: {"exponent"},
    POPULARITY: {"users", "consumed", "recommended"},
    MARGINS: {"margin", "user_popularity", "item_popularity", "value"},
}


def analyse(run_dir: str | Path, names: Sequence[str] = tuple(ANALYSES), *, model: str | type | None = None) -> None:
    """Write the named files of ANALYSES into a finished run's folder, those that are missing and apply to its model.

    Args:
        run_dir: the run's folder.
        names: of files.
        model: as load_run.

    Raises:
        PopDCLError: as load_run.
    """
    missing = missing_analyses(run_dir, names, model=model)
    if not missing:
        return
    run = load_run(run_dir, model=model)
    for name in missing:
        with written_whole(RunFolder(run_dir).analysis(name)) as temporary:
            ANALYSES[name](run).to_csv(temporary, index=False)


def missing_analyses(
    run_dir: str | Path, names: Sequence[str] = tuple(ANALYSES), *, model: str | type | None = None
) -> list[str]:
    """Return the ``names`` that apply to the model of a run and are not in its folder yet; arguments as ``analyse``."""
    folder = RunFolder(run_dir)
    properties = read_yaml(folder.config) if folder.begun else {}
    if LISTS in properties:  # judged lists, which have no weights
        return []
    with_margins = properties.get("positive_margin") or properties.get("negative_margin", "none") != "none"
    name = None if "model_class" in properties else properties.get("model")
    applies = {
        FRONTIER: name in model_names() or (model is not None and issubclass(typed_model(model), EncoderRecommender)),
        MARGINS: name == "PopDCL" and with_margins,
    }
    return [name for name in names if applies.get(name, True) and not folder.analysis(name).exists()]


def read_analysis(run_dir: str | Path, name: str) -> pd.DataFrame | None:
    """Return what ``analyse`` wrote, or None if it does not exist.

    Raises:
        PopDCLError: the file cannot be read, or lacks columns or rows.
    """
    path = RunFolder(run_dir).analysis(name)
    try:
        frame = pd.read_csv(path)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise PopDCLError(f"cannot read {path}: {reason(error)}") from error
    missing = REQUIRED[name] - set(frame.columns)
    if missing or frame.empty:
        lacks = f"the column {min(missing)}" if missing else "rows"
        raise PopDCLError(f"{path} lacks {lacks}; delete it, and it is made again")
    return frame
