"""A virtual environment with chosen versions: uv resolves and builds it, and part of the tests runs on the wheel."""

from __future__ import annotations

import argparse
import email
import glob
import os
import platform
import re
import shutil
import subprocess
import sys
import zipfile
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
SOURCE = ("recbole_popdcl", "dataset_prep", "properties", "setup.py", "pyproject.toml", "README.md")
TESTING = ("tests", "benchmarks")
EXTRAS = ("tune", "report")
TOOLS = ("pytest", "pytest-xdist", "hypothesis", "ir-measures")
SHOWN = ("torch", "numpy", "pandas", "scipy", "pyarrow", "ray", "recbole", "matplotlib")
# Every package is used by one of these at least; a few minutes in all.
PART = (
    "tests/loss", "tests/encoder", "tests/data", "tests/evaluation", "tests/dataset_prep", "tests/config",
    "tests/training/test_checkpoint.py", "tests/model/test_stock_models.py",
    "tests/experiment/test_run.py",
    "tests/experiment/comparison/test_significance.py",
    "tests/experiment/search/test_tune.py::test_the_table_has_every_trial_best_first",
    "tests/experiment/search/test_tune.py::test_optuna_draws_from_distributions",
    "tests/report/test_report.py::test_the_page_has_every_figure_of_the_paper",
)  # fmt: skip


@dataclass
class Outcome:
    """What came of an environment.

    Attributes:
        versions: {package: version} that were resolved.
        installed: whether they are installed and ``uv pip check`` finds them in accord.
        passed, failed: numbers of tests; errors count as failed.
        first: the first line that tells of a failure, of the installation or of a test; nothing if all is well.
    """

    versions: dict[str, str] = field(default_factory=dict)
    installed: bool = False
    passed: int = 0
    failed: int = 0
    first: str = ""


def command_line(description: str) -> argparse.ArgumentParser:
    """Return the parser of the options that the scripts share."""
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True, help="folder for the environments; some GB")
    parser.add_argument("--output", type=Path, help="Markdown file to write the table to")
    parser.add_argument(
        "--torch", default=pinned("torch"), help="no newer torch than this; that of constraints.txt by default"
    )
    return parser


def pinned(package: str) -> str:
    """Return the version of a package in constraints.txt."""
    text = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    return re.search(rf"^{package}==(.+)$", text, re.MULTILINE)[1]


def interpreter(version: str) -> str | None:
    """Return the Python of a version such as ``3.13`` on the path or below pyenv's folder, None without one."""
    pyenv = os.environ.get("PYENV_ROOT", os.path.expanduser("~/.pyenv"))
    below = sorted(glob.glob(f"{pyenv}/versions/{version}.*/bin/python"))
    for found in [sys.executable, shutil.which(f"python{version}"), *below]:
        if found and _output(found, "-c", "import sys; print('%d.%d' % sys.version_info[:2])") == version:
            return found
    return None


def _output(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True)
    return done.stdout.strip() if done.returncode == 0 else ""


def build_wheel(work: Path) -> Path:
    """Build the wheel from a copy of the source in ``work``, beside a copy of the tests without the source.

    Raises:
        SystemExit: uv is missing, or the wheel cannot be built.
    """
    if not shutil.which("uv"):
        raise SystemExit("this needs uv: pip install uv")
    for folder, names in (("source", SOURCE), ("testing", TESTING)):
        shutil.rmtree(work / folder, ignore_errors=True)
        (work / folder).mkdir(parents=True)
        for name in names:
            copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
            copy(ROOT / name, work / folder / name)
    fault = _uv("build", "--wheel", "--out-dir", work / "source" / "dist", work / "source")
    if fault:
        raise SystemExit(fault)
    return next((work / "source" / "dist").glob("*.whl"))


def requirements_of(wheel: Path) -> list[Requirement]:
    """Return what the wheel and its extras EXTRAS require, each with the bounds of setup.py."""
    with zipfile.ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        lines = email.message_from_bytes(archive.read(name)).get_all("Requires-Dist")
    found = {}
    for requirement in map(Requirement, lines):
        if requirement.marker is None or any(requirement.marker.evaluate({"extra": extra}) for extra in EXTRAS):
            requirement.marker = None
            found[str(requirement)] = requirement
    return list(found.values())


def examine(
    folder: Path,
    version: str,
    wheel: Path,
    requirements: list[str],
    overrides: tuple[str, ...] = (),
    lowest: bool = False,
) -> Outcome:
    """Resolve and install requirements and the wheel, run PART, and take the environment away again.

    Without an interpreter of that version they are resolved only.

    Args:
        folder: of the environment; what was resolved and what the tests printed stay in it.
        version: of Python, such as ``3.13``.
        wheel: of the project.
        requirements: as in a requirements file.
        overrides: requirements that stand instead of all others on the same package.
        lowest: whether to take the lowest version that a requirement allows and that has a wheel, else the highest.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "wanted.txt").write_text("\n".join(requirements) + "\n", encoding="utf-8")
    (folder / "overrides.txt").write_text("\n".join(overrides) + "\n", encoding="utf-8")
    chosen, environment, python = folder / "chosen.txt", folder / "environment", interpreter(version)
    its_python = environment / "bin" / "python"
    shutil.rmtree(environment, ignore_errors=True)
    resolution = "lowest-direct" if lowest else "highest"
    outcome = Outcome()
    outcome.first = _uv(
        "pip", "compile", folder / "wanted.txt", "--override", folder / "overrides.txt", "--resolution", resolution,
        "--only-binary", ":all:", "--python-version", version, "--no-header", "--no-annotate", "--output-file", chosen
    )  # fmt: skip
    if outcome.first:
        return outcome
    outcome.versions = dict(re.findall(r"^([\w.-]+)==(\S+)$", chosen.read_text(encoding="utf-8"), re.MULTILINE))
    if python is None:
        return outcome
    outcome.first = (
        _uv("venv", "--python", python, environment)
        or _uv("pip", "install", "--python", its_python, "--no-deps", "-r", chosen, wheel)
        or _uv("pip", "install", "--python", its_python, "-c", chosen, *TOOLS,
               "--override", folder / "overrides.txt")
        or _uv("pip", "check", "--python", its_python)
    )  # fmt: skip
    outcome.installed = not outcome.first
    if outcome.installed:
        _test(its_python, wheel.parents[2] / "testing", folder / "tests.log", outcome)
    shutil.rmtree(environment, ignore_errors=True)
    return outcome


def _test(python: Path, cwd: Path, log: Path, outcome: Outcome) -> None:
    variables = {**os.environ, "COLUMNS": "400", "OMP_NUM_THREADS": "1"}
    variables.pop("PYTHONPATH", None)  # the wheel is tested, not the source
    command = [python, "-m", "pytest", "-q", "-W", "ignore", "-p", "no:cacheprovider", "--tb=line", *PART]
    with open(log, "w", encoding="utf-8") as file:
        subprocess.run(command, cwd=cwd, env=variables, stdout=file, stderr=subprocess.STDOUT)
    read_tests(log.read_text(encoding="utf-8", errors="replace"), outcome)


def read_tests(printed: str, outcome: Outcome) -> None:
    """Fill in an outcome from what pytest printed."""
    lines = printed.splitlines()
    counts = {what: int(n) for n, what in re.findall(r"(\d+) (passed|failed|error)", lines[-1] if lines else "")}
    outcome.passed = counts.get("passed", 0)
    outcome.failed = counts.get("failed", 0) + counts.get("error", 0)
    failures = [line for line in lines if line.startswith(("FAILED", "ERROR"))]
    if failures:
        outcome.first = failures[0]
    elif not counts:
        outcome.first = lines[-1] if lines else "pytest printed nothing"


def _uv(*arguments: str | Path) -> str:
    """Run uv; return nothing, or the line that says what is wrong."""
    links = os.environ.get("PIP_FIND_LINKS", "")
    variables = {**os.environ, "UV_PYTHON_DOWNLOADS": "never", **({"UV_FIND_LINKS": links} if links else {})}
    command = ["uv", "--quiet", *map(str, arguments)]
    done = subprocess.run(command, env=variables, capture_output=True, text=True)
    if done.returncode == 0:
        return ""
    return " ".join(re.sub(r"[×╰─▶│├]", " ", done.stderr).split()) or f"uv ended with {done.returncode}"


def heading() -> str:
    """Return the day and the machine of a table."""
    return f"{date.today().isoformat()}, {platform.system()} {platform.machine()}"


def cell(text: str, most: int = 240) -> str:
    """Return a text that fits into a cell of a Markdown table."""
    text = " ".join(text.split()).replace("|", "\\|")
    return text if len(text) <= most else text[: most - 1] + "…"


def publish(lines: list[str], output: Path | None) -> None:
    """Print a table, and write it to a file if one is named."""
    text = "\n".join(lines) + "\n"
    print(text)
    if output:
        output.write_text(text, encoding="utf-8")
