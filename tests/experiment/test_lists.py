"""Lists of a finished run: users, candidates and exclusions from files, and new users from their items alone."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from recbole_popdcl.cli import main
from recbole_popdcl.data.atomic import write_interactions
from recbole_popdcl.data.pairs import Pairs
from recbole_popdcl.errors import PopDCLError
from recbole_popdcl.experiment.finished import evaluate, load_run
from recbole_popdcl.experiment.lists import mean_vectors, recommend
from recbole_popdcl.experiment.run import run
from recbole_popdcl.experiment.score import score
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


NO_ITEM = "no item with a training interaction"


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
    assert unknown() == [["--users", "user", token, "unknown"] for token in ("nobody", "none", "[PAD]")]


def test_candidates(folder, work):
    whole = lists(folder, topk=80)
    wanted = [f"i{item}" for item in range(0, 80, 3)]
    Path("items.txt").write_text("\n".join([*wanted, "i999"]))
    assert lists(folder, topk=80, items="items.txt") == {
        user: [item for item in items if item in wanted] for user, items in whole.items()
    }
    assert unknown() == [["--items", "item", "i999", "unknown"]]
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
    assert unknown() == [["--exclude", "user", "nobody", "unknown"]]


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
def test_new_users_from_their_items_alone(folder, loaded, work, exponent, caplog):
    """One is new, one has the id of a user of the run, one has only items that nobody knows."""
    histories = {"new": ["i0", "i5", "i41"], "u3": ["i2"], "stranger": ["x"]}
    rows = [f"{user},{item}\n" for user, items in histories.items() for item in [*items, items[0]]]
    Path("history.csv").write_text("".join(["user_id,item_id\n", *rows, "new,x\n"]))
    found = lists(folder, topk=7, history="history.csv", arguments=[f"--score_norm_exponent={exponent}"])
    assert found == {user: by_hand(loaded, histories[user], 7, exponent) for user in ("new", "u3")}
    assert unknown() == [["--history", "item", "x", "unknown"], ["--history", "user", "stranger", NO_ITEM]]
    assert f"--history: 1 of 3 users have {NO_ITEM}, such as 'stranger'" in caplog.text
    assert "users are unknown" not in caplog.text


def test_a_new_user_and_files_that_limit(folder, work, caplog):
    Path("history.csv").write_text("user_id,item_id\nnew,i0\nnew,i5\n")
    first, _, third, fourth = lists(folder, topk=4, history="history.csv")["new"]
    Path("pairs.csv").write_text(f"user_id,item_id\nnew,{first}\nu3,{third}\n")  # u3 has no history
    Path("items.txt").write_text("\n".join([first, third, fourth]))
    assert lists(folder, topk=4, history="history.csv", exclude="pairs.csv", items="items.txt")["new"] == [
        third,
        fourth,
    ]
    assert unknown() == [["--exclude", "user", "u3", "unknown"]]
    assert "--exclude: 1 of 2 users are unknown to --history, such as 'u3'" in caplog.text


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


def test_users_of_whom_nothing_can_be_told(folder, work, monkeypatch):
    """Their items are known, but none of them is trained."""
    Path("history.csv").write_text("user_id,item_id\na,i0\nb,i0\n")
    monkeypatch.setattr(Pairs, "item_counts", property(lambda pairs: np.zeros(pairs.n_items, dtype=int)))
    with pytest.raises(PopDCLError, match=r"^--history: none of the 2 users, such as 'a', has an item with a training"):
        recommend(folder, "x.csv", history="history.csv")


# -- ids as the data have them ----------------------------------------------------------------------------------------

USERS = ["a", " a", "b ", "c\u2028d", "e\x85", "\u00a0f", "user_id", "g h"]
ITEMS = [" i", "i", "j\u2029", "item_id", "k", "l ", "m\x0b", "n"]
PAIRS = [(user, item) for u, user in enumerate(USERS) for i, item in enumerate(ITEMS) if (u + i) % 3]


@pytest.fixture(scope="module")
def strange(tmp_path_factory):
    """Folder of a run whose ids have blanks around them, signs that end lines elsewhere, and names of columns."""
    folder = tmp_path_factory.mktemp("strange")
    write_interactions(folder / "x" / "x.inter", users=[u for u, _ in PAIRS], items=[i for _, i in PAIRS])
    properties = {"data_path": str(folder), "k_core": 0, "epochs": 1, "eval_step": 0, "embedding_size": 4}
    run("SSM", "x", config_dict=properties, run_dir=folder / "run")
    return folder / "run"


def written(ids, text="{}\n", head=""):
    Path("ids.txt").write_text(head + "".join(text.format(token) for token in ids), encoding="utf-8", newline="")
    return "ids.txt"


@pytest.mark.parametrize("end", ["{}\n", "{}\r\n", "\n{}\n\n"])
@pytest.mark.parametrize("head", ["", "user_id\n"])
def test_ids_are_matched_as_the_data_have_them(strange, work, end, head):
    recommend(strange, "l.parquet", topk=2, users=written(USERS, end, head=head))
    assert pd.read_parquet("l.parquet")["user_id"].drop_duplicates().tolist() == list(
        dict.fromkeys(["user_id"] * bool(head) + USERS)
    )
    assert not Path("l.unknown.csv").exists()


def test_blanks_of_the_file_alone_do_not_count(strange, work):
    recommend(strange, "l.parquet", topk=2, users=written(["g h ", " a ", "a", "\ta"]))
    assert pd.read_parquet("l.parquet")["user_id"].drop_duplicates().tolist() == ["g h", "a"]


def test_items_are_matched_as_the_data_have_them(strange, work):
    recommend(strange, "l.parquet", topk=8, items=written([" i", "j\u2029", "m\x0b", "item_id"]), users=None)
    assert set(pd.read_parquet("l.parquet")["item_id"]) == {" i", "j\u2029", "m\x0b", "item_id"}
    recommend(strange, "l.parquet", topk=8, exclude=written([" i", "j\u2029", "m\x0b"]))
    assert set(pd.read_parquet("l.parquet")["item_id"]) == {"i", "item_id", "k", "l ", "n"}


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".parquet", ".inter"])
def test_pairs_are_matched_as_the_data_have_them(strange, work, suffix):
    frame = pd.DataFrame(PAIRS, columns=["user_id", "item_id"])
    if suffix == ".parquet":
        frame.to_parquet("p.parquet")
    else:
        names = ["user_id:token", "item_id:token"] if suffix == ".inter" else True
        frame.to_csv(f"p{suffix}", index=False, header=names, sep="," if suffix == ".csv" else "\t")
    scores = score(strange, f"p{suffix}")
    assert scores["score"].notna().all()
    assert list(zip(scores["user_id"], scores["item_id"])) == PAIRS
    recommend(strange, "l.parquet", topk=8, history=f"p{suffix}")
    assert set(pd.read_parquet("l.parquet")["user_id"]) == set(USERS)
    results = evaluate(strange, ["--topk=[8]"], test=f"p{suffix}")
    assert results
    recommend(strange, "l.parquet", topk=8, exclude=f"p{suffix}")
    assert not set(zip(*pd.read_parquet("l.parquet")[["user_id", "item_id"]].T.to_numpy())) & set(PAIRS)


def test_blanks_between_columns_do_not_count(strange, work):
    Path("p.csv").write_text("user_id, item_id\ng h, k\na , n\n")
    scores = score(strange, "p.csv")
    assert list(zip(scores["user_id"], scores["item_id"])) == [("g h", "k"), ("a", "n")]
    assert scores["score"].notna().all()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("one.txt", "u1\nu2\n"), ("wide.csv", "user_id,product,colour\nu1,i1,red\nu2,i2,blue\n"),
        ("bare.csv", "x,y\nz,w\nv,q\n"), ("rated.tsv", "a\tb\tc\td\te\nf\tg\th\ti\tj\n"),
        ("latin.csv", b"user_id,item_id\n\xe9,i1\n"), ("commas.inter", "user_id:token,item_id:token\nu1,i1\n"),
        ("few.txt", "1 2\n3 4\n"), ("double.csv", "user_id,user_id,item_id\nu1,u2,i1\n"),
        ("label.csv", "user_id,item_id,label\nu1,i1,0\nu2,i2,1\n"), ("x.json", '{"a": 1}\n{"a": 2}\n'),
        ("order.csv", "1,2,978300760,3,5,6\n2,3,978300761,4,7,8\n"),
    ],
)  # fmt: skip
def test_no_message_names_an_option_of_prepare(folder, work, name, text, capsys):
    Path(name).write_bytes(text if isinstance(text, bytes) else text.encode())
    uses = {"--pairs": ["score", f"--run_dir={folder}"], "--test": ["evaluate", f"--run_dir={folder}"],
            "--exclude": ["recommend", f"--run_dir={folder}", "--output=l.csv"],
            "--history": ["recommend", f"--run_dir={folder}", "--output=l.csv"]}  # fmt: skip
    for option, command in uses.items():
        main([*command, f"{option}={name}"])
        (line,) = [text for text in capsys.readouterr().err.splitlines() if "error:" in text] or [""]
        assert set(re.findall(r"--\w+", line)) <= {option, "--history"}, line


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
    for token, value in pd.read_csv("lists.csv")[["item_id", "score"]].to_numpy():
        item = items[tokens.index(token)]
        branches = torch.sigmoid(model.user_branch(mean)) * torch.sigmoid(model.item_branch(item))
        assert value == pytest.approx(((mean @ item - 30) * branches).item(), rel=1e-5)


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
