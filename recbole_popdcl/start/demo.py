"""``recbole-popdcl demo``: three models on a small data set, and the report that compares them, in about a minute."""

from __future__ import annotations

import webbrowser
from logging import getLogger
from pathlib import Path
from typing import Any

from recbole_popdcl.errors import PopDCLError
from recbole_popdcl.experiment.comparison.compare import COLUMNS, finish
from recbole_popdcl.experiment.comparison.summary import markdown_table
from recbole_popdcl.experiment.result import read_result
from recbole_popdcl.reporting.build import PAGE, check_free, report  # which raises where its packages are missing
from recbole_popdcl.storage.logs import logged

MODELS = ("LightGCN", "SSM", "PopDCL")
DATASET = "ml-100k"  # bundled with RecBole
# Fewer and larger steps than the defaults: enough to see the models differ, not to judge them.
PROPERTIES: dict[str, Any] = {"epochs": 10, "eval_step": 2, "learning_rate": 0.005, "seed": 2020}
RUNS, REPORT = "runs", "report"  # folders of the output
TITLE = f"Demonstration: {', '.join(MODELS)} on {DATASET}, {PROPERTIES['epochs']} epochs"


def demo(output: str | Path, *, open_page: bool = False) -> tuple[Path, str]:
    """Train MODELS on DATASET one after another, unless that is done, and write a report on them.

    Args:
        output: folder for the runs and the report; an interrupted demonstration goes on in it.
        open_page: open the page in a browser.

    Returns:
        The page, and a Markdown table of what the models reach on the test sets.

    Raises:
        PopDCLError: no browser is found; the folder holds other things where runs or report belong, or cannot be
            written to.
        KeyboardInterrupt: interrupted; with the command that goes on.
    """
    output = Path(output)
    if open_page:
        _check_browser()
    if output.exists() and not output.is_dir():
        raise PopDCLError(f"--output {output} is a file, not a folder")
    check_free(output / REPORT)
    try:
        with logged():
            for number, model in enumerate(MODELS, 1):
                getLogger().info("%s: model %d of %d", model, number, len(MODELS))
                finish(output / RUNS / model, model, dataset=DATASET, properties=PROPERTIES)
        page = report([output / RUNS], output / REPORT, title=TITLE)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"go on with: recbole-popdcl demo --output={output}") from None
    results = {model: [read_result(output / RUNS / model)] for model in MODELS}
    if open_page and not webbrowser.open(page.as_uri()):
        raise PopDCLError(f"the browser did not open; the page is {page}")
    return page, markdown_table(results, COLUMNS)


def _check_browser() -> None:
    """Raise a PopDCLError if there is no browser to open a page with."""
    try:
        webbrowser.get()
    except webbrowser.Error as error:
        raise PopDCLError(f"--open: no browser is found; leave it out and open {REPORT}/{PAGE} yourself") from error
