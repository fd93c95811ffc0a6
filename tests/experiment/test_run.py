"""The main job in one process: folder, result, determinism, resume, switches, and what a finished run can do."""

from __future__ import annotations

import json
import logging

import pandas as pd
import pytest
import recbole.trainer.trainer
import torch
import yaml

from recbole_popdcl.config.models import model_names
from recbole_popdcl.errors import PopDCLError
from recbole_popdcl.evaluation import accuracy
from recbole_popdcl.evaluation.metrics import accuracy_metric, withdraw_metric
from recbole_popdcl.evaluation.per_user import read_per_user
from recbole_popdcl.experiment.finished import evaluate, load_run
from recbole_popdcl.experiment.lists import recommend
from recbole_popdcl.experiment.run import run
from recbole_popdcl.training.checkpoint import load_checkpoint, save_checkpoint
from recbole_popdcl.training.trainer import RunTrainer


def weights(folder):
    return load_checkpoint(folder / "checkpoint.pt")["weights"]


def lines(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def without_seconds(folder):
    return [{name: value for name, value in line.items() if name != "seconds"} for line in lines(folder)]


@pytest.fixture(scope="module")
def finished(tmp_path_factory, toy):
    """A finished run of PopDCL on toy, ranked with all metrics."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    arguments = ["--topk=[5,20]", "--metrics=['Recall','NDCG','Precision','Hit','MRR','MAP']"]
    return folder, run("PopDCL", config_dict=toy, arguments=arguments, run_dir=folder)


def test_the_folder_holds_the_run(finished):
    folder, result = finished
    names = {path.name for path in folder.iterdir()}
    assert names == {
        "config.yaml",
        "metrics.jsonl",
        "checkpoint.pt",
        "last.pt",
        "result.json",
        "per_user.parquet",
        "run.log",
        "tensorboard",
        ".lock",
    }
    stored = json.loads((folder / "result.json").read_text())
    assert {**stored, "run_dir": str(folder)} == result
    assert set(stored["seconds"]) == {"load", "train", "evaluate"}
    assert {"recbole", "torch", "recbole-popdcl"} <= set(stored["versions"])
    assert len(stored["valid"]) == 4 * 6 * 2
    assert len(stored["test"]) == 2 * 4 * 6 * 2
    assert stored["best_epoch"] in range(3)
    assert yaml.safe_load((folder / "config.yaml").read_text())["embedding_size"] == 8
    assert any((folder / "tensorboard").iterdir())
    assert "finished" in (folder / "run.log").read_text()
    assert "120 users" in (folder / "run.log").read_text()


def test_every_user_is_kept(finished, tmp_path):
    folder, result = finished
    frame = read_per_user(folder / "per_user.parquet")
    assert set(frame["set"]) == {"valid", "imbalanced", "balanced"}
    assert frame["user_id"].str.startswith("u").all()
    assert not frame.duplicated(["user_id", "set"]).any()
    means = frame.drop(columns="user_id").groupby("set").mean()
    everything = {**result["valid"], **result["test"]}
    for name, row in means.iterrows():
        for column, value in row.items():
            assert everything[f"{name}/{column}"] == pytest.approx(value)
    evaluate(folder, ["--topk=[3]"], per_user_output=tmp_path / "again.parquet")
    assert "recall@3" in read_per_user(tmp_path / "again.parquet")
    with pytest.raises(PopDCLError, match="cannot read"):
        read_per_user(folder / "config.yaml")


def test_one_line_an_epoch_and_the_best_one_stands(finished):
    folder, result = finished
    table = lines(folder)
    assert [line["epoch"] for line in table] == [0, 1, 2]
    key = result["valid_metric"]
    best = max(table, key=lambda line: line[key])
    assert result["best_epoch"] == best["epoch"]
    assert result["valid"] == pytest.approx({name: best[name] for name in result["valid"]})


def test_nothing_is_left_beside_the_folder(toy, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run("SSM", config_dict=toy)
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]
    assert len(list((tmp_path / "runs" / "toy" / "SSM").iterdir())) == 1


def test_logging_is_put_back(toy, tmp_path):
    root = logging.getLogger()
    before = root.level, root.handlers[:]
    run("SSM", config_dict=toy, run_dir=tmp_path / "r")
    assert (root.level, root.handlers[:]) == before


@pytest.mark.parametrize("model", [*model_names(), "BPR"])
def test_same_seed_same_result_also_when_resumed(toy, tmp_path, model, monkeypatch):
    arguments = ["--epochs=6", "--eval_step=2", "--train_batch_size=512"]
    arguments += ["--warm_up_epochs=1"] if model == "BCLoss" else []
    whole = run(model, config_dict=toy, arguments=arguments, run_dir=tmp_path / "whole")

    class StopError(Exception):
        pass

    train_epoch = RunTrainer._train_epoch

    def interrupted(self, train_data, epoch_idx, *more, **options):
        if epoch_idx == 5:
            raise StopError  # epoch 4 is done, but not validated: it must be trained again
        return train_epoch(self, train_data, epoch_idx, *more, **options)

    monkeypatch.setattr(RunTrainer, "_train_epoch", interrupted)
    with pytest.raises(StopError):
        run(model, config_dict=toy, arguments=arguments, run_dir=tmp_path / "cut")
    monkeypatch.setattr(RunTrainer, "_train_epoch", train_epoch)
    with open(tmp_path / "cut" / "metrics.jsonl", "a") as file:
        file.write('{"epoch": 5, "trai')  # as a crash may leave it
    resumed = run(run_dir=tmp_path / "cut", resume=True)
    other = run(model, config_dict=toy, arguments=[*arguments, "--seed=7"], run_dir=tmp_path / "other")
    assert resumed["test"] == whole["test"] != other["test"]
    assert resumed["best_epoch"] == whole["best_epoch"]
    assert without_seconds(tmp_path / "cut") == without_seconds(tmp_path / "whole")
    for name, value in weights(tmp_path / "whole").items():
        assert torch.equal(value, weights(tmp_path / "cut")[name])


def test_a_finished_run_can_be_given_more_epochs(toy, tmp_path):
    run("SSM", config_dict=toy, run_dir=tmp_path / "r")
    longer = run(run_dir=tmp_path / "r", resume=True, arguments=["--epochs=5"])
    assert [line["epoch"] for line in lines(tmp_path / "r")] == [0, 1, 2, 3, 4]
    direct = run("SSM", config_dict=toy, arguments=["--epochs=5"], run_dir=tmp_path / "direct")
    assert longer["test"] == direct["test"]


@pytest.mark.parametrize("model", ["SSM", "LightGCN"])
def test_auto_is_the_best_of_the_exponents(toy, tmp_path, model):
    """By hand: the run's best weights ranked at each exponent; a weighted metric may choose another one."""
    arguments = ["--score_norm_exponent=auto", "--split_ratio=[.5,.1,.15,.15,.1]", "--learning_rate=0.05"]
    arguments += ["--valid_metric=0.5*valid/recall@5 + 0.5*valid_balanced/recall@5"]
    result = run(model, config_dict=toy, arguments=arguments, run_dir=tmp_path / "r")
    scores = {}
    for exponent in (0.0, 0.25, 0.5, 0.75, 1.0):
        again = evaluate(tmp_path / "r", [f"--score_norm_exponent={exponent}"])
        scores[exponent] = 0.5 * again["valid/recall@5"] + 0.5 * again["valid_balanced/recall@5"]
    chosen = result["chosen"]["score_norm_exponent"]
    assert scores[chosen] == max(scores.values()) > min(scores.values())
    assert f"# score_norm_exponent: auto chose {chosen:g}" in (tmp_path / "r" / "config.yaml").read_text()
    evaluate(tmp_path / "r", output=tmp_path / "again.json")
    again = json.loads((tmp_path / "again.json").read_text())
    assert again["score_norm_exponent"] == chosen
    assert again["results"] == pytest.approx({**result["valid"], **result["test"]})
    assert run(run_dir=tmp_path / "r", resume=True) == result


def test_auto_where_nothing_was_chosen(toy, tmp_path):
    for arguments in (["--eval_step=0"], ["--eval_step=4"], ["--epochs=0"]):
        with pytest.raises(PopDCLError, match="'score_norm_exponent' is auto, which is chosen at a validation"):
            run("SSM", config_dict=toy, arguments=["--score_norm_exponent=auto", *arguments], run_dir=tmp_path / "r")
    run("SSM", config_dict=toy, run_dir=tmp_path / "r")
    with pytest.raises(PopDCLError, match="'score_norm_exponent' is auto, but it holds None for it"):
        evaluate(tmp_path / "r", ["--score_norm_exponent=auto"])
    with pytest.raises(PopDCLError, match="'score_norm_exponent' must be a number, or one of auto"):
        run("SSM", config_dict=toy, arguments=["--score_norm_exponent=best"], run_dir=tmp_path / "s")


def contents(folder):
    """What the files of a run folder hold, its log aside."""
    return {path.name: path.read_bytes() for path in folder.glob("*.*") if path.suffix != ".log"}


@pytest.mark.parametrize("eval_step", [1, 0, 5])
def test_a_finished_run_stays_as_it_is(toy, tmp_path, eval_step):
    result = run("SSM", config_dict={**toy, "eval_step": eval_step}, run_dir=tmp_path / "r")
    before = contents(tmp_path / "r")
    assert run(run_dir=tmp_path / "r", resume=True) == result
    with pytest.raises(
        PopDCLError, match=r"property 'epochs' is 2, but .* has trained 3; a run that is resumed can only"
    ):
        run(run_dir=tmp_path / "r", resume=True, arguments=["--epochs=2"])
    assert contents(tmp_path / "r") == before


def test_an_interrupted_run_cannot_become_shorter(toy, tmp_path):
    run("SSM", config_dict=toy, run_dir=tmp_path / "r")
    (tmp_path / "r" / "result.json").unlink()
    before = contents(tmp_path / "r")
    with pytest.raises(
        PopDCLError, match=r"property 'epochs' is 1, but .* has trained 3; a run that is resumed can only"
    ):
        run(run_dir=tmp_path / "r", resume=True, arguments=["--epochs=1"])
    assert contents(tmp_path / "r") == before


def test_seconds_of_training_add_up(toy, tmp_path):
    run("SSM", config_dict=toy, run_dir=tmp_path / "r")
    state = load_checkpoint(tmp_path / "r" / "last.pt")
    save_checkpoint(tmp_path / "r" / "last.pt", {**state, "seconds": 1000.0})
    longer = run(run_dir=tmp_path / "r", resume=True, arguments=["--epochs=4"])
    assert 1000 < longer["seconds"]["train"] < 1100
    assert longer["seconds"]["evaluate"] < 100


def test_early_stopping(toy, tmp_path):
    arguments = ["--epochs=30", "--stopping_step=0", "--learning_rate=0.3"]
    result = run("SSM", config_dict=toy, arguments=arguments, run_dir=tmp_path / "r")
    assert result["epochs"] < 30
    scores = [line[result["valid_metric"]] for line in lines(tmp_path / "r")]
    assert scores[-1] < max(scores)
    before = contents(tmp_path / "r")
    assert run(run_dir=tmp_path / "r", resume=True) == result  # it has stopped and stays so
    assert run(run_dir=tmp_path / "r", resume=True, arguments=["--epochs=40"]) == result
    assert contents(tmp_path / "r") == before


@pytest.mark.parametrize("valid_metric", ["balanced/tail/map@7", "imbalanced/precision@3", "Hit@10"])
def test_any_key_may_choose_the_epoch(toy, tmp_path, valid_metric):
    result = run("PopDCL", config_dict=toy, arguments=[f"--valid_metric={valid_metric}"], run_dir=tmp_path / "r")
    scores = [line[result["valid_metric"]] for line in lines(tmp_path / "r")]
    assert max(scores) == scores[result["best_epoch"]]
    assert {**result["valid"], **result["test"]}[result["valid_metric"]] == pytest.approx(max(scores))


def test_without_validation_the_last_epoch_stands(toy, tmp_path):
    assert run("SSM", config_dict=toy, arguments=["--eval_step=0"], run_dir=tmp_path / "r")["best_epoch"] == 2


@pytest.mark.parametrize(
    "switch",
    ["--encoder=mf", "--layer_combination=last", "--embedding_init=normal", "--l2_form=half", "--n_layers=3",
     "--epoch_sampling=users", "--positive_margin=False", "--negative_margin=none", "--negative_margin=exact",
     "--omega_leave_one_out=True", "--omega_max=0.01", "--negative_score_floor=0.9", "--reg_weight=0.1",
     "--score_norm_exponent=1", "--eval_mask=others", "--temperature=0.3", "--amp_dtype=bfloat16"],
)  # fmt: skip
def test_each_switch_changes_the_run(toy, tmp_path, finished, switch):
    folder, plain = finished
    switched = run("PopDCL", config_dict=toy, arguments=[switch], run_dir=tmp_path / "r")
    before, after = weights(folder), weights(tmp_path / "r")
    if switch in ("--score_norm_exponent=1", "--eval_mask=others"):  # ranking alone, on the weights of the same epoch
        assert plain["test"]["balanced/ndcg@20"] != switched["test"]["balanced/ndcg@20"]
    elif switch != "--amp_dtype=bfloat16":  # scores and losses stay in float32: nothing else is autocast on the CPU
        assert any(not torch.equal(before[name], after[name]) for name in before)


def test_both_margins_off_is_ssm(toy, tmp_path):
    off = ["--positive_margin=False", "--negative_margin=none"]
    run("PopDCL", config_dict=toy, arguments=[*off], run_dir=tmp_path / "off")
    run("SSM", config_dict=toy, run_dir=tmp_path / "ssm")
    for name, value in weights(tmp_path / "off").items():
        torch.testing.assert_close(value, weights(tmp_path / "ssm")[name], rtol=1e-5, atol=1e-6)


def test_evaluate_again(finished):
    folder, result = finished
    assert evaluate(folder) == pytest.approx({**result["valid"], **result["test"]})
    other = evaluate(folder, ["--topk=[7]", "--score_norm_exponent=0.5", "--eval_mask=others", "--metrics=Hit"])
    # the validation's own metric stays among those measured
    assert {"balanced/hit@7", "imbalanced/tail/hit@7"} <= set(other)
    assert evaluate(folder, ["--score_norm_exponent=1"])["balanced/ndcg@20"] != result["test"]["balanced/ndcg@20"]


def test_evaluation_is_that_of_recbole(finished):
    """The whole chain against RecBole's collector and metric classes on the full score matrix."""
    from recbole.data.interaction import Interaction
    from recbole.evaluator import Collector, Evaluator

    folder, result = finished
    loaded = load_run(folder)
    loaded.config["metric_decimal_place"] = 12
    train, test = loaded.data.evaluation.train, loaded.data.evaluation.sets["test_balanced"]
    users = torch.unique(torch.from_numpy(test.users))
    scores = loaded.model.full_sort_predict(Interaction({"user_id": users})).detach().clone()
    place = {user: row for row, user in enumerate(users.tolist())}
    hidden = [(place[u], i) for u, i in zip(train.users.tolist(), train.items.tolist()) if u in place]
    scores[[row for row, _ in hidden], [item for _, item in hidden]] = -torch.inf
    scores[:, 0] = -torch.inf
    rows = torch.tensor([place[user] for user in test.users.tolist()])
    collector = Collector(loaded.config)
    collector.eval_batch_collect(scores, None, rows, torch.from_numpy(test.items))
    expected = Evaluator(loaded.config).evaluate(collector.get_data_struct())
    assert {name: result["test"][f"balanced/{name}"] for name in expected} == pytest.approx(dict(expected), abs=1e-9)


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_recommend(finished, tmp_path, suffix):
    folder, _ = finished
    (tmp_path / "users.txt").write_text("u7\n\nu3\n")
    output = tmp_path / f"lists{suffix}"
    rows = recommend(folder, output, topk=4, users=tmp_path / "users.txt")
    frame = pd.read_csv(output) if suffix == ".csv" else pd.read_parquet(output)
    assert len(frame) == rows == 8
    assert frame["user_id"].tolist() == ["u7"] * 4 + ["u3"] * 4
    assert frame["rank"].tolist() == [1, 2, 3, 4] * 2
    assert frame.groupby("user_id")["score"].is_monotonic_decreasing.all()
    loaded = load_run(folder)
    train = loaded.data.evaluation.train
    tokens = loaded.data.dataset.field2id_token
    known = set(zip(tokens["user_id"][train.users], tokens["item_id"][train.items]))
    assert not known & set(zip(frame["user_id"], frame["item_id"]))
    assert recommend(folder, tmp_path / "all.csv", topk=2) == 2 * (loaded.data.dataset.user_num - 1)


def test_faults_of_a_finished_run(finished, tmp_path):
    folder, _ = finished
    (tmp_path / "users.txt").write_text("anybody\nnobody\n")
    (tmp_path / "blank.txt").write_text("\n \n")
    cases = [
        (lambda: recommend(folder, tmp_path / "x.txt"), "must end in .csv or .parquet"),
        (
            lambda: recommend(folder, tmp_path / "x.csv", users=tmp_path / "users.txt"),
            "none of the 2 users, such as 'anybody'",
        ),
        (lambda: recommend(folder, tmp_path / "x.csv", users=tmp_path / "none"), "cannot read --users"),
        (lambda: recommend(folder, tmp_path / "x.csv", users=tmp_path / "blank.txt"), "blank.txt holds no user id"),
        (lambda: evaluate(folder, ["--temperature=0.3"]), "'temperature' cannot change after training"),
        (lambda: evaluate(tmp_path), "no run in"),
        (lambda: run("SSM", "ml-100k", run_dir=folder), "already holds a run"),
        (lambda: run(run_dir=tmp_path, resume=True), "nothing to resume"),
        (
            lambda: run("SSM", run_dir=folder, resume=True),
            "run is of the model 'PopDCL', not of 'SSM'",
        ),
    ]
    for call, message in cases:
        with pytest.raises(PopDCLError) as raised:
            call()
        assert message in str(raised.value)
    assert not (tmp_path / "x.csv").exists()


def test_bad_input_leaves_no_folder(tmp_path, toy):
    for argument in ("--dataset=nothing", "--k_core=500", "--temperature=x"):
        with pytest.raises(PopDCLError):
            run("PopDCL", config_dict=toy, arguments=[argument], run_dir=tmp_path / "r")
        assert not (tmp_path / "r").exists()


def test_changed_data_are_noticed(toy, toy_folder, tmp_path):
    copy = tmp_path / "data" / "toy"
    copy.mkdir(parents=True)
    text = (toy_folder / "toy" / "toy.inter").read_text()
    (copy / "toy.inter").write_text(text)
    run("SSM", config_dict={**toy, "data_path": str(tmp_path / "data")}, run_dir=tmp_path / "r")
    (copy / "toy.inter").write_text(text[: text.rstrip().rfind("\n") + 1])
    with pytest.raises(PopDCLError, match="are not those that"):
        evaluate(tmp_path / "r")


def test_a_loss_that_is_no_number_stops_the_run(toy, tmp_path, monkeypatch):
    monkeypatch.setattr("recbole_popdcl.model.ssm.ssm_loss", lambda u, *_, **__: (u * float("nan")).sum())
    with pytest.raises(PopDCLError, match="training loss became nan in epoch 0"):
        run("SSM", config_dict=toy, run_dir=tmp_path / "r")


def test_no_set_for_the_valid_metric(tmp_path, toy_folder):
    rows = (toy_folder / "toy" / "toy.inter").read_text()
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "x.train.inter").write_text(rows)
    arguments = ["--dataset=x", f"--data_path={tmp_path}"]
    with pytest.raises(PopDCLError, match="valid_metric' is valid/recall@20, but the dataset has no valid set"):
        run("SSM", arguments=arguments, run_dir=tmp_path / "r")


@pytest.mark.parametrize("change", ["--encoder=mf", "--split_seed=1", "--seed=7", "--valid_metric=ndcg@20"])
def test_a_resumed_run_is_the_same_run(finished, change):
    folder, _ = finished
    before = {path: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    with pytest.raises(PopDCLError, match=rf"property '{change[2:].split('=')[0]}' cannot change in a resumed run"):
        run(run_dir=folder, resume=True, arguments=[change])
    assert {path: path.read_bytes() for path in before} == before


def test_an_edited_configuration_is_noticed(toy, tmp_path):
    run("SSM", config_dict=toy, run_dir=tmp_path / "r")
    config = tmp_path / "r" / "config.yaml"
    config.write_text(config.read_text().replace("encoder: lightgcn", "encoder: mf"))
    with pytest.raises(PopDCLError, match=r"property 'encoder' cannot change .*last\.pt"):
        run(run_dir=tmp_path / "r", resume=True)


@pytest.mark.parametrize("arguments", [["--eval_step=0"], ["--eval_step=3"]])
def test_interrupted_before_the_first_validation(toy, tmp_path, monkeypatch, arguments):
    whole = run("SSM", config_dict=toy, arguments=arguments, run_dir=tmp_path / "whole")
    train_epoch = RunTrainer._train_epoch

    def interrupted(self, train_data, epoch_idx, *more, **options):
        if epoch_idx == 2:
            raise KeyboardInterrupt
        return train_epoch(self, train_data, epoch_idx, *more, **options)

    monkeypatch.setattr(RunTrainer, "_train_epoch", interrupted)
    with pytest.raises(KeyboardInterrupt, match="go on with: recbole-popdcl run --resume --run_dir="):
        run("SSM", config_dict=toy, arguments=arguments, run_dir=tmp_path / "cut")
    monkeypatch.setattr(RunTrainer, "_train_epoch", train_epoch)
    resumed = run(run_dir=tmp_path / "cut", resume=True)
    assert resumed["test"] == whole["test"]
    assert without_seconds(tmp_path / "cut") == without_seconds(tmp_path / "whole")


def test_more_epochs_stand_in_the_configuration(toy, tmp_path):
    run("SSM", config_dict=toy, run_dir=tmp_path / "r")
    run(run_dir=tmp_path / "r", resume=True, arguments=["--epochs=4"])
    assert yaml.safe_load((tmp_path / "r" / "config.yaml").read_text())["epochs"] == 4


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        (
            "metrics.jsonl",
            b'{"epoch": 0}\nwhat\n{"epoch": 1}\n',
            r"metrics\.jsonl, line 2: not the metrics",
        ),
        ("last.pt", None, r"last\.pt does not fit this model and data"),
        ("last.pt", b"torn", r"last\.pt is damaged"),
    ],
)
def test_damaged_files_of_a_resumed_run(toy, tmp_path, file, content, message):
    run("SSM", config_dict=toy, run_dir=tmp_path / "r")
    path = tmp_path / "r" / file
    path.write_bytes((tmp_path / "r" / "checkpoint.pt").read_bytes() if content is None else content)
    with pytest.raises(PopDCLError, match=message):
        run(run_dir=tmp_path / "r", resume=True, arguments=["--epochs=4"])


def test_lost_metrics_do_not_hinder(toy, tmp_path):
    run("SSM", config_dict=toy, run_dir=tmp_path / "r")
    (tmp_path / "r" / "metrics.jsonl").unlink()
    (tmp_path / "r" / "result.json").unlink()
    assert run(run_dir=tmp_path / "r", resume=True)["epochs"] == 3


def test_a_failed_start_leaves_no_folder(toy, tmp_path, monkeypatch):
    monkeypatch.setattr("recbole_popdcl.model.ssm.ssm_loss", lambda u, *_, **__: (u * float("nan")).sum())
    with pytest.raises(PopDCLError, match="became nan"):
        run("SSM", config_dict=toy, run_dir=tmp_path / "r")
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")]
)
@pytest.mark.parametrize("place", ["__init__", "calculate_loss"])
def test_out_of_memory_is_one_line(error, place, toy, tmp_path, monkeypatch):
    def fail(*_):
        raise error

    monkeypatch.setattr(f"recbole.model.general_recommender.bpr.BPR.{place}", fail)
    with pytest.raises(PopDCLError, match=r"^model BPR: out of memory; smaller embeddings or a smaller "):
        run("BPR", config_dict=toy, run_dir=tmp_path / "made" / "r")
    assert list(tmp_path.iterdir()) == []


def test_a_defect_leaves_no_folder_and_is_told(toy, tmp_path, monkeypatch):
    def fail(*_):
        raise RuntimeError("shapes")

    monkeypatch.setattr("recbole.model.general_recommender.bpr.BPR.calculate_loss", fail)
    with pytest.raises(RuntimeError, match="shapes"):
        run("BPR", config_dict=toy, run_dir=tmp_path / "r")
    assert list(tmp_path.iterdir()) == []


def test_a_model_of_the_users_has_the_properties_of_its_base(toy, tmp_path):
    from recbole_popdcl.model.popdcl import PopDCL

    class Mine(PopDCL):
        pass

    result = run(Mine, config_dict=toy, arguments=["--temperature=0.2"], run_dir=tmp_path / "mine")
    base = run("PopDCL", config_dict=toy, arguments=["--temperature=0.2"], run_dir=tmp_path / "base")
    assert result["test"] == base["test"]


def test_users_file_of_windows(finished, tmp_path):
    folder, _ = finished
    (tmp_path / "users.txt").write_bytes(b"\xef\xbb\xbfu7\r\nu3\r\nu7\r\n")
    recommend(folder, tmp_path / "x.csv", topk=2, users=tmp_path / "users.txt")
    assert pd.read_csv(tmp_path / "x.csv")["user_id"].tolist() == ["u7", "u7", "u3", "u3"]


def test_faults_of_result_json(toy, tmp_path):
    run("SSM", config_dict=toy, run_dir=tmp_path / "r")
    (tmp_path / "r" / "result.json").write_text("{}")
    with pytest.raises(PopDCLError, match=r"result\.json is not the result of a run"):
        evaluate(tmp_path / "r")


def test_a_stock_model_is_ranked_in_its_own_way(toy, tmp_path):
    run("BPR", config_dict={**toy, "epochs": 1}, run_dir=tmp_path / "r")
    with pytest.raises(PopDCLError, match=r"^command line: BPR has no property 'score_norm_exponent'"):
        evaluate(tmp_path / "r", ["--score_norm_exponent=0.5"])


def test_a_package_that_a_model_needs(toy, tmp_path, monkeypatch):
    def missing(*_):
        raise ImportError("No module named 'dgl'", name="dgl")

    monkeypatch.setattr("recbole.model.general_recommender.bpr.BPR.__init__", missing)
    with pytest.raises(PopDCLError, match=r"^model BPR: needs the package 'dgl': install it first$"):
        run("BPR", config_dict=toy, run_dir=tmp_path / "r")
    assert not (tmp_path / "r").exists()


def test_a_model_whose_loop_is_recboles(toy, tmp_path, monkeypatch):
    """NCL, with one cluster, whose centre is the mean, in the place of faiss."""
    clusters = "recbole.model.general_recommender.ncl.NCL.run_kmeans"
    monkeypatch.setattr(
        clusters, lambda _, x: (torch.from_numpy(x.mean(0, keepdims=True)), torch.zeros(len(x), dtype=torch.long))
    )
    result = run("NCL", config_dict=toy, run_dir=tmp_path / "r")
    table = lines(tmp_path / "r")
    assert [line["epoch"] for line in table] == [0, 1, 2]
    scores = [line["valid/recall@20"] for line in table]
    assert scores[result["best_epoch"]] == max(scores) == pytest.approx(result["valid"]["valid/recall@20"])
    assert evaluate(tmp_path / "r") == pytest.approx({**result["valid"], **result["test"]})
    with pytest.raises(PopDCLError, match=r"^--resume is not supported for NCL, whose training loop is RecBole's"):
        run(run_dir=tmp_path / "r", resume=True, arguments=["--epochs=4"])


def test_a_plateau_ends_recboles_own_loop_too(toy, tmp_path, monkeypatch):
    clusters = "recbole.model.general_recommender.ncl.NCL.run_kmeans"
    monkeypatch.setattr(
        clusters, lambda _, x: (torch.from_numpy(x.mean(0, keepdims=True)), torch.zeros(len(x), dtype=torch.long))
    )
    monkeypatch.setattr(RunTrainer, "_valid_epoch", lambda *_, **__: (0.5, {"valid/recall@20": 0.5}))
    result = run("NCL", config_dict={**toy, "epochs": 9, "stopping_step": 2}, run_dir=tmp_path / "r")
    assert (result["epochs"], result["best_epoch"]) == (4, 0)
    assert recbole.trainer.trainer.early_stopping is recbole.utils.early_stopping  # put back


def test_an_optimiser_without_a_fused_kernel(toy, tmp_path):
    run("SSM", config_dict={**toy, "learner": "sgd", "learning_rate": 0.5}, run_dir=tmp_path / "r")
    losses = [line["train_loss"] for line in lines(tmp_path / "r")]
    assert losses == sorted(losses, reverse=True)
    assert losses[0] > losses[-1]


@pytest.fixture
def declared_g_measure():
    """A metric declared by a user's own code."""

    @accuracy_metric("GMeasure")
    def g_measure(hits, n_truth, *, topk):
        """Geometric mean of precision and recall."""
        return (accuracy.precision(hits, n_truth, topk=topk) * accuracy.recall(hits, n_truth, topk=topk)).sqrt()

    yield
    withdraw_metric("GMeasure")


def test_a_metric_that_recbole_does_not_know(toy, tmp_path, declared_g_measure):
    """RecBole's evaluator is made, and must not be asked for it."""
    properties = {**toy, "metrics": ["gmeasure"], "valid_metric": "valid/gmeasure@20", "epochs": 2}
    result = run("BPR", config_dict=properties, run_dir=tmp_path / "r")
    assert 0 < result["test"]["balanced/gmeasure@20"] < 1


def test_outputs_of_an_evaluation_are_both_written_or_none(toy, tmp_path, caplog):
    run("SSM", config_dict=toy, run_dir=tmp_path / "r")
    (tmp_path / "folder").mkdir()
    for output, problem in (
        ("none/e.json", "there is no folder"),
        ("folder", "is a folder"),
        ("p.parquet", "must end in .json"),
    ):
        with pytest.raises(PopDCLError, match=problem):
            evaluate(tmp_path / "r", output=tmp_path / output, per_user_output=tmp_path / "p.parquet")
        assert not (tmp_path / "p.parquet").exists()
    assert "not finished" not in caplog.text
    (tmp_path / "r" / "result.json").unlink()
    evaluate(tmp_path / "r")
    assert "r is not finished: this is its best epoch so far" in caplog.text
