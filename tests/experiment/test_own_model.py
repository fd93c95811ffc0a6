"""A class of the user's own: what is done with its runs, and that nothing is imported because a file names it."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml

import recbole_popdcl
from recbole_popdcl.cli import main
from recbole_popdcl.config.config import Config
from recbole_popdcl.config.models import find_model, typed_model
from recbole_popdcl.errors import PopDCLError
from recbole_popdcl.experiment.comparison.compare import ComparisonOptions, finish, read_entries
from recbole_popdcl.experiment.finished import load_run
from recbole_popdcl.experiment.folder import SearchFolder
from recbole_popdcl.experiment.result import all_results
from recbole_popdcl.experiment.search.tune import _stored
from recbole_popdcl.model.ssm import SSM
from tests.conftest import the_one_line
from tests.experiment.conftest import as_arguments

MINE = """
from recbole_popdcl.config.kinds import Real
from recbole_popdcl.config.properties import Property, Stage
from recbole_popdcl.model.ssm import SSM

class MySSM(SSM):
    properties = (Property("shift", Real(), Stage.SCORING),)

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.shift = config["shift"]

    def _final_scores(self, scores, users, items):
        return scores + self.shift
"""
# A class without declarations, as for RecBole, with a property like one that other models have.
PLAIN = """
from recbole_popdcl.config.models import find_model

class Plain(find_model("BPR")):
    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.omega = config["omega_pluss"]

class SASRec(find_model("NGCF")):
    pass
"""


@pytest.fixture
def modules(tmp_path, monkeypatch) -> Path:
    """The current folder, with the modules ``mine`` and ``plain``."""
    (tmp_path / "mine.py").write_text(MINE)
    (tmp_path / "plain.py").write_text(PLAIN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield tmp_path
    for name in ("mine", "plain", "evil"):
        sys.modules.pop(name, None)


def forget() -> None:
    """As a new process would begin: the module is not there yet."""
    sys.modules.pop("mine", None)


def test_every_command_takes_the_class(toy, modules, capsys):
    typed = "--model=mine:MySSM"
    assert main(["run", typed, "--run_dir=r", "--dataset=toy", *as_arguments(toy, "--shift=2", "--epochs=1")]) == 0
    stored = yaml.safe_load(Path("r/config.yaml").read_text())
    assert (stored["model"], stored["model_class"], stored["shift"]) == ("MySSM", "mine:MySSM", 2)
    forget()
    assert main(["run", typed, "--resume", "--run_dir=r", "--epochs=2"]) == 0
    forget()
    assert main(["evaluate", typed, "--run_dir=r", "--shift=3", "--output=again.json"]) == 0
    forget()
    assert main(["recommend", typed, "--run_dir=r", "--topk=2", "--output=lists.csv"]) == 0
    scores = pd.read_csv("lists.csv")["score"]
    assert scores.between(1, 3).all()  # a cosine and the shift
    assert main(["properties", "mine:MySSM"]) == 0
    assert "temperature = 0.1" in capsys.readouterr().out
    capsys.readouterr()
    for command in (["evaluate"], ["recommend", "--output=x.csv"], ["run", "--resume"]):
        line = the_one_line([*command, "--run_dir=r"], capsys)
        assert line == (
            "recbole-popdcl: error: model 'mine:MySSM' is a class of somebody's own, which no file can have imported; "
            "if you trust its code, type --model=mine:MySSM, or give the class itself as model= in Python"
        )
    line = the_one_line(["evaluate", "--model=SSM", "--run_dir=r"], capsys)
    assert line == "recbole-popdcl: error: r is of the model 'mine:MySSM', not of 'SSM'"


def test_python_takes_the_class_itself(toy, tmp_path):
    """One within a function, which nobody can import, of the name of one of the package's."""

    class PopDCL(SSM):
        def _final_scores(self, scores, users, items):
            return -scores

    folder = tmp_path / "r"
    result = recbole_popdcl.run(PopDCL, config_dict={**toy, "epochs": 1}, run_dir=folder)
    assert recbole_popdcl.evaluate(folder, model=PopDCL) == pytest.approx(all_results(result))
    longer = recbole_popdcl.run(PopDCL, run_dir=folder, resume=True, arguments=["--epochs=2"])
    assert longer["epochs"] == 2
    recbole_popdcl.recommend(folder, tmp_path / "x.csv", topk=1, model=PopDCL)
    assert (pd.read_csv(tmp_path / "x.csv")["score"] > 0).all()  # minus the least cosine
    for model in (None, "PopDCL"):  # the package's own would be another model with the same weights
        with pytest.raises(PopDCLError, match=r"<locals>\.PopDCL"):
            recbole_popdcl.evaluate(folder, model=model)
    with pytest.raises(PopDCLError, match=r"is of the model 'SSM', not of '.*<locals>\.PopDCL'$"):
        recbole_popdcl.run("SSM", config_dict={**toy, "epochs": 0}, run_dir=tmp_path / "ssm")
        load_run(tmp_path / "ssm", model=PopDCL)


def test_classes_of_recbole(toy, modules):
    """Properties that are declared nowhere, defaults of the class that it derives from, the name of another kind."""
    Plain, SASRec = typed_model("plain:Plain"), typed_model("plain:SASRec")  # noqa: N806
    recbole_popdcl.run(Plain, config_dict={**toy, "epochs": 1, "omega_pluss": 0.5}, run_dir="plain_run")
    assert load_run("plain_run", model=Plain).model.omega == 0.5
    recbole_popdcl.run(SASRec, config_dict={**toy, "epochs": 1}, run_dir="ngcf")
    assert load_run("ngcf", model="plain:SASRec").config["node_dropout"] == Config("NGCF", "toy")["node_dropout"]
    stock = "recbole.model.general_recommender.lightgcn:LightGCN"
    recbole_popdcl.run(stock, config_dict={**toy, "epochs": 1}, run_dir="lightgcn")
    assert not isinstance(load_run("lightgcn", model=stock).model, find_model("LightGCN"))


def test_a_comparison_and_a_report(toy, modules):
    """The runs in this process; what Ray does with them is what it does with those of any model."""
    (modules / "configs.yaml").write_text("shifted: {model: MySSM, shift: 5}\nMySSM: {shift: 0}\nBPR: {}\n")
    entries = read_entries(["mine:MySSM"], "configs.yaml")
    assert [(entry.label, entry.model) for entry in entries] == [
        ("MySSM", "mine:MySSM"), ("shifted", "mine:MySSM"), ("BPR", "BPR"),
    ]  # fmt: skip
    for entry in entries:
        properties = {**toy, **entry.properties, "epochs": 1, "seed": 2020}
        finish(Path("c/toy") / entry.label / "seed=2020", entry.model, dataset="toy", properties=properties)
    options = ComparisonOptions(frontier=True)
    common = as_arguments(toy, "--epochs=1")
    tables = recbole_popdcl.compare(entries, ["toy"], seeds=[2020], output="c", arguments=common, options=options)
    assert "| MySSM |" in tables["toy"]
    assert set(pd.read_csv("c/toy/frontier.csv")["model"]) == {"MySSM", "shifted"}
    untyped = recbole_popdcl.report(["c"], "without", title="t").read_text()
    assert "could not be analysed: model &#39;mine:MySSM&#39; is a class of somebody" in untyped
    typed = recbole_popdcl.report(["c"], "with", models=["mine:MySSM"]).read_text()
    assert "could not be analysed" not in typed
    assert "MySSM (shift 0)" in typed
    assert len(list(Path("c").rglob("popularity.csv"))) == 3


def test_a_search(toy, modules, capsys):
    """In processes of its own, which import the class again."""
    pytest.importorskip("ray")
    (modules / "space.yaml").write_text("shift: [1, 2]\n")
    common = as_arguments(toy, "--epochs=1", "--dataset=toy", "--space=space.yaml", "--scheduler=none")
    assert main(["tune", "--model=mine:MySSM", "--run_dir=s", *common]) == 0
    trials = pd.read_csv("s/trials.csv")
    assert sorted(trials["shift"]) == [1, 2]
    assert trials["error"].isna().all()
    capsys.readouterr()
    assert "type --model=mine:MySSM" in the_one_line(["tune", "--resume", "--run_dir=s"], capsys)
    assert "s is of the model 'mine:MySSM', not of 'SSM'" in the_one_line(
        ["tune", "--resume", "--run_dir=s", "--model=SSM"], capsys
    )
    forget()
    assert _stored(SearchFolder("s"), "mine:MySSM").config.model_class.__module__ == "mine"


@pytest.mark.parametrize("text", ["x: {model: 'mine:MySSM'}", "mine:MySSM: {}"])
def test_a_class_in_a_file_of_a_comparison(modules, text):
    (modules / "configs.yaml").write_text(text)
    with pytest.raises(PopDCLError, match="which no file can have imported"):
        read_entries(["PopDCL"], "configs.yaml")
    assert "mine" not in sys.modules


def test_two_classes_of_one_name(modules):
    (modules / "plain.py").write_text(MINE)
    with pytest.raises(PopDCLError, match=r"^two models are called MySSM: mine:MySSM and plain:MySSM"):
        read_entries(["mine:MySSM", "plain:MySSM"])


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("nowhere:Model", "model nowhere:Model: cannot import nowhere: ModuleNotFoundError: No module named 'nowhere'"),
        ("mine:Other", "model mine:Other: mine has no class 'Other'"),
        ("mine:Real", "recbole_popdcl.config.kinds:Real is not a model: it does not derive from RecBole's "
                      "GeneralRecommender"),
        ("broken:X", "model broken:X: cannot import broken: ZeroDivisionError: division by zero"),
        ("mine:", "model 'mine:' is not of the form package.module:Class"),
        ("a b:C", "model 'a b:C' is not of the form package.module:Class"),
        ("recbole.model.abstract_recommender:SequentialRecommender",
         "recbole.model.abstract_recommender:SequentialRecommender is not a general model; only those that derive from "
         "RecBole's GeneralRecommender rank here"),
    ],
)  # fmt: skip
def test_faults(modules, capsys, path, line):
    (modules / "broken.py").write_text("1 / 0\n")
    assert the_one_line(["run", f"--model={path}", "--dataset=ml-100k"], capsys) == f"recbole-popdcl: error: {line}"


@pytest.mark.parametrize(
    "change",
    [
        {"model": "evil:Model"},
        {"model": "Model", "model_class": "evil:Model"},
        {"model_class": "evil:PopDCL"},
        {"model_class": ["evil", "PopDCL"]},
        {"model_class": "__main__:evil"},
        {"model_class": "evil:Model --trusted\n\x1b[31m"},
    ],
    ids=str,
)
def test_a_hostile_run_folder_imports_nothing(toy, modules, capsys, change):
    (modules / "evil.py").write_text("open('imported', 'w')\nfrom recbole_popdcl.model.ssm import SSM as PopDCL\n")
    recbole_popdcl.run("PopDCL", config_dict={**toy, "epochs": 0}, run_dir="r")
    config = Path("r/config.yaml")
    config.write_text(yaml.safe_dump({**yaml.safe_load(config.read_text()), **change}))
    capsys.readouterr()
    again = [f"--config_files={config}", "--run_dir=again"]
    for command in (["evaluate", "--run_dir=r"], ["recommend", "--run_dir=r", "--output=x.csv"],
                    ["run", "--resume", "--run_dir=r"], ["run", *again], ["tune", *again]):  # fmt: skip
        line = the_one_line(command, capsys)
        assert "is a class of somebody's own, which no file can have imported; if you trust its code, type" in line
    with contextlib.suppress(PopDCLError):  # where config.yaml and result.json name two models
        recbole_popdcl.report(["r"], "page")
    capsys.readouterr()
    (modules / "s").mkdir()
    record = {"properties": yaml.safe_load(config.read_text()), "space": {}, "search": {}}
    Path("s/search.yaml").write_text(yaml.safe_dump(record))
    the_one_line(["tune", "--resume", "--run_dir=s"], capsys)
    with pytest.raises(PopDCLError):  # what is typed is another class than the folder's
        recbole_popdcl.evaluate("r", model="SSM")
    assert "evil" not in sys.modules
    assert not Path("imported").exists()
    typed_model("evil:PopDCL")  # the module does what it is said to do
    assert Path("imported").exists()
