"""The frontier as a figure to move: every model at each score normalisation exponent, and a table beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from recbole_popdcl.evaluation.keys import ResultKey
from recbole_popdcl.experiment.comparison.summary import accuracy_keys, heading
from recbole_popdcl.experiment.result import all_results
from recbole_popdcl.reporting.figures import Drawing, page_looks
from recbole_popdcl.reporting.runs import Group
from recbole_popdcl.storage.files import written_whole

NOTE = (
    "Each trained model ranked by ⟨e_u, e_i⟩/‖e_i‖^g without training again, g from 0 (inner product) over 1 (cosine) "
    "to 1.25; the mean of the seeds that were ranked so. Further up and to the right is better on both tests; whether "
    "by more than chance, paired tests say."
)


@dataclass
class FrontierView:
    """The frontier of one data set.

    Attributes:
        drawing: the static figure; the view has its name and title.
        groups: the rows of the data set.
        frontiers: {label: {seed: analysis.frontier of that run}}, of the rows that have one.
        k: of the metrics.
    """

    drawing: Drawing
    groups: Sequence[Group]
    frontiers: dict[str, dict[int, pd.DataFrame]]
    k: int
    kind: ClassVar[str] = "frontier"

    @property
    def name(self) -> str:
        """Name of its files."""
        return self.drawing.name

    @property
    def title(self) -> str:
        """As the static figure."""
        return self.drawing.title

    @property
    def note(self) -> str:
        """What a reader needs to understand it."""
        return (
            f"{NOTE} Rings mark the exponent of a model's own tests, pale circles single seeds. Rows without a curve "
            "have no exponent, and stay where their tests put them."
        )

    @property
    def files(self) -> list[str]:
        """Its files."""
        return [*self.drawing.files, f"{self.name}.csv"]

    @property
    def keys(self) -> list[ResultKey]:
        """What its points have: accuracy on both tests, as far as a row was measured by it."""
        frames = [frame for of_runs in self.frontiers.values() for frame in of_runs.values()]
        return [key for key in accuracy_keys(self.k) if any(str(key) in frame for frame in frames)]

    def points(self) -> pd.DataFrame:
        """Return a row a run and exponent: ``model``, ``seed``, ``exponent`` and the keys.

        A row that has no frontier stands where its tests put it, without an exponent.
        """
        keys = [str(key) for key in self.keys]
        parts = []
        for group in self.groups:
            of_runs = self.frontiers.get(group.label) or {
                run.seed: pd.DataFrame([{"exponent": np.nan, **all_results(run.result)}]) for run in group.runs
            }
            parts += [
                frame.sort_values("exponent").reindex(columns=["exponent", *keys]).assign(model=group.label, seed=seed)
                for seed, frame in of_runs.items()
            ]
        return pd.concat(parts, ignore_index=True)[["model", "seed", "exponent", *keys]]

    def data(self) -> dict[str, Any]:
        """Return what the page's script draws: exponents, metrics, and each model's values, a list an exponent.

        A model that is not ``moved`` by the exponent has one; ``own`` is the exponent that its runs are ranked with.
        """
        points = self.points()
        exponents = sorted(points["exponent"].dropna().unique().tolist())
        models = []
        looks = page_looks([group.label for group in self.groups])
        for group in self.groups:
            of_model = points[points["model"] == group.label]
            moved = group.label in self.frontiers
            steps = exponents if moved else [np.nan]
            models.append({
                "label": group.label,
                "look": looks[group.label],
                "moved": moved,
                "own": _number(group.properties.get("score_norm_exponent")) if moved else None,
                "mean": self._rows(of_model.groupby("exponent", dropna=False).mean(numeric_only=True), steps),
                "seeds": {
                    str(seed): self._rows(frame.set_index("exponent"), steps)
                    for seed, frame in of_model.groupby("seed")
                },
            })  # fmt: skip
        return {
            "k": self.k,
            "exponents": exponents,
            "keys": [{"key": str(key), "test": key.set, "metric": heading(key)} for key in self.keys],
            "models": models,
        }

    def _rows(self, frame: pd.DataFrame, exponents: Sequence[float]) -> list[list[float | None]]:
        """The keys' values at each exponent; None where a run was not ranked with it."""
        rows = frame.reindex(exponents)[[str(key) for key in self.keys]].to_numpy()
        return [[None if np.isnan(value) else float(value) for value in row] for row in rows]

    def write(self, folder: Path) -> None:
        """Write the static figure and the points, as ``<name>.csv``, into a folder."""
        self.drawing.write(folder)
        with written_whole(folder / self.files[-1]) as temporary:
            self.points().to_csv(temporary, index=False)


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, (int, float)) else None
