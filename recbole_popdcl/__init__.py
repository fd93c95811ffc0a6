"""Popularity-debiased recommendation on RecBole: losses, balanced protocol, fast training and evaluation.

What the command line does, as functions: ``run``, ``evaluate``, ``recommend``, ``score``, ``export``, ``judge``,
``tune``, ``compare``, ``report``. They are imported when they are first used.

Examples:
    >>> import recbole_popdcl
    >>> recbole_popdcl.Config("PopDCL", "tencent")["temperature"]
    0.12
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from recbole_popdcl.compute.threads import share_cores

if TYPE_CHECKING:
    from recbole_popdcl.config.config import Config
    from recbole_popdcl.experiment.comparison.compare import compare
    from recbole_popdcl.experiment.export import export
    from recbole_popdcl.experiment.finished import evaluate
    from recbole_popdcl.experiment.judge import judge
    from recbole_popdcl.experiment.lists import recommend
    from recbole_popdcl.experiment.run import run
    from recbole_popdcl.experiment.score import score
    from recbole_popdcl.experiment.search.tune import tune
    from recbole_popdcl.reporting.build import report

__version__ = "0.2.0"
__all__ = ["Config", "compare", "evaluate", "export", "judge", "recommend", "report", "run", "score", "tune"]

_HOMES = {
    "Config": "recbole_popdcl.config.config",
    "compare": "recbole_popdcl.experiment.comparison.compare",
    "evaluate": "recbole_popdcl.experiment.finished",
    "export": "recbole_popdcl.experiment.export",
    "judge": "recbole_popdcl.experiment.judge",
    "recommend": "recbole_popdcl.experiment.lists",
    "report": "recbole_popdcl.reporting.build",
    "run": "recbole_popdcl.experiment.run",
    "score": "recbole_popdcl.experiment.score",
    "tune": "recbole_popdcl.experiment.search.tune",
}

share_cores()  # before anything imports torch


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
