"""Packaging; the exact set that is tested stands in constraints.txt."""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent
VERSION = re.search(r'__version__ = "(.+)"', (ROOT / "recbole_popdcl/__init__.py").read_text(encoding="utf-8"))[1]
PROPERTIES = "recbole_popdcl.properties"  # installed from properties/ at the top, so that a wheel has them too
REPORT = ["matplotlib>=3.7", "jinja2>=3"]
DOCS = ["mkdocs>=1.6,<2", "mkdocstrings[python]>=0.27"]

setup(
    name="recbole-popdcl",
    version=VERSION,
    description="Popularity-debiased recommendation on RecBole: PopDCL, its baselines and the balanced protocol",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="MIT",
    python_requires=">=3.9,<3.12",
    packages=[*find_packages(include=["recbole_popdcl*", "dataset_prep*"]), PROPERTIES],
    package_dir={PROPERTIES: "properties"},
    package_data={
        PROPERTIES: ["*.yaml", "*/*.yaml"],
        "recbole_popdcl": ["py.typed"],
        "recbole_popdcl.report": ["page.html"],
        "dataset_prep": ["py.typed"],
    },
    install_requires=[
        "recbole>=1.2.1,<1.3",
        "torch>=2.0",
        "numpy>=1.22,<2",  # RecBole 1.2.1 uses names that numpy 2 dropped
        "pandas>=2,<3",  # 1.5 refuses a file of one row in which columns are missing; 3 was only tried in part
        "pyarrow>=20,<26",  # 20 has the streaming JSON reader; 26 needs numpy 2
        "scipy>=1.8,<1.13",  # RecBole's graph models (NGCF, NCL …) use dok_matrix._update, gone in 1.13
        "pyyaml>=6",
        "filelock>=3",
        "tqdm>=4.60",
        "tensorboard>=2.10",
    ],
    extras_require={
        # RecBole allows no newer ray, which needs pkg_resources; ray 2.4 cannot be imported on Python 3.11
        "tune": ["ray[tune]>=2.5,<=2.6.3", "setuptools<81", "optuna>=3", *REPORT],
        "report": REPORT,
        "docs": DOCS,
        "dev": [
            "pytest>=7",
            "hypothesis>=6",
            "ir-measures>=0.3.3",  # trec_eval, to compare the metrics with
            "ruff>=0.6",
            "mypy>=1.11",
            "coverage>=7.10",  # which follows into subprocesses
            "build",
            "setuptools<81",
            "optuna>=3",
            "playwright>=1.40",
            "nbclient>=0.8",
            "ipykernel>=6",
            *REPORT,
            *DOCS,
        ],
    },
    entry_points={"console_scripts": ["recbole-popdcl = recbole_popdcl.cli:main"]},
    classifiers=[
        "License :: OSI Approved :: MIT License",
        "Programming Language :: Python :: 3.9",
        "Programming Language :: Python :: 3.10",
        "Programming Language :: Python :: 3.11",
        "Typing :: Typed",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
)
