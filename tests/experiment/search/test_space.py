"""Search spaces: what is read, and what is refused in one line."""

from __future__ import annotations

from pathlib import Path

import pytest
from recbole.utils import argument_list

from recbole_popdcl.config.config import Config
from recbole_popdcl.config.models import find_model, model_names
from recbole_popdcl.config.reading import properties_folder
from recbole_popdcl.errors import PopDCLError
from recbole_popdcl.experiment.search.space import read_space, size_of
from recbole_popdcl.experiment.search.tune import Search, _choose_kind


def space(tmp_path, text, model="PopDCL"):
    path = tmp_path / "space.yaml"
    path.write_text(text, encoding="utf-8")
    return read_space(Config(model, "ml-100k"), path)[0]


@pytest.mark.parametrize("model", model_names())
def test_every_model_has_a_space(model):
    found, source = read_space(Config(model, "ml-100k"), None)
    assert found
    owners = [owner.__name__ for owner in find_model(model).__mro__]
    assert Path(source) == properties_folder() / "tune" / f"{Path(source).stem}.yaml"
    assert Path(source).stem in owners[: owners.index("EncoderRecommender")]


def test_the_space_of_popdcl_is_the_papers_grid():
    found, _ = read_space(Config("PopDCL", "ml-100k"), None)
    assert found == {"temperature": [round(0.07 + 0.01 * k, 2) for k in range(21)]}


@pytest.mark.parametrize("name", [*argument_list.dataset_arguments, "k_core", "split_seed", "metrics", "valid_metric"])
def test_what_shapes_the_data_or_the_choice_is_not_searched(tmp_path, name):
    """The data are loaded once for all trials, so that the winner would be evaluated on others than it was tuned on."""
    with pytest.raises(PopDCLError, match=f"'{name}' is the same for all trials"):
        space(tmp_path, f"{name}: [1, 2]")


def test_lists_and_distributions(tmp_path):
    text = "temperature: [0.1, 0.2]\nlearning_rate: {distribution: loguniform, low: 1e-4, high: 1e-2}\n"
    found = space(tmp_path, text)
    assert found["learning_rate"] == {"distribution": "loguniform", "low": 1e-4, "high": 1e-2}
    assert size_of(found) is None
    assert size_of({"a": [1, 2, 3], "b": [1, 2]}) == 6


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("temprature: [0.1]", "PopDCL has no property 'temprature' .did you mean 'temperature'"),
        ("omega_plus: [0.1]", "PopDCL has no property 'omega_plus'"),
        ("k_core: [5, 10]", "'k_core' is the same for all trials"),
        ("temperature: [0.1, hot]", "property 'temperature' must be a number above 0, not 'hot'"),
        ("temperature: []", "must be a list of values"),
        ("temperature: 0.1", "must be a list of values"),
        ("temperature: {distribution: normal, low: 0, high: 1}", "must be a list of values"),
        ("temperature: {distribution: uniform, low: 0.1}", "uniform takes the numbers low, high"),
        ("temperature: {distribution: uniform, low: 0.3, high: 0.1}", "low must be below high"),
        ("temperature: {distribution: uniform, low: -1, high: 0.1}", "must be a number above 0, not -1"),
        ("learning_rate: {distribution: loguniform, low: 0, high: 0.1}", "low above 0"),
    ],
)
def test_wrong_spaces(tmp_path, text, message):
    with pytest.raises(PopDCLError, match=message):
        space(tmp_path, text)


def test_a_model_without_a_space_says_so():
    with pytest.raises(PopDCLError, match="no search space for BPR"):
        read_space(Config("BPR", "ml-100k"), None)


def test_the_kind_of_search_follows_from_the_space():
    lists, mixed = {"a": [1, 2]}, {"a": {"distribution": "uniform", "low": 0, "high": 1}}
    assert _choose_kind(None, lists, "here").search == "grid"
    assert _choose_kind(Search(trials=3), mixed, "here") == Search("random", 3)
    assert _choose_kind(Search("optuna"), lists, "here").search == "optuna"
    with pytest.raises(PopDCLError, match=r"^here: a grid needs lists"):
        _choose_kind(Search("grid"), mixed, "here")


def test_what_has_no_effect_is_not_searched(tmp_path):
    (tmp_path / "space.yaml").write_text("n_layers: [1, 2]\n")
    with pytest.raises(PopDCLError, match="property 'n_layers' has no effect here: encoder mf does not use it"):
        read_space(Config("SSM", "ml-100k", config_dict={"encoder": "mf"}), tmp_path / "space.yaml")
    (tmp_path / "both.yaml").write_text("n_layers: [1, 2]\nencoder: [mf, lightgcn]\n")
    assert set(read_space(Config("SSM", "ml-100k"), tmp_path / "both.yaml")[0]) == {"n_layers", "encoder"}
