"""The lists of models and metrics: a line each."""

from __future__ import annotations

import pytest

from recbole_popdcl.cli import main
from recbole_popdcl.config.listing import own_model_rows, stock_model_rows
from recbole_popdcl.config.models import UNSUPPORTED, general_models, model_names, own_models
from recbole_popdcl.config.text import in_columns
from recbole_popdcl.evaluation.metrics import all_metrics
from tests.conftest import the_one_line


def lines(command, capsys):
    assert main([command]) == 0
    return [line for line in capsys.readouterr().out.splitlines() if line.startswith("  ")]


def test_every_model_has_a_line(capsys):
    found = {line.split()[0]: line for line in lines("models", capsys)}
    assert list(found)[: len(model_names())] == model_names()
    assert sorted(found) == sorted({*model_names(), *general_models(), *UNSUPPORTED})
    assert "Liu et al., CIKM 2023" in found["PopDCL"]
    assert "M⁺ and M⁻ from popularity" in found["PopDCL"]
    assert found["Pop"].split(maxsplit=1)[1].startswith("without training")
    assert "refused: it is trained in three runs" in found["RaCT"]
    assert "needs the package `faiss`" in found["NCL"]


def test_rows():
    assert [row.model for row in own_model_rows()] == list(own_models().values())
    assert [row.name for row in stock_model_rows() if row.replaced] == ["LightGCN"]
    ten = ["LightGCN", "IPSCN", "CausE", "SamReg", "MACR", "BCLoss", "SSM", "DCL", "HCL", "PopDCL"]
    assert [row.model.__name__ for row in own_model_rows() if row.of_paper] == ten


def test_a_model_that_does_not_say_its_source(monkeypatch):
    monkeypatch.setattr(own_models()["SSM"], "__doc__", "Loss: x")
    with pytest.raises(ValueError, match="docstring of SSM has no lines"):
        own_model_rows()


def test_every_metric_has_a_line(capsys):
    found = {line.split()[0]: line.split(maxsplit=1)[1] for line in lines("metrics", capsys)}
    assert found == {metric.name: metric.meaning for metric in all_metrics()}


@pytest.mark.parametrize("command", ["models", "metrics"])
def test_faults(command, capsys):
    assert the_one_line([command, "--all"], capsys).endswith("unknown argument '--all'; --help lists them")


def test_columns():
    parts = {"a": [("x", "y", "long"), ("xx", "", "z")], "empty": [], "b": [("1", "2")]}
    assert in_columns(parts) == "a\n  x   y  long\n  xx     z\n\nb\n  1  2"
