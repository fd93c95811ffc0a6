"""The package offers what the command line does, and imports it when it is used."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import recbole_popdcl


def test_importing_the_package_imports_little():
    code = "import recbole_popdcl, sys; print(sorted({'torch', 'recbole', 'pandas', 'ray'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", recbole_popdcl.__all__)
def test_what_is_offered_is_there_and_documented(name):
    value = getattr(recbole_popdcl, name)
    assert callable(value)
    assert "Args:" in inspect.getdoc(value)
    assert name in dir(recbole_popdcl)


def test_a_name_that_is_not_offered():
    with pytest.raises(AttributeError, match="has no attribute 'tunes'"):
        recbole_popdcl.tunes  # noqa: B018


def test_functions_keep_their_names_whatever_is_imported_first():
    """A subpackage of the same name would take a function's place."""
    code = (
        "import recbole_popdcl.cli, recbole_popdcl.reporting.build, recbole_popdcl as p; "
        "assert all(callable(getattr(p, name)) for name in p.__all__)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_one_version_with_one_date():
    """In the package, the citation and the first section of the changelog."""
    root = Path(__file__).parents[1]
    citation = yaml.safe_load((root / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == recbole_popdcl.__version__
    sections = re.findall(r"^## (.+)$", (root / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert sections[0] == f"{citation['version']} ({citation['date-released']})"
    assert all(re.fullmatch(r"\d+\.\d+\.\d+ \(\d{4}-\d\d-\d\d\)", section) for section in sections)
