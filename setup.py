"""Packaging; the exact set that is tested stands in constraints.txt."""

import re
import sys
from pathlib import Path

if not (3, 11) <= sys.version_info < (3, 15):  # pip would name conflicts between packages
    sys.exit("recbole-popdcl: error: needs Python 3.11 to 3.14, not %d.%d" % sys.version_info[:2])  # noqa: UP031

from setuptools import find_packages, setup

ROOT = Path(__file__).parent
VERSION = re.search(r'__version__ = "(.+)"', (ROOT / "recbole_popdcl/__init__.py").read_text(encoding="utf-8"))[1]
PROPERTIES = "recbole_popdcl.properties"  # installed from properties/ at the top, so that a wheel has them too
REPORT = ["matplotlib>=3.10.7", "jinja2>=3.1.6"]
EXPORT = ["safetensors>=0.6"]
WANDB = ["wandb>=0.31"]
MLFLOW = ["mlflow-skinny>=3.17"]  # the client alone; a store of its own, other than files, needs mlflow itself
COMPLETION = ["shtab>=1.13"]
DOCS = ["mkdocs>=1.6,<2", "mkdocs-material>=9.6", "mkdocstrings[python]>=0.27"]

setup(
    name="recbole-popdcl",
    version=VERSION,
    description="Popularity-debiased recommendation on RecBole: PopDCL, its baselines and the balanced protocol",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="MIT",
    python_requires=">=3.11,<3.15",
    packages=[*find_packages(include=["recbole_popdcl*", "dataset_prep*"]), PROPERTIES],
    package_dir={PROPERTIES: "properties"},
    package_data={
        PROPERTIES: ["*.yaml", "*/*.yaml"],
        "recbole_popdcl": ["py.typed"],
        "recbole_popdcl.experiment.known_results": ["*.json"],
        "recbole_popdcl.reporting": ["page.html", "page.css", "page.js"],
        "dataset_prep": ["py.typed"],
    },
    install_requires=[
        "recbole>=1.2.0,!=1.2.1,<1.3",  # 1.2.1 asks for ray <= 2.6.3, which has no wheel above Python 3.11
        "kmeans-pytorch>=0.3",  # recbole 1.2.0 imports it with its general models, but does not declare it
        "torch>=2.10",  # weights_only could be got round before (CVE-2025-32434, CVE-2026-24747)
        "numpy>=2.3.3,<3",
        "pandas>=3,<4",
        "pyarrow>=23.0.1",  # CVE-2026-25087
        "scipy>=1.16.1",
        "statsmodels>=0.14.6",  # corrects p-values
        "pyyaml>=6.0.3",
        "filelock>=3.20",
        "tqdm>=4.67",
        "tensorboard>=2.20",
        "packaging>=25",  # doctor reads requirements with it
        "psutil>=7",  # memory; recbole 1.2.0 imports it too, but does not declare it
    ],
    extras_require={
        "tune": ["ray[tune]>=2.55,<3", "fsspec", "optuna>=4.6", *REPORT],  # older versions let the network run code
        "report": REPORT,
        "export": EXPORT,
        "wandb": WANDB,
        "mlflow": MLFLOW,
        "completion": COMPLETION,
        "docs": DOCS,
        "dev": [
            "pytest>=9",
            "pytest-xdist>=3.8",  # a process a core
            "hypothesis>=6.150",
            "ir-measures>=0.4",  # trec_eval, to compare the metrics with
            "ruff>=0.17",
            "mypy>=2",
            "coverage>=7.10",  # which follows into subprocesses
            "build",
            "ray[tune]>=2.55,<3",
            "optuna>=4.6",
            "playwright>=1.56",
            "usearch>=2.26",  # an index, which exported vectors must fit
            "nbclient>=0.10",
            "ipykernel>=7",
            "implicit>=0.7.3",  # a system of others, whose lists a notebook judges
            *REPORT,
            *EXPORT,
            *WANDB,
            *COMPLETION,
            *DOCS,
        ],
    },
    entry_points={"console_scripts": ["recbole-popdcl = recbole_popdcl.cli:main"]},
    classifiers=[
        "License :: OSI Approved :: MIT License",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Programming Language :: Python :: 3.14",
        "Typing :: Typed",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
)
