"""The log of a run: whole, from the first warning on, at the level that the configuration asks for."""

from __future__ import annotations

import logging

import pytest

from recbole_popdcl.cli import main
from recbole_popdcl.storage.logs import logged
from tests.conftest import the_one_line
from tests.experiment.conftest import as_arguments

WARNING = "mine.yaml: property 'eval_batch_size' has no effect here; use eval_memory_mb"


@pytest.fixture
def command(toy, tmp_path, monkeypatch):
    """``run`` with a file that is warned of, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text("eval_batch_size: 1\n")
    return ["run", "--model=SSM", "--dataset=toy", "--run_dir=r", "--config_files=mine.yaml", *as_arguments(toy)]


def test_what_the_configuration_warns_of_is_in_the_log(command, tmp_path, capsys):
    assert main(command) == 0
    lines = (tmp_path / "r" / "run.log").read_text().splitlines()
    assert lines[0].endswith(f"WARNING {WARNING}")
    assert lines == [line for line in capsys.readouterr().err.splitlines() if line in lines]  # once each, in this order


@pytest.mark.parametrize("level", ["error", "ERROR"])
def test_at_the_level_that_is_asked_for(command, tmp_path, level, capsys):
    assert main([*command, f"--state={level}"]) == 0
    assert (tmp_path / "r" / "run.log").read_text() == ""
    assert WARNING not in capsys.readouterr().err


def test_it_is_shown_where_the_configuration_fails_after_it(command, capsys):
    assert main([*command, "--metrics=[Recal]"]) == 2
    first, last = capsys.readouterr().err.splitlines()
    assert first.endswith(f"WARNING {WARNING}")
    assert last.startswith("recbole-popdcl: error: property 'metrics'")


def test_a_finished_run_says_so(command, tmp_path, capsys):
    assert main(command) == 0
    before = (tmp_path / "r" / "run.log").read_text()
    capsys.readouterr()
    assert main(["run", "--resume", "--run_dir=r"]) == 0
    assert "r is finished: all 3 epochs are trained" in capsys.readouterr().err
    assert (tmp_path / "r" / "run.log").read_text() == before


def test_lines_wait_for_their_level(capsys):
    log = logging.getLogger()
    before = log.level, log.handlers[:]
    with logged(level=None) as logs:
        log.debug("a")
        log.info("b")
        log.warning("c")
        assert capsys.readouterr().err == ""
        logs.set_level("warning")
        log.info("d")
        log.error("e")
    assert [line[-1] for line in capsys.readouterr().err.splitlines()] == ["c", "e"]
    assert (log.level, log.handlers) == before
    with pytest.raises(KeyError), logged(level=None):
        log.debug("a")
        log.info("b")
        raise KeyError
    assert [line[-1] for line in capsys.readouterr().err.splitlines()] == ["b"]


def test_other_processes_than_the_first_are_silent(command, monkeypatch, capsys):
    """What several processes would say alike is said once."""
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    assert main([*command, "--metrics=[Recal]"]) == 2
    assert capsys.readouterr().err == ""


def test_one_line_of_an_error_that_comes_first(command, capsys):
    line = the_one_line([text for text in command if "mine" not in text] + ["--seed=x"], capsys)
    assert line.startswith("recbole-popdcl: error: command line: property 'seed'")
