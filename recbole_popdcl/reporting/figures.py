"""Figures of a report: segments, ablation, temperature, agreement, margins, training, popularity, frontier, searches.

Each function returns a matplotlib Figure, or None where the runs have nothing to show. Colours are those of Okabe and
Ito, which readers who see colours differently can tell apart; markers and dashes say the same again, for print in grey.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, cast

import numpy as np
import pandas as pd

from recbole_popdcl.errors import PopDCLError
from recbole_popdcl.evaluation.keys import ResultKey, set_key
from recbole_popdcl.evaluation.objective import Objective
from recbole_popdcl.experiment.comparison.agreement import Matrix
from recbole_popdcl.experiment.comparison.compare import ABLATION
from recbole_popdcl.experiment.comparison.summary import TEST_SETS, accuracy_keys, heading
from recbole_popdcl.experiment.search.trials import SCORE, VALIDATIONS
from recbole_popdcl.reporting import NEEDS
from recbole_popdcl.reporting.runs import FinishedSearch, Group, segments_of
from recbole_popdcl.storage.files import written_whole

try:
    import matplotlib
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullFormatter
except ImportError as error:
    raise PopDCLError(NEEDS) from error

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999999")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "*")
DASHES = ("-", "--", "-.", ":", (0, (6, 2, 1, 2, 1, 2)))
HATCHES = ("", "//", "..", "xx")
LEGEND_HANDLE, LEGEND_LETTER, LEGEND_ROW = 0.75, 0.068, 0.195  # inches
LARGE_SVG = 150_000  # bytes; the page has to hold every figure
MARGIN_CUT = 100.0  # the paper's Figure 5 cuts axes and colours there
STYLE = {
    "font.size": 9,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "axes.axisbelow": True,
    "legend.fontsize": 8,
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "text.parse_math": False,  # a dollar sign in a name is a dollar sign
}


@dataclass
class Drawing:
    """A figure of the report.

    Attributes:
        name: of its files.
        title, note: what a reader needs to understand it.
        figure: the drawing.
        picture: of the page, after ``write``: the SVG file as a data URL, the PNG file where the SVG one is large.
    """

    name: str
    title: str
    note: str
    figure: Figure
    picture: str = ""
    kind: ClassVar[str] = "figure"

    @property
    def files(self) -> list[str]:
        """Its files."""
        return [f"{self.name}.svg", f"{self.name}.png"]

    @property
    def width(self) -> int:
        """Width in the page, pixels."""
        return round(96 * self.figure.get_figwidth())

    def write(self, folder: Path) -> None:
        """Write ``<name>.svg`` and ``<name>.png`` into a folder; the same drawing gives the same bytes."""
        text, pixels = io.BytesIO(), io.BytesIO()
        for label in self.figure.findobj(matplotlib.text.Text):
            label.set_parse_math(False)
        with matplotlib.rc_context({"svg.hashsalt": self.name, **STYLE}):
            self.figure.savefig(text, format="svg", metadata={"Date": None})
            self.figure.savefig(pixels, format="png", dpi=130, metadata={"Software": None})
        contents = (text.getvalue(), pixels.getvalue())
        for name, content in zip(self.files, contents):
            with written_whole(folder / name) as temporary:
                temporary.write_bytes(content)
        svg, png = contents
        kind, content = ("png", png) if len(png) < len(svg) and len(svg) > LARGE_SVG else ("svg+xml", svg)
        self.picture = f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"


def _axes(columns: int, width: float = 4.2, height: float = 3.2, **options: Any) -> tuple[Figure, np.ndarray]:
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(width * columns, height), layout="constrained")
        return figure, np.atleast_1d(figure.subplots(1, columns, **options))


def styles(labels: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return colour, marker and dashes of each label, no two the same."""
    places = range(len(labels))
    return {
        label: {
            "color": COLOURS[place % len(COLOURS)],
            "marker": MARKERS[place % len(MARKERS)],
            "linestyle": DASHES[(place // len(COLOURS)) % len(DASHES)],
            "markersize": 4.5,
            "linewidth": 1.3,
        }
        for label, place in zip(labels, places)
    }


def page_looks(labels: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return the same looks as the page's script has them: place of the colour, marker, and lengths of the dashes."""
    dashes = dict(zip(map(str, DASHES), ("", "6 3", "7 3 2 3", "2 3", "8 3 2 3 2 3")))
    return {
        label: {
            "colour": COLOURS.index(style["color"]),
            "marker": style["marker"],
            "dash": dashes[str(style["linestyle"])],
        }
        for label, style in styles(labels).items()
    }


def _plain_ticks(*logarithmic: Axis) -> None:
    """Write plain numbers at 1, 2 and 5 of logarithmic axes (axes.xaxis, axes.yaxis)."""
    for axis in logarithmic:
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter("{x:g}")
        axis.set_minor_formatter(NullFormatter())


def _legend(figure: Figure, axes: Axes) -> None:
    """One legend for all axes, below them, in as many columns as fit; the figure grows by its rows."""
    handles, labels = axes.get_legend_handles_labels()
    width, height = figure.get_size_inches()
    widest = LEGEND_HANDLE + LEGEND_LETTER * max(map(len, labels), default=0)
    columns = min(4, max(1, int(width / widest)), max(1, len(labels)))
    figure.set_size_inches(width, height + LEGEND_ROW * (math.ceil(len(labels) / columns) - 1))
    figure.legend(handles, labels, loc="outside lower center", ncols=columns)


def segments(groups: Sequence[Group], k: int) -> Figure | None:
    """NDCG at k of each segment and of all items on each test, a panel each; one data set."""
    segments = segments_of(groups)
    labels = [group.label for group in groups]
    tests = {
        name: [ResultKey(set=name, segment=segment, metric="ndcg", k=k) for segment in segments] for name in TEST_SETS
    }
    tests = {name: keys for name, keys in tests.items() if any(group.value(key) for group in groups for key in keys)}
    if len(groups) < 2 or not tests:
        return None
    columns = len(segments)
    with matplotlib.rc_context(STYLE):
        size = (2.3 * columns + 1.5, (0.7 + 0.19 * len(labels)) * len(tests) + 0.4)
        figure = Figure(figsize=size, layout="constrained")
        panels = figure.subplots(len(tests), columns, sharey=True, squeeze=False)
    for row, (name, keys) in zip(panels, tests.items()):
        for axes, key in zip(row, keys):
            for place, (group, style) in enumerate(zip(groups, styles(labels).values())):
                mean, deviation = group.value(key) or (np.nan, None)
                axes.errorbar(mean, place, xerr=deviation, capsize=2, **{**style, "linestyle": "none"})
            axes.set_title(f"{name}, {key.segment or 'all'}")
            axes.set_xlim(left=0)
            axes.locator_params(axis="x", nbins=4)
        row[0].set_yticks(range(len(labels)), labels)
        row[0].set_ylim(len(labels) - 0.5, -0.5)
    figure.supxlabel(heading(keys[0]), fontsize=9)
    return figure


def ablation(groups: Sequence[Group], k: int) -> Figure | None:
    """The paper's Figure 3: bars of PopDCL with and without its margins; one data set."""
    groups = [group for group in groups if group.model in ABLATION]
    if len({group.model for group in groups}) < 2:
        return None
    of_tests = ([key for key in accuracy_keys(k) if key.set == test] for test in TEST_SETS)
    measured = [keys for keys in of_tests if any(group.value(key) for group in groups for key in keys)]
    if not measured:
        return None
    figure, panels = _axes(len(measured), width=4.6)
    for axes, keys in zip(panels, measured):
        _bars(axes, groups, keys)
        axes.set(title=f"{keys[0].set} test", ylabel="metric (mean over users)")
    _legend(figure, panels[0])
    return figure


def _bars(axes: Axes, groups: Sequence[Group], keys: Sequence[ResultKey]) -> None:
    """A bar a group, side by side for each key, with the deviation as whiskers."""
    width = 0.8 / len(groups)
    for place, group in enumerate(groups):
        values = [group.value(key) or (np.nan, None) for key in keys]
        whiskers = [np.nan if deviation is None else deviation for _, deviation in values]
        axes.bar(
            np.arange(len(keys)) + (place - (len(groups) - 1) / 2) * width, [mean for mean, _ in values], width,
            yerr=whiskers, capsize=2, label=group.label,
            color=COLOURS[place % len(COLOURS)], hatch=HATCHES[place % len(HATCHES)], edgecolor="white",
        )  # fmt: skip
    axes.set_xticks(range(len(keys)), [heading(key) for key in keys])


def temperature(groups: Sequence[Group], k: int) -> Figure | None:
    """The paper's Figure 4: Recall at k against the temperature, one curve a test; one model and data set.

    The groups must differ in the temperature alone to be a curve; the largest such set is drawn.
    """
    curves: dict[str, list[Group]] = {}
    for group in groups:
        if isinstance(group.properties.get("temperature"), (int, float)):
            curves.setdefault(group.runs[0].settings("temperature"), []).append(group)
    curve = max(curves.values(), key=len, default=[])
    if len(curve) < 2:
        return None
    curve = sorted(curve, key=lambda group: group.properties["temperature"])
    figure, (axes,) = _axes(1, width=5.0)
    for test, style in styles(TEST_SETS).items():
        key = ResultKey(set=test, segment="", metric="recall", k=k)
        points = [(group.properties["temperature"], group.value(key)) for group in curve]
        measured = [(x, *value) for x, value in points if value]
        if measured:
            x, mean, deviation = zip(*measured)
            whiskers = [np.nan if value is None else value for value in deviation]
            axes.errorbar(x, mean, whiskers, capsize=2, label=f"{test} test", **style)
    axes.set(xlabel="temperature τ", ylabel=heading(key))
    axes.set_ylim(bottom=0)
    axes.legend()
    return figure


def agreement(parts: Sequence[Matrix]) -> Figure | None:
    """Kendall's tau between the orders of the models by each pair of tests, a panel a metric; one data set."""
    if not parts:
        return None
    size = 1.2 + 0.85 * max(len(part.tau) for part in parts)
    figure, panels = _axes(len(parts), width=size + 0.6, height=size)
    for axes, part in zip(panels, parts):
        image = axes.imshow(part.tau, cmap="RdBu", vmin=-1, vmax=1)
        axes.grid(False)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_ticks(range(len(part.tau)), part.tau.index)
        for (row, column), tau in np.ndenumerate(part.tau.to_numpy()):
            axes.text(
                column, row, part.text.iloc[row, column].replace(" [", "\n["), ha="center", va="center", fontsize=8,
                color="white" if abs(tau) > 0.6 else "black",
            )  # fmt: skip
        axes.set_title(f"{part.metric}, {part.models} models")
    figure.colorbar(image, ax=list(panels), label="Kendall's τ")
    return figure


def margins(frame: pd.DataFrame) -> Figure:
    """The paper's Figure 5: M+ and M- of sampled pairs over user and item popularity.

    Args:
        frame: columns of analysis.sampled_margins.
    """
    figure, panels = _axes(2, width=4.6, height=3.6)
    for axes, name in zip(panels, ("M+", "M-")):
        part = frame[frame["margin"] == name].sort_values("value")
        points = axes.scatter(
            part["user_popularity"], part["item_popularity"], c=np.minimum(part["value"], MARGIN_CUT), s=9,
            cmap="viridis", rasterized=True,
        )  # fmt: skip
        axes.set(xlabel="user popularity (training items)", ylabel="item popularity (training users)",
                 title="M⁺(u, i)" if name == "M+" else "M⁻(u, j)", xscale="log", yscale="log")  # fmt: skip
        _plain_ticks(axes.xaxis, axes.yaxis)
        bar = figure.colorbar(points, ax=axes)
        cut = "" if part["value"].max() <= MARGIN_CUT else f", cut at {MARGIN_CUT:g}"
        bar.set_label(f"margin{cut}")
    return figure


def training(groups: Sequence[Group]) -> Figure | None:
    """Training loss, relative to the first epoch's, and validation, by epoch; first seeds; one data set."""
    runs = {group.label: group.runs[0] for group in groups if len(group.runs[0].epochs) > 1}
    if not runs:
        return None
    figure, (losses, scores) = _axes(2, width=4.6, height=3.6)
    looks = styles([group.label for group in groups])
    for label, run in runs.items():
        look = looks[label]
        style = {**look, "markersize": 3, "markevery": max(1, len(run.epochs) // 12)}
        first = run.epochs["train_loss"].iloc[0]
        losses.plot(run.epochs["epoch"] + 1, run.epochs["train_loss"] / (first or 1.0), label=label, **style)
        objective = Objective.parse(run.result["valid_metric"], "valid_metric")
        if {str(key) for key in objective.keys} <= set(run.epochs):
            valid = cast(pd.Series, objective.value(run.epochs)).dropna()
            scores.plot(run.epochs["epoch"][valid.index] + 1, valid, label=label, **{**style, "markevery": None})
    losses.set(xlabel="epoch", ylabel="training loss / that of the first epoch", xscale="log")
    valid_metrics = sorted({run.result["valid_metric"] for run in runs.values()})
    scores.set(xlabel="epoch", ylabel=" or ".join(valid_metrics), xscale="log")
    _plain_ticks(losses.xaxis, scores.xaxis)
    _legend(figure, losses)
    return figure


def popularity(frames: Mapping[str, pd.DataFrame], labels: Sequence[str]) -> Figure | None:
    """Popularity of what users are recommended over that of what they consumed; one data set.

    Args:
        frames: {label: analysis.list_popularity of a run}.
        labels: of all rows of the data set, in whose looks the curves are drawn.
    """
    if not frames:
        return None
    figure, (axes,) = _axes(1, width=5.4, height=4.2)
    looks = styles(labels)
    for label, frame in frames.items():
        axes.plot(frame["consumed"], frame["recommended"], label=label, **looks[label])
    consumed = next(iter(frames.values()))["consumed"]
    ends = [consumed.min(), consumed.max()]
    axes.plot(ends, ends, color="black", linewidth=0.8, linestyle=(0, (1, 1)), label="as consumed")
    axes.set(xscale="log", yscale="log", xlabel="mean popularity of a user's training items (training users)",
             ylabel="mean popularity of the recommended items")  # fmt: skip
    _plain_ticks(axes.xaxis, axes.yaxis)
    _legend(figure, axes)
    return figure


def frontier(frames: Mapping[str, pd.DataFrame], labels: Sequence[str], *, k: int) -> Figure | None:
    """Balanced over imbalanced NDCG at k at several score normalisation exponents, a curve a model; one data set.

    Args:
        frames: {label: analysis.frontier, the mean of its runs}. A hollow point marks g = 0, the others follow.
        labels: of all rows of the data set, in whose looks the curves are drawn.
        k: of the metric.
    """
    imbalanced, balanced = (ResultKey(set=test, segment="", metric="ndcg", k=k) for test in ("imbalanced", "balanced"))
    across, up = str(imbalanced), str(balanced)
    frames = {label: frame for label, frame in frames.items() if {across, up} <= set(frame.columns)}
    if not frames:
        return None
    figure, (axes,) = _axes(1, width=5.4, height=4.4)
    looks = styles(labels)
    for label, frame in frames.items():
        style, frame = looks[label], frame.sort_values("exponent")
        axes.plot(frame[across], frame[up], label=label, **style)
        start = frame[frame["exponent"] == 0]
        axes.plot(start[across], start[up], **{**style, "markerfacecolor": "white", "linestyle": "none"})
    axes.set(xlabel=f"imbalanced test, {heading(imbalanced)}", ylabel=f"balanced test, {heading(balanced)}")
    _legend(figure, axes)
    return figure


def search(finished: FinishedSearch) -> Figure | None:
    """What the trials of a search reached over each searched value, a curve a validation set.

    Trials of fewer validations than the best one, most of them stopped early, are hollow: they might have gone further.
    """
    keys, trials = _shown_keys(finished), finished.trials[finished.trials[SCORE].notna()]
    names = [name for name in finished.space if trials[name].nunique() > 1]
    if not names:
        return None
    validations = trials.get(VALIDATIONS, pd.Series(0, index=trials.index))
    fewer = validations < validations[trials[SCORE].idxmax()]
    figure, panels = _axes(len(names), width=4.6)
    for axes, name in zip(panels, names):
        x = _positions(axes, trials[name])
        for key, style in styles(keys).items():
            points = {**style, "linestyle": "none"}
            axes.plot(x[~fewer], trials[key][~fewer], label=key, **points)
            axes.plot(x[fewer], trials[key][fewer], **{**points, "markerfacecolor": "white"}, zorder=3)
            best = trials[key].groupby(x).max()
            if len(best) < len(trials) or len(names) == 1:
                axes.plot(best.index, best, **{**style, "marker": ""})
        axes.set(xlabel=name, ylabel=" and ".join(sorted({key.column for key in finished.objective.keys})))
    _legend(figure, panels[0])
    return figure


def _shown_keys(search: FinishedSearch) -> list[str]:
    """The columns to draw: the metrics of the objective on each validation set; the score where there are none."""
    objective = search.objective
    keys = {
        str(ResultKey(set=set_key(name), segment="", metric=key.metric, k=key.k))
        for name in objective.set_names
        if name.startswith("valid")
        for key in objective.keys
    }
    return [name for name in search.trials if name in keys] or [SCORE]


def _positions(axes: Axes, values: pd.Series) -> pd.Series:
    """Where the values of a property stand on the x-axis, which is set up for them."""
    if not pd.api.types.is_numeric_dtype(values) or pd.api.types.is_bool_dtype(values):
        texts = values.astype(str)
        names = list(dict.fromkeys(texts.sort_values()))
        axes.set_xticks(range(len(names)), names)
        return texts.map(names.index)
    if values.min() > 0 and values.max() / values.min() > 20:
        axes.set_xscale("log")
        _plain_ticks(axes.xaxis)
    return values
