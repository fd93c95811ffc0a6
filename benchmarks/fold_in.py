"""What lists for new users are worth: python -m benchmarks.fold_in [--dataset NAME] [--models A,B] [--seeds N]

A fifth of the users is held out. Of these, 60 % of the items are a history, 40 % are to be found. A model that was
trained without them ranks for them by the mean of their items' vectors (``recommend --history``), and is compared with
the same model trained with their histories as well, and with the most popular items.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

from recbole_popdcl.cli import positive
from recbole_popdcl.config.config import Config
from recbole_popdcl.data.atomic import write_interactions
from recbole_popdcl.data.loading import load_sets
from recbole_popdcl.experiment.lists import recommend
from recbole_popdcl.experiment.run import run
from recbole_popdcl.storage.logs import logged

HELD_OUT, HISTORY, VALID, K = 0.2, 0.6, 0.1, 20


def main() -> None:
    """Print two rows a model: mean Recall@K of the held-out users, and the 95 % interval of a normal mean over them.

    Once all items to find count alike, so that popular ones are found as often as they are consumed, and once each by
    1 / its training interactions, as if every item were equally likely (Yang et al., RecSys 2018).
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset", default="ml-100k")
    parser.add_argument("--data_path", default="dataset/")
    parser.add_argument("--models", default="LightGCN,SSM,PopDCL")
    parser.add_argument("--seeds", type=positive, default=3)
    arguments, properties = parser.parse_known_args()
    log = _log(arguments.dataset, arguments.data_path)
    print(f"| model | items to find | fold-in | trained with the history | most popular | users |\n{'| --- ' * 6}|")
    for model in arguments.models.split(","):
        parts = [_recalls(model, log, seed=seed, properties=properties) for seed in range(2020, 2020 + arguments.seeds)]
        for weighting in parts[0]:
            recalls = pd.concat([part[weighting] for part in parts])
            cells = (f"{recalls[name].mean():.4f} ± {1.96 * recalls[name].sem():.4f}" for name in recalls)
            print(f"| {model} | {weighting} | {' | '.join(cells)} | {len(recalls)} |", flush=True)


def _log(dataset: str, data_path: str) -> pd.DataFrame:
    with logged(False):
        data = load_sets(Config("SSM", dataset, config_dict={"data_path": data_path}))
    sets = [data.evaluation.train, *data.evaluation.sets.values()]
    tokens = data.dataset.field2id_token
    users, items = (np.concatenate([getattr(part, side) for part in sets]) for side in ("users", "items"))
    return pd.DataFrame({"user_id": tokens["user_id"][users], "item_id": tokens["item_id"][items]})


def _recalls(model: str, log: pd.DataFrame, *, seed: int, properties: list[str]) -> dict[str, pd.DataFrame]:
    """{weighting of the items to find: Recall@K of each held-out user in the three ways}."""
    rng = np.random.default_rng(seed)
    users = log["user_id"].unique()
    held_out = log["user_id"].isin(rng.choice(users, int(HELD_OUT * len(users)), replace=False))
    drawn = rng.random(len(log))
    history, to_find = log[held_out & (drawn < HISTORY)], log[held_out & (drawn >= HISTORY)]
    valid = log[~held_out & (drawn < VALID)]
    train = log[~held_out & (drawn >= VALID)]
    lists = {}
    with tempfile.TemporaryDirectory() as name, logged(False):
        folder = Path(name)
        for way, rows in (("new", train), ("known", pd.concat([train, history]))):
            for part, chosen in (("train", rows), ("valid", valid)):
                _write(folder / way / f"{way}.{part}.inter", chosen)
            arguments = [f"--data_path={folder}", f"--seed={seed}", "--show_progress=False", *properties]
            run(model, way, arguments=arguments, run_dir=folder / f"run-{way}")
        history.to_csv(folder / "history.csv", index=False)
        (folder / "users.txt").write_text("\n".join(history["user_id"].unique()), encoding="utf-8")
        recommend(folder / "run-new", folder / "new.csv", topk=K, history=folder / "history.csv")
        recommend(folder / "run-known", folder / "known.csv", topk=K, users=folder / "users.txt")
        for way in ("new", "known"):
            lists[way] = pd.read_csv(folder / f"{way}.csv", dtype={"user_id": str, "item_id": str})
    lists["popular"] = _most_popular(train, history)
    popularity = to_find["item_id"].map(train["item_id"].value_counts()).fillna(1)
    weighted = {"all alike": to_find.assign(weight=1.0), "by 1 / popularity": to_find.assign(weight=1 / popularity)}
    return {
        name: pd.DataFrame({way: _recall(frame, wanted) for way, frame in lists.items()})
        for name, wanted in weighted.items()
    }


def _write(path: Path, rows: pd.DataFrame) -> None:
    write_interactions(path, users=rows["user_id"].to_numpy(str), items=rows["item_id"].to_numpy(str))


def _most_popular(train: pd.DataFrame, history: pd.DataFrame) -> pd.DataFrame:
    popular = train["item_id"].value_counts().rename("n").reset_index()
    pairs = history[["user_id"]].drop_duplicates().merge(popular, how="cross")
    seen = pd.MultiIndex.from_frame(history)
    pairs = pairs[~pd.MultiIndex.from_frame(pairs[["user_id", "item_id"]]).isin(seen)]
    return pairs.sort_values("n", ascending=False, kind="stable").groupby("user_id").head(K)


def _recall(lists: pd.DataFrame, to_find: pd.DataFrame) -> pd.Series:
    hits = to_find.merge(lists[["user_id", "item_id"]]).groupby("user_id")["weight"].sum()
    wanted = to_find.groupby("user_id")["weight"].sum()
    return hits.reindex(wanted.index, fill_value=0) / wanted


if __name__ == "__main__":
    main()
