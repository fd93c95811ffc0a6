"""The folders of runs and searches: what they hold, who may write into them, and what a failed start leaves."""

from __future__ import annotations

import re

import pytest

from recbole_popdcl.errors import PopDCLError
from recbole_popdcl.experiment.folder import RunFolder, SearchFolder
from recbole_popdcl.storage.lock import locked

CONFIG = {"dataset": "gowalla", "model": "PopDCL"}
KINDS = pytest.mark.parametrize(
    ("kind", "first", "kept"),
    [(RunFolder, "config.yaml", "metrics.jsonl"), (SearchFolder, "search.yaml", "search.yaml")],
)


@pytest.mark.parametrize(("kind", "prefix"), [(RunFolder, ""), (SearchFolder, "tune-")])
def test_where_a_folder_is(kind, prefix, tmp_path):
    assert kind.choose(tmp_path / "x", config=CONFIG).path == tmp_path / "x"
    assert re.fullmatch(rf"runs/gowalla/PopDCL/{prefix}\d{{8}}-\d{{6}}-\d{{6}}", str(kind.choose(None, config=CONFIG)))


@KINDS
def test_from_free_to_finished(kind, first, kept, tmp_path):
    folder = kind(tmp_path / "x")
    folder.check_free()
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / ".lock").touch()  # what a failed start leaves in a folder that was there before
    folder.check_free()
    assert not folder.begun
    with pytest.raises(PopDCLError, match=f"^nothing to resume: no {first} in {tmp_path / 'x'}$"):
        kind.to_resume(tmp_path / "x")
    (tmp_path / "x" / first).touch()
    assert folder.begun
    assert not folder.finished
    assert kind.to_resume(tmp_path / "x").path == tmp_path / "x"
    with pytest.raises(PopDCLError, match="choose another --run_dir"):
        folder.check_free()
    folder.check_there()
    for name in ("result.json", "trials.csv"):
        (tmp_path / "x" / name).touch()
    assert folder.finished
    (tmp_path / "x" / first).unlink()
    with pytest.raises(PopDCLError, match="is gone"):
        folder.check_there()


@pytest.mark.parametrize("name", ["config.yaml", "metrics.jsonl", "result.json", "last.pt"])
def test_what_takes_the_folder_of_a_run(name, tmp_path):
    (tmp_path / "notes.md").touch()
    RunFolder(tmp_path).check_free()
    (tmp_path / name).touch()
    with pytest.raises(PopDCLError, match=rf"already holds a run \({name}\)"):
        RunFolder(tmp_path).check_free()


def test_anything_takes_the_folder_of_a_search(tmp_path):
    (tmp_path / "notes.md").touch()
    with pytest.raises(PopDCLError, match="is not empty"):
        SearchFolder(tmp_path).check_free()


@KINDS
@pytest.mark.parametrize("error", [PopDCLError("no"), KeyboardInterrupt(), MemoryError(), ZeroDivisionError()])
def test_a_failed_start_leaves_what_was_there(kind, first, kept, tmp_path, error):
    (tmp_path / "a").mkdir()
    for folder, left in (("a/b/c", {"a"}), ("a", {"a", "a/.lock"})):
        with pytest.raises(type(error)), kind(tmp_path / folder).held(resume=False):
            assert (tmp_path / folder).is_dir()
            raise error
        assert {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")} == left
    with pytest.raises(type(error)), kind(tmp_path / "x" / "y").held(resume=False):
        (tmp_path / "x" / "y" / kept).touch()
        raise error
    assert (tmp_path / "x" / "y" / kept).exists()


@KINDS
def test_a_failed_start_empties_a_folder_that_was_empty(kind, first, kept, tmp_path):
    for _ in range(2):  # the lock of the first start does not count
        with pytest.raises(ZeroDivisionError), kind(tmp_path).held(resume=False):
            (tmp_path / "wandb" / "files").mkdir(parents=True)
            (tmp_path / "run.log").touch()
            raise ZeroDivisionError
        assert [path.name for path in tmp_path.iterdir()] == [".lock"]


def test_a_failed_start_does_not_touch_what_is_somebody_elses(tmp_path):
    (tmp_path / "notes.md").touch()
    with pytest.raises(ZeroDivisionError), RunFolder(tmp_path).held(resume=False):
        raise ZeroDivisionError
    assert (tmp_path / "notes.md").exists()


@KINDS
def test_a_folder_is_held_by_one(kind, first, kept, tmp_path):
    with kind(tmp_path / "x").held(resume=False):
        (tmp_path / "x" / first).touch()
        for resume in (False, True):
            with (
                pytest.raises(PopDCLError, match="in use by another process"),
                kind(tmp_path / "x").held(resume=resume),
            ):
                pass
    with pytest.raises(PopDCLError, match="choose another --run_dir"), kind(tmp_path / "x").held(resume=False):
        pass
    with kind(tmp_path / "x").held(resume=True), pytest.raises(PopDCLError), locked(tmp_path / "x"):
        pass
    assert (tmp_path / "x" / first).exists()


def test_a_trial_is_a_run_in_its_search(tmp_path):
    trial = SearchFolder(tmp_path).trial("trial-00001")
    assert trial.path == tmp_path / "trial-00001" / "run"
    trial.path.mkdir(parents=True)
    trial.metrics.write_text('{"epoch": 0}\n{"epoch": 1}\n')
    assert trial.n_epochs == 2


def test_analyses_of_earlier_weights_are_removed(tmp_path):
    for name in ("frontier.csv", "margins.csv", "popularity.csv", "sampled_users.csv", "mine.csv"):
        (tmp_path / name).touch()
    RunFolder(tmp_path).remove_analyses()
    assert [path.name for path in tmp_path.iterdir()] == ["mine.csv"]
