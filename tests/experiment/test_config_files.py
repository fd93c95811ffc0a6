"""A config file given to a finished run: what may change after training changes, of the rest one line tells."""

from __future__ import annotations

import logging
import shutil

import pandas as pd
import pytest
import yaml

from recbole_popdcl.cli import main
from recbole_popdcl.errors import PopDCLError
from recbole_popdcl.experiment.export import export
from recbole_popdcl.experiment.finished import evaluate, load_run
from recbole_popdcl.experiment.lists import recommend
from recbole_popdcl.experiment.run import run
from recbole_popdcl.experiment.score import score
from tests.conftest import the_one_line


@pytest.fixture(scope="module")
def finished(tmp_path_factory, toy):
    """Folder of a run, beside a file of pairs."""
    folder = tmp_path_factory.mktemp("files")
    run("SSM", config_dict={**toy, "epochs": 2}, run_dir=folder / "run")
    (folder / "pairs.csv").write_text("user_id,item_id\nu1,i1\nu2,i3\n")
    return folder


def uses(folder, arguments):
    """Each use of a run, with what it gives."""
    return {
        "evaluate": lambda: evaluate(folder / "run", arguments),
        "recommend": lambda: [
            recommend(folder / "run", folder / "lists.csv", arguments=arguments), pd.read_csv(folder / "lists.csv")
        ][1],
        "score": lambda: score(folder / "run", folder / "pairs.csv", arguments=arguments),
        "export": lambda: [
            export(folder / "run", folder / "v.parquet", arguments=arguments), pd.read_parquet(folder / "v.parquet")
        ][1],
    }  # fmt: skip


FIXED = {"temperature": 0.9, "embedding_size": 4, "k_core": 2, "seed": 7, "model": "BPR", "dataset": "ml-100k",
         "split_ratio": [0.5, 0.2, 0.2, 0.1], "log_wandb": True, "valid_metric": "ndcg@3",
         "train_neg_sample_args": {"distribution": "popularity"}}  # fmt: skip


@pytest.mark.parametrize("command", ["evaluate", "recommend", "score", "export"])
def test_what_cannot_change_is_one_line_a_file(finished, tmp_path, command, caplog):
    files = [tmp_path / "one.yaml", tmp_path / "two.yaml"]
    files[0].write_text(yaml.safe_dump(FIXED))
    files[1].write_text("learning_rate: 0.5\nshow_progress: False\n")
    plain = uses(finished, [])[command]()
    caplog.clear()
    found = uses(finished, [f"--config_files={files[0]},{files[1]}"])[command]()
    told = [text for text in caplog.messages if "no effect" in text]
    names = ", ".join(sorted(FIXED))
    assert told == [
        f"{files[0]}: no effect on a finished run, which keeps its own: {names}",
        f"{files[1]}: no effect on a finished run, which keeps its own: learning_rate",
    ]
    assert all(record.levelno == logging.WARNING for record in caplog.records if "no effect" in record.message)
    assert found == plain if isinstance(plain, dict) else str(found.values.tolist()) == str(plain.values.tolist())


def test_what_can_change_changes(finished, tmp_path, caplog):
    file = tmp_path / "k.yaml"
    file.write_text("topk: [3]\nscore_norm_exponent: 0\n")
    typed = evaluate(finished / "run", ["--topk=[3]", "--score_norm_exponent=0"])
    assert evaluate(finished / "run", [f"--config_files={file}"]) == typed
    assert not [text for text in caplog.messages if "no effect" in text]


def test_what_a_use_does_not_measure_is_told(finished, tmp_path, caplog):
    """Typed it is refused."""
    file = tmp_path / "k.yaml"
    file.write_text("topk: [3]\neval_mask: others\ncold_items: rank\n")
    score(finished / "run", finished / "pairs.csv", arguments=[f"--config_files={file}"])
    assert f"{file}: no effect on a finished run, which keeps its own: cold_items, eval_mask, topk" in caplog.text


def test_what_the_run_was_made_with_may_stand_in_a_file_again(finished, tmp_path, caplog):
    shutil.copy(finished / "run" / "config.yaml", tmp_path / "same.yaml")
    evaluate(finished / "run", [f"--config_files={tmp_path / 'same.yaml'}"])
    assert not [text for text in caplog.messages if "no effect" in text]


@pytest.mark.parametrize("text", ["temprature: 0.3", "temperature: hot", "popularity_margn: 3"])
def test_what_is_wrong_is_still_refused(finished, tmp_path, text, capsys):
    (tmp_path / "wrong.yaml").write_text(text)
    start = ["evaluate", f"--run_dir={finished / 'run'}", f"--config_files={tmp_path / 'wrong.yaml'}"]
    line = the_one_line(start, capsys, logged=True)
    assert f"wrong.yaml: {'property' if 'hot' in text else 'unknown property'} '{text.split(':')[0]}'" in line


def test_what_other_models_have_is_nothing_to_tell_of(finished, tmp_path, caplog):
    """A file may serve several models."""
    (tmp_path / "all.yaml").write_text("popularity_margin: 40\nomega_plus: 0.2\n")
    evaluate(finished / "run", [f"--config_files={tmp_path / 'all.yaml'}"])
    assert not [text for text in caplog.messages if "no effect" in text]


def test_it_is_told_on_the_screen(finished, tmp_path, capsys):
    (tmp_path / "t.yaml").write_text("temperature: 0.9\n")
    assert main(["evaluate", f"--run_dir={finished / 'run'}", f"--config_files={tmp_path / 't.yaml'}"]) == 0
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "no effect" in line]
    assert line.endswith(
        "WARNING " + f"{tmp_path / 't.yaml'}: no effect on a finished run, which keeps its own: temperature"
    )


@pytest.mark.parametrize(
    ("argument", "suffix"),
    [("--output=x.csv", ".json"), ("--per_user=x.csv", ".parquet"), ("--per_user=x.JSON", ".parquet")],
)
def test_a_file_is_what_its_name_says(finished, tmp_path, monkeypatch, argument, suffix, capsys):
    monkeypatch.chdir(tmp_path)
    option, name = argument.split("=")
    line = the_one_line(["evaluate", f"--run_dir={finished / 'run'}", argument], capsys)
    assert line == f"recbole-popdcl: error: {option} {name}: the file must end in {suffix}"
    assert main(["evaluate", f"--run_dir={finished / 'run'}", f"{option}=x{suffix}", "--show_progress=False"]) == 0


def test_typed_ones_are_refused(finished):
    with pytest.raises(PopDCLError, match="'temperature' cannot change after training"):
        evaluate(finished / "run", ["--temperature=0.9"])


def test_what_recboles_file_of_the_runs_dataset_says_is_not_for_another(toy_folder, tmp_path, caplog):
    """RecBole has a file for ml-100k, which normalises, and loads ratings; nobody has asked for it."""
    text = (toy_folder / "toy" / "toy.inter").read_text()
    for name in ("ml-100k", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"{name}.inter").write_text(text)
    properties = {"data_path": str(tmp_path), "k_core": 5, "embedding_size": 8, "epochs": 1, "topk": [7, 20]}
    run("SSM", "ml-100k", config_dict=properties, run_dir=tmp_path / "run")
    caplog.clear()
    results = evaluate(tmp_path / "run", dataset="other")
    assert "imbalanced/recall@7" in results
    assert not [text for text in caplog.messages if "property" in text or "normalize" in text]
    assert load_run(tmp_path / "run").config["normalize_all"] is True


def test_what_the_run_was_given_is_for_another_dataset_too(tmp_path, caplog):
    """It is named after the file that has it."""
    head = "user_id:token\titem_id:token\trating:float\n"
    rows = [f"u{u}\ti{i}\t{1 + (u * i) % 5}\n" for u in range(12) for i in range(12) if (u + i) % 4]
    for name, text in (
        ("one", "".join([head, *rows])),
        ("two", "".join([head, *rows[::2]])),
        ("bare", "".join(["user_id:token\titem_id:token\n", *(r.rpartition("\t")[0] + "\n" for r in rows)])),
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"{name}.inter").write_text(text)
    properties = {"data_path": str(tmp_path), "k_core": 0, "embedding_size": 8, "epochs": 1}
    rated = {"load_col": {"inter": ["user_id", "item_id", "rating"]}, "val_interval": {"rating": "[2,inf)"}}
    run("SSM", "one", config_dict={**properties, **rated}, run_dir=tmp_path / "run")
    caplog.clear()
    with caplog.at_level("INFO"):
        evaluate(tmp_path / "run", dataset="two")
    kept = sum(int(row.split("\t")[2]) >= 2 for row in rows[::2])
    assert f"{kept} of {kept} interactions are of users and items of the run" in caplog.text
    with pytest.raises(PopDCLError, match="'rating'"):
        evaluate(tmp_path / "run", dataset="bare")
    assert f"{tmp_path / 'run' / 'config.yaml'}: property 'load_col' names 'rating'" in caplog.text
