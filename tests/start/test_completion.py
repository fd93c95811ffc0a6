"""The completion scripts; bash really completes with its own."""

from __future__ import annotations

import os
import pty
import shutil
import subprocess
import sys

import pytest

from recbole_popdcl.cli import _parser, main
from recbole_popdcl.config.models import UNSUPPORTED, general_models, model_names
from recbole_popdcl.start.completion import _actions
from tests.conftest import the_one_line

HARNESS = """
source "$1"; COMP_CWORD=$2; shift 2
COMP_WORDS=("$@"); COMPREPLY=()
"$(complete -p recbole-popdcl | sed 's/.*-F \\([^ ]*\\).*/\\1/')" recbole-popdcl
printf '%s\\n' "${COMPREPLY[@]}"
"""
needs_bash = pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")


@pytest.fixture(scope="module")
def script(tmp_path_factory):
    """The script for bash in a file."""
    path = tmp_path_factory.mktemp("completion") / "script.bash"
    before = sys.stdout
    with open(path, "w", encoding="utf-8") as sys.stdout:
        try:
            status = main(["completion", "bash"])
        finally:
            file, sys.stdout = sys.stdout, before
        file.flush()
    assert status == 0
    return path


def completed(script, *words, cwd, cursor=None):
    """What bash offers for a word of a line, by default the last; it cuts a line at its signs of equality."""
    place = str(len(words) if cursor is None else cursor)
    command = ["bash", "-c", HARNESS, "bash", str(script), place, "recbole-popdcl", *words]
    done = subprocess.run(command, capture_output=True, text=True, cwd=cwd)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@needs_bash
@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["do"], ["doctor"]),
        (["run", "--mod"], ["--model"]),
        (["run", "--model", "PopD"], ["PopDCL"]),
        (["run", "-m", "PopD"], ["PopDCL"]),
        (["run", "--model", "=", "PopD"], ["PopDCL"]),
        (["run", "--model", "=", "SSM", "--res"], ["--resume"]),
        (["compare", "--models", "Light"], ["LightGCN"]),
        (["properties", "DirectA"], ["DirectAU"]),
        (["tune", "--search", "op"], ["optuna"]),
        (["completion", "t"], ["tcsh"]),
        (["run", "--run_dir", "a"], ["afolder"]),
        (["run", "--run_dir", "=", "a"], ["afolder"]),
        (["prepare", "--input", "a"], ["afile", "afolder"]),
        (["report", "a"], ["afolder"]),
    ],
)
def test_bash_completes(script, tmp_path, words, offered):
    (tmp_path / "afolder").mkdir()
    (tmp_path / "afile").touch()
    assert sorted(completed(script, *words, cwd=tmp_path)) == offered


@needs_bash
def test_bash_offers_all_commands_and_models(script, tmp_path):
    commands = next(action for action in _parser()._actions if action.dest == "command").choices
    assert completed(script, "", cwd=tmp_path) == list(commands)
    for words in (["run", "--model", ""], ["run", "--model", "="]):
        offered = completed(script, *words, cwd=tmp_path)
        assert offered[: len(model_names())] == model_names()
        assert sorted(offered) == sorted({*model_names(), *general_models()} - {*UNSUPPORTED})


@needs_bash
def test_in_the_middle_of_a_line(script, tmp_path):
    words = ["run", "--model", "=", "--dataset", "=", "ml-100k"]
    assert completed(script, *words, cwd=tmp_path, cursor=3)[: len(model_names())] == model_names()
    words[3:3] = ["PopD"]
    assert completed(script, *words, cwd=tmp_path, cursor=4) == ["PopDCL"]


@needs_bash
@pytest.mark.parametrize(("typed", "called"), [
    ("run --model=PopD\t--dataset=x", "run --model=PopDCL --dataset=x"), ("desc\tx", "describe x"),
])  # fmt: skip
def test_at_a_prompt(script, tmp_path, typed, called):
    """An interactive bash, with the key Tab."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        ["bash", "--norc", "--noprofile", "-i"], stdin=theirs, stdout=theirs, stderr=theirs, cwd=tmp_path,
        env={**os.environ, "TERM": "dumb", "INPUTRC": "/dev/null"}, start_new_session=True,
    ) as shell:  # fmt: skip
        os.close(theirs)
        lines = f'source {script}\nrecbole-popdcl() {{ echo "$*" > called; }}\nrecbole-popdcl {typed}\nexit\n'
        os.write(ours, lines.encode())
        try:
            while os.read(ours, 4096):
                pass
        except OSError:  # the shell has ended
            pass
        assert shell.wait(timeout=60) == 0
    os.close(ours)
    assert (tmp_path / "called").read_text() == f"{called}\n"


@pytest.mark.parametrize("shell", ["zsh", "tcsh"])
def test_scripts_of_other_shells(shell, capsys):
    assert main(["completion", shell]) == 0
    text = capsys.readouterr().out
    assert all(f" {name} " in text for name in ("PopDCL", "DirectAU", "NGCF"))
    assert "run_dir" in text


def test_every_option_for_a_file_or_folder_says_so():
    """By the words of its help."""
    undeclared = [
        action.option_strings or action.dest
        for action in _actions(_parser())
        if str(action.help).split()[0] in ("file", "folder", "folders", "yaml", "JSON", "Parquet", ".csv", ".parquet")
        and not hasattr(action, "complete")
    ]
    assert undeclared == []


def test_faults(monkeypatch, capsys):
    assert "invalid choice: 'fish'" in the_one_line(["completion", "fish"], capsys)
    assert "arguments are required: shell" in the_one_line(["completion"], capsys)
    assert the_one_line(["completion", "bash", "--x"], capsys).endswith("--help lists them")
    monkeypatch.setitem(sys.modules, "shtab", None)
    assert the_one_line(["completion", "bash"], capsys) == (
        "recbole-popdcl: error: completion needs shtab: pip install 'recbole-popdcl[completion]'"
    )
