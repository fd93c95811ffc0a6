"""The page for users of RecBole: its file and commands run, and print what the page says."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import yaml

from recbole_popdcl.cli import main
from recbole_popdcl.config.config import Config
from recbole_popdcl.experiment.result import read_result

PAGE = (Path(__file__).parents[1] / "docs" / "from-recbole.md").read_text(encoding="utf-8")
BLOCKS = [(kind, text) for kind, text in re.findall(r"^```(\w*)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)]
(_, FILE), (_, INSTEAD) = (block for block in BLOCKS if block[0] == "yaml")
COMMAND, WARNINGS = (text for kind, text in BLOCKS if not kind)


@pytest.fixture
def work(tmp_path, monkeypatch):
    """A folder with the page's mine.yaml."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text(FILE)
    return tmp_path


def test_the_file_runs_as_it_is_and_says_what_has_no_effect(work, capsys):
    """On the screen, and in the run's log."""
    program, *arguments = shlex.split(COMMAND)
    assert program == "recbole-popdcl"
    assert main([*arguments, "--run_dir=run"]) == 0
    for text in (capsys.readouterr().err, (work / "run" / "run.log").read_text()):
        told = [line.partition(" WARNING ")[2] for line in text.splitlines() if "no effect" in line]
        assert told == WARNINGS.splitlines()
    result = read_result("run")
    assert (result["seed"], result["valid_metric"], result["epochs"]) == (7, "valid/ndcg@10", 2)
    assert {"balanced/recall@10", "imbalanced/itemcoverage@20"} <= set(result["test"])


def test_the_script_runs(work):
    (script,) = (text for kind, text in BLOCKS if kind == "python" and "recbole_popdcl" in text)
    names: dict = {}
    exec(script, names)
    assert names["result"]["test"]["balanced/recall@10"] > 0


def test_what_has_no_effect_is_refused_where_it_is_typed(work, capsys):
    for name in re.findall(r"property '(\w+)'", WARNINGS):
        assert main(["run", "--model=LightGCN", "--dataset=ml-100k", f"--{name}=x"]) == 2
        assert f"property '{name}' has no effect here" in capsys.readouterr().err
    assert not (work / "runs").exists()


def test_what_stands_in_their_place_is_accepted(work):
    (work / "theirs.yaml").write_text(INSTEAD)
    config = Config("LightGCN", "ml-100k", config_files=["mine.yaml", "theirs.yaml"])
    assert {name: config[name] for name in yaml.safe_load(INSTEAD)} == yaml.safe_load(INSTEAD)
