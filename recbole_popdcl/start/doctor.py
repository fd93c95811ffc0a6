"""``recbole-popdcl doctor``: what is installed, what is missing and how to get it, and what the machine has.

Nothing is imported before it is known to be there, so that it works where an installation does not.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import shutil
import sys
import tempfile
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from recbole_popdcl.config.text import in_columns
from recbole_popdcl.errors import PopDCLError, one_line, reason

if TYPE_CHECKING:
    from packaging.requirements import Requirement

DISTRIBUTION = "recbole-popdcl"
REQUIRED = ""  # in the place of an extra
# Environment variables that change what a command does, or how fast.
VARIABLES = {
    "OMP_NUM_THREADS": "threads of a product on the CPU",
    "MKL_NUM_THREADS": "the same, of Intel's library",
    "GOMP_SPINCOUNT": "how long a waiting thread keeps its core; this package gives it up soon where you do not choose",
    "OMP_WAIT_POLICY": "the same, as a word: active or passive",
    "CUDA_VISIBLE_DEVICES": "GPUs that are seen",
    "CUBLAS_WORKSPACE_CONFIG": "memory of products on a GPU; runs set it to repeat to the last digit",
    "PYTORCH_CUDA_ALLOC_CONF": "how torch takes memory of a GPU",
    "MALLOC_ARENA_MAX": "how memory is taken; runs then leave that as it is, as with other MALLOC_ variables",
    "GLIBC_TUNABLES": "how memory is taken; runs then leave that as it is",
    "RANK": "set by torchrun: number of this process",
    "LOCAL_RANK": "set by torchrun: number of this process on its machine",
    "WORLD_SIZE": "set by torchrun: number of processes",
    "RAY_TMPDIR": "folder of a local Ray cluster's files",
    "TUNE_FUNCTION_THREAD_TIMEOUT_S": "seconds in which a stopped trial has to leave its process, 600 by default here",
    "TMPDIR": "folder of temporary files",
    "XDG_DATA_HOME": "folder of the key that marks your own searches",
    "WANDB_MODE": "whether Weights & Biases sends what is logged there",
    "POPDCL_DATA": "folder of real data for the tests",
}
EXTRA = re.compile(r"""extra\s*==\s*["']([^"']+)["']""")  # in the marker of a requirement
CGROUP = Path("/sys/fs/cgroup")  # limits of a container, on Linux


@dataclass(frozen=True)
class Package:
    """A package that this one requires, itself or for an extra.

    Attributes:
        requirement: as the metadata of the distribution have it.
        extra: that asks for it; REQUIRED for none.
        version: the installed one, "" for none.
        lacks: packages that the requirement's own extras need and that are missing or of another version.
    """

    requirement: Requirement
    extra: str
    version: str
    lacks: tuple[str, ...] = ()

    @property
    def fits(self) -> bool:
        """Whether it is there, in a version that is allowed, with what its extras need."""
        return _allows(self.requirement, self.version) and not self.lacks

    @property
    def wanted(self) -> str:
        """The requirement without its marker, as pip takes it."""
        extras = f"[{','.join(sorted(self.requirement.extras))}]" if self.requirement.extras else ""
        return f"{self.requirement.name}{extras}{self.requirement.specifier}"

    @property
    def state(self) -> str:
        """What is wrong with it, nothing if it fits."""
        if self.fits:
            return ""
        if _allows(self.requirement, self.version):
            return f"lacks {', '.join(self.lacks)}"
        return f"version {self.version}" if self.version else "missing"


def doctor() -> tuple[str, str]:
    """Return what is installed and what the machine has, as text, and what is wrong with required packages.

    The second is one line that says how to get them, "" if nothing is wrong.

    Raises:
        PopDCLError: this package was not installed by pip or the like, so that nothing says what it requires.
    """
    packages = required_packages()
    parts: dict[str, Sequence[tuple[str, ...]]] = {
        f"{DISTRIBUTION} {_version(DISTRIBUTION)}": [
            ("Python", platform.python_version(), sys.executable),
            ("system", platform.system(), platform.platform()),
        ]
    }
    for extra in dict.fromkeys(package.extra for package in packages):
        rows = [
            (package.wanted, package.version or "-", package.state) for package in packages if package.extra == extra
        ]
        parts[f"packages of the extra '{extra}'" if extra else "required packages"] = rows
    parts["devices"] = devices()
    parts["memory"] = memory()
    parts["environment variables"] = variables() or [("none of those that matter is set",)]
    parts["current folder"] = [current_folder()]
    parts["to get what is missing"] = remedies(packages)
    return in_columns(parts), problem(packages)


def problem(packages: Sequence[Package]) -> str:
    """Return in one line which required packages do not fit and how to get them, "" if all do."""
    wrong = [package for package in packages if package.extra == REQUIRED and not package.fits]
    if not wrong:
        return ""
    found = ", ".join(f"{package.requirement.name} ({package.state})" for package in wrong)
    return f"required packages do not fit: {found}; pip install {_quoted(wrong)}"


def required_packages(requires: Sequence[str] | None = None) -> list[Package]:
    """Return the packages that this one requires, by extra, with what is installed of them.

    Args:
        requires: requirements with markers, as the metadata of a distribution have them; of this one by default.

    Raises:
        PopDCLError: as doctor, or the package ``packaging``, which reads requirements, is missing.
    """
    try:
        import packaging  # noqa: F401 - what reads requirements below
    except ImportError as error:
        raise PopDCLError("doctor needs the package packaging: pip install packaging") from error
    if requires is None:
        try:
            requires = importlib.metadata.requires(DISTRIBUTION) or []
        except importlib.metadata.PackageNotFoundError as error:
            raise PopDCLError(
                f"{DISTRIBUTION} is not installed in {sys.prefix}: pip install . in its folder, and try again"
            ) from error
    extras = dict.fromkeys([REQUIRED, *(extra for text in requires for extra in EXTRA.findall(text))])
    return [
        Package(requirement, extra, _version(requirement.name), _lacks(requirement))
        for extra, requirement in _requirements(requires, extras)
    ]


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name) or ""  # nothing where its metadata are damaged
    except importlib.metadata.PackageNotFoundError:
        return ""


def _lacks(requirement: Requirement) -> tuple[str, ...]:
    """What the extras of a requirement, such as ``ray[tune]``, need and do not have; not what these need in turn."""
    if not requirement.extras or not _version(requirement.name):
        return ()
    inner = _requirements(importlib.metadata.requires(requirement.name) or [], requirement.extras)
    return tuple(
        f"{needed.name}{needed.specifier}" for _, needed in inner if not _allows(needed, _version(needed.name))
    )


def _requirements(texts: Sequence[str], extras: Collection[str]) -> Iterator[tuple[str, Requirement]]:
    """Yield (extra, requirement) for what the extras ask for; what applies without an extra belongs to REQUIRED."""
    from packaging.requirements import Requirement

    found = [Requirement(text) for text in texts]
    for extra in extras:
        for requirement in found:
            always, applies = (
                requirement.marker is None or requirement.marker.evaluate({"extra": name}) for name in (REQUIRED, extra)
            )
            if applies and always == (extra == REQUIRED):
                yield extra, requirement


def _allows(requirement: Requirement, version: str) -> bool:
    """Whether a version, "" for none, is allowed; one that is written unlike any version is not."""
    from packaging.version import InvalidVersion

    try:
        return bool(version) and requirement.specifier.contains(version, prereleases=True)
    except InvalidVersion:
        return False


def remedies(packages: Sequence[Package]) -> list[tuple[str, str]]:
    """Return what does not fit, by extra, with the command that gets it."""
    rows = []
    for extra in dict.fromkeys(package.extra for package in packages if not package.fits):
        wrong = [package for package in packages if package.extra == extra and not package.fits]
        what = f"'{DISTRIBUTION}[{extra}]'" if extra else _quoted(wrong)
        rows.append((extra or "required", f"pip install {what}"))
    return rows


def _quoted(packages: Sequence[Package]) -> str:
    return " ".join(f"'{package.wanted}'" for package in packages)


def devices() -> list[tuple[str, str]]:
    """Return the processor, torch's threads and the GPUs, as rows."""
    rows = [("CPU", _processor()), ("cores", _cores())]
    try:
        import torch
    except (ImportError, OSError, RuntimeError, AttributeError) as error:  # missing, damaged or half removed
        return [*rows, ("torch", f"cannot be imported: {one_line(reason(error))}")]
    rows.append(("threads", f"torch computes with {torch.get_num_threads()}"))
    if not torch.cuda.is_available():
        built = f"torch is built for CUDA {torch.version.cuda}" if torch.version.cuda else "torch is built without CUDA"
        return [*rows, ("GPU", f"none that can be used; {built}")]
    for number in range(torch.cuda.device_count()):
        about = torch.cuda.get_device_properties(number)
        rows.append((f"GPU {number}", f"{about.name}, {_gib(about.total_memory)}, CUDA {torch.version.cuda}"))
    return rows


def _processor() -> str:
    """The name of the processor."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    named = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return named[1].strip() if named else platform.processor() or platform.machine()


def _cores() -> str:
    n_cores = os.cpu_count() or 1
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else n_cores
    text = f"{usable} of {n_cores} can be used by this process"
    quota, _, period = _limit("cpu.max").partition(" ")
    return f"{text}; the container allows {int(quota) / int(period):g}" if quota.isdecimal() and period else text


def memory() -> list[tuple[str, str]]:
    """Return the memory of the machine, and the limit of the container if there is one, as rows."""
    try:
        import psutil
    except ImportError:
        return [("unknown", "the package psutil is missing")]
    found = psutil.virtual_memory()
    rows = [("total", _gib(found.total)), ("available", _gib(found.available))]
    limit = _limit("memory.max")
    return [*rows, ("of the container", _gib(int(limit)))] if limit.isdecimal() else rows


def _limit(name: str) -> str:
    """What a file of the container's limits holds, "" where there is none."""
    try:
        return (CGROUP / name).read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""


def _gib(n_bytes: int) -> str:
    return f"{n_bytes / 2**30:.1f} GiB"


def variables() -> list[tuple[str, str, str]]:
    """Return those of VARIABLES that are set, with their value and what they do, as rows."""
    return [(name, one_line(os.environ[name]), what) for name, what in VARIABLES.items() if name in os.environ]


def current_folder() -> tuple[str, str]:
    """Return the current folder and whether runs can be written into it."""
    folder = Path.cwd()
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        return one_line(str(folder)), f"cannot be written to ({reason(error)}): name other folders, as by --run_dir"
    return one_line(str(folder)), f"can be written to, {_gib(shutil.disk_usage(folder).free)} free"
