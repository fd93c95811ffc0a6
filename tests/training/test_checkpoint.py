"""Checkpoints: what goes in comes out, nothing runs, nothing is torn."""

from __future__ import annotations

import os
import pickle

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from recbole_popdcl.errors import PopDCLError
from recbole_popdcl.storage.files import written_whole
from recbole_popdcl.training.checkpoint import load_checkpoint, load_model, save_checkpoint


def test_round_trip(tmp_path):
    state = {
        "tensor": torch.randn(3, 2),
        "array": np.arange(6.0).reshape(2, 3),
        "matrix": np.asmatrix(np.eye(2)),
        "sparse": sp.random(5, 4, 0.4, format="csc", random_state=0),
        "scalar": np.float64(0.5),
        "nested": [1, "two", None, (True, 3.0), {"x": {"y": torch.ones(1)}}],
    }
    save_checkpoint(tmp_path / "c.pt", state)
    back = load_checkpoint(tmp_path / "c.pt")
    assert torch.equal(back["tensor"], state["tensor"])
    assert np.array_equal(back["array"], state["array"])
    assert isinstance(back["matrix"], np.matrix)
    assert back["sparse"].format == "csc"
    assert (back["sparse"] != state["sparse"]).nnz == 0
    assert back["scalar"] == 0.5
    assert back["nested"][:4] == state["nested"][:4]


def test_objects_are_refused_and_nothing_is_written(tmp_path):
    with pytest.raises(TypeError, match=r"checkpoint\['a'\]\[0\] is a object"):
        save_checkpoint(tmp_path / "c.pt", {"a": [object()]})
    assert os.listdir(tmp_path) == []


class Attack:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("way", ["torch", "pickle"])
def test_a_pickle_does_not_run(tmp_path, way):
    file = tmp_path / "evil.pt"
    attack = {"format": 1, "state": Attack(str(tmp_path / "made"))}
    if way == "torch":
        torch.save(attack, file)
    else:
        file.write_bytes(pickle.dumps(attack))
    with pytest.raises(PopDCLError, match=r"evil\.pt is damaged: ") as raised:
        load_checkpoint(file)
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "made").exists()


def test_damaged_and_foreign_files(tmp_path):
    save_checkpoint(tmp_path / "c.pt", {"weights": torch.randn(100)})
    whole = (tmp_path / "c.pt").read_bytes()
    for length in (0, 10, len(whole) // 2, len(whole) - 1):
        (tmp_path / "torn.pt").write_bytes(whole[:length])
        with pytest.raises(PopDCLError, match="damaged"):
            load_checkpoint(tmp_path / "torn.pt")
    torch.save({"state_dict": {}}, tmp_path / "other.pt")
    with pytest.raises(PopDCLError, match="not a checkpoint of recbole-popdcl"):
        load_checkpoint(tmp_path / "other.pt")
    with pytest.raises(PopDCLError, match="no checkpoint"):
        load_checkpoint(tmp_path / "none.pt")


def test_a_failed_write_leaves_the_old_file(tmp_path):
    file = tmp_path / "x"
    file.write_text("old")
    with pytest.raises(ZeroDivisionError), written_whole(file) as temporary:
        temporary.write_text("half")
        1 / 0  # noqa: B018
    assert file.read_text() == "old"
    assert os.listdir(tmp_path) == ["x"]


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(PopDCLError, match="cannot write"), written_whole(tmp_path / "file" / "x") as temporary:
        temporary.write_text("")


def test_other_parameters_of_another_shape(tmp_path):
    class Neighbours(torch.nn.Module):
        """A model that keeps a matrix beside its weights, as RecBole's ItemKNN does."""

        def __init__(self, n):
            super().__init__()
            self.similar = sp.csr_matrix(np.eye(n))

        def other_parameter(self):
            return {"similar": self.similar}

        def load_other_parameter(self, other):
            self.similar = other["similar"]

    model = Neighbours(3)
    state = {"weights": {}, "other_parameter": {"similar": sp.csr_matrix(np.full((3, 3), 2.0))}}
    load_model(model, state)
    assert model.similar.sum() == 18
    for other in (sp.csr_matrix(np.eye(4)), np.eye(3)):
        with pytest.raises(ValueError, match=r"^'similar' is not of the model's type and shape$"):
            load_model(model, {"weights": {}, "other_parameter": {"similar": other}})
