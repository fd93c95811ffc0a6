"""The commands of the documents are run on small data, but for those that docs/README.md lists with the reason."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from recbole_popdcl.cli import _parser, main
from recbole_popdcl.config.properties import table
from recbole_popdcl.data.atomic import write_interactions
from tests.conftest import skewed_pairs

ROOT = Path(__file__).parents[1]
LIST = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
NOT_RUN = re.findall(r"^\| (\S+\.md) \| `([^`]+)` \| .+ \|$", LIST, re.MULTILINE)
# Start and Contributing's walk-throughs have tests of their own, which run every command.
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PROGRAM = re.compile(r"(?:recbole-popdcl|python3?|torchrun|source|uv|pipx|\.venv/\S+|\.ci/run)(?= |$)")
DATASETS = ("ml-100k", "gowalla", "amazon-electronics", "toys-2024")
SHORT = {
    "run": ["--epochs=6", "--eval_step=3"],
    "tune": ["--epochs=6", "--eval_step=3", "--trials=2"],
    "compare": ["--epochs=6", "--eval_step=3", "--seeds=1"],
}
MODULE = """
from recbole_popdcl.model.ssm import SSM


class MySSM(SSM):
    pass
"""


def commands(path: Path) -> list[str]:
    """The commands in the blocks of a page that are in no language, each in one line, without what is printed."""
    blocks = re.findall(r"^```(\w*)\n(.*?)^```", path.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    lines = [line for language, block in blocks if not language for line in block.replace("\\\n", " ").splitlines()]
    return [line for line in lines if PROGRAM.match(line)]


def is_listed(path: Path, command: str) -> bool:
    """Whether the command is among those that no test runs."""
    page = path.relative_to(ROOT).as_posix()
    return any(page == where and what in command for where, what in NOT_RUN)


def words(command: str) -> list[str]:
    """The words of a command, without the comment behind it."""
    return shlex.split(command, comments=True)


CASES = {
    path: [command for command in commands(path) if not is_listed(path, command)]
    for path in PAGES
    if path.name != "start.md"
}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A folder with small data under the names of the documents, the files that they name, and a finished run."""
    folder = tmp_path_factory.mktemp("documents")
    users, items = skewed_pairs(60, 40, 1500)
    for name in DATASETS:
        write_interactions(
            folder / "dataset" / name / f"{name}.inter",
            users=np.char.add("u", users.astype(str)),
            items=np.char.add("i", items.astype(str)),
        )
    pairs = pd.DataFrame({"user_id": [f"u{u}" for u in users], "item_id": [f"i{i}" for i in items]})
    for name in ("log.csv", "may.csv", "new.csv", "pairs.csv", "bought.csv"):
        pairs.to_csv(folder / name, index=False)
    for name in ("als.csv", "lists.csv"):
        pairs.assign(score=np.arange(len(pairs))).to_csv(folder / name, index=False)
    trec = (f"u{u} Q0 i{i} {place} {-place} tag\n" for place, (u, i) in enumerate(zip(users, items), 1))
    (folder / "run.trec").write_text("".join(trec))
    (folder / "users.txt").write_text("u1\nu2\n")
    (folder / "in_stock.txt").write_text("\n".join(f"i{i}" for i in range(40)) + "\n")
    (folder / "my_models.py").write_text(MODULE)
    return folder


def shortened(arguments: list[str]) -> list[str]:
    """The arguments of a command, with six epochs (BC loss warms up for five), one seed and two trials."""
    short = SHORT.get(arguments[0], [])
    if "--resume" in arguments:
        return arguments
    if arguments[0] == "tune" and not any(word.startswith(("--space", "--search")) for word in arguments):
        short = [*short, "--space=space.yaml"]
    return [
        *(word for word in arguments if not word.startswith(tuple(f"{name.partition('=')[0]}=" for name in short))),
        *short,
    ]


@pytest.mark.parametrize("path", [path for path in CASES if CASES[path]], ids=lambda path: path.stem)
def test_every_command_runs(path, prepared, tmp_path, monkeypatch, capsys):
    """In the order of the page, as later ones use what earlier ones left; comments behind them have no meaning."""
    for entry in prepared.iterdir():
        (tmp_path / entry.name).symlink_to(entry)
    (tmp_path / "dataset").unlink()
    (tmp_path / "dataset").mkdir()
    for entry in (prepared / "dataset").iterdir():
        (tmp_path / "dataset" / entry.name).symlink_to(entry)
    (tmp_path / "space.yaml").write_text("temperature: [0.1, 0.2]\n")
    (tmp_path / "mine.yaml").write_text("temperature: [0.1, 0.2]\n" if path.stem == "search" else "seed: 1\n")
    (tmp_path / "settings.yaml").write_text("SSM: {temperature: 0.2}\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    common = ["--model=SSM", "--dataset=gowalla", "--epochs=6", "--eval_step=3"]
    if any("--run_dir=RUN" in command for command in CASES[path]):
        assert main(["run", *common, "--run_dir=RUN"]) == 0
    for command in CASES[path]:
        program, *arguments = words(command)
        assert program == "recbole-popdcl", command
        status = main(shortened(arguments) if arguments else [])
        printed = capsys.readouterr()
        assert status == (0 if arguments else 2), f"{command}\n{printed.err[-2000:]}"


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_options_and_properties_exist(path):
    """Of what is not run, too."""
    for command in commands(path):
        text = re.sub(r"[\[\]…]|=none\|exact", "", command)  # optional parts
        if not text.startswith("recbole-popdcl ") or "<(" in text or is_placeholder(text):
            continue
        arguments, properties = _parser().parse_known_args(words(re.sub(r" >.*", "", text))[1:])
        assert arguments.command or not words(text)[1:], command
        names = [word.removeprefix("--").partition("=")[0] for word in properties]
        assert [name for name in names if name not in {*table(), "config_files"}] == [], command


def is_placeholder(command: str) -> bool:
    """Whether a command has words in the place of values: FILE, NAME."""
    return re.search(r"\b(FILE|NAME)\b", command) is not None


def test_commands_are_found():
    assert sum(map(len, CASES.values())) >= 50


def test_every_row_of_the_list_is_of_use():
    """A row whose command is gone goes too."""
    found = {path: commands(path) for path in [*PAGES, ROOT / "CONTRIBUTING.md"]}
    unused = [row for row in NOT_RUN if not any(row[1] in command for command in found[ROOT / row[0]])]
    assert unused == []
    assert len(NOT_RUN) == len(re.findall(r"^\| ", LIST, re.MULTILINE)) - 1 > 10
