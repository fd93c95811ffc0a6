"""The report: one page that needs no network, and each of its tables and figures as files of their own."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import logging
import secrets
import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import pandas as pd

from recbole_popdcl.config.models import typed_model
from recbole_popdcl.errors import PopDCLError, reason
from recbole_popdcl.experiment.analysis import (
    N_SAMPLED_USERS,
    SHOWN_HISTORY,
    analyse,
    missing_analyses,
    read_analysis,
)
from recbole_popdcl.experiment.comparison.agreement import matrices
from recbole_popdcl.experiment.comparison.summary import accuracy_keys
from recbole_popdcl.reporting import NEEDS, figures, tables
from recbole_popdcl.reporting.figures import Drawing
from recbole_popdcl.reporting.findings import Findings, agreement_findings, findings
from recbole_popdcl.reporting.frontier import NOTE, FrontierView
from recbole_popdcl.reporting.runs import (
    FinishedSearch,
    Group,
    Inventory,
    Run,
    best_settings,
    group_runs,
    read_search,
    resolve,
    take_inventory,
)
from recbole_popdcl.reporting.tables import Table
from recbole_popdcl.reporting.users import UsersView
from recbole_popdcl.storage import progress
from recbole_popdcl.storage.files import read_json, write_json, written_whole
from recbole_popdcl.storage.layout import AGREEMENT, FRONTIER, MARGINS, POPULARITY, SAMPLED_USERS
from recbole_popdcl.storage.logs import logged

try:
    import jinja2
    from markupsafe import Markup
except ImportError as error:
    raise PopDCLError(NEEDS) from error

PAGE, CONTENTS = "index.html", "report.json"  # the second lists the files of the report


Item = Table | Drawing | FrontierView | UsersView  # each has name, title, note, files and write, and a kind


@dataclass
class Section:
    """A part of the page: tables and figures, remarks on what is missing, and what the page's summary says of it.

    ``labels`` are of the models that can be switched on and off in it.
    """

    title: str
    items: list[Item] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    findings: Findings = field(default_factory=Findings)
    labels: list[str] = field(default_factory=list)

    @property
    def anchor(self) -> str:
        """Its place in the page."""
        return tables.file_name("section", self.title.lower())

    def add_table(self, table: Table | None) -> None:
        """Take a table, unless there is none."""
        if table is not None:
            self.items.append(table)

    def add_figure(self, name: str, *, title: str, note: str, figure: Any) -> None:
        """Take a figure, unless there is none."""
        if figure is not None:
            self.items.append(Drawing(tables.file_name(name), title, note, figure))

    def read(self, run: Run, name: str) -> pd.DataFrame | None:
        """Return an analysis of a run, None where there is none; a damaged file becomes a remark."""
        try:
            return read_analysis(run.folder.path, name)
        except PopDCLError as error:
            logging.getLogger().warning("left out: %s", error)
            self.remarks.append(str(error))
            return None


def report(
    paths: Sequence[str | Path],
    output: str | Path,
    *,
    best: bool = False,
    k: int = 20,
    reference: str | None = None,
    analysis: bool = True,
    models: Sequence[str | type] = (),
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
        models: classes of the user's own, or ``package.module:Class``, whose runs can be analysed with them.
        title: of the page.

    Returns:
        The page.

    Raises:
        PopDCLError: a folder is missing or holds nothing that is finished, no row is called ``reference``, or
            ``output`` holds something else.
    """
    output = Path(output).resolve()
    check_free(output)
    own = {owner.__name__: owner for owner in map(typed_model, models)}
    with logged():
        inventory = take_inventory(paths)
        groups = group_runs(inventory.runs)
        if not groups and not inventory.searches:
            why = next(iter(inventory.skipped.values()), "")
            raise PopDCLError(f"no finished run or search under {', '.join(map(str, paths))}{why and f'; {why}'}")
        shown = best_settings(groups) if best else groups
        if groups and not any(group.value(key) for group in shown for key in accuracy_keys(k)):
            metrics = " or ".join(dict.fromkeys(key.column for key in accuracy_keys(k)))
            raise PopDCLError(f"no run has {metrics} of a test set; choose another --topk")
        if reference:
            resolve(reference, shown)
        with _replaced(output) as folder:
            sections = _sections(
                inventory, groups, shown=shown, k=k, reference=reference or "PopDCL", own=own if analysis else None
            )
            _write(folder, sections, title=title, inventory=inventory, groups=groups)
        logging.getLogger().info(
            "report on %d runs and %d searches: %s", len(inventory.runs), len(inventory.searches), output / PAGE
        )
    return output / PAGE


def plot_agreement(folder: str | Path) -> list[Path]:
    """Draw the agreement of the tests in the folder of a compared data set: ``agreement.svg`` and ``agreement.png``.

    Returns:
        The files; none where the comparison has too few models.

    Raises:
        PopDCLError: its ``agreement.csv`` is damaged, or the folder cannot be written to.
    """
    path = Path(folder) / AGREEMENT
    if not path.is_file():
        return []
    try:
        parts = matrices(pd.read_csv(path))
    except (OSError, ValueError, LookupError, AttributeError) as error:
        raise PopDCLError(f"cannot read {path}: {reason(error)}") from error
    figure = figures.agreement(parts)
    if figure is None:
        return []
    drawing = Drawing("agreement", "", "", figure)
    drawing.write(Path(folder))
    return [Path(folder) / name for name in drawing.files]


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


def _sections(
    inventory: Inventory,
    groups: Sequence[Group],
    *,
    shown: Sequence[Group],
    k: int,
    reference: str,
    own: Mapping[str, type] | None,
) -> list[Section]:
    """The parts of the page: an overview, one for each data set, and the searches.

    Args:
        inventory: what lies under the folders.
        groups: its runs in groups.
        shown: those of the groups that have a row.
        k, reference: as ``report``.
        own: {name: class} of the user's own models; None where nothing is analysed.
    """
    sections = [_overview(shown, k, reference=reference)] if shown else []
    if own is not None and shown:
        sections[0].remarks += _analyse(shown, own)
    for dataset in dict.fromkeys(group.dataset for group in shown):
        of_dataset = [group for group in shown if group.dataset == dataset]
        settings = [group for group in groups if group.dataset == dataset]
        section = Section(dataset, labels=[group.label for group in of_dataset])
        _add_frontier(section, of_dataset, k=k)
        _add_results(section, of_dataset, settings=settings, k=k, reference=reference)
        _add_analyses(section, of_dataset)
        sections.append(section)
    return [*sections, _searches(inventory.searches)] if inventory.searches else sections


def _analyse(shown: Sequence[Group], own: Mapping[str, type]) -> list[str]:
    """Analyse the first run of each group where that is missing; return what could not be done."""
    failed = []
    first = [group.runs[0] for group in shown]
    classes = {run.folder: own.get(run.properties["model"]) for run in first if "model_class" in run.properties}
    todo = [run.folder for run in first if missing_analyses(run.folder.path, model=classes.get(run.folder))]
    for place, folder in enumerate(progress.bar(len(todo), todo, what="analysing", unit="run"), 1):
        logging.getLogger().info("analysing run %d of %d: %s", place, len(todo), folder)
        try:
            analyse(folder.path, model=classes.get(folder))
        except PopDCLError as error:
            logging.getLogger().warning("not analysed: %s", error)
            failed.append(f"{folder} could not be analysed: {error}")
    return failed


def _overview(shown: Sequence[Group], k: int, *, reference: str) -> Section:
    with contextlib.suppress(PopDCLError):  # without the reference the table has no gain
        reference = resolve(reference, shown)
    judged = list(dict.fromkeys(group.label for group in shown if group.runs[0].judged))
    remarks = (
        [f"Judged lists of other systems: {', '.join(judged)}. Their training is not known here."] if judged else []
    )
    return Section("Results", [tables.data_sets(shown), tables.results(shown, k, reference=reference)], remarks)


def _add_results(
    section: Section, shown: Sequence[Group], *, settings: Sequence[Group], k: int, reference: str
) -> None:
    """Add what the results of one data set show: segments, paired tests, ablation and temperature.

    Args:
        section: of the data set.
        shown: groups that have a row.
        settings: groups of all settings, which the figures of the temperature compare.
        k, reference: as ``report``.
    """
    dataset = section.title
    try:
        section.findings = findings(shown, k)
    except PopDCLError as error:
        section.remarks.append(f"Nothing said in the summary: {error}")
    section.add_figure(
        f"segments-{dataset}-plot",
        title=f"{dataset}: tail, mid and head, panel by panel",
        note="A panel a test and a part of the items, a row a model: the numbers of the table below, with the standard "
        "deviation over seeds as whiskers. Panels have scales of their own, from 0.",
        figure=figures.segments(shown, k),
    )
    section.add_table(tables.segments(shown, k))
    try:
        section.add_table(tables.tests(shown, k, reference=resolve(reference, shown)))
    except PopDCLError as error:
        section.remarks.append(f"No paired tests: {error}")
    _add_agreement(section, shown, k=k)
    section.add_figure(
        f"ablation-{dataset}",
        title=f"{dataset}: PopDCL with and without its margins",
        note="Without P: M⁺ = 0; without N: M⁻ = 0; without both: the sampled softmax loss. Bars: mean over seeds, "
        "whiskers: standard deviation.",
        figure=figures.ablation(shown, k),
    )
    for model in dict.fromkeys(group.model for group in settings):
        section.add_figure(
            f"temperature-{dataset}-{model}",
            title=f"{dataset}: {model} over the temperature",
            note="Mean over seeds, whiskers: standard deviation.",
            figure=figures.temperature([group for group in settings if group.model == model], k),
        )


def _add_agreement(section: Section, shown: Sequence[Group], *, k: int) -> None:
    """Add how far the tests of one data set agree on the order of its rows."""
    try:
        found = tables.agreement(shown, k)
    except PopDCLError as error:
        section.remarks.append(f"No agreement of the tests: {error}")
        return
    if found is None:
        return
    table, parts = found
    section.findings.sentences += agreement_findings(table.numbers.reset_index())
    section.add_table(table)
    section.add_figure(
        f"{table.name}-plot", title=f"{table.title}, as a figure", note=table.note, figure=figures.agreement(parts)
    )


def _add_analyses(section: Section, shown: Sequence[Group]) -> None:
    """Add the margins, the training, the popularity of the lists and single users of one data set."""
    dataset = section.title
    for group in best_settings(shown):
        frame = section.read(group.runs[0], MARGINS)
        section.add_figure(
            f"margins-{dataset}-{group.model}",
            title=f"{dataset}: margins of {resolve(group.model, shown)}",
            note=f"{0 if frame is None else len(frame) // 2} random training pairs as one batch: M⁺ of each pair, M⁻ "
            "of its user with the item of another pair.",
            figure=None if frame is None else figures.margins(frame),
        )
    section.add_figure(
        f"training-{dataset}",
        title=f"{dataset}: training",
        note="First seed of each row. Losses of models differ in their units; each is divided by that of its first "
        "epoch.",
        figure=figures.training(shown),
    )
    lists = {group.label: section.read(group.runs[0], POPULARITY) for group in shown}
    section.add_figure(
        f"popularity-{dataset}",
        title=f"{dataset}: popularity of recommended against consumed items",
        note="Users in bins of equal size by what they consumed; top-20 lists of all users, first seed of each row. "
        "On the dotted line lists are as popular as what was consumed.",
        figure=figures.popularity(
            {label: frame for label, frame in lists.items() if frame is not None}, section.labels
        ),
    )
    _add_users(section, shown)


def _add_frontier(section: Section, shown: Sequence[Group], *, k: int) -> None:
    """Add the frontier of one data set, where a row has one."""
    dataset, frontiers = section.title, _frontiers(section, shown)
    means = {label: pd.concat(of_runs.values()).groupby("exponent", as_index=False).mean()
             for label, of_runs in frontiers.items()}  # fmt: skip
    figure = figures.frontier(means, section.labels, k=k)
    if figure is None:
        return
    note = f"{NOTE} Hollow: g = 0."
    title = f"{dataset}: frontier between the two tests"
    drawing = Drawing(tables.file_name(f"frontier-{dataset}"), title, note, figure)
    section.items.append(FrontierView(drawing, shown, frontiers, k))


def _frontiers(section: Section, shown: Sequence[Group]) -> dict[str, dict[int, pd.DataFrame]]:
    """{label: {seed: frontier}} of the runs that have one."""
    frontiers = {}
    for group in shown:
        of_runs = {run.seed: frame for run in group.runs if (frame := section.read(run, FRONTIER)) is not None}
        if of_runs:
            frontiers[group.label] = of_runs
    return frontiers


def _add_users(section: Section, shown: Sequence[Group]) -> None:
    """Add the sampled users of one data set, where a row has them."""
    samples = {group.label: section.read(group.runs[0], SAMPLED_USERS) for group in shown}
    kept = {label: frame for label, frame in samples.items() if frame is not None}
    if kept:
        section.items.append(
            UsersView(
                name=tables.file_name(f"users-{section.title}"),
                title=f"{section.title}: single users",
                note=f"At most {N_SAMPLED_USERS} users, drawn at random of those with something to find: what they "
                "had, and the list of each model (first seed of each row); titles, where the data set's item file has "
                "them. Bars: popularity (training users), on a logarithmic scale. A history of more than "
                f"{SHOWN_HISTORY} items is shown by that many, drawn at random. Models that are switched off in the "
                "frontier have no list here either.",
                labels=section.labels,
                samples=kept,
            )
        )


def _searches(searches: Sequence[FinishedSearch]) -> Section:
    section = Section("Searches")
    for number, search in enumerate(searches, 1):
        table = tables.trials(search, number)
        section.add_table(table)
        section.add_figure(
            f"{table.name}-plot",
            title=f"{table.title}, over the searched values",
            note="A point a trial, at its best validation; hollow ones had fewer validations than the best trial, most "
            "of them stopped early. Lines join the best of each value. Test sets are evaluated for the best trial "
            "alone.",
            figure=figures.search(search),
        )
    return section


def _counted(things: Collection, one: str, several: str | None = None) -> str:
    """How many there are and their name, of which there is another form for several."""
    return f"{len(things)} {one if len(things) == 1 else several or one + 's'}"


def _write(
    folder: Path, sections: Sequence[Section], *, title: str, inventory: Inventory, groups: Sequence[Group]
) -> None:
    """Write the tables and figures, then the page that shows them, then the list of all files."""
    items = [item for section in sections for item in section.items]
    for item in progress.bar(len(items), items, what="tables and figures", unit="item"):
        item.write(folder)
    runs, searches = inventory.runs, inventory.searches
    models, datasets, seeds = ({getattr(run, name) for run in runs} for name in ("model", "dataset", "seed"))
    page = _template().render(
        title=title,
        contents=f"{_counted(runs, 'run')} of {_counted(models, 'model')} on {_counted(datasets, 'data set')}, "
        f"{_counted(seeds, 'seed')}; {_counted(searches, 'search', 'searches')}.",
        sections=sections,
        skipped=list(inventory.skipped.values()),
        runs=[
            f"{group.dataset}, {group.label}: " + ", ".join(str(run.folder) for run in group.runs) for group in groups
        ],
    )
    with written_whole(folder / PAGE) as temporary:
        temporary.write_text(page, encoding="utf-8")
    files = [PAGE, CONTENTS, *(file for section in sections for item in section.items for file in item.files)]
    write_json(folder / CONTENTS, {"files": sorted(files)})


def _template() -> Any:
    """The page, with its style and its script, which alone may run: the page names its hash."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("recbole_popdcl.reporting", ""),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    folder = resources.files("recbole_popdcl.reporting")
    style, script = (folder.joinpath(name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    environment.globals.update(
        style=Markup(style),
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii"),
    )
    return environment.get_template("page.html")


def check_free(output: Path) -> None:
    """Raise a PopDCLError if something but an earlier report stands where a report is to be written."""
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
        raise PopDCLError(f"cannot write the report {output}: {reason(error)}") from error
    finally:
        for folder in (fresh, old):
            shutil.rmtree(folder, ignore_errors=True)
