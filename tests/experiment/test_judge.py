"""Judged lists: those of our own runs give the runs' results; foreign ones are held against a loop over raw ids."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from recbole_popdcl.cli import main
from recbole_popdcl.config.config import Config
from recbole_popdcl.config.reading import read_yaml
from recbole_popdcl.data.loading import load_sets
from recbole_popdcl.errors import PopDCLError
from recbole_popdcl.evaluation.collectors import COLLECTORS
from recbole_popdcl.evaluation.keys import SET_KEYS
from recbole_popdcl.evaluation.metrics import all_metrics
from recbole_popdcl.experiment.analysis import OF_LISTS as LIST_ANALYSES
from recbole_popdcl.experiment.analysis import analyse, read_analysis
from recbole_popdcl.experiment.finished import evaluate, load_run
from recbole_popdcl.experiment.judge import judge
from recbole_popdcl.experiment.lists import recommend
from recbole_popdcl.experiment.ranked_lists import columns_of_lists
from recbole_popdcl.experiment.result import all_results, read_result
from recbole_popdcl.experiment.run import run
from recbole_popdcl.reporting.build import report
from recbole_popdcl.reporting.runs import group_runs, take_inventory
from recbole_popdcl.storage.layout import POPULARITY, SAMPLED_USERS
from tests.conftest import the_one_line
from tests.evaluation.by_definition import by_definition

LIST_METRICS = [metric.name for metric in all_metrics() if not COLLECTORS[metric.kind].needs_all_scores]


@pytest.fixture(scope="module")
def measured(toy) -> dict:
    """Properties of the data and of measuring: every metric that lists have."""
    return {
        "data_path": toy["data_path"],
        "k_core": 5,
        "metrics": LIST_METRICS,
        "topk": [3, 10],
        "valid_metric": "valid/recall@10",
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory, toy, measured) -> Path:
    """A finished run of SSM on toy."""
    folder = tmp_path_factory.mktemp("judge") / "run"
    run("SSM", config_dict={**toy, **measured, "epochs": 2}, run_dir=folder)
    return folder


@pytest.fixture
def work(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("file", ["lists.csv", "lists.parquet"])
def test_the_lists_of_a_run_give_its_result(folder, measured, work, file):
    recommend(folder, file, topk=10)
    result = judge(file, "toy", name="ours", config_dict=measured, run_dir="judged")
    ours = read_result(folder)
    assert all_results(result) == all_results(ours)
    assert read_result("judged")["data"] == ours["data"]
    pd.testing.assert_frame_equal(
        pd.read_parquet("judged/per_user.parquet"), pd.read_parquet(folder / "per_user.parquet")
    )
    assert (result["model"], result["seed"]) == ("ours", 2020)
    sets = result["lists"].pop("sets")
    assert {key: value for key, value in result["lists"].items() if value} == {"file": file, "rows": 1200}
    assert all(counts["users"] > 50 and not counts["without_list"] + counts["short"] for counts in sets.values())


@pytest.mark.parametrize("property_", ["eval_mask=others", "segment_by=items"])
def test_whole_lists_give_what_the_run_gives_by_another_protocol(folder, measured, work, property_):
    recommend(folder, "lists.csv", topk=80)
    result = judge("lists.csv", "toy", config_dict=measured, arguments=[f"--{property_}"], run_dir="judged")
    assert all_results(result) == evaluate(folder, [f"--{property_}"])
    assert all_results(result) != all_results(read_result(folder))


@pytest.fixture(scope="module")
def exposed(tmp_path_factory) -> dict:
    """Properties of a dataset of 60 users and 30 items, with a test of items that users were shown at random."""
    folder = tmp_path_factory.mktemp("exposed")
    rng = np.random.default_rng(2)
    rows = [(user, item) for user in range(60) for item in rng.permutation(30)[:20]]
    (folder / "shown").mkdir()
    for name, places in (("train", range(8)), ("test", range(8, 12))):
        lines = [f"{user}\t{item}" for place, (user, item) in enumerate(rows) if place % 20 in places]
        text = "\n".join(["user_id:token\titem_id:token", *lines])
        (folder / "shown" / f"shown.{name}.inter").write_text(text)
    lines = [f"{user}\t{item}\t{rng.integers(0, 2)}" for place, (user, item) in enumerate(rows) if place % 20 > 11]
    text = "\n".join(["user_id:token\titem_id:token\tlabel:float", *lines])
    (folder / "shown" / "shown.test_unbiased.inter").write_text(text)
    return {"data_path": str(folder), "topk": [2, 5], "valid_metric": "valid/recall@5"}


@pytest.mark.parametrize("candidates", ["exposed", "all"])
def test_whole_lists_give_the_run_s_result_on_items_shown_at_random(exposed, work, candidates):
    measured = {**exposed, "metrics": LIST_METRICS, "unbiased_candidates": candidates}
    ours = run("SSM", "shown", config_dict={**measured, "epochs": 1, "eval_step": 0, "metrics": [*LIST_METRICS, "AUC"]},
               run_dir="run")  # fmt: skip
    recommend("run", "lists.csv", topk=30)
    judged = judge("lists.csv", "shown", config_dict=measured, run_dir="judged")
    without_auc = {key: value for key, value in ours["test"].items() if key != "unbiased/auc"}
    assert len(without_auc) == len(ours["test"]) - 1
    assert judged["test"] == without_auc
    assert judged["lists"]["sets"]["test_unbiased"]["short"] == 0
    with pytest.raises(PopDCLError, match="cannot hold AUC here, which needs the scores of all items"):
        judge("lists.csv", "shown", config_dict={**measured, "metrics": ["AUC"]}, run_dir="auc")


def test_lists_are_short_once_other_sets_are_hidden(measured, work):
    raw = Raw(measured)
    hidden = {user: raw.sets["train"][user] | raw.sets["valid"][user] | raw.sets["test_balanced"][user]
              for user in raw.users}  # fmt: skip
    lists = {user: [item for item in raw.items[1:] if item not in raw.sets["train"][user]][:12] for user in raw.users}
    rows = [(user, item, rank) for user, items in lists.items() for rank, item in enumerate(items)]
    pd.DataFrame(rows, columns=["user", "item", "rank"]).to_csv("lists.csv", index=False)
    result = judge("lists.csv", "toy", config_dict={**measured, "eval_mask": "others"}, run_dir="judged")
    short = sum(
        len(set(lists[user]) - hidden[user]) < min(10, 80 - len(hidden[user]))
        for user in raw.users
        if raw.sets["test_imbalanced"][user]
    )
    assert result["lists"]["sets"]["test_imbalanced"]["short"] == short > 10
    assert result["lists"]["sets"]["valid"]["short"] == 0


def test_lists_that_miss_what_was_shown_are_short(exposed, work):
    users, items = range(60), range(30)
    lists = pd.DataFrame([(user, item, item) for user in users for item in items[:9]], columns=["user", "item", "rank"])
    lists.to_csv("lists.csv", index=False)
    result = judge("lists.csv", "shown", config_dict=exposed, run_dir="judged")
    shown = pd.read_csv(f"{exposed['data_path']}/shown/shown.test_unbiased.inter", sep="\t")
    shown.columns = ["user", "item", "label"]
    n_liked = shown.groupby("user")["label"].sum()
    n_left = shown[shown["item"] < 9].groupby("user").size().reindex(users, fill_value=0)
    short = int(((n_liked > 0) & (n_left < 5)).sum())
    assert result["lists"]["sets"]["test_unbiased"] == {
        "users": int((n_liked > 0).sum()),
        "without_list": 0,
        "short": short,
    }
    assert short > 20


def test_cold_items_are_taken_out_of_lists_as_of_any_ranking(work):
    """Of user 1 the item c is to find, which has no training pair."""
    folder = Path("dataset/cold")
    folder.mkdir(parents=True)
    head = "user_id:token\titem_id:token\n"
    (folder / "cold.train.inter").write_text(f"{head}1\ta\n2\tb\n2\ta\n3\td\n")
    (folder / "cold.test.inter").write_text(f"{head}1\tc\n1\tb\n2\td\n")
    Path("lists.csv").write_text("user,item,rank\n1,a,1\n1,c,2\n1,d,3\n1,b,4\n2,d,1\n2,c,2\n")
    found = {}
    for cold_items in ("exclude", "rank"):
        properties = {"topk": [1, 2], "metrics": ["MRR"], "cold_items": cold_items}
        result = judge("lists.csv", "cold", config_dict=properties, run_dir=cold_items)
        found[cold_items] = [result["test"][f"imbalanced/mrr@{k}"] for k in (1, 2)]
        found[cold_items] += [result["lists"][what] for what in ("hidden", "no_candidates")]
        found[cold_items].append(result["lists"]["sets"]["test_imbalanced"]["short"])
    assert found["exclude"] == [0.5, 0.75, 1, 2, 0]  # d, b and d; of user 2 no other item is left
    assert found["rank"] == [1.0, 1.0, 1, 0, 0]


# -- a loop over raw ids ---------------------------------------------------------------------------------------------


class Raw:
    """The sets of toy by raw ids, {user: items}, its training popularity, its items in the order of internal ids."""

    def __init__(self, measured) -> None:
        data = load_sets(Config("SSM", "toy", config_dict={**measured, "metrics": ["Recall"]}))
        users, self.items = (data.dataset.field2id_token[field].tolist() for field in ("user_id", "item_id"))
        self.sets = {
            name: {user: {self.items[i] for i in pairs.items[pairs.users == u]} for u, user in enumerate(users) if u}
            for name, pairs in {"train": data.evaluation.train, **data.evaluation.sets}.items()
        }
        self.users = users[1:]
        self.popularity = {item: sum(item in had for had in self.sets["train"].values()) for item in self.items}


def foreign_lists(raw: Raw) -> pd.DataFrame:
    """Lists with everything that lists can have, rows in a random order."""
    rng = np.random.default_rng(5)
    rows = []
    for user in [*raw.users[:90], "stranger"]:
        items = rng.permutation([*raw.items[1:], "nowhere", "elsewhere"])[: rng.integers(2, 40)].tolist()
        items += items[:2]
        ranks = np.sort(rng.integers(1, 30, len(items)))
        rows += [(user, item, rank, float(rng.integers(0, 3))) for item, rank in zip(items, ranks)]
    frame = pd.DataFrame(rows, columns=["user_id", "item_id", "rank", "score"])
    return frame.sample(frac=1, random_state=1, ignore_index=True)


def lists_by_loop(frame: pd.DataFrame, raw: Raw, *, by: tuple[str, ...]) -> dict[str, list[str]]:
    """{user: list without unknown, repeated and training items}."""
    sign = {"rank": 1, "score": -1}
    lists: dict[str, list[str]] = {user: [] for user in raw.users}
    rows = [row for row in frame.itertuples() if row.user_id in lists and row.item_id in raw.items]
    for row in sorted(rows, key=lambda row: (*(sign[name] * getattr(row, name) for name in by),
                                             raw.items.index(row.item_id))):  # fmt: skip
        ranked = lists[row.user_id]
        if row.item_id not in ranked and row.item_id not in raw.sets["train"][row.user_id]:
            ranked.append(row.item_id)
    return lists


@pytest.mark.parametrize(
    ("columns", "by"), [({}, ("rank", "score")), ({"score": "score"}, ("score",)), ({"rank": "rank"}, ("rank",))]
)
def test_foreign_lists_against_a_loop(measured, work, columns, by):
    raw = Raw(measured)
    frame = foreign_lists(raw)
    frame.to_csv("foreign.csv", index=False)
    result = judge("foreign.csv", "toy", columns=columns_of_lists(**columns), config_dict=measured, run_dir="judged")
    assert result["model"] == "foreign"
    lists = lists_by_loop(frame, raw, by=by)
    of_users = pd.read_parquet("judged/per_user.parquet").set_index(["set", "user_id"])
    for name, key in SET_KEYS.items():
        if name not in raw.sets:
            continue
        some = [user for user in raw.users if raw.sets[name][user]]
        assert sorted(of_users.loc[key].index) == sorted(some)
        for metric in ("Recall", "NDCG", "Precision", "Hit", "MRR", "MAP"):
            for k in (3, 10):
                values = {}
                for user in some:
                    hits = [item in raw.sets[name][user] for item in lists[user]]
                    hits += [False] * (k - len(hits))
                    values[user] = by_definition(metric, hits, len(raw.sets[name][user]), k)
                column = f"{metric.lower()}@{k}"
                assert of_users.loc[key][column].to_dict() == pytest.approx(values, abs=1e-12)
                assert all_results(result)[f"{key}/{column}"] == pytest.approx(np.mean(list(values.values())))
        shown = [raw.popularity[item] for user in some for item in lists[user][:10]]
        assert all_results(result)[f"{key}/arp@10"] == pytest.approx(sum(shown) / (10 * len(some)))
        counts = result["lists"]["sets"][name]
        assert counts["users"] == len(some)
        assert counts["without_list"] == sum(user in raw.users[90:] for user in some)
        left = {user: 79 - len(raw.sets["train"][user]) for user in some}  # at least, of 79 or 80 items
        assert counts["short"] == sum(
            len(lists[user]) < min(10, left[user]) for user in some if user not in raw.users[90:]
        )


def test_what_lists_hold_is_counted_and_told(measured, work):
    raw = Raw(measured)
    frame = foreign_lists(raw)
    frame.to_csv("foreign.csv", index=False)
    counts = judge("foreign.csv", "toy", config_dict=measured, run_dir="judged")["lists"]
    log = Path("judged/run.log").read_text()
    known = frame[frame["user_id"].isin(raw.users) & frame["item_id"].isin(raw.items)]
    assert counts["rows"] == len(frame)
    assert counts["unknown_rows"] == len(frame) - len(known)
    place = known["item_id"].map(raw.items.index)
    ranked = known.assign(place=place, minus=-known["score"]).sort_values(["user_id", "rank", "minus", "place"])
    distinct = ranked.drop_duplicates(["user_id", "item_id"])
    assert counts["repeated_rows"] == len(known) - len(distinct) > 100
    trained = [item in raw.sets["train"][user] for user, item in zip(distinct["user_id"], distinct["item_id"])]
    assert counts["hidden"] == sum(trained) > 100
    tied = disagreeing = 0
    for _, of_user in distinct.groupby("user_id"):
        for one, other in zip(of_user.itertuples(), list(of_user.itertuples())[1:]):
            tied += one.rank == other.rank and one.score == other.score
            disagreeing += one.score < other.score
    assert (counts["tied_rows"], counts["disagreeing_rows"]) == (tied, disagreeing)
    assert min(tied, disagreeing) > 10
    for what in ("unknown_rows", "repeated_rows", "tied_rows", "disagreeing_rows"):
        assert f"--lists: {counts[what]} of {len(frame)} rows " in log
    assert f"--lists: {counts['hidden']} rows are of training items of their user" in log
    assert "users have no list: nothing is found for them" in log
    assert "users have fewer than 10 items: the places after them are empty" in log
    unknown = pd.read_csv("judged/lists.unknown.csv")[["option", "kind", "id"]].to_numpy().tolist()
    assert sorted(unknown) == [["--lists", "item", "elsewhere"], ["--lists", "item", "nowhere"],
                               ["--lists", "user", "stranger"]]  # fmt: skip


# -- files -----------------------------------------------------------------------------------------------------------


def written(frame: pd.DataFrame, form: str) -> tuple[str, list[str]]:
    """Write lists in a form; return the file and the options that it needs."""
    file = f"lists.{form}"
    if form == "run":
        lines = [f"{row.user_id} Q0 {row.item_id} {row.rank} {row.score} tag" for row in frame.itertuples()]
        Path(file).write_text("\n".join(lines) + "\n")
    elif form == "jsonl":
        frame.to_json(file, orient="records", lines=True)
    elif form == "inter":
        names = ["user_id:token", "item_id:token", "rank:float", "score:float"]
        frame.to_csv(file, sep="\t", index=False, header=names)
    elif form == "parquet":
        frame.to_parquet(file)
    elif form == "table":
        frame.to_csv(file, sep="\t", index=False, header=False)
        return file, ["--columns=user,item,rank,score"]
    elif form == "own":
        names = {"user_id": "who", "item_id": "what", "rank": "at", "score": "points"}
        frame.rename(columns=names).to_csv(file, sep=";", index=False)
        return file, ["--user_column=who", "--item_column=what", "--rank_column=at"]
    else:
        frame.to_csv(file, sep="\t" if form == "tsv" else ",", index=False)
    return file, []


@pytest.mark.parametrize("form", ["tsv", "run", "jsonl", "inter", "parquet", "table", "own"])
def test_every_form_of_file_gives_the_same(measured, work, capsys, form):
    frame = foreign_lists(Raw(measured)).sort_values(["user_id", "rank"])
    frame["rank"] = frame.groupby("user_id").cumcount() + 1
    frame.to_csv("lists.csv", index=False)
    wanted = judge("lists.csv", "toy", config_dict=measured, run_dir="wanted")
    file, options = written(frame, form)
    properties = [f"--data_path={measured['data_path']}", "--k_core=5", "--topk=[3,10]"]
    arguments = [f"--lists={file}", "--dataset=toy", "--name=x", "--run_dir=judged", *options, *properties]
    assert main(["judge", *arguments]) == 0
    found = all_results(read_result("judged"))
    assert found == {key: all_results(wanted)[key] for key in found}
    assert "x on toy, judged" in capsys.readouterr().out


def test_without_ranks_scores_count_and_equal_ones_go_by_internal_id(measured, work):
    raw = Raw(measured)
    user = next(user for user in raw.users if raw.sets["test_imbalanced"][user])
    wanted = next(iter(raw.sets["test_imbalanced"][user]))
    before = [item for item in raw.items[1 : raw.items.index(wanted)] if item not in raw.sets["train"][user]]
    pairs = [(user, wanted, 0.5), *((user, item, 0.5) for item in before)]
    pd.DataFrame(pairs, columns=["user", "item", "prediction"]).to_csv("lists.csv", index=False)
    topk = {"metrics": ["MRR"], "topk": [80]}
    result = judge("lists.csv", "toy", config_dict={**measured, **topk}, run_dir="judged")
    values = pd.read_parquet("judged/per_user.parquet").set_index(["set", "user_id"])["mrr@80"]
    ranks = [place for place, item in enumerate([*before, wanted], 1) if item in raw.sets["test_imbalanced"][user]]
    assert values["imbalanced", user] == pytest.approx(1 / min(ranks))
    assert result["lists"]["tied_rows"] == len(before)


# -- refused ---------------------------------------------------------------------------------------------------------

GOOD = "user_id,item_id,rank\nu1,i1,1\nu1,i2,2\n"


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("user_id,item_id\nu1,i1\n", [], "has neither a column of ranks nor one of scores; name it with --rank_column"),
        ("u1\ti1\t1\nu1\ti2\t2\nu2\ti2\t1\n", [], "has no header; say what its columns are"),
        ("1 2 3 4\n5 6 7\n8 9\n", [], "which has neither ranks nor scores"),
        ("user_id,item_id,rank\nu1,i1,first\n", [], "line 2: the rank 'first' is not a finite number"),
        ("user_id,item_id,score\nu1,i1,nan\n", [], "line 2: the score 'nan' is not a finite number"),
        ("user_id,item_id,rank\nx,i1,1\n", [], "dataset 'toy' has none of the 1 users, such as 'x'"),
        ("user_id,item_id,rank\n", [], "holds no row"),
        (GOOD, ["--rank_column=place"], "no column 'place'"),
        (GOOD, ["--columns=user,item,place"], "--columns: 'place' is not one of user, item, rank, score, _"),
        (GOOD, ["--columns=user,rank"], "--columns user,rank must name user and item"),
        (GOOD, ["--columns=user,item,rank"], "--columns is for files without a header"),
        (GOOD, ["--columns=user,item,rank", "--user_column=user_id"], "--columns is for files without a header"),
        (GOOD, ["--metrics=[Recall,PRU]"], "property 'metrics' cannot hold PRU here, which needs the scores of all"),
        (GOOD, ["--metrics=[PRU,PRI]"], "cannot hold PRU and PRI here, which need the scores of all items"),
        (GOOD, ["--epochs=3"], "property 'epochs' has no effect on lists"),
        (GOOD, ["--log_wandb=True"], "property 'log_wandb' has no effect on lists"),
        (GOOD, ["--score_norm_exponent=1"], "property 'score_norm_exponent' has no effect on lists"),
        (GOOD, ["--topkk=3"], "unknown property 'topkk' (did you mean 'topk'?)"),
        (GOOD, ["--model=SSM"], "--name names the system that made them"),
        (GOOD, ["--name=a/b"], "--name 'a/b' may not hold a path"),
    ],
)
def test_refused_in_one_line_and_nothing_is_left(measured, work, capsys, text, options, message):
    Path("lists.csv").write_text(text)
    arguments = ["judge", "--lists=lists.csv", "--dataset=toy", f"--data_path={measured['data_path']}", "--k_core=5"]
    assert message in the_one_line([*arguments, "--run_dir=judged", *options], capsys, logged=True)
    assert not Path("judged").exists()


def test_metrics_of_all_scores_in_a_file_are_left_out_and_told(measured, work):
    Path("lists.csv").write_text(GOOD)
    Path("mine.yaml").write_text("metrics: [Recall, PRU]\nepochs: 7\ntemperature: 0.3\n")
    properties = {key: measured[key] for key in ("data_path", "k_core")}
    result = judge("lists.csv", "toy", config_files=["mine.yaml"], config_dict=properties, run_dir="judged")
    assert {key.rpartition("/")[2] for key in all_results(result)} == {"recall@20"}
    assert "mine.yaml: property 'metrics' cannot hold PRU here" in Path("judged/run.log").read_text()
    assert not {"epochs", "temperature"} & set(read_yaml(Path("judged/config.yaml")))


def test_a_folder_of_lists_is_taken_and_is_no_model(measured, work, capsys):
    Path("lists.csv").write_text(GOOD)
    judge("lists.csv", "toy", config_dict=measured, run_dir="judged")
    with pytest.raises(PopDCLError, match="judged already holds a run"):
        judge("lists.csv", "toy", config_dict=measured, run_dir="judged")
    capsys.readouterr()
    for command in (["evaluate"], ["recommend", "--output=x.csv"], ["run", "--resume"], ["export", "--output=x.npy"]):
        line = the_one_line([*command, "--run_dir=judged"], capsys)
        assert "judged holds judged lists, which no model stands behind; compare and report take them" in line


# -- in reports ------------------------------------------------------------------------------------------------------


def test_lists_of_a_run_have_its_analyses(folder, measured, work):
    recommend(folder, "lists.csv", topk=20)
    judge("lists.csv", "toy", config_dict=measured, run_dir="judged")
    analyse(folder, LIST_ANALYSES)
    for name in LIST_ANALYSES:
        pd.testing.assert_frame_equal(read_analysis("judged", name), read_analysis(folder, name))


def test_users_without_a_list_are_in_no_bin(folder, measured, work):
    recommend(folder, "lists.csv", topk=20)
    lists = pd.read_csv("lists.csv")
    listed = sorted(lists["user_id"].unique())[::3]
    lists[lists["user_id"].isin(listed)].to_csv("some.csv", index=False)
    judge("some.csv", "toy", config_dict=measured, run_dir="judged")
    bins = read_analysis("judged", POPULARITY)
    assert bins["users"].sum() == len(listed)
    data = load_run(folder).data
    train, names = data.evaluation.train, data.dataset.field2id_token["user_id"]
    of_listed = [train.item_counts[train.items[train.users == user]].mean()
                 for user in range(1, train.n_users) if names[user] in listed]  # fmt: skip
    popularity = dict(zip(data.dataset.field2id_token["item_id"], train.item_counts))
    of_lists = lists.loc[lists["user_id"].isin(listed), "item_id"].map(popularity).mean()  # all of 20 items
    for column, expected in (("consumed", np.mean(of_listed)), ("recommended", of_lists)):
        assert np.average(bins[column], weights=bins["users"]) == pytest.approx(expected)
    sample = read_analysis("judged", SAMPLED_USERS)
    assert set(sample.loc[sample["part"] == "list", "user_id"]) == set(sample["user_id"]) & set(listed)


def test_a_report_shows_lists_beside_runs(folder, measured, work):
    recommend(folder, "lists.csv", topk=10)
    for seed, name in ((2020, "Other"), (2021, "Other"), (2020, "PopDCL")):
        judge("lists.csv", "toy", name=name, config_dict={**measured, "seed": seed}, run_dir=f"judged/{name}-{seed}")
    (work / "run").symlink_to(folder)
    groups = {group.label: group for group in group_runs(take_inventory([work]).runs)}
    assert {label: len(group.runs) for label, group in groups.items()} == {
        "SSM": 1, "Other": 2, "PopDCL (judged lists)": 1,
    }  # fmt: skip
    page = report([work / "run", work / "judged"], work / "page", k=10).read_text()
    rows = pd.read_csv(work / "page" / "results.csv", index_col=0)
    assert rows.loc["Other"].filter(like="mean").tolist() == rows.loc["SSM"].filter(like="mean").tolist()
    assert "Judged lists of other systems: Other, PopDCL (judged lists)" in page
    assert set(pd.read_csv(work / "page" / "users-toy.csv")["model"].dropna()) == set(groups)
    agreement = pd.read_csv(work / "page" / "agreement-toy.csv")
    assert agreement["tau"].isna().all()  # three times the same values
    assert json.loads((work / "page" / "report.json").read_text())["files"].count("agreement-toy.tex") == 1
