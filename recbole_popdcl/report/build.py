"""The report: one page that needs no network, and each of its tables and figures as files of their own."""

from __future__ import annotations

import base64
import contextlib
import logging
import secrets
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from recbole_popdcl.errors import PopDCLError
from recbole_popdcl.experiment.analysis import analyse, missing_analyses, read_analysis
from recbole_popdcl.experiment.run import FRONTIER, MARGINS, POPULARITY
from recbole_popdcl.report import figures, tables
from recbole_popdcl.report.figures import Drawing
from recbole_popdcl.report.runs import TESTS, Found, Group, best_settings, find, group, read_search, resolve
from recbole_popdcl.report.tables import Table
from recbole_popdcl.storage.files import read_json, write_json, written_whole
from recbole_popdcl.storage.logs import logged

PAGE, CONTENTS = "index.html", "report.json"  # the second names what a report consists of


@dataclass
class Section:
    """A part of the page: tables and figures, and remarks on what is missing."""

    title: str
    items: list[Table | Drawing] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    @property
    def anchor(self) -> str:
        """Its place in the page."""
        return tables.file_name("section", self.title.lower())

    def add_table(self, table: Table | None) -> None:
        """Take a table, unless there is none."""
        if table is not None:
            self.items.append(table)

    def add_figure(self, name: str, title: str, note: str, figure: Any) -> None:
        """Take a figure, unless there is none."""
        if figure is not None:
            self.items.append(Drawing(tables.file_name(name), title, note, figure))

    def read(self, folder: Path, name: str) -> pd.DataFrame | None:
        """Return an analysis of a run, None where there is none; a damaged file becomes a remark."""
        try:
            return read_analysis(folder, name)
        except PopDCLError as error:
            logging.getLogger().warning("left out: %s", error)
            self.remarks.append(str(error))
            return None


def report(
    paths: Sequence[str | Path],
    output: str | Path,
    best: bool = False,
    k: int = 20,
    reference: str | None = None,
    analysis: bool = True,
    title: str = "Popularity-debiased recommendation",
) -> Path:
    """Write a report on the runs and searches under some folders.

    Args:
        paths: folders with runs, at any depth.
        output: folder for the page and its files; absent, empty, or an earlier report, which is replaced.
        best: show one setting of each model, the best on validation; all settings otherwise.
        k: of the metrics.
        reference: row that the others are tested against; by default PopDCL where it is among them.
        analysis: work out what is missing of frontier, popularity and margins for the first seed of each row, which
            loads its weights and data; where they cannot be had, the page says so.
        title: of the page.

    Returns:
        The page.

    Raises:
        PopDCLError: a folder is missing or holds nothing that is finished, no row is called ``reference``, or
            ``output`` holds something else.
    """
    output = Path(output).resolve()
    _check_free(output)
    with logged():
        found = find(paths)
        groups = group(found.runs)
        if not groups and not found.searches:
            reason = next(iter(found.skipped.values()), "")
            raise PopDCLError(f"no finished run or search under {', '.join(map(str, paths))}{reason and f'; {reason}'}")
        shown = best_settings(groups) if best else groups
        keys = [f"{test}/{metric}@{k}" for test in TESTS for metric in ("recall", "ndcg")]
        if groups and not any(one.value(key) for one in shown for key in keys):
            raise PopDCLError(f"no run has recall@{k} or ndcg@{k} of a test set; choose another --topk")
        if reference:
            resolve(reference, shown)
        reference = reference or "PopDCL"
        with _replaced(output) as folder:
            sections = [_overview(shown, k, reference)] if shown else []
            if analysis and shown:
                sections[0].remarks += _analyse(shown)
            for dataset in dict.fromkeys(one.dataset for one in shown):
                best_of, all_of = ([one for one in several if one.dataset == dataset] for several in (shown, groups))
                sections.append(_data_set(dataset, best_of, all_of, k, reference))
            sections += [_searches(found)] if found.searches else []
            _write(folder, title, sections, found, groups)
        logging.getLogger().info("report on %d runs and %d searches: %s", len(found.runs), len(found.searches),
                                 output / PAGE)  # fmt: skip
    return output / PAGE


def plot_search(folder: str | Path) -> list[Path]:
    """Draw what the trials of a finished search reached: ``search.svg`` and ``search.png`` in its folder.

    Returns:
        The files; none where no searched property has two values.

    Raises:
        PopDCLError: the search is not finished, or its folder cannot be written to.
    """
    figure = figures.search(read_search(Path(folder)))
    if figure is None:
        return []
    drawing = Drawing("search", "", "", figure)
    drawing.write(Path(folder))
    return [Path(folder) / name for name in drawing.files]


def _analyse(shown: Sequence[Group]) -> list[str]:
    """Analyse the first run of each group where that is missing; return what could not be done."""
    failed = []
    todo = [one.runs[0] for one in shown if missing_analyses(one.runs[0].folder)]
    for place, run in enumerate(todo, 1):
        logging.getLogger().info("analysing run %d of %d: %s", place, len(todo), run.folder)
        try:
            analyse(run.folder)
        except PopDCLError as error:
            logging.getLogger().warning("not analysed: %s", error)
            failed.append(f"{run.folder} could not be analysed: {error}")
    return failed


def _overview(shown: Sequence[Group], k: int, reference: str) -> Section:
    with contextlib.suppress(PopDCLError):  # without the reference the table has no gain
        reference = resolve(reference, shown)
    return Section("Results", [tables.data_sets(shown), tables.results(shown, k, reference)])


def _data_set(dataset: str, shown: Sequence[Group], groups: Sequence[Group], k: int, reference: str) -> Section:
    """Everything on one data set: ``shown`` in tables and figures, all ``groups`` where settings are compared."""
    section = Section(dataset)
    section.add_table(tables.segments(shown, k))
    try:
        section.add_table(tables.tests(shown, k, resolve(reference, shown)))
    except PopDCLError as error:
        section.remarks.append(f"No paired tests: {error}")
    section.add_figure(
        f"ablation-{dataset}", f"{dataset}: PopDCL with and without its margins",
        "Without P: M⁺ = 0; without N: M⁻ = 0; without both: the sampled softmax loss. Bars: mean over seeds, "
        "whiskers: standard deviation.", figures.ablation(shown, k),
    )  # fmt: skip
    for model in dict.fromkeys(one.model for one in groups):
        section.add_figure(
            f"temperature-{dataset}-{model}", f"{dataset}: {model} over the temperature",
            "Mean over seeds, whiskers: standard deviation.",
            figures.temperature([one for one in groups if one.model == model], k),
        )  # fmt: skip
    for one in best_settings(shown):
        frame = section.read(one.runs[0].folder, MARGINS)
        section.add_figure(
            f"margins-{dataset}-{one.model}", f"{dataset}: margins of {resolve(one.model, shown)}",
            f"{0 if frame is None else len(frame) // 2} random training pairs as one batch: M⁺ of each pair, M⁻ of its "
            "user with the item of another pair.", None if frame is None else figures.margins(frame),
        )  # fmt: skip
    section.add_figure(
        f"training-{dataset}", f"{dataset}: training",
        "First seed of each row. Losses of models differ in their units; each is divided by that of its first epoch.",
        figures.training(shown),
    )  # fmt: skip
    lists = {one.label: section.read(one.runs[0].folder, POPULARITY) for one in shown}
    section.add_figure(
        f"popularity-{dataset}", f"{dataset}: popularity of recommended against consumed items",
        "Users in bins of equal size by what they consumed; top-20 lists of all users, first seed of each row. On the "
        "dotted line lists are as popular as what was consumed.",
        figures.popularity({label: frame for label, frame in lists.items() if frame is not None}),
    )  # fmt: skip
    section.add_figure(
        f"frontier-{dataset}", f"{dataset}: frontier between the two tests",
        "Each trained model ranked by ⟨e_u, e_i⟩/‖e_i‖^g without training again, g from 0 (hollow, inner product) "
        "over 1 (cosine) to 1.25. A model whose curve lies above and to the right of another's dominates it.",
        figures.frontier(_frontiers(section, shown), k),
    )  # fmt: skip
    return section


def _frontiers(section: Section, shown: Sequence[Group]) -> dict[str, pd.DataFrame]:
    """{label: mean frontier of the runs that have one}."""
    result = {}
    for one in shown:
        frames = [frame for run in one.runs if (frame := section.read(run.folder, FRONTIER)) is not None]
        if frames:
            result[one.label] = pd.concat(frames).groupby("exponent", as_index=False).mean()
    return result


def _searches(found: Found) -> Section:
    section = Section("Searches")
    for number, searched in enumerate(found.searches, 1):
        table = tables.trials(searched, number)
        section.add_table(table)
        section.add_figure(
            f"{table.name}-plot", f"{table.title}, over the searched values",
            "A point a trial, at its best validation; hollow ones had fewer validations than the best trial, most of "
            "them stopped early. Lines join the best of each value. Test sets are evaluated for the best trial alone.",
            figures.search(searched),
        )  # fmt: skip
    return section


def _write(folder: Path, title: str, sections: Sequence[Section], found: Found, groups: Sequence[Group]) -> None:
    for section in sections:
        for item in section.items:
            item.write(folder)
    seeds = sorted({run.properties["seed"] for run in found.runs})
    summary = (
        f"{len(found.runs)} runs of {len({run.model for run in found.runs})} models on "
        f"{len({run.dataset for run in found.runs})} data sets, {len(seeds)} seeds; {len(found.searches)} searches."
    )
    page = _template().render(
        title=title, summary=summary, sections=sections, skipped=list(found.skipped.values()),
        runs=[f"{one.dataset}, {one.label}: " + ", ".join(str(run.folder) for run in one.runs) for one in groups],
    )  # fmt: skip
    with written_whole(folder / PAGE) as temporary:
        temporary.write_text(page, encoding="utf-8")
    files = [PAGE, CONTENTS, *(file for section in sections for item in section.items for file in item.files)]
    write_json(folder / CONTENTS, {"files": sorted(files)})


def _template() -> Any:
    import jinja2

    environment = jinja2.Environment(loader=jinja2.PackageLoader("recbole_popdcl.report", ""), autoescape=True)
    environment.filters["base64"] = lambda text: base64.b64encode(text.encode("utf-8")).decode("ascii")
    return environment.get_template("page.html")


def _check_free(output: Path) -> None:
    if not output.exists():
        return
    if not output.is_dir():
        raise PopDCLError(f"--output {output} is a file; choose a folder")
    contents = read_json(output / CONTENTS) if (output / CONTENTS).is_file() else {}
    known = contents.get("files") if isinstance(contents, dict) else None
    known = known if isinstance(known, list) else []
    foreign = sorted(path.name for path in output.iterdir() if path.name not in known)
    if foreign:
        raise PopDCLError(f"--output {output} holds {foreign[0]}, which is no part of a report; choose another folder")


@contextlib.contextmanager
def _replaced(output: Path) -> Iterator[Path]:
    """Yield a new folder; when the block ends well, it takes the place of ``output``."""
    fresh, old = (output.with_name(f".{output.name}.{secrets.token_hex(6)}.{kind}") for kind in ("tmp", "old"))
    try:
        fresh.mkdir(parents=True)
        yield fresh
        if output.exists():
            output.rename(old)
        fresh.rename(output)
    except OSError as error:
        if old.exists() and not output.exists():
            old.rename(output)
        raise PopDCLError(f"cannot write the report {output}: {error.strerror or error}") from error
    finally:
        for folder in (fresh, old):
            shutil.rmtree(folder, ignore_errors=True)
