"""A search is resumed where its user began it, and nowhere else."""

from __future__ import annotations

import contextlib
import pickle
import shutil

import pytest

from recbole_popdcl.cli import main
from recbole_popdcl.config.config import Config
from recbole_popdcl.errors import PopDCLError
from recbole_popdcl.experiment.folder import SearchFolder
from recbole_popdcl.experiment.search import trust
from recbole_popdcl.experiment.search.tune import Search, Task, _store
from tests.conftest import Payload, the_one_line


@pytest.fixture()
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def test_own_folder(home, tmp_path):
    folder = tmp_path / "search"
    folder.mkdir()
    trust.mark(folder)
    trust.check_own(folder)
    assert (home / "recbole-popdcl" / "key").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("case", ["no mark", "another user", "another folder", "empty mark", "no key"])
def test_folder_of_somebody_else(home, tmp_path, monkeypatch, case):
    folder = tmp_path / "search"
    folder.mkdir()
    trust.mark(folder)
    if case == "no mark":
        (folder / trust.MARK).unlink()
    elif case == "another user":
        (home / "recbole-popdcl" / "key").write_bytes(b"0" * 32)
    elif case == "another folder":
        folder = shutil.move(folder, tmp_path / "moved")
    elif case == "empty mark":
        (folder / trust.MARK).write_text("")
    else:
        monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "elsewhere"))
    with pytest.raises(PopDCLError, match=r"was not begun there by you.* add --trusted"):
        trust.check_own(folder)


def test_the_pickles_of_a_stranger_are_not_read(home, toy, tmp_path, capsys):
    folder = tmp_path / "search"
    folder.mkdir()
    _store(SearchFolder(folder), Task(Config("SSM", config_dict=toy), {"temperature": [0.1, 0.2]}, Search("grid")))
    assert (folder / "search.yaml").exists()
    for name in ("tuner.pkl", "trainable.pkl"):
        (folder / name).write_bytes(pickle.dumps(Payload(tmp_path / "executed")))
    (folder / "experiment_state-2026-01-01_00-00-00.json").write_text("{}")  # without one there is nothing to read
    line = the_one_line(["tune", "--resume", f"--run_dir={folder}"], capsys)
    assert line.startswith(f"recbole-popdcl: error: the search in {folder} was not begun there by you")
    assert not (tmp_path / "executed").exists()
    # the attack is a real one; what Ray makes of the rest of the folder does not matter
    with contextlib.suppress(AttributeError):
        main(["tune", "--resume", f"--run_dir={folder}", "--trusted"])
    assert (tmp_path / "executed").exists()


def test_a_home_that_cannot_be_written_to(tmp_path, monkeypatch, caplog):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "file"))
    trust.mark(tmp_path)
    assert "--resume will need --trusted" in caplog.text
    assert not (tmp_path / trust.MARK).exists()
