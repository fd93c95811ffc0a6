"""The page of a report in a browser: what moves, sorts, switches and shows, against the runs' own files."""

from __future__ import annotations

import itertools
import json
import re
import shutil
import statistics
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from recbole_popdcl.experiment.analysis import EXPONENTS
from recbole_popdcl.experiment.result import read_result
from recbole_popdcl.experiment.run import run
from recbole_popdcl.reporting import build
from recbole_popdcl.reporting.build import report
from recbole_popdcl.reporting.figures import styles
from recbole_popdcl.reporting.users import UsersView

KEYS = ("balanced/recall@20", "balanced/ndcg@20", "imbalanced/recall@20", "imbalanced/ndcg@20")
VALUES = "#frontier-toy table.values"


def chromium() -> str | None:
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


pytestmark = pytest.mark.skipif(chromium() is None, reason="no Chromium")


@pytest.fixture(scope="module")
def browser():
    api = pytest.importorskip("playwright.sync_api")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        yield browser
        browser.close()


class Tab:
    """A page in a browser without a network, and what it said and asked for."""

    def __init__(self, browser, path: Path, *, width: int = 1280, scheme: str = "light", scripts: bool = True) -> None:
        self.context = browser.new_context(
            viewport={"width": width, "height": 900}, offline=True, color_scheme=scheme, java_script_enabled=scripts
        )
        self.page = self.context.new_page()
        self.said, self.asked = [], []
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(path.absolute().as_uri())

    def rows(self, table: str) -> dict[str, list[str]]:
        """{head: texts of the cells} of a table's body, in the order that is seen."""
        found = self.page.eval_on_selector_all(
            f"{table} tbody tr",
            "rows => rows.map(r => [...r.cells].map(c => (c.querySelector('label') ?? c).innerText))",
        )
        return {head.strip(): cells for head, *cells in found}

    def points(self) -> dict[str, tuple[float, float]]:
        """{label: where its mark stands} in the frontier."""
        found = self.page.eval_on_selector_all(
            "#frontier-toy g.mean",
            "marks => marks.map(m => [m.getAttribute('aria-label'), m.getAttribute('transform')])",
        )
        return {said.split(", ")[0]: tuple(map(float, re.findall(r"[-\d.]+", where))) for said, where in found}


@pytest.fixture
def open_tab(browser, page):
    """A function that opens a page, the report on the runs by default; in the end nothing was said on the console."""
    tabs = []

    def make(path: Path = page, **options) -> Tab:
        tabs.append(Tab(browser, path, **options))
        return tabs[-1]

    yield make
    for tab in tabs:
        tab.context.close()
        assert tab.said == []


def frontiers(runs: Path, folder: str) -> pd.DataFrame:
    """The frontier of the first seed of a model, as its file has it."""
    return pd.read_csv(runs / folder / "1" / "frontier.csv").set_index("exponent")


FOLDERS = {"LightGCN": "0-LightGCN", "SSM (temperature 0.4)": "2-SSM", "PopDCL": "3-PopDCL"}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 400])
def test_the_page_stands_alone_and_fits(open_tab, page, width, scheme):
    tab = open_tab(width=width, scheme=scheme)
    pictures = tab.page.evaluate("[...document.images].map(i => [i.complete, i.naturalWidth, i.clientWidth, i.alt])")
    heights = tab.page.evaluate("[...document.querySelectorAll('table')].map(t => t.offsetHeight)")
    assert [url for url in tab.asked if not url.startswith("data:")] == [page.absolute().as_uri()]
    assert len(pictures) == len(list(page.parent.glob("*.svg"))) - 1  # the frontier is drawn by the page itself
    assert all(
        complete and natural > 200 and shown > 250 and len(alt) > 30 for complete, natural, shown, alt in pictures
    )
    assert len(heights) == len(list(page.parent.glob("*.csv"))) - 1  # users stand in lists
    assert all(height > 30 for height in heights)
    assert tab.page.evaluate("document.documentElement.scrollWidth") <= width  # what is wide scrolls in its own box
    bold = "[...document.querySelectorAll('td')].filter(c => getComputedStyle(c).fontWeight >= 700).length"
    assert tab.page.evaluate(bold) > 0
    assert tab.page.evaluate("[...document.querySelectorAll('nav a')].every(a => document.querySelector(a.hash))")
    first = tab.page.evaluate("document.querySelector('#section-toy article').id")
    assert first == "frontier-toy"
    assert tab.page.evaluate("document.querySelector('main section').id") == "summary"


def test_the_file_is_small(page):
    assert page.stat().st_size < 3e6


def test_the_slider_moves_the_points_and_the_table(open_tab, runs):
    tab = open_tab()
    places = {}
    for step, exponent in enumerate(EXPONENTS):
        tab.page.locator("#frontier-toy input[type=range]").fill(str(step))
        assert float(tab.page.locator("#frontier-toy output").inner_text()) == exponent
        rows = tab.rows(VALUES)
        for label, folder in FOLDERS.items():
            expected = frontiers(runs, folder).loc[exponent, list(KEYS)]
            assert rows[label] == [*(f"{value:.4f}" for value in expected), "1"]
            said = tab.page.locator(f'#frontier-toy g.mean[aria-label^="{label},"]').get_attribute("aria-label")
            assert said == (
                f"{label}, seed 1, exponent {exponent:g}: imbalanced NDCG@20 {expected['imbalanced/ndcg@20']:.4f}, "
                f"balanced NDCG@20 {expected['balanced/ndcg@20']:.4f}"
            )
            places[label, exponent] = (
                *tab.points()[label],
                expected["imbalanced/ndcg@20"],
                expected["balanced/ndcg@20"],
            )
    x, y, across, up = np.array(list(places.values())).T
    for seen, value, sign in ((x, across, 1), (y, up, -1)):  # one straight line for all models and exponents
        slope, start = np.polyfit(value, seen, 1)
        assert np.sign(slope) == sign
        assert np.abs(slope * value + start - seen).max() < 0.01
    assert np.ptp(x) > 50


def test_a_model_without_exponents_stays_at_its_test_results(open_tab, runs):
    tab = open_tab()
    expected = [statistics.fmean(read_result(runs / "7-BPR" / seed)["test"][key] for seed in "12") for key in KEYS]
    seen = []
    for step in (0, len(EXPONENTS) - 1):
        tab.page.locator("#frontier-toy input[type=range]").fill(str(step))
        assert tab.rows(VALUES)["BPR"] == [*(f"{value:.4f}" for value in expected), "2"]
        seen.append(tab.points()["BPR"])
    assert seen[0] == seen[1]
    assert tab.page.locator("#frontier-toy circle.seed").count() == 2  # one for each of its seeds, and for no other's
    assert "mean of seeds 1 and 2, no exponent" in tab.page.locator('g.mean[aria-label^="BPR"]').get_attribute(
        "aria-label"
    )


def test_means_and_seeds_of_frontiers(open_tab, runs, tmp_path):
    """Of three seeds two have a frontier: the point is their mean, and each stands beside it."""
    for seed in (1, 2, 3):
        shutil.copytree(runs / "0-LightGCN" / "1", tmp_path / "r" / str(seed))
        for name in ("result.json", "config.yaml"):
            path = tmp_path / "r" / str(seed) / name
            path.write_text(re.sub(r"""("?seed"?: )1""", rf"\g<1>{seed}", path.read_text()))
    frame = pd.read_csv(tmp_path / "r" / "2" / "frontier.csv")
    frame[list(KEYS)] *= 1.5
    frame.to_csv(tmp_path / "r" / "2" / "frontier.csv", index=False)
    (tmp_path / "r" / "3" / "frontier.csv").unlink()
    tab = open_tab(report([tmp_path / "r"], tmp_path / "out", analysis=False))
    tab.page.locator("#frontier-toy input[type=range]").fill("2")
    row = frontiers(runs, "0-LightGCN").loc[EXPONENTS[2], list(KEYS)]
    assert tab.rows(VALUES)["LightGCN"] == [*(f"{value * 1.25:.4f}" for value in row), "2"]
    seeds = tab.page.eval_on_selector_all(
        "circle.seed", "c => c.map(s => [s.getAttribute('cx'), s.getAttribute('cy')])"
    )
    mean = tab.points()["LightGCN"]
    assert np.mean(np.array(seeds, dtype=float), axis=0) == pytest.approx(mean)
    assert np.ptp(np.array(seeds, dtype=float), axis=0).min() > 1
    points = pd.read_csv(tmp_path / "out" / "frontier-toy.csv").set_index(["model", "seed", "exponent"])
    assert len(points) == 2 * len(EXPONENTS)
    assert points.loc["LightGCN", 2, EXPONENTS[2]]["balanced/ndcg@20"] == pytest.approx(row["balanced/ndcg@20"] * 1.5)


def test_models_are_switched_off_and_on(open_tab):
    tab = open_tab()
    labels = list(tab.points())
    assert len(labels) == 8
    curves = tab.page.locator("#frontier-toy path.curve")
    before = curves.count()
    lists = tab.page.locator("#users-toy h4")
    assert lists.all_inner_texts() == ["History", *labels]
    box = tab.page.get_by_label("PopDCL without N", exact=True)
    box.uncheck()
    assert set(labels) - set(lists.all_inner_texts()) == {"PopDCL without N"}
    assert set(labels) - set(tab.points()) == {"PopDCL without N"}
    assert curves.count() == before - 1
    tab.page.locator("#frontier-toy input[type=range]").fill("3")  # still off after a move
    assert "PopDCL without N" not in tab.points()
    assert "PopDCL without N" in tab.rows(VALUES)
    box.check()
    assert set(tab.points()) == set(labels)
    tab.page.get_by_role("button", name="All off").click()
    assert tab.points() == {}
    assert lists.all_inner_texts() == ["History"]
    assert not box.is_checked()
    tab.page.get_by_role("button", name="All models on").click()
    assert list(tab.points()) == labels
    assert lists.all_inner_texts() == ["History", *labels]


def test_points_speak_to_pointer_and_keyboard(open_tab, runs):
    tab = open_tab()
    mark = tab.page.locator('#frontier-toy g.mean[aria-label^="PopDCL,"]')
    tip = tab.page.locator("#frontier-toy .tip")
    mark.locator(".marker").hover(force=True)
    assert tip.inner_text().startswith("PopDCL, seed 1, exponent 0: ")
    tab.page.mouse.move(0, 0)
    assert tip.is_hidden()
    mark.focus()
    start = frontiers(runs, "3-PopDCL").loc[0.0, "balanced/ndcg@20"]
    assert tip.inner_text().startswith("PopDCL, seed 1, exponent 0: ")
    assert f"balanced NDCG@20 {start:.4f}" in tip.inner_text()
    tab.page.keyboard.press("ArrowRight")
    tab.page.keyboard.press("ArrowRight")
    assert tab.page.locator("#frontier-toy output").inner_text() == "0.5"
    assert tip.inner_text().startswith("PopDCL, seed 1, exponent 0.5: ")
    tab.page.keyboard.press("Escape")
    assert tip.is_hidden()
    for _ in range(9):
        tab.page.keyboard.press("ArrowLeft")
    assert tab.page.locator("#frontier-toy output").inner_text() == "0"


@pytest.mark.parametrize("table", ["#T_results", "#T_tests-toy", "#T_segments-toy", VALUES])
def test_tables_are_sorted_by_any_column(open_tab, table):
    tab = open_tab()
    first = tab.rows(table)
    heads = tab.page.locator(f"{table} thead tr:last-child th")
    for column in range(1, heads.count()):
        head = heads.nth(column)
        for order, reverse in (("descending", True), ("ascending", False)):
            head.locator("button").click()
            assert head.get_attribute("aria-sort") == order
            seen = [cells[column - 1] for cells in tab.rows(table).values()]
            numbers = [float(re.match(r"[−+]?[\d.]+", text)[0].replace("−", "-")) for text in seen]
            assert numbers == sorted(numbers, reverse=reverse)
            assert heads.evaluate_all("all => all.filter(h => h.getAttribute('aria-sort') !== 'none').length") == 1
        head.locator("button").click()
        assert list(tab.rows(table)) == list(first)
    heads.nth(0).locator("button").press("Enter")  # by keyboard, texts from the first on
    assert list(tab.rows(table)) == sorted(first)
    assert tab.rows(table) == first  # each row with its own cells


def test_the_gain_stays_below_and_missing_numbers_come_last(open_tab):
    tab = open_tab()
    assert tab.page.locator("#T_results tfoot th").all_inner_texts() == ["Δ PopDCL"]
    heads = tab.page.locator("#T_search-1 thead th")
    assert heads.all_inner_texts()[:4] == ["trial", "temperature", "encoder", "score"]
    for _ in range(2):  # down, then up
        heads.nth(3).locator("button").click()
        assert list(tab.rows("#T_search-1"))[-1] == "c"
    assert list(tab.rows("#T_search-1")) == ["a", "b", "c"]
    assert tab.page.locator("#T_agreement-toy button").count() == 0


def test_the_table_beside_the_figure_stays_sorted(open_tab, runs):
    tab = open_tab()
    tab.page.locator(f"{VALUES} thead tr:last-child th").nth(2).locator("button").click()
    for step in (5, 1):
        tab.page.locator("#frontier-toy input[type=range]").fill(str(step))
        seen = [float(cells[1]) for cells in tab.rows(VALUES).values()]
        assert seen == sorted(seen, reverse=True)


def test_single_users_have_their_history_and_lists(open_tab, runs):
    tab = open_tab()
    samples = {label: pd.read_csv(runs / folder / "1" / "sampled_users.csv", keep_default_na=False)
               for label, folder in {**FOLDERS, "BPR": "7-BPR"}.items()}  # fmt: skip
    users = list(dict.fromkeys(samples["BPR"]["user_id"]))
    choice = tab.page.locator("#users-toy select")
    assert [text.split(" ")[0] for text in choice.locator("option").all_inner_texts()] == users
    tab.page.get_by_role("button", name="Next").click()
    assert choice.input_value() == "1"
    tab.page.get_by_role("button", name="Previous").click()
    tab.page.get_by_role("button", name="Previous").click()
    assert choice.input_value() == str(len(users) - 1)
    marked = 0
    for place in (0, 7):
        choice.select_option(str(place))
        columns = tab.page.eval_on_selector_all(
            "#users-toy .list",
            """lists => lists.map(list => [list.querySelector('h4').innerText, [...list.querySelectorAll('li')].map(
                 li => [li.querySelector('.item').textContent, li.querySelector('.popularity').textContent,
                        li.classList.contains('hit'), li.querySelector('.bar').offsetWidth])])""",
        )
        seen = dict(columns)
        most = max(frame["popularity"].max() for frame in samples.values())
        for label, frame in samples.items():
            of_user = frame[frame["user_id"] == users[place]]
            for head, part in ((label, "list"), ("History", "history")):
                rows = of_user[of_user["part"] == part]
                assert [entry[0] for entry in seen[head]] == rows["item_id"].tolist()
                assert [int(entry[1]) for entry in seen[head]] == rows["popularity"].tolist()
                widths = np.array([entry[3] for entry in seen[head]])
                shares = np.log1p(rows["popularity"]) / np.log1p(most)
                assert np.ptp(widths - shares * widths.max() / shares.max()) <= 2.5  # whole pixels
            hits = of_user.loc[of_user["part"] == "list", "found"] != ""
            assert [entry[2] for entry in seen[label]] == hits.tolist()
            marked += hits.sum()
    assert marked > 0


def test_items_with_a_title_are_shown_by_it(open_tab, runs, tmp_path):
    """The newest runs alone know titles."""
    for folder in ("0-LightGCN", "3-PopDCL"):
        shutil.copytree(runs / folder, tmp_path / "r" / folder)
    path = tmp_path / "r" / "3-PopDCL" / "1" / "sampled_users.csv"
    frame = pd.read_csv(path, keep_default_na=False)
    frame["title"] = [f"{HOSTILE} {item}" if item != "i7" else "" for item in frame["item_id"]]
    frame.to_csv(path, index=False)
    old = tmp_path / "r" / "0-LightGCN" / "1" / "sampled_users.csv"
    pd.read_csv(old, keep_default_na=False).drop(columns="title").to_csv(old, index=False)
    tab = open_tab(report([tmp_path / "r"], tmp_path / "out"))
    titles = dict(zip(frame["item_id"], frame["title"]))
    shown = tab.page.eval_on_selector_all("#users-toy .list .item", "all => all.map(e => [e.textContent, e.title])")
    assert len(shown) > 20
    for text, hover in shown:
        item = hover.rpartition(" ")[2]
        assert (text, hover) == ((titles[item], f"{titles[item]}, item {item}") if titles.get(item) else (item, item))
    assert tab.page.evaluate("window.harm") is None
    assert set(pd.read_csv(tmp_path / "out" / "users-toy.csv", keep_default_na=False)["title"]) >= set(titles.values())


HOSTILE = "</script><script>window.harm=1</script><img src=x onerror=window.harm=1>\"'&"


def test_raw_ids_and_labels_are_text(open_tab, toy, toy_folder, tmp_path):
    text = (toy_folder / "toy" / "toy.inter").read_text()
    head, body = text.split("\n", 1)
    body = re.sub(r"\b([ui]\d+)\b", lambda found: f"{HOSTILE} {found[1]}", body)
    (tmp_path / "toy").mkdir()
    (tmp_path / "toy" / "toy.inter").write_text(f"{head}\n{body}")
    for model in ("SSM", "PopDCL"):
        run(model, config_dict={**toy, "data_path": str(tmp_path), "epochs": 1}, run_dir=tmp_path / "r" / model)
    path = report([tmp_path / "r"], tmp_path / "out", title=f"{HOSTILE} title")
    tab = open_tab(path)
    assert tab.page.evaluate("window.harm") is None
    assert tab.page.locator("h1").inner_text() == f"{HOSTILE} title"
    ids = tab.page.locator("#users-toy .list .item").all_inner_texts()
    assert ids
    assert all(re.fullmatch(re.escape(HOSTILE) + r" i\d+", text) for text in ids)
    assert tab.page.locator("script").count() == 1 + 2  # its own, and the data of two views
    assert tab.page.evaluate("document.images.length") == len(list(path.parent.glob("*.svg"))) - 1
    source = path.read_text(encoding="utf-8")
    assert HOSTILE not in source
    (data,) = re.findall(r'users" data-view="users"></div>\s*<script type="application/json">(.*?)</script>', source)
    assert all(item.startswith(HOSTILE) for item, *_ in json.loads(data)["items"])


def test_labels_are_text(open_tab, runs, tmp_path, monkeypatch):
    """A label is of the user's own class, property or system; the page takes it as it stands."""
    original = build.group_runs

    def renamed(found):
        groups = original(found)
        for group in groups:
            group.label = f"{HOSTILE} {group.label}"
        return groups

    monkeypatch.setattr(build, "group_runs", renamed)
    for name in ("0-LightGCN", "3-PopDCL"):
        shutil.copytree(runs / name, tmp_path / "r" / name)
    tab = open_tab(report([tmp_path / "r"], tmp_path / "out"))
    assert tab.page.evaluate("window.harm") is None
    assert list(tab.rows(VALUES)) == [f"{HOSTILE} LightGCN", f"{HOSTILE} PopDCL"]
    assert f"{HOSTILE} PopDCL" in tab.page.locator("#users-toy h4").all_inner_texts()
    assert HOSTILE in tab.page.locator("#summary").inner_text()


def test_a_script_that_is_not_the_pages_own_does_not_run(browser, page, tmp_path):
    text = page.read_text(encoding="utf-8")
    (tmp_path / "index.html").write_text(text.replace("</main>", "<script>window.harm=1</script></main>"))
    tab = Tab(browser, tmp_path / "index.html")
    assert tab.page.evaluate("window.harm") is None
    assert any("Content Security Policy" in said for said in tab.said)
    tab.context.close()


def test_without_scripts_the_static_figure_is_there(browser, page):
    tab = Tab(browser, page, scripts=False)
    assert tab.page.locator("#frontier-toy img").is_visible()
    assert tab.page.locator("#T_results td").first.is_visible()
    tab.context.close()


def test_what_screen_readers_need(open_tab):
    tab = open_tab()
    page = tab.page
    assert page.evaluate(
        "[...document.querySelectorAll('table')].every(t => t.caption && t.caption.textContent.trim())"
    )
    assert page.evaluate("[...document.querySelectorAll('th')].every(t => t.scope || !t.textContent.trim())")
    named = "e => e.getAttribute('aria-label') || e.textContent.trim() || e.labels?.length"
    controls = "button, a, select, input, [role=region], [tabindex='0']"
    assert page.evaluate(f'[...document.querySelectorAll("{controls}")].filter(e => !({named})(e)).length') == 0
    levels = page.evaluate("[...document.querySelectorAll('h1,h2,h3,h4')].map(h => Number(h.tagName[1]))")
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    assert page.evaluate("new Set([...document.querySelectorAll('[id]')].map(e => e.id)).size === "
                         "document.querySelectorAll('[id]').length")  # fmt: skip
    slider = page.locator("#frontier-toy input[type=range]")
    assert slider.get_attribute("aria-valuetext") == "exponent 0"
    slider.focus()
    page.keyboard.press("ArrowRight")
    assert slider.get_attribute("aria-valuetext") == "exponent 0.25"
    assert page.evaluate("document.documentElement.lang") == "en"


def luminance(colour: str) -> float:
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast(open_tab, scheme):
    """WCAG 2.2: 4.5 for text (1.4.3), 3 for what a figure is read by (1.4.11)."""
    tab = open_tab(scheme=scheme)
    names = ["ink", "faint", "accent", "ground", "raised", *(f"c{number}" for number in range(8))]
    found = tab.page.evaluate(
        "n => n.map(x => getComputedStyle(document.documentElement).getPropertyValue('--' + x))", names
    )
    colours = {name: luminance(colour.strip()) for name, colour in zip(names, found)}

    def contrast(one: str, other: str) -> float:
        low, high = sorted((colours[one], colours[other]))
        return (high + 0.05) / (low + 0.05)

    assert (colours["ground"] < 0.1) == (scheme == "dark")
    for ground in ("ground", "raised"):
        assert min(contrast(name, ground) for name in ("ink", "faint", "accent")) >= 4.5
    assert min(contrast(f"c{number}", "ground") for number in range(8)) >= 3
    background = tab.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert luminance("#{:02x}{:02x}{:02x}".format(*map(int, re.findall(r"\d+", background)))) == colours["ground"]


def test_the_page_has_a_colour_and_a_marker_for_every_look(open_tab, page):
    """Looks of figures.styles exist in the style and the script, so that no model is without a mark."""
    script = (Path(build.__file__).parent / "page.js").read_text(encoding="utf-8")
    markers = script[script.index("const MARKERS") : script.index("const colourOf")]
    looks = styles([str(number) for number in range(40)]).values()
    assert {look["marker"] for look in looks} == {
        name.strip('"') for name in re.findall(r"^ {4}(\S+): ", markers, re.M)
    }
    tab = open_tab()
    drawn = tab.page.eval_on_selector_all(
        "#frontier-toy .marker", "m => m.map(e => [e.getAttribute('d'), e.style.fill])"
    )
    assert all(d.startswith("M") and re.fullmatch(r"var\(--c\d\)", fill) for d, fill in drawn)
    assert len({tuple(look) for look in drawn}) == len(drawn)


def test_a_model_whose_sample_is_of_other_users_has_no_list():
    frame = pd.DataFrame({"user_id": ["1", "1"], "part": ["history", "list"], "place": [1, 1], "item_id": ["a", "b"],
                          "popularity": [3, 2], "found": ["", "balanced"], "history": [1, 1]})  # fmt: skip
    other = frame.assign(user_id="2")
    data = UsersView("n", "t", "", ["A", "B", "C"], {"A": frame, "B": other}).data()
    assert [user["lists"] for user in data["users"]] == [
        [[[1, "balanced"]], None, None],
        [None, [[1, "balanced"]], None],
    ]
    assert data["items"] == [["a", 3, ""], ["b", 2, ""]]
