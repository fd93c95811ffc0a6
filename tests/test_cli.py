"""The command line as a user meets it, in a process of its own."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from dataset_prep.__main__ import main as main_of_preparation
from recbole_popdcl.cli import _parser, main
from recbole_popdcl.evaluation.keys import MAX_K
from tests.conftest import the_one_line

ROOT = Path(__file__).parent.parent


def call(*arguments, cwd, script=None):
    command = [sys.executable, str(script)] if script else [sys.executable, "-m", "recbole_popdcl.cli"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run([*command, *map(str, arguments)], cwd=cwd, env=environment, capture_output=True, text=True)


def test_ml_100k_from_zero(tmp_path, monkeypatch, capsys):
    """Nothing prepared, nothing downloaded: RecBole's bundled data, our table at the end."""
    script = ROOT / "run_recbole_popdcl.py"
    done = call("--model=PopDCL", "--dataset=ml-100k", "--epochs=1", "--run_dir=r", cwd=tmp_path, script=script)
    assert done.returncode == 0, done.stderr
    table, known = done.stdout.rsplit("\n\n", 1)
    rows = [line.split() for line in table.splitlines()]
    assert ["set", "items", "recall@20", "ndcg@20"] in rows
    assert [line.split(":")[0] for line in known.splitlines()] == ["balanced Recall@20", "imbalanced Recall@20"]
    assert [row[0] for row in rows[-12:]] == ["valid", "head", "mid", "tail", "imbalanced", "head", "mid", "tail",
                                              "balanced", "head", "mid", "tail"]  # fmt: skip
    assert [path.name for path in tmp_path.iterdir()] == ["r"]
    monkeypatch.chdir(tmp_path)
    assert main(["evaluate", "--run_dir=r", "--topk=[10]", "--output=again.json"]) == 0
    assert "recall@10" in capsys.readouterr().out
    assert (tmp_path / "again.json").is_file()
    assert main(["recommend", "--run_dir=r", "--topk=3", "--output=lists.csv"]) == 0
    assert (tmp_path / "lists.csv").read_text().startswith("user_id,item_id,rank,score\n")


def test_a_fault_is_one_line_and_status_2(tmp_path):
    done = call("run", "--model=PopDCL", "--dataset=nowhere", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("recbole-popdcl: error: dataset 'nowhere': no file ")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "--model=PopDLC", "--dataset=ml-100k"], "unknown model 'PopDLC' (did you mean 'PopDCL'?)"),
        (["run", "--model=PopDCL", "--dataset=ml-100k", "--temprature=1"], "did you mean 'temperature'"),
        (["run", "--model=PopDCL", "--dataset=ml-100k", "stray"], "'stray' is not of the form --property=value"),
        (["run", "--resume"], "nothing to resume"),
        (["evaluate", "--run_dir=nowhere"], "no run in nowhere"),
        (["recommend", "--run_dir=nowhere", "--output=x.csv"], "no run in nowhere"),
        (["describe", "nowhere", "--plt=x.png"], "unknown argument '--plt=x.png'; --help lists them"),
    ],
)
def test_faults(arguments, message, capsys):
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_help_and_version(capsys):
    for arguments in (["--help"], ["run", "--help"], ["evaluate", "--help"], ["recommend", "--help"], ["--version"]):
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        assert ended.value.code == 0
        assert "recbole-popdcl" in capsys.readouterr().out


def test_nothing_typed_says_what_to_do_next(capsys):
    assert main([]) == 2
    printed = capsys.readouterr()
    assert printed.err == ""
    lines = printed.out.splitlines()
    assert len(lines) < 12
    assert max(map(len, lines)) < 120
    named = {word for line in lines for word in line.split("   ")[0].split() if word.isalpha()}
    commands = next(action for action in _parser()._actions if action.dest == "command").choices
    assert {"demo", "run", "prepare", "models", "metrics", "datasets", "properties", "doctor"} <= named & set(commands)
    assert "--help" in printed.out


def test_what_is_typed_next_is_understood(capsys):
    """The lines of that text as they stand, with names in the place of words in capitals."""
    main([])
    lines = [line.split("   ")[0].split()[1:] for line in capsys.readouterr().out.splitlines()[1:]]
    for words in lines:
        if words != ["--help"] and "|" not in words:
            _parser().parse_args([word for word in words if not word.startswith("[")][:5])


def test_help_needs_no_torch():
    code = "import sys; from recbole_popdcl.cli import main\ntry: main(['run', '--help'])\nexcept SystemExit: pass\n"
    code += "assert not {'torch', 'recbole', 'pandas', 'ray'} & set(sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_run_imports_neither_ray_nor_plotting(toy, tmp_path):
    code = "import sys; from recbole_popdcl.experiment.run import run\n"
    code += f"run('SSM', config_dict={toy!r}, run_dir={str(tmp_path / 'r')!r})\n"
    code += "assert not {'ray', 'matplotlib', 'plotly'} & set(sys.modules)"
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_dataset_prep(tmp_path, monkeypatch, capsys):
    (tmp_path / "raw.csv").write_text("user,item\n" + "".join(f"u{k % 7},i{k // 7}\n" for k in range(84)))
    command = [sys.executable, "-m", "dataset_prep", "--format=csv", "--name=x", "--k_core=2", "--input"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([*command, "raw.csv"], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "dataset" / "x").glob("[!.]*"))) == 5
    monkeypatch.chdir(tmp_path)
    assert main(["prepare", "--name=y", "--k_core=2", "--input=raw.csv"]) == 0
    assert capsys.readouterr().out == done.stdout
    assert main(["describe", "dataset/y"]) == 0
    assert capsys.readouterr().out == "y: all files match their checksums\n" + done.stdout
    assert main(["describe", "dataset"]) == 2
    capsys.readouterr()
    assert main_of_preparation([*command[3:], "none.csv", "--overwrite"]) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith("dataset_prep: error: cannot read none.csv")


def test_only_run_works_in_several_processes(monkeypatch, capsys):
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert main(["evaluate", "--run_dir=nowhere"]) == 2
    assert capsys.readouterr().err == (
        "recbole-popdcl: error: 'evaluate' works in one process; torchrun is for 'run'\n"
    )


@pytest.mark.parametrize("length", ["0", "x", str(MAX_K + 1)])
def test_a_list_length_that_is_none(capsys, length):
    with pytest.raises(SystemExit) as ended:
        main(["recommend", "--run_dir=r", "--output=x.csv", f"--topk={length}"])
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert "--topk: must be a whole number from 1 to " in error
    assert error.endswith(f", not '{length}'\n")


def test_sigterm_where_ctrl_c_is_ignored(monkeypatch, capsys):
    """As in a job that a shell script puts in the background."""
    monkeypatch.setattr("dataset_prep.describe.describe", lambda *_: signal.raise_signal(signal.SIGTERM))
    before = signal.signal(signal.SIGINT, signal.SIG_IGN), signal.getsignal(signal.SIGTERM)
    try:
        assert main(["describe", "x"]) == 143
        assert signal.getsignal(signal.SIGTERM) == before[1]
    finally:
        signal.signal(signal.SIGINT, before[0])
    assert capsys.readouterr().err == "recbole-popdcl: interrupted\n"


def test_a_reader_that_has_seen_enough(monkeypatch):
    reading, writing = os.pipe()
    os.close(reading)
    monkeypatch.setattr("dataset_prep.describe.describe", lambda *_: "a table")
    output = open(writing, "w", buffering=1)  # noqa: SIM115 - its end is that of the pipe
    monkeypatch.setattr(sys, "stdout", output)
    status = main(["describe", "x"])
    with contextlib.suppress(BrokenPipeError):
        output.close()
    assert status == 141


def test_an_interrupted_preparation(monkeypatch, tmp_path, capsys):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("dataset_prep.prepare.prepare", interrupted)
    assert main_of_preparation(["--input=raw.csv", "--name=x", f"--output={tmp_path / 'x'}"]) == 130
    assert capsys.readouterr().err == "dataset_prep: interrupted; nothing was written\n"
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    ("option", "arguments"),
    [
        ("test", ["evaluate", "--run_dir=r", "--test="]),
        ("output", ["evaluate", "--run_dir=r", "--output", ""]),
        ("users", ["recommend", "--run_dir=r", "--output=l.csv", "--users="]),
        ("run_dir", ["run", "--model=SSM", "--run_dir="]),
        ("dataset/-d", ["evaluate", "--run_dir=r", "--dataset", ""]),
        ("output", ["score", "--run_dir=r", "--pairs=p", "--output="]),
        ("output", ["prepare", "--input", "x.csv", "--name=x", "--output="]),
        ("input", ["prepare", "--input", "", "--name=x"]),
        ("models", ["report", ".", "--output=x", "--models="]),
    ],
)
def test_an_empty_value_is_not_taken_for_none(tmp_path, monkeypatch, capsys, option, arguments):
    """As where a variable of the shell is not set."""
    monkeypatch.chdir(tmp_path)
    assert f"argument --{option}: expected a value, which is empty" in the_one_line(arguments, capsys)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("value", ["--config_files=", "--data_path="])
def test_an_empty_property_is_refused(tmp_path, monkeypatch, capsys, value):
    monkeypatch.chdir(tmp_path)
    line = the_one_line(["run", "--model=SSM", "--dataset=ml-100k", value], capsys)
    assert f"property '{value[2:-1]}' must be a non-empty text" in line
