"""What somebody sees who installs with a Python that is too old or too new, and what the bounds in the files say."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
AS_VERSION = """
import runpy, sys
sys.version_info = ({}, 7, "final", 0)
sys.argv = [{!r}, *{!r}]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
PYTHONS = ["3.11", "3.12", "3.13", "3.14"]


def started(version: str, file: str, *arguments: str) -> subprocess.CompletedProcess:
    """Start a file of the project as a Python of that version would."""
    code = AS_VERSION.format(version.replace(".", ", "), str(ROOT / file), list(arguments))
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)


@pytest.mark.parametrize("version", ["2.7", "3.9", "3.10", "3.15", "4.0"])
@pytest.mark.parametrize("file", ["setup.py", "run_recbole_popdcl.py"])
def test_another_python_is_one_line(version, file):
    done = started(version, file, "--version")
    assert done.returncode != 0
    assert done.stdout == ""
    assert done.stderr == f"recbole-popdcl: error: needs Python 3.11 to 3.14, not {version}\n"


@pytest.mark.parametrize("version", PYTHONS)
def test_the_version_is_told_without_any_package(version):
    code = AS_VERSION.format(version.replace(".", ", "), str(ROOT / "run_recbole_popdcl.py"), ["--version"])
    done = subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(rf"recbole-popdcl \d+\.\d+\.\d+, Python {version}\.7\n", done.stdout)


def test_older_pythons_can_read_the_files_that_refuse_them():
    for file in ("setup.py", "run_recbole_popdcl.py"):
        ast.parse((ROOT / file).read_text(encoding="utf-8"), feature_version=(3, 6))


def requirements() -> list[Requirement]:
    """The requirements in setup.py, of all extras."""
    tree = ast.parse((ROOT / "setup.py").read_text(encoding="utf-8"))
    texts = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    return [Requirement(text) for text in texts if re.fullmatch(r"[\w.-]+(\[\w+\])?([<>=!]=?[\d.]+,?)+", text)]


def test_every_extra_that_a_message_names_is_there():
    tree = ast.parse((ROOT / "setup.py").read_text(encoding="utf-8"))
    (extras,) = (
        {key.value for key in node.value.keys}
        for node in ast.walk(tree)
        if isinstance(node, ast.keyword) and node.arg == "extras_require"
    )
    files = [*(ROOT / "recbole_popdcl").rglob("*.py"), *(ROOT / "dataset_prep").rglob("*.py"), ROOT / "README.md",
             *(ROOT / "docs").glob("*.md"), *(ROOT / "properties").rglob("*.yaml")]  # fmt: skip
    named = {
        name for file in files for name in re.findall(r"recbole-popdcl\[(\w+)\]", file.read_text(encoding="utf-8"))
    }
    assert named >= {"tune", "report", "export", "wandb", "mlflow"}
    assert named <= extras
    sinks = re.findall(r'_needed_by\("log_(\w+)"\)', (ROOT / "recbole_popdcl/training/events.py").read_text())
    assert set(sinks) == {"wandb", "mlflow"} <= extras


def test_the_bounds_agree():
    setup = (ROOT / "setup.py").read_text(encoding="utf-8")
    bound = SpecifierSet(re.search(r'python_requires="(.+)"', setup)[1])
    assert [f"3.{minor}" for minor in range(30) if f"3.{minor}" in bound] == PYTHONS
    assert re.findall(r"Python :: (3\.\d+)", setup) == PYTHONS
    pins = dict(re.findall(r"^([\w.-]+)==(\S+)$", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE))
    pins = {canonicalize_name(name): version for name, version in pins.items()}
    wanted = requirements()
    assert len(wanted) > 15
    for requirement in wanted:
        assert pins[canonicalize_name(requirement.name)] in requirement.specifier, requirement
