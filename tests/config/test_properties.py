"""The table of properties holds with the property files, with the code that reads them, and with RecBole."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
import recbole
import yaml
from recbole.utils import argument_list

import recbole_popdcl
from recbole_popdcl.config import properties, sections
from recbole_popdcl.config.config import Config
from recbole_popdcl.config.kinds import Choice, Columns, Flag, ListOf, MappingOf, Optional, OrEmpty, Real, Whole
from recbole_popdcl.config.models import UNSUPPORTED, general_models, model_names
from recbole_popdcl.config.properties import (
    AFTER_TRAINING,
    IN_SEARCH,
    ON_RESUME,
    TELL_RUNS_APART,
    Property,
    comments,
    meaning,
    names_of,
    stage_of,
    table,
)
from recbole_popdcl.config.reading import properties_folder, read_yaml
from recbole_popdcl.errors import PopDCLError

FILES = sorted(path for path in properties_folder().rglob("*.yaml") if path.parent.name not in ("tune", "dataset"))
RECBOLE = Path(recbole.__file__).parent
READS = re.compile(r"""config\[['"](\w+)['"]\]""")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_property_of_a_file_is_in_the_table_and_explained(path):
    values, of_models = sections.split(read_yaml(path), more=(), where=path.name)
    assert {*values, *(name for section in of_models.values() for name in section)} <= set(table())
    if path.parent.name != "preset":
        assert [name for name in values if not comments(path)[name]] == []


@pytest.mark.parametrize("model", model_names())
def test_every_property_of_a_model_has_a_meaning(model):
    own = set(Config(model, "ml-100k").final_config_dict) - set(Config("BPR", "ml-100k").final_config_dict)
    assert own, model
    assert [name for name in sorted(own) if not meaning(name, model)] == []


def test_every_entry_belongs_to_a_property():
    models = [*model_names(), *(name for name in general_models() if name not in UNSUPPORTED)]
    known = set().union(*(Config(model, "ml-100k").final_config_dict for model in models))
    lists = set().union(*(values for values in vars(argument_list).values() if isinstance(values, list)))
    rest = {name for name, entry in table().items() if not entry.optional} - known - lists
    assert rest == set()


def names_read(path):
    """The names in ``config["name"]`` and ``self.config["name"]`` of a file."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant):
            owner = node.value.attr if isinstance(node.value, ast.Attribute) else getattr(node.value, "id", "")
            if owner == "config" and isinstance(node.slice.value, str):
                yield node.slice.value


def test_every_name_that_our_code_reads_is_a_property():
    files = list(Path(recbole_popdcl.__file__).parent.rglob("*.py"))
    read = {name: path.name for path in files for name in names_read(path)}
    assert len(read) > 60
    assert {name: file for name, file in read.items() if name not in table()} == {}


@pytest.mark.parametrize("model", ["PopDCL", "LightGCN", "BPR"])
def test_recbole_gets_an_answer_wherever_it_asks(model):
    """RecBole's general code asks for properties that nothing defines; those of one kind of model it asks no other."""
    config = Config(model, "ml-100k")
    parts = [path for folder in ("data", "utils", "evaluator") for path in (RECBOLE / folder).rglob("*.py")]
    parts = [path for path in parts if path.name not in ("transform.py", "decisiontree_dataset.py")]
    text = (RECBOLE / "trainer" / "trainer.py").read_text(encoding="utf-8").split("class KGTrainer")[0]
    names = set(READS.findall(text)).union(*(READS.findall(path.read_text(encoding="utf-8")) for path in parts))
    assert len(names) > 60
    for name in names:
        config[name]  # raises where it is not known


@pytest.mark.parametrize("model", [name for name in general_models() if name not in (*UNSUPPORTED, *model_names())])
def test_recbole_models_get_an_answer(model):
    config = Config(model, "ml-100k")
    for name in READS.findall((RECBOLE / "model" / "general_recommender" / f"{model.lower()}.py").read_text("utf-8")):
        config[name]


@pytest.mark.parametrize(
    ("model", "name", "hint"),
    [("PopDCL", "temprature", r" \(did you mean 'temperature'\?\)"), ("LightGCN", "temperature", ""),
     ("SamReg", "popularity_margin", ""), ("BPR", "encoder", "")],
)  # fmt: skip
def test_a_name_that_the_model_does_not_have_is_no_value(model, name, hint):
    with pytest.raises(KeyError, match=rf"{model} has no property '{name}'{hint}"):
        Config(model, "ml-100k")[name]


def test_what_may_change_when():
    """Every property that could mislead, by hand."""
    place = {"data_path", "eval_memory_mb", "show_progress", "use_gpu", "gpu_id"}
    assert place | {"epochs", "stopping_step"} <= set(names_of(ON_RESUME))
    after = {"metrics", "topk", "eval_mask", "segment_by", "score_norm_exponent", "counterfactual_constant", "rank_by"}
    assert after | place <= set(names_of(AFTER_TRAINING))
    data = {
        "dataset", "k_core", "split_ratio", "split_seed", "rm_dup_inter", "filter_inter_by_user_or_item",
        "additional_feat_suffix", "load_col", "encoding", "discretization", "numerical_features", "val_interval",
        "benchmark_filename",
    }  # fmt: skip
    training = {"temperature", "positive_margin", "learning_rate", "train_batch_size", "seed", "encoder", "n_layers"}
    choice = {"valid_metric", "eval_step"}
    for stages, names in ((ON_RESUME, after | data | training | choice), (AFTER_TRAINING, data | training | choice),
                          (IN_SEARCH, place | data | choice | {"metrics", "topk", "eval_mask", "segment_by"}),
                          (TELL_RUNS_APART, place | {"metrics", "topk"})):  # fmt: skip
        assert {name for name in names if stage_of(name) in stages} == set()
    assert all(stage_of(name) in IN_SEARCH for name in (*training, "score_norm_exponent", "epochs", "no_such_property"))
    assert all(stage_of(name) in TELL_RUNS_APART for name in (*data, *training, *choice, "eval_mask", "epochs"))


def test_a_property_is_declared_once(monkeypatch):
    class Other:
        properties = (Property("temperature", Whole(1)),)

    monkeypatch.setattr(properties, "classes_in", lambda package: (Other,))
    with pytest.raises(
        ValueError,
        match=r"property 'temperature' of .*Other is a whole number .*, but of .* it is a number above 0",
    ):
        table.__wrapped__()


@pytest.mark.parametrize(
    ("kind", "good", "bad", "wanted"),
    [
        (Whole(1, 5), [1, 5], [0, 6, True, 1.0, "1", None], "a whole number of at least 1"),
        (Real(0, 1, open_=True), [0.5], [0, 1, "0.5", float("nan")], "a number between 0 and 1, both excluded"),
        (Real(0), [0, 1e9], [-1, float("inf")], "a number of at least 0"),
        (Flag(), [True, False], [0, "True"], "True or False"),
        (Choice(lambda: ["a", "b"]), ["a"], ["c", None], "one of a, b"),
        (Optional(Whole(1)), [None, 3], [0], "a whole number of at least 1, or nothing"),
        (OrEmpty(ListOf(Whole(1))), [[], [2]], [None, [0]], "a list: a whole number of at least 1"),
        (ListOf(Real(), lengths=(2,)), [[1, 2]], [[1], 1], "a list: 2 times a number"),
        (MappingOf("{a: 1}", every=Whole(1)), [{"b": 1}], [{"b": 0}, {}, 1], "a mapping such as {a: 1}"),
        (Columns(everything=True), ["*", [], ["a"]], ["a", [1]], "a list: a non-empty text"),
    ],
)
def test_kinds(kind, good, bad, wanted):
    assert kind.wanted() == wanted
    assert [kind.check(value) for value in good] == [None] * len(good)
    assert all(kind.check(value) for value in bad)


def test_a_class_of_the_users_own_declares_its_properties():
    from recbole_popdcl.model.ssm import SSM

    class Mine(SSM):
        properties = (Property("sharpness", Real(0)),)

    assert Config(Mine, "ml-100k", config_dict={"sharpness": 2})["sharpness"] == 2
    with pytest.raises(PopDCLError, match="dict: property 'sharpness' must be a number of at least 0, not -2"):
        Config(Mine, "ml-100k", config_dict={"sharpness": -2})


def test_comments_go_on_below(tmp_path):
    path = tmp_path / "x.yaml"
    path.write_text("# title\na: 1  # (int) first\n       # second\nb:      # mapping\n  c: 1  # no\n\n# other\nd: 2\n")
    assert comments(path) == {"a": "first second", "b": "mapping", "d": ""}
    assert yaml.safe_load(path.read_text()) == {"a": 1, "b": {"c": 1}, "d": 2}
