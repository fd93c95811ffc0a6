"""Lists of a finished run: users, candidates and exclusions from files, and new users from their items alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from recbole_popdcl.cli import main
from recbole_popdcl.data.pairs import Pairs
from recbole_popdcl.errors import PopDCLError
from recbole_popdcl.experiment.finished import load_run
from recbole_popdcl.experiment.lists import mean_vectors, recommend
from recbole_popdcl.experiment.run import run
from recbole_popdcl.model.ssm import SSM
from tests.conftest import the_one_line


@pytest.fixture(scope="module")
def folder(tmp_path_factory, toy) -> Path:
    """A finished run of SSM on toy."""
    folder = tmp_path_factory.mktemp("lists") / "run"
    run("SSM", config_dict={**toy, "epochs": 2}, run_dir=folder)
    return folder


@pytest.fixture(scope="module")
def loaded(folder):
    return load_run(folder)


@pytest.fixture
def work(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def lists(folder, **options) -> dict[str, list[str]]:
    """{user: recommended items in their order}."""
    recommend(folder, "lists.csv", **options)
    frame = pd.read_csv("lists.csv")
    assert (frame.groupby("user_id").cumcount() + 1 == frame["rank"]).all()
    return {user: part["item_id"].tolist() for user, part in frame.groupby("user_id", sort=False)}


def unknown() -> list[list[str]]:
    return pd.read_csv("lists.unknown.csv").to_numpy().tolist()


def test_unknown_users_are_passed_over_told_and_listed(folder, work, caplog):
    Path("users.txt").write_text("user_id\nu7\nnobody\nu3\n\nu7\nnone\n[PAD]\n")
    with caplog.at_level("WARNING"):
        found = lists(folder, topk=3, users="users.txt")
    whole = lists(folder, topk=3)
    assert list(found) == ["u7", "u3"]
    assert found == {user: whole[user] for user in found}
    assert "--users: 3 of 5 users are unknown to dataset 'toy', such as 'nobody'" in caplog.text
    assert not Path("lists.unknown.csv").exists()  # the second time all were known
    lists(folder, topk=3, users="users.txt")
    assert unknown() == [["--users", "user", token] for token in ("nobody", "none", "[PAD]")]


def test_candidates(folder, work):
    whole = lists(folder, topk=80)
    wanted = [f"i{item}" for item in range(0, 80, 3)]
    Path("items.txt").write_text("\n".join([*wanted, "i999"]))
    assert lists(folder, topk=80, items="items.txt") == {
        user: [item for item in items if item in wanted] for user, items in whole.items()
    }
    assert unknown() == [["--items", "item", "i999"]]
    Path("exclude.txt").write_text("item_id\ni0\ni3\n")
    assert lists(folder, topk=80, items="items.txt", exclude="exclude.txt") == {
        user: [item for item in items if item in wanted and item not in ("i0", "i3")] for user, items in whole.items()
    }


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".inter"])
def test_excluded_pairs(folder, work, suffix):
    whole = lists(folder, topk=5)
    pairs = pd.DataFrame([(user, items[place]) for user, items in whole.items() if user != "u3" for place in (0, 2)])
    pairs.columns = ["user_id", "item_id"]
    pairs.loc[len(pairs)] = ["nobody", "i3"]
    path = f"pairs{suffix}"
    if suffix == ".parquet":
        pairs.to_parquet(path)
    else:
        names = ["user_id:token", "item_id:token"] if suffix == ".inter" else True
        pairs.to_csv(path, index=False, header=names, sep="\t" if suffix == ".inter" else ",")
    found = lists(folder, topk=5, exclude=path)
    assert found["u3"] == whole["u3"]
    for user in set(whole) - {"u3"}:
        assert found[user][:3] == [whole[user][place] for place in (1, 3, 4)]
    assert unknown() == [["--exclude", "user", "nobody"]]


def by_hand(loaded, history: list[str], k: int, exponent: float) -> list[str]:
    """The list of a user who has had these items, in float64."""
    tokens = loaded.data.dataset.field2id_token["item_id"].tolist()
    items = loaded.model.encoder.tables()[1].detach().double().numpy()
    mean = np.mean([items[tokens.index(token)] for token in history], axis=0)
    scores = {}
    for place, token in enumerate(tokens):
        if place and token not in history:
            scores[token] = mean @ items[place] / np.linalg.norm(items[place]) ** exponent
    return sorted(scores, key=scores.get, reverse=True)[:k]


@pytest.mark.parametrize("exponent", [1, 0])
def test_new_users_from_their_items_alone(folder, loaded, work, exponent):
    """One is new, one has the id of a user of the run, one has only items that nobody knows."""
    histories = {"new": ["i0", "i5", "i41"], "u3": ["i2"], "stranger": ["x"]}
    rows = [f"{user},{item}\n" for user, items in histories.items() for item in [*items, items[0]]]
    Path("history.csv").write_text("".join(["user_id,item_id\n", *rows, "new,x\n"]))
    found = lists(folder, topk=7, history="history.csv", arguments=[f"--score_norm_exponent={exponent}"])
    assert found == {user: by_hand(loaded, histories[user], 7, exponent) for user in ("new", "u3")}
    assert unknown() == [["--history", "item", "x"], ["--history", "user", "stranger"]]


def test_a_new_user_and_files_that_limit(folder, work):
    Path("history.csv").write_text("user_id,item_id\nnew,i0\nnew,i5\n")
    first, _, third, fourth = lists(folder, topk=4, history="history.csv")["new"]
    Path("pairs.csv").write_text(f"user_id,item_id\nnew,{first}\nu3,{third}\n")  # u3 has no history
    Path("items.txt").write_text("\n".join([first, third, fourth]))
    assert lists(folder, topk=4, history="history.csv", exclude="pairs.csv", items="items.txt")["new"] == [
        third,
        fourth,
    ]
    assert unknown() == [["--exclude", "user", "u3"]]


def test_items_that_were_never_trained_say_nothing_of_a_user(folder, loaded, work, monkeypatch):
    Path("history.csv").write_text("user_id,item_id\na,i0\nb,i0\nb,i5\nc,i5\n")
    train = type(loaded.data.evaluation.train)
    counts = train.item_counts

    def without_i5(pairs):
        values = counts.func(pairs)
        place = loaded.data.dataset.field2id_token["item_id"].tolist().index("i5")
        return np.where(np.arange(len(values)) == place, 0, values)

    with monkeypatch.context() as patched:
        patched.setattr(train, "item_counts", property(without_i5))
        found = lists(folder, topk=20, history="history.csv", arguments=[])
    assert set(found) == {"a", "b"}
    hidden = [item for item in found["a"] if item != "i5"]
    assert found["b"][: len(hidden)] == hidden[: len(found["b"])]


def test_mean_vectors():
    items = torch.arange(12.0).view(4, 3)
    pairs = Pairs(np.array([1, 1, 3, 1]), np.array([1, 3, 2, 1]), n_users=4, n_items=4)
    expected = torch.stack([torch.zeros(3), items[[1, 3]].mean(0), torch.zeros(3), items[2]])
    torch.testing.assert_close(mean_vectors(items, pairs), expected)


def test_every_model_folds_in(toy, work):
    """MACR needs the user's vector in its branch too."""
    run("MACR", config_dict={**toy, "epochs": 1}, run_dir="r")
    loaded = load_run("r")
    model, tokens = loaded.model, loaded.data.dataset.field2id_token["item_id"].tolist()
    Path("history.csv").write_text("user_id,item_id\nnew,i0\nnew,i5\n")
    lists("r", topk=5, history="history.csv")
    items = model.encoder.tables()[1].detach()
    mean = (items[tokens.index("i0")] + items[tokens.index("i5")]) / 2
    for token, score in pd.read_csv("lists.csv")[["item_id", "score"]].to_numpy():
        item = items[tokens.index(token)]
        branches = torch.sigmoid(model.user_branch(mean)) * torch.sigmoid(model.item_branch(item))
        assert score == pytest.approx(((mean @ item - 30) * branches).item(), rel=1e-5)


def test_faults(folder, work, toy, capsys):
    Path("strangers.txt").write_text("a\nb\n")
    Path("blank.txt").write_text("\n")
    Path("history.csv").write_text("user_id,item_id\nnew,x\n")
    Path("liked.csv").write_text("user_id,item_id,label\nnew,i1,0\n")
    Path("torn.csv").write_text("user_id,item_id\nnew\n")
    start = ["recommend", f"--run_dir={folder}", "--output=x.csv"]
    for arguments, message in (
        (["--users=strangers.txt"], "--users: dataset 'toy' has none of the 2 users, such as 'a'"),
        (["--items=strangers.txt"], "--items: dataset 'toy' has none of the 2 items, such as 'a'"),
        (["--items=blank.txt"], "--items blank.txt holds no item id"),
        (["--users=nowhere.txt"], "cannot read --users nowhere.txt: No such file or directory"),
        (["--exclude=nowhere.txt"], "cannot read --exclude nowhere.txt: No such file or directory"),
        (["--history=history.csv"], "--history: dataset 'toy' has none of the 1 items, such as 'x'"),
        (["--history=nowhere.csv"], "--history: cannot read nowhere.csv: No such file or directory"),
        (["--history=torn.csv"], "--history: torn.csv, line 2: 1 values, not 2: 'new'"),
        (["--history=liked.csv"],
         "--history: liked.csv, line 2: the label is 0, which says that this is no interaction"),
        (["--history=history.csv", "--users=strangers.txt"],
         "--users and --history cannot be given together: --history has users of its own"),
    ):  # fmt: skip
        assert the_one_line([*start, *arguments], capsys, logged=True) == f"recbole-popdcl: error: {message}"
    assert not list(work.glob("x*"))
    everything = work / "all.txt"
    everything.write_text("\n".join(f"i{item}" for item in range(80)))
    with pytest.raises(PopDCLError, match="no item is left to recommend"):
        recommend(folder, "x.csv", exclude=everything)


def test_a_history_needs_vectors(toy, work):
    class Scored(SSM):
        def full_sort_predict(self, interaction):
            return -super().full_sort_predict(interaction)

    Path("history.csv").write_text("user_id,item_id\nnew,i1\n")
    for name, model in (("BPR", "BPR"), ("Scored", Scored)):
        run(model, config_dict={**toy, "epochs": 0}, run_dir=name)
        with pytest.raises(PopDCLError, match=f"^--history: {name} ranks in a way of its own, not by vectors of users"):
            recommend(name, "x.csv", history="history.csv", model=model)


def test_the_command_line(folder, work):
    Path("history.csv").write_text("user_id,item_id\nnew,i1\n")
    Path("items.txt").write_text("i1\ni2\ni3\n")
    files = ["--history=history.csv", "--items=items.txt", "--exclude=history.csv"]
    assert main(["recommend", f"--run_dir={folder}", "--output=x.csv", *files]) == 0
    assert set(pd.read_csv("x.csv")["item_id"]) == {"i2", "i3"}
