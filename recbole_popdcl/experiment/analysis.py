"""Analyses of a finished run's weights for reports: frontier, popularity of the lists, sampled users, PopDCL's margins.

Each is a small CSV file in the run's folder, made once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from recbole_popdcl.config.models import model_names, typed_model
from recbole_popdcl.config.reading import read_yaml
from recbole_popdcl.data.pairs import Pairs
from recbole_popdcl.data.titles import item_titles
from recbole_popdcl.errors import PopDCLError, reason
from recbole_popdcl.evaluation.keys import SET_KEYS
from recbole_popdcl.experiment.finished import FinishedRun, load_run
from recbole_popdcl.experiment.folder import LISTS, RunFolder
from recbole_popdcl.model.base import EncoderRecommender
from recbole_popdcl.storage.files import written_whole
from recbole_popdcl.storage.layout import FRONTIER, MARGINS, POPULARITY, SAMPLED_USERS

EXPONENTS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25)
LIST_LENGTH = 20
USER_BINS = 20
SAMPLED_PAIRS = 1000  # as the paper's Figure 5
N_SAMPLED_USERS = 20
SHOWN_HISTORY = 50  # items of a user's history, at most
HISTORY, LIST = "history", "list"  # parts of what is kept of a sampled user


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

    Users with training items and a list are put into USER_BINS bins of equal size by the mean popularity of those
    items.

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
    listed = (items > 0).any(axis=1)  # judged lists may be of some users alone
    users, consumed, items = users[listed], consumed[listed], items[listed]
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


def sampled_users(run: FinishedRun) -> pd.DataFrame:
    """Return histories and lists of a few users, the same ones for every model on the same data.

    The sample is of users with training items and with something to find in a test set. It is drawn from their raw ids
    with a seed of its own, as are the SHOWN_HISTORY items of a longer history.

    Returns:
        A row a user, part and item: ``user_id`` and ``item_id`` (raw), ``part`` (HISTORY, most popular first, or LIST,
        the LIST_LENGTH items that the user is recommended, best first), ``place`` in it from 1, ``popularity`` of the
        item (training degree), ``found``, the test sets with the pair as result keys name them, with blanks between,
        ``history``, the number of the user's training items, and ``title`` of the item, "" where none is known.
    """
    sets, dataset = run.data.evaluation, run.data.dataset
    user_ids, item_ids = (dataset.field2id_token[field] for field in (dataset.uid_field, dataset.iid_field))
    tests = {SET_KEYS[name]: pairs for name, pairs in sets.sets.items() if not name.startswith("valid")}
    to_find = np.sum([pairs.user_counts for pairs in tests.values()], axis=0) if tests else sets.train.user_counts
    possible = np.flatnonzero((to_find > 0) & (sets.train.user_counts > 0))
    possible = possible[np.argsort(user_ids[possible])]  # internal ids may stand in another order elsewhere
    titles = item_titles(dataset)
    generator = np.random.default_rng(0)
    users = np.sort(generator.choice(len(possible), min(N_SAMPLED_USERS, len(possible)), replace=False))
    chosen = torch.from_numpy(possible[users])
    recommended = run.ranker.recommend(run.model, chosen, k=LIST_LENGTH)
    lists = np.concatenate(
        [np.empty((0, LIST_LENGTH), dtype=np.int64), *(part.cpu().numpy() for _, part, _ in recommended)]
    )
    frames = []
    for user, best in zip(possible[users], lists):
        items = sets.train.items[sets.train.indptr[user] : sets.train.indptr[user + 1]]
        items = items[np.argsort(item_ids[items])]
        shown = generator.choice(items, min(SHOWN_HISTORY, len(items)), replace=False)
        shown = shown[np.argsort(-sets.train.item_counts[shown], kind="stable")]
        for part, of_part in ((HISTORY, shown), (LIST, best[best > 0])):
            frames.append(
                pd.DataFrame({
                    "user_id": user_ids[user],
                    "part": part,
                    "place": np.arange(1, len(of_part) + 1),
                    "item_id": item_ids[of_part],
                    "popularity": sets.train.item_counts[of_part],
                    "found": _found(int(user), of_part, tests),
                    "history": len(items),
                    "title": "" if titles is None else titles.reindex(item_ids[of_part]).fillna("").to_numpy(),
                })
            )  # fmt: skip
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=sorted(REQUIRED[SAMPLED_USERS]))


def _found(user: int, items: np.ndarray, tests: Mapping[str, Pairs]) -> list[str]:
    """Names of the tests that have a user's pair with each item, with blanks between."""
    pairs = torch.tensor(user), torch.from_numpy(items)
    inside = {name: of_test.contains(*pairs).tolist() for name, of_test in tests.items()}
    return [" ".join(name for name, there in inside.items() if there[place]) for place in range(len(items))]


ANALYSES: dict[str, Callable[[FinishedRun], pd.DataFrame]] = {
    FRONTIER: frontier,
    POPULARITY: list_popularity,
    MARGINS: sampled_margins,
    SAMPLED_USERS: sampled_users,
}

OF_LISTS = (POPULARITY, SAMPLED_USERS)  # what needs no weights

REQUIRED = {
    FRONTIER: {"exponent"},
    POPULARITY: {"users", "consumed", "recommended"},
    MARGINS: {"margin", "user_popularity", "item_popularity", "value"},
    SAMPLED_USERS: {"user_id", "part", "place", "item_id", "popularity", "found", "history"},
}
TEXTS = ("user_id", "item_id", "found", "title")  # 007 and NA among them stay as they are written
AS_WRITTEN = {"dtype": dict.fromkeys(TEXTS, str), "keep_default_na": False}


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
    write_analyses(load_run(run_dir, model=model), RunFolder(run_dir), names=missing)


def write_analyses(run: FinishedRun, folder: RunFolder, *, names: Sequence[str]) -> None:
    """Write the named files of ANALYSES of a run into a folder; none for an analysis that comes out empty."""
    for name in names:
        frame = ANALYSES[name](run)
        if len(frame):
            with written_whole(folder.analysis(name)) as temporary:
                frame.to_csv(temporary, index=False)


def missing_analyses(
    run_dir: str | Path, names: Sequence[str] = tuple(ANALYSES), *, model: str | type | None = None
) -> list[str]:
    """Return the ``names`` that apply to the model of a run and are not in its folder yet; arguments as ``analyse``."""
    folder = RunFolder(run_dir)
    properties = read_yaml(folder.config) if folder.begun else {}
    if LISTS in properties:  # judged lists: judge writes OF_LISTS, and they have no weights for others
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
        frame = pd.read_csv(path, **(AS_WRITTEN if name == SAMPLED_USERS else {}))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise PopDCLError(f"cannot read {path}: {reason(error)}") from error
    missing = REQUIRED[name] - set(frame.columns)
    if missing or frame.empty:
        lacks = f"the column {min(missing)}" if missing else "rows"
        raise PopDCLError(f"{path} lacks {lacks}; delete it, and it is made again")
    return frame
