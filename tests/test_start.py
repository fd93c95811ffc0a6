"""The page Start is followed to the letter in an empty folder, and what it shows is what is printed."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from recbole_popdcl.cli import main

PAGE = (Path(__file__).parents[1] / "docs" / "start.md").read_text(encoding="utf-8").replace(" \\\n    ", " ")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
STEPS = [
    (command, shown.splitlines())
    for language, block in BLOCKS
    if not language
    for command, shown in re.findall(r"^\$ (.+)\n((?:(?!\$ ).*\n)*)", block, re.MULTILINE)
]
RESULT = r"\d+\.\d{4,}"  # whose last digits depend on the processor
SHARE = 0.03  # by which results may differ from those of the page


def pattern(line: str) -> str:
    """The regular expression that an expected line stands for: … is anything, results and what follows are compared."""
    line = re.sub(r"p\d+,(\d),", r"<item>,\1,", line) if line.startswith("c0,p") and line.count(",") == 3 else line
    text = re.sub(rf"(?<![\w.]){RESULT}", "<result>", line)
    text = re.sub(r"best epoch \d+", "best epoch <epoch>", re.escape(text).replace(r"\ ", " "))
    text = re.sub(" +", " +", text.rstrip())
    return (
        text.replace("…", ".*").replace("<result>", f"({RESULT})").replace("<epoch>", r"\d+").replace("<item>", r"p\d+")
    )


def printed_by(command: str, capsys) -> list[str]:
    """Run a command of the page; return its lines, those of standard error first."""
    program, *arguments = shlex.split(command)
    if program == "recbole-popdcl":
        status = main(arguments)
        captured = capsys.readouterr()
        assert status == (2 if "recbole-popdcl: error" in captured.err else 0), captured.err
        return (captured.err + captured.out).splitlines()
    done = subprocess.run(
        [{"python": sys.executable}.get(program, program), *arguments], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def check(shown: list[str], printed: list[str]) -> None:
    """Each line that is shown stands among those printed, in this order."""
    left = iter(printed)
    for line in shown:
        if line == "…":
            continue
        found = next((match for text in left if (match := re.fullmatch(pattern(line), text.rstrip()))), None)
        assert found, f"{line!r} is not among {printed}"
        expected = [float(number) for number in re.findall(rf"(?<![\w.]){RESULT}", line)]
        assert [float(number) for number in found.groups()] == pytest.approx(expected, abs=SHARE), line


def test_every_step(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (script,) = (block for language, block in BLOCKS if language == "python")
    (tmp_path / "make_log.py").write_text(script, encoding="utf-8")
    for command, shown in STEPS:
        check(shown, printed_by(command, capsys))
    assert (tmp_path / "report" / "index.html").stat().st_size > 100_000
    refused = [command for command, shown in STEPS if any("recbole-popdcl: error" in line for line in shown)]
    assert len(refused) == 1  # the one that the page shows as such


def test_the_steps_are_read():
    assert len(STEPS) == 10
    assert sum(command.startswith("recbole-popdcl") for command, _ in STEPS) == 7


@pytest.mark.parametrize(
    ("shown", "printed"),
    [
        (["all 0.3888 0.2771"], ["all 0.3888 0.3771"]),
        (["train 17,936 0.049140"], ["train 17,937 0.049140"]),
        (["a", "b"], ["b", "a"]),
        (["… INFO report on 2 runs"], ["INFO report on 3 runs"]),
    ],
)
def test_a_page_that_is_wrong_is_noticed(shown, printed):
    with pytest.raises(AssertionError):
        check(shown, printed)
