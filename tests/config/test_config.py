"""Layers of the configuration, literals instead of code, and one clear line for what is wrong."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from recbole_popdcl.config.config import Config
from recbole_popdcl.config.models import find_model, model_names
from recbole_popdcl.config.properties import comments
from recbole_popdcl.config.reading import (
    dump_yaml,
    find_config_file,
    parse_arguments,
    parse_literal,
    properties_folder,
    read_yaml,
)
from recbole_popdcl.errors import PopDCLError

OURS = model_names()
DATASETS = sorted(path.stem for path in (properties_folder() / "dataset").glob("*.yaml"))


def config(*arguments, model="PopDCL", dataset="ml-100k", **more):
    return Config(model, dataset, arguments=arguments, **more)


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_the_paper_is_the_default():
    """Every choice on which paper and released code differ: the paper's side, but for the score when ranking, where
    the paper's tables fit the code."""
    expected = {
        "encoder": "lightgcn", "n_layers": 2, "embedding_size": 64, "layer_combination": "mean",
        "embedding_init": "xavier", "reg_weight": 1e-5, "l2_form": "sum", "epoch_sampling": "pairs",
        "score_norm_exponent": 0, "eval_mask": "train", "omega_leave_one_out": False, "negative_score_floor": None,
        "learning_rate": 1e-3, "train_batch_size": 2048, "learner": "adam", "k_core": 10,
        "split_ratio": [0.60, 0.10, 0.15, 0.15], "topk": [20], "metrics": ["Recall", "NDCG"],
    }  # fmt: skip
    values = config(dataset="none")
    assert {name: values[name] for name in expected} == expected


@pytest.mark.parametrize("model", OURS)
def test_a_model_ranks_as_its_authors_do(model):
    """By the cosine where their code normalises the embeddings in evaluation too, else by the inner product."""
    cosine = {"AdvInfoNCE", "BSL", "CCL", "PSL", "SLatK"}
    for files in ([], ["preset/released_code.yaml"]):
        assert config(model=model, config_files=files)["score_norm_exponent"] == (model in cosine)


@pytest.mark.parametrize("model", OURS)
def test_the_preset_is_the_released_code(model):
    values = config(model=model, config_files=["preset/released_code.yaml"])
    expected = {
        "layer_combination": "last", "embedding_init": "normal", "reg_weight": 1e-4, "l2_form": "half",
        "epoch_sampling": "users", "eval_mask": "others", "eval_step": 5,
        "valid_metric": "valid/recall@20",
    }  # fmt: skip
    own = {
        "PopDCL": {"omega_leave_one_out": True, "negative_score_floor": 1e-7}, "DCL": {"omega_plus": 0.07},
        "HCL": {"omega_plus": 0.07, "concentration": 0.5},
    }  # fmt: skip
    expected.update(own.get(model, {}))
    assert {name: values[name] for name in expected} == expected
    others = {name for properties in own.values() for name in properties} - set(own.get(model, {}))
    assert not any(name in values.final_config_dict for name in others)  # a file serves several models


@pytest.mark.parametrize("model", OURS)
def test_the_other_preset_is_the_text_of_the_paper(model):
    plain, text = (
        config(model=model).resolved(),
        config(model=model, config_files=["preset/paper_text.yaml"]).resolved(),
    )
    by_cosine = {"PopDCL", "SSM", "BCLoss", "DCL", "HCL"}
    assert {name for name in plain if plain[name] != text[name]} == (
        {"score_norm_exponent"} & {*(["score_norm_exponent"] if model in by_cosine else [])}
    )
    assert model not in by_cosine or text["score_norm_exponent"] == 1


def test_a_section_of_a_file_is_for_one_model_or_a_class_of_them(tmp_path):
    """The file's other lines < a base class < the model; a later file is above an earlier one's section."""
    first = write(
        tmp_path / "a.yaml",
        "temperature: 0.3\nreg_weight: 0.1\nPSL: {temperature: 0.5}\nInBatchRecommender: {temperature: 0.4}\n"
        "BPR: {embedding_size: 32}\nLightGCN:\nDICE: {popularity_margin: 3}\n",
    )
    later = write(tmp_path / "b.yaml", "temperature: 0.6\nSSM: {false_negatives: mask}\n")
    found = {model: config(model=model, config_files=[first]) for model in ("PSL", "SSM", "LightGCN", "BPR")}
    assert {model: found[model].final_config_dict.get("temperature") for model in found} == {
        "PSL": 0.5, "SSM": 0.4, "LightGCN": None, "BPR": None,
    }  # fmt: skip
    assert {model: found[model]["embedding_size"] for model in found} == {
        "PSL": 64,
        "SSM": 64,
        "LightGCN": 64,
        "BPR": 32,
    }
    both = config(model="SSM", config_files=[first, later])
    assert (both["temperature"], both["false_negatives"], both["reg_weight"]) == (0.6, "mask", 0.1)
    assert config("--temperature=0.7", model="SSM", config_files=[first])["temperature"] == 0.7
    assert (
        Config(config_dict=both.resolved(), shared="a run")["temperature"] == 0.6
    )  # what a run writes has no sections
    named = write(
        tmp_path / "c.yaml", "model: PSL\ndataset: ml-100k\nPSL: {temperature: 0.5}\nSSM: {temperature: 0.4}\n"
    )
    assert Config(config_files=[named])["temperature"] == 0.5


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("SSM: {popularity_margin: 3}", "section SSM: SSM has no property 'popularity_margin'"),
        ("SSM: {tau: 3}", "section SSM: unknown property 'tau' (did you mean 'temperature'?)"),
        ("PSL: {tempersture: 3}", "section PSL: unknown property 'tempersture' (did you mean 'temperature'?)"),
        ("PSL: {temperature: hot}", "section PSL: property 'temperature' must be a number"),
        ("SSM: 3", ": section 'SSM' must hold 'property: value', not 3"),
        ("SSMM: {temperature: 1}", ": unknown property 'SSMM'"),
    ],
)
def test_what_stands_in_a_section_is_checked(tmp_path, text, message):
    file = write(tmp_path / "a.yaml", text)
    with pytest.raises(PopDCLError, match=rf"^{re.escape(str(file))}.*{re.escape(message)}"):
        config(model="SSM", config_files=[file])


def test_a_shared_file_gives_a_model_what_it_has_alone(tmp_path):
    file = write(
        tmp_path / "shared.yaml",
        "popularity_margin: 40\nnegative_sampling: balanced\n"
        "train_neg_sample_args: {distribution: uniform, sample_num: 2}\n",
    )
    assert "popularity_margin" not in config(model="SamReg", config_files=[file]).final_config_dict
    assert "negative_sampling" not in config(model="LightGCN", config_files=[file]).final_config_dict
    assert "negative_sampling" not in config(model="BPR", config_files=[file]).final_config_dict
    assert config(model="SSM", config_files=[file])["train_neg_sample_args"]["distribution"] == "none"
    assert config(model="LightGCN", config_files=[file])["train_neg_sample_args"]["sample_num"] == 2


@pytest.mark.parametrize(
    ("model", "value"), [("LightGCN", "None"), ("DICE", "{'distribution': 'none'}"), ("SSM", "{distribution: uniform}")]
)
def test_negatives_that_do_not_fit_the_loss(model, value):
    with pytest.raises(PopDCLError, match=f"^command line: property 'train_neg_sample_args' cannot be .*{model}"):
        config(f"--train_neg_sample_args={value}", model=model)


@pytest.mark.parametrize("dataset", DATASETS)
def test_a_data_set_has_a_temperature_for_every_model_that_has_one(dataset):
    """Those of the losses on one batch are of one size, PSL's of half that, as it halves its scores."""
    found = {model: config(model=model, dataset=dataset).final_config_dict.get("temperature") for model in OURS}
    of_no_file = {model: config(model=model, dataset="none").final_config_dict.get("temperature") for model in OURS}
    assert {model for model in OURS if found[model] is None} == {model for model in OURS if of_no_file[model] is None}
    own = read_yaml(properties_folder() / "dataset" / f"{dataset}.yaml")
    named = {
        model
        for model in OURS
        if any("temperature" in (own.get(base.__name__) or {}) for base in find_model(model).__mro__)
    }
    assert named >= {model for model in OURS if found[model] is not None}


def test_the_temperatures_of_tencent():
    found = {
        model: config(model=model, dataset="tencent")["temperature"] for model in ("PopDCL", "SSM", "PSL", "BCLoss")
    }
    assert found == {"PopDCL": 0.12, "SSM": 0.12, "PSL": 0.06, "BCLoss": 0.12}


@pytest.mark.parametrize(
    ("text", "canonical"),
    [("Recall@5", "valid/recall@5"), ("1*recall@5", "valid/recall@5"),
     ("0.5*valid/recall@20+0.5 * valid_balanced/NDCG@7", "0.5*valid/recall@20 + 0.5*valid_balanced/ndcg@7")],
)  # fmt: skip
def test_valid_metric_may_be_a_weighted_sum(text, canonical):
    values = config(f"--valid_metric={text}")
    assert values["valid_metric"] == canonical
    assert Config(config_dict=values.resolved(), shared="it")["valid_metric"] == canonical
    assert {"Recall", "NDCG"} <= set(values["metrics"])
    assert all(int(k) in values["topk"] for k in re.findall(r"@(\d+)", canonical))


def test_each_layer_stands_above_the_one_before(tmp_path, monkeypatch):
    """RecBole < overall < model < dataset < files in order < dict < command line."""
    monkeypatch.setattr("recbole_popdcl.config.config.properties_folder", lambda: tmp_path)
    for folder in ("model", "dataset"):
        (tmp_path / folder).mkdir()
    names = ["clip_grad_norm", "epochs", "seed", "eval_step", "stopping_step", "n_layers", "k_core"]
    for depth, file in enumerate(("overall.yaml", "model/PopDCL.yaml", "dataset/ml-100k.yaml", "a.yaml", "b.yaml"), 1):
        base = (properties_folder() / file).read_text() if (properties_folder() / file).is_file() else ""
        values = yaml.safe_load(base) or {}
        values.update(dict.fromkeys(names[depth:], 100 * depth))
        write(tmp_path / file, yaml.safe_dump(values))
    values = config("--k_core=700", config_files=[tmp_path / "a.yaml", tmp_path / "b.yaml"],
                    config_dict={"n_layers": 600, "k_core": 600})  # fmt: skip
    assert [values[name] for name in names] == [None, 100, 200, 300, 400, 600, 700]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0.1", 0.1), ("1e-4", 1e-4), ("5", 5), ("True", True), ("false", False), ("[1, 2]", [1, 2]), ("None", None),
        ("{'a': 1}", {"a": 1}), ("word", "word"), ("a=b", "a=b"), ("[Recall,NDCG]", ["Recall", "NDCG"]),
        ("{a: 1e-3}", {"a": 0.001}), ("{a:popularity,b:[4,5]}", {"a": "popularity", "b": [4, 5]}), ("[a", "[a"),
        ("__import__('os')", "__import__('os')"),
        ("(" * 10_000, "(" * 10_000), ("", ""),
    ],
)  # fmt: skip
def test_values_are_literals(text, value):
    assert parse_literal(text) == value


@pytest.mark.parametrize("way", ["command line", "dict"])
def test_no_code_runs(way, tmp_path):
    target = tmp_path / "made"
    code = f"__import__('pathlib').Path({str(target)!r}).touch()"
    with pytest.raises(PopDCLError, match=f"{way}: property 'seed' must be a whole number"):
        if way == "dict":
            config(config_dict={"seed": code})
        else:
            config(f"--seed={code}")
    assert not target.exists()


def test_yaml_cannot_make_objects(tmp_path):
    file = write(tmp_path / "evil.yaml", f"a: 1\nseed: !!python/object/apply:pathlib.Path.touch ['{tmp_path}/made']\n")
    with pytest.raises(PopDCLError, match=r"evil\.yaml, line 2: could not determine a constructor"):
        config(config_files=[file])
    assert not (tmp_path / "made").exists()


def test_argument_forms():
    assert parse_arguments(["--a=1", "--b", "2", "--c=x=y"]) == {"a": "1", "b": "2", "c": "x=y"}
    assert parse_arguments(["--a=1", "--a=1"]) == {"a": "1"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a=1"], "command line: 'a=1' is not of the form --property=value"),
        (["-a=1"], "command line: '-a=1' is not of the form"),
        (["--seed"], "command line: --seed has no value"),
        (["--seed", "--epochs=3"], "command line: --seed has no value"),
        (["--seed=1", "--seed=2"], "command line: --seed is given twice, as '1' and as '2'"),
        (["--temprature=0.1"], "command line: unknown property 'temprature' (did you mean 'temperature'?)"),
        (["--tau=0.1"], "unknown property 'tau' (did you mean 'temperature'?)"),
        (["--xyzzy=1"], "command line: unknown property 'xyzzy'"),
        (["--temperature=hot"], "command line: property 'temperature' must be a number above 0, not 'hot'"),
        (["--temperature=0"], "property 'temperature' must be a number above 0, not 0"),
        (["--epochs=2.5"], "property 'epochs' must be a whole number of at least 0, not 2.5"),
        (["--positive_margin=1"], "property 'positive_margin' must be True or False, not 1"),
        (["--l2_form=sun"], "must be one of sum, half (did you mean 'sum'?), not 'sun'"),
        (["--omega_max=1"], "property 'omega_max' must be a number between 0 and 1, both excluded, not 1"),
        (["--topk=[10, 0]"], "property 'topk' must be a list: a whole number of at least 1, not [10, 0]"),
        (["--split_ratio=[0.5, 0.5]"], "property 'split_ratio' must be a list: 4 or 5 times"),
        (["--split_ratio=[0.5, 0.5, 0.5, 0.5]"], "property 'split_ratio' must add up to 1, not 2"),
        (["--metrics=['Recal']"], "unknown metric 'recal' (did you mean 'recall'?)"),
        (["--valid_metric=recall"], "must be of the form [set/][segment/]metric@K"),
        (["--valid_metric=balancd/recall@5"], "unknown set 'balancd' (did you mean 'balanced'?)"),
        (["--eval_batch_size=10"], "property 'eval_batch_size' has no effect here; use eval_memory_mb"),
    ],
)  # fmt: skip
def test_wrong_arguments(arguments, message):
    with pytest.raises(PopDCLError) as raised:
        config(*arguments)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_property_of_another_model():
    with pytest.raises(PopDCLError, match="command line: LightGCN has no property 'temperature'"):
        config("--temperature=0.1", model="LightGCN")


def test_a_file_may_serve_several_models(tmp_path):
    file = write(tmp_path / "shared.yaml", "temperature: 0.2\nepochs: 7\n")
    assert config(model="LightGCN", config_files=[file])["epochs"] == 7
    file = write(tmp_path / "typo.yaml", "temprature: 0.2\n")
    with pytest.raises(
        PopDCLError, match=r"typo\.yaml: unknown property 'temprature' \(did you mean 'temperature'\?\)"
    ):
        config(config_files=[file])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- a\n- b\n", "must hold lines 'property: value', not list"),
        ("a: [1\nb: 2\n", "line 2"),
        ("seed: a: b\n", "line 1"),
    ],
)
def test_damaged_yaml(tmp_path, text, message):
    with pytest.raises(PopDCLError) as raised:
        config(config_files=[write(tmp_path / "c.yaml", text)])
    assert message in str(raised.value)
    assert "c.yaml" in str(raised.value)
    assert "\n" not in str(raised.value)


def test_missing_config_file():
    with pytest.raises(PopDCLError, match=r"cannot read config file nowhere\.yaml: No such file"):
        config("--config_files=nowhere.yaml")


def test_several_config_files_on_the_command_line(tmp_path):
    files = [write(tmp_path / f"{k}.yaml", f"seed: {k}\nepochs: {k}\n") for k in (1, 2)]
    for separator in (",", " ", ", "):
        values = config(f"--config_files={separator.join(map(str, files))}", "--epochs=9")
        assert (values["seed"], values["epochs"]) == (2, 9)


@pytest.mark.parametrize(
    ("model", "dataset", "message"),
    [
        ("PopDLC", "ml-100k", "unknown model 'PopDLC' (did you mean 'PopDCL'?)"),
        ("BRP", "ml-100k", "unknown model 'BRP' (did you mean 'BPR'?)"),
        ("SASRec", "ml-100k", "model 'SASRec' is a sequential model"),
        (None, "ml-100k", "no model given"),
        ("PopDCL", None, "no dataset given"),
        ("PopDCL", "../x", "may not hold a path"),
        ("PopDCL", "..", "may not hold a path"),
    ],
)
def test_wrong_names(model, dataset, message):
    with pytest.raises(PopDCLError) as raised:
        Config(model, dataset)
    assert message in str(raised.value)


def test_names_in_any_case():
    assert find_model("popdcl").__name__ == "PopDCL"
    assert find_model("bpr").__name__ == "BPR"
    assert find_model("lightgcn").__module__ == "recbole_popdcl.model.lightgcn"


def test_a_class_of_ones_own():
    """RecBole takes a model class; its own properties cannot be known, near misses of known ones still are."""

    class Mine(find_model("SSM")):
        pass

    values = Config(Mine, "ml-100k", config_dict={"k_core": 5, "xyzzy": 3, "temperature": 0.3, "encoder": "mf"})
    assert (values["xyzzy"], values["k_core"], values["model"]) == (3, 5, "Mine")
    with pytest.raises(PopDCLError, match="did you mean 'k_core'"):
        Config(Mine, "ml-100k", config_dict={"k_cor": 5})


def test_valid_metric_is_measured():
    values = config("--valid_metric=balanced/tail/MAP@7", "--topk=[10]", "--metrics=Recall")
    assert values["valid_metric"] == "balanced/tail/map@7"
    assert values["topk"] == [7, 10]
    assert values["metrics"] == ["Recall", "MAP"]


@pytest.mark.parametrize("model", [*OURS, "BPR", "EASE"])
def test_the_resolved_configuration_gives_itself(tmp_path, model):
    first = config("--seed=5", model=model)
    file = write(tmp_path / "config.yaml", yaml.safe_dump(first.resolved()))
    again = Config(config_files=[file])
    assert again.resolved() == first.resolved()
    assert (again["seed"], again["model"], again["dataset"]) == (5, model, "ml-100k")


def test_presets_are_found_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find_config_file("preset/released_code.yaml").is_file()


def test_a_copy_of_ml_100k_in_data_path_is_used(tmp_path):
    assert "dataset_example" in config(f"--data_path={tmp_path}")["data_path"]
    (tmp_path / "ml-100k").mkdir()
    write(tmp_path / "ml-100k" / "ml-100k.train.inter", "user_id:token\titem_id:token\n1\t2\n")
    assert config(f"--data_path={tmp_path}")["data_path"] == str(tmp_path / "ml-100k")


def test_recbole_lists_are_left_alone():
    from recbole.utils import argument_list

    before = [list(values) for values in vars(argument_list).values() if isinstance(values, list)]
    config()
    assert [list(values) for values in vars(argument_list).values() if isinstance(values, list)] == before


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--topk=1000000000000", "whole number of at most 10000"),
        ("--valid_metric=recall@99999999", "K must be at most 10000"),
        ("--seed=99999999999", "whole number of at most"),
        ("--device=cuda", "worked out from others"),
        ("--train_neg_sample_args=5", "must be a mapping such as"),
        ("--train_neg_sample_args={distribution:foo}", "'distribution' one of uniform, popularity, none"),
        ("--train_neg_sample_args={sample_num:0}", "'sample_num' a whole number of at least 1"),
        ("--clip_grad_norm=5", "must be a mapping such as {max_norm: 1}"),
    ],
)
def test_values_that_would_fail_later(argument, message):
    with pytest.raises(PopDCLError) as raised:
        config(argument)
    assert message in str(raised.value)


def test_yaml_is_read_back_unchanged(tmp_path):
    values = {"a": "1e3", "b": 1e-4, "c": "true", "d": None, "e": [1, "2"], "f": "0x1", "g": 1000.0}
    assert read_yaml(write(tmp_path / "x.yaml", dump_yaml(values))) == values


@pytest.mark.parametrize("text", ["seed: 2020-99-99", "seed: !!int foo", "[" * 5000, "a: \0"])
def test_strange_yaml_is_one_line(tmp_path, text):
    with pytest.raises(PopDCLError) as raised:
        read_yaml(write(tmp_path / "x.yaml", text))
    assert "\n" not in str(raised.value)
    assert "x.yaml" in str(raised.value)


def test_a_file_that_changed_is_read_anew(tmp_path):
    """Though a text is parsed once: what a caller does to the values is the caller's own, lists among them."""
    path = write(tmp_path / "x.yaml", "topk: [5, 10]\n")
    values = read_yaml(path)
    values["topk"].append(20)
    values["seed"] = 1
    assert read_yaml(path) == {"topk": [5, 10]}
    comments(path)["topk"] = "changed"
    assert comments(path) == {"topk": ""}
    write(path, "topk: [1, 10]  # cut-offs\n")
    assert read_yaml(path) == {"topk": [1, 10]}
    assert comments(path) == {"topk": "cut-offs"}


def test_a_config_file_with_a_space(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "my conf.yaml", "temperature: 0.3")
    assert config("--config_files=my conf.yaml")["temperature"] == 0.3
    assert config(config_files="my conf.yaml")["temperature"] == 0.3


def test_numpy_numbers_are_numbers():
    assert config(config_dict={"temperature": np.float64(0.2), "epochs": np.int64(3)})["epochs"] == 3


def test_stock_models_leave_anomaly_detection_off():
    find_model("BPR")
    with pytest.raises(PopDCLError, match="RaCT' is not supported"):
        find_model("ract")
    assert not torch.is_anomaly_enabled()


def test_a_datasets_temperature_is_for_models_that_have_one():
    assert config(dataset="ml-100k")["k_core"] == 10
    assert "temperature" not in config(model="LightGCN").final_config_dict


def test_a_number_that_python_does_not_write():
    with pytest.raises(PopDCLError, match=r"property 'seed' must be .*, not a number of too many digits$"):
        Config("SSM", "ml-100k", config_dict={"seed": -(10**5000)})


def test_names_of_properties_are_texts():
    with pytest.raises(PopDCLError, match=r"^dict: the names of properties must be texts$"):
        Config("SSM", "ml-100k", config_dict={1: 2})


def test_without_a_gpu():
    assert Config("SSM", "ml-100k", config_dict={"use_gpu": False})["device"].type == "cpu"


@pytest.mark.parametrize("text", ["1..5*valid/recall@20", "valid/recall@20 +"])
def test_a_valid_metric_that_is_none(text):
    with pytest.raises(PopDCLError, match=r"^property 'valid_metric' must be a result key .* not '"):
        Config("SSM", "ml-100k", config_dict={"valid_metric": text})


@pytest.mark.parametrize("name", ["run_dir", "config_files", "world_size"])
def test_what_no_file_can_say_is_warned_of(tmp_path, caplog, name):
    config(config_files=[write(tmp_path / "c.yaml", f"{name}: 2\n")])
    assert f"c.yaml: property '{name}' has no effect here: " in caplog.text
    with pytest.raises(PopDCLError, match=f"property '{name}' has no effect here: "):
        config(config_dict={name: 2})
