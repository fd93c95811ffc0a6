"""What doctor says of an installation, against made-up ones and against what pip and the machine say."""

from __future__ import annotations

import importlib.metadata
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import recbole_popdcl
from recbole_popdcl.cli import main
from recbole_popdcl.start import doctor as module
from recbole_popdcl.start.doctor import doctor, problem, remedies, required_packages
from tests.conftest import the_one_line

REQUIRES = [
    "have>=1.0", "old>=2", "none<3", 'never>=1; python_version < "3"', 'have; extra == "small"', 'gone; extra == "big"',
    'parts[one]>=1; extra == "big"', 'elsewhere; sys_platform == "none" and extra == "big"',
]  # fmt: skip
INSTALLED = {"have": "1.5", "old": "1.9", "parts": "1.0", "recbole-popdcl": "0.1.0", "inner": "0.4"}
INNER = ['inner>=0.5; extra == "one"', 'outer; extra == "two"', "base"]


@pytest.fixture
def made_up(monkeypatch):
    """An installation that has INSTALLED, and requires REQUIRES."""

    def version(name):
        if name not in INSTALLED:
            raise importlib.metadata.PackageNotFoundError(name)
        return INSTALLED[name]

    monkeypatch.setattr(module.importlib.metadata, "version", version)
    monkeypatch.setattr(module.importlib.metadata, "requires", {"recbole-popdcl": REQUIRES, "parts": INNER}.__getitem__)


def test_what_fits(made_up):
    found = [(package.extra, package.wanted, package.state) for package in required_packages()]
    assert found == [
        ("", "have>=1.0", ""), ("", "old>=2", "version 1.9"), ("", "none<3", "missing"), ("small", "have", ""),
        ("big", "gone", "missing"), ("big", "parts[one]>=1", "lacks inner>=0.5"),
    ]  # fmt: skip


def test_how_to_get_it(made_up):
    assert remedies(required_packages()) == [
        ("required", "pip install 'old>=2' 'none<3'"), ("big", "pip install 'recbole-popdcl[big]'")
    ]  # fmt: skip


def test_a_required_package_that_does_not_fit_is_status_2(made_up, capsys):
    assert main(["doctor"]) == 2
    printed = capsys.readouterr()
    assert printed.err == (
        "recbole-popdcl: error: required packages do not fit: old (version 1.9), none (missing); "
        "pip install 'old>=2' 'none<3'\n"
    )
    assert "  big       pip install 'recbole-popdcl[big]'\n" in printed.out


def test_a_missing_extra_is_status_0(made_up, monkeypatch, capsys):
    monkeypatch.setitem(INSTALLED, "old", "2.0")
    monkeypatch.setitem(INSTALLED, "none", "2.9.1rc1")
    assert problem(required_packages()) == ""
    assert main(["doctor"]) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("version", [None, "", "unheard of"])
def test_damaged_metadata(made_up, monkeypatch, version):
    monkeypatch.setitem(INSTALLED, "have", version)
    assert "have (" in problem(required_packages())


def test_this_installation():
    """All that pip says this package requires is in the text, with its version."""
    text, _ = doctor()
    rows = {line.split()[0]: line.split()[1:] for line in text.splitlines() if line.startswith("  ")}
    names = {re.match(r"[\w.-]+", requirement)[0] for requirement in importlib.metadata.requires("recbole-popdcl")}
    assert {"torch", "recbole", "matplotlib", "ray", "pytest"} <= names
    for name in names:
        row = next(cells for wanted, cells in rows.items() if re.match(r"[\w.-]+", wanted)[0] == name)
        try:
            assert row[0] == importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            assert row[0] == "-"
    assert rows["threads"] == f"torch computes with {torch.get_num_threads()}".split()
    assert rows["cores"][:3] == [str(len(os.sched_getaffinity(0))), "of", str(os.cpu_count())]
    assert abs(float(rows["total"][0]) - os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30) < 0.06


def test_not_installed(monkeypatch, capsys):
    def requires(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(module.importlib.metadata, "requires", requires)
    assert "recbole-popdcl is not installed in " in the_one_line(["doctor"], capsys)


@pytest.mark.parametrize("missing", ["packaging", "torch", "psutil"])
def test_a_package_that_cannot_be_imported(missing, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, missing, None)
    if missing == "packaging":
        assert the_one_line(["doctor"], capsys).endswith("doctor needs the package packaging: pip install packaging")
        return
    text, _ = doctor()
    said = {"torch": "torch  cannot be imported: ", "psutil": "unknown  the package psutil is missing"}
    assert said[missing] in text


def test_a_gpu(monkeypatch):
    class About:
        name, total_memory = "H100", 80 * 2**30

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: About)
    rows = dict(module.devices())
    assert rows["GPU 0"].startswith("H100, 80.0 GiB, ")
    assert "GPU 1" in rows
    assert "GPU" not in rows


def test_limits_of_a_container(monkeypatch, tmp_path):
    monkeypatch.setattr(module, "CGROUP", tmp_path)
    assert ("of the container", "1.5 GiB") not in module.memory()
    (tmp_path / "memory.max").write_text(f"{3 << 29}\n")
    (tmp_path / "cpu.max").write_text("150000 100000\n")
    assert ("of the container", "1.5 GiB") in module.memory()
    assert dict(module.devices())["cores"].endswith("; the container allows 1.5")
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert len(module.memory()) == 2
    assert "container" not in dict(module.devices())["cores"]


def test_variables(monkeypatch):
    for name in module.VARIABLES:
        monkeypatch.delenv(name, raising=False)
    assert "none of those that matter is set" in doctor()[0]
    monkeypatch.setenv("OMP_NUM_THREADS", "3\x1b[31m")
    assert [row[:2] for row in module.variables()] == [("OMP_NUM_THREADS", "3\\x1b[31m")]


def test_every_variable_that_the_code_reads_is_known():
    source = Path(recbole_popdcl.__file__).parent
    text = "\n".join(path.read_text(encoding="utf-8") for path in source.rglob("*.py"))
    read = set(re.findall(r"""(?:os\.environ\.get\(|os\.environ\[|number_from_environment\()["'](\w+)""", text))
    assert {"RANK", "XDG_DATA_HOME"} <= read
    assert read <= set(module.VARIABLES)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_to(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tmp_path.chmod(0o500)
    assert "cannot be written to (Permission denied)" in doctor()[0]


def test_the_current_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert f"current folder\n  {tmp_path}  can be written to, " in doctor()[0]
    assert not list(tmp_path.iterdir())

    def full(**_):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(module.tempfile, "TemporaryFile", full)
    assert "cannot be written to (Read-only file system)" in doctor()[0]


def test_it_needs_no_package_but_packaging():
    """Where nothing else is installed, it still says so."""
    code = (
        "import sys\n"
        "for name in ('torch', 'numpy', 'pandas', 'recbole', 'pyarrow', 'yaml', 'psutil'): sys.modules[name] = None\n"
        "from recbole_popdcl.cli import main\nsys.exit(main(['doctor']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "torch  cannot be imported: " in done.stdout, done.stderr
    assert "Traceback" not in done.stderr


def test_faults(capsys):
    assert the_one_line(["doctor", "--x"], capsys).endswith("unknown argument '--x'; --help lists them")
