"""RecBole's own general models through the same command, judged by the same sets and segments."""

from __future__ import annotations

import importlib.util

import pytest

from recbole_popdcl.config.models import (
    NEEDED_PACKAGES,
    UNSUPPORTED,
    find_model,
    general_models,
    model_names,
    takes_steps,
)
from recbole_popdcl.errors import PopDCLError
from recbole_popdcl.experiment.finished import evaluate
from recbole_popdcl.experiment.run import run

# All that RecBole has; --model=LightGCN is ours.
STOCK = [name for name in general_models() if name not in model_names()]


def properties(toy: dict, model: str) -> dict:
    idle = set() if model in UNSUPPORTED or takes_steps(find_model(model)) else {"train_batch_size"}
    return {name: value for name, value in toy.items() if name not in {"embedding_size", *idle}}


def refusal(model: str) -> str | None:
    """The line that a run of the model ends with here, None where it ends with results."""
    if model in UNSUPPORTED:
        return f"model '{model}' is not supported: it {UNSUPPORTED[model]}"
    package = NEEDED_PACKAGES.get(model)
    if package and importlib.util.find_spec(package) is None:
        return f"model {model}: needs the package '{package}': install it first"
    return None


@pytest.mark.parametrize("model", STOCK)
def test_ends_with_the_balanced_and_segment_results_or_one_line(toy, tmp_path, model):
    folder = tmp_path / "r"
    if line := refusal(model):
        with pytest.raises(PopDCLError) as raised:
            run(model, config_dict=properties(toy, model), run_dir=folder)
        assert str(raised.value) == line
        assert not list(tmp_path.rglob("result.json"))
        return
    result = run(model, config_dict=properties(toy, model), arguments=["--epochs=1"], run_dir=folder)
    assert result["model"] == model
    for name in ("balanced", "imbalanced"):
        for segment in ("", "head/", "mid/", "tail/"):
            assert 0 <= result["test"][f"{name}/{segment}recall@20"] <= 1
    assert result["test"]["imbalanced/recall@20"] > 0.02
    assert (folder / "metrics.jsonl").is_file()
    if model in ("Random", "ADMMSLIM"):  # draw, and add drawn noise to break ties, in every ranking
        return
    assert evaluate(folder) == pytest.approx({**result["valid"], **result["test"]}, abs=1e-6)


def test_recbole_has_as_many_as_are_known():
    assert len(STOCK) >= 31  # an empty list would pass all of the above


@pytest.mark.parametrize("name", ["AsymKNN", "asymknn", "RaCT"])
def test_a_refused_model_in_any_case(toy, name):
    with pytest.raises(PopDCLError, match=r"^model '(AsymKNN|RaCT)' is not supported: it "):
        run(name, config_dict=toy)
