"""The options of prepare that choose columns and interactions, each against a plain loop over the rows."""

from __future__ import annotations

import random
from collections import Counter
from datetime import UTC, datetime

import pandas as pd
import pytest

from dataset_prep.__main__ import main
from tests.dataset_prep.raw_files import write
from tests.dataset_prep.test_understood import everything, prepared

DRAW = random.Random(3)
PAIRS = DRAW.sample([(f"ü{u}", f"i{i}") for u in range(20) for i in range(40)], 300)
LOG = [(user, item, DRAW.randint(1, 5), 1_400_000_000 + DRAW.randint(0, 10**7)) for user, item in PAIRS]
EVENTS = ("view", "cart", "buy")


def table(tmp_path, between=",", encoding="utf-8", name="x.csv", unit=1):
    """A file with a header, and the event of a row by its rating."""
    rows = [("user", "item", "rating", "time", "event"), *((u, i, r, t * unit, EVENTS[r % 3]) for u, i, r, t in LOG)]
    return write(tmp_path / name, "".join(between.join(map(str, row)) + "\n" for row in rows).encode(encoding))


def refused(tmp_path, capsys, *words):
    """The one line of an error."""
    prepared(tmp_path, *words, status=2)
    (line,) = [
        line for line in capsys.readouterr().err.splitlines() if " INFO " not in line and " WARNING " not in line
    ]
    return line


@pytest.mark.parametrize("separator", [";", "|", "\\t", "::", ",", "~", "#!#"])
def test_separator(tmp_path, separator):
    path = table(tmp_path, between=separator.replace("\\t", "\t"))
    assert everything(prepared(tmp_path, "--input", path, "--separator", separator)[0]) == set(PAIRS)
    sets, manifest = prepared(tmp_path, "--input", path, "--separator", separator, "--min_rating=4")
    assert everything(sets) == {(u, i) for u, i, r, _ in LOG if r >= 4}
    assert manifest["options"]["columns"]["separator"] == separator.replace("\\t", "\t")


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16", "utf-16-le", "cp1252", "utf-8-sig"])
@pytest.mark.parametrize("between", [",", " ", "::"])
def test_encoding(tmp_path, capsys, encoding, between):
    path = table(tmp_path, encoding=encoding, between=between)
    assert everything(prepared(tmp_path, "--input", path, "--encoding", encoding)[0]) == set(PAIRS)
    if encoding != "utf-8-sig":
        capsys.readouterr()
        assert "not utf-8 text" in refused(tmp_path, capsys, "--input", path).lower() or encoding == "utf-16-le"
    for unknown in ("utf-99", "base64", "undefined"):
        assert "there is no such encoding" in refused(tmp_path, capsys, "--input", path, f"--encoding={unknown}")


def test_columns_of_a_file_without_a_header(tmp_path, capsys):
    path = write(tmp_path / "x.txt", "".join(f"{t}\tx\t{i}\t{r}\t{u}\n" for u, i, r, t in LOG))
    assert "--columns" in refused(tmp_path, capsys, "--input", path)
    order = "timestamp,_,item,rating,user"
    sets, _ = prepared(tmp_path, "--input", path, "--columns", order, "--min_rating=3", "--split=temporal")
    assert everything(sets) == {(u, i) for u, i, r, _ in LOG if r >= 3}
    sets, _ = prepared(tmp_path, "--input", path, "--columns", order, "--keep", "column 2=x")
    assert everything(sets) == set(PAIRS)
    for words, message in (
        (["--columns=user,item"], "5 columns, but --columns names 2"),
        (
            ["--columns=user,itme,_,_,_"],
            "'itme' is not one of user, item, rating, timestamp, label, _ (did you mean 'item'?)",
        ),
        (["--columns=user,_,_,_,_"], "must name user and item"),
        (["--columns", order, "--format=lightgcn"], "not of the format lightgcn"),
        (["--columns=user,_,item,_,user"], "are named 'user'"),
    ):
        assert message in refused(tmp_path, capsys, "--input", path, *words)
    line = refused(tmp_path, capsys, "--input", table(tmp_path), "--columns=user,item,rating,timestamp,_")
    assert "--columns is for files without a header, but the first line reads 'user,item,rating,time,event'" in line


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_keep_rows_of_a_value(tmp_path, capsys, kind):
    path = table(tmp_path)
    if kind == "parquet":
        frame = pd.read_csv(path)
        path = tmp_path / "x.parquet"
        frame.to_parquet(path)
    sets, manifest = prepared(tmp_path, "--input", path, "--keep", "event=buy")
    assert everything(sets) == {(u, i) for u, i, r, _ in LOG if EVENTS[r % 3] == "buy"}
    assert manifest["removed"]["event other than buy"] == sum(EVENTS[r % 3] != "buy" for *_, r, _ in LOG)
    sets, _ = prepared(tmp_path, "--input", path, "--keep", "event=buy", "--keep", "rating=5")
    assert everything(sets) == {(u, i) for u, i, r, _ in LOG if EVENTS[r % 3] == "buy" and r == 5}
    assert "did you mean 'event'" in refused(tmp_path, capsys, "--input", path, "--keep", "evnt=buy")
    assert "--keep must be of the form COLUMN=VALUE" in refused(tmp_path, capsys, "--input", path, "--keep", "buy")
    assert "event other than sale removed 300" in refused(tmp_path, capsys, "--input", path, "--keep", "event=sale")


@pytest.mark.parametrize("unit", [1, 1000, 1_000_000])
@pytest.mark.parametrize("form", ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S+00:00", None])
def test_start_and_end(tmp_path, unit, form):
    path = table(tmp_path, unit=unit)
    start, end = datetime(2014, 5, 27, tzinfo=UTC), datetime(2014, 7, 1, tzinfo=UTC)
    words = [f"{date.timestamp() * unit:.0f}" if form is None else date.strftime(form) for date in (start, end)]
    sets, manifest = prepared(tmp_path, "--input", path, "--start", words[0], "--end", words[1])
    expected = {(u, i) for u, i, _, t in LOG if start.timestamp() <= t < end.timestamp()}
    assert 50 < len(expected) < 250
    assert everything(sets) == expected
    assert manifest["removed"]["time window"] == 300 - len(expected)


@pytest.mark.parametrize("form", ["%Y-%m-%d", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S.000Z", "%Y-%m-%dT%H:%M:%S+0000"])
def test_dates_in_the_file(tmp_path, form):
    rows = [(u, i, datetime.fromtimestamp(t, UTC)) for u, i, _, t in LOG]
    text = "".join(f"{u},{i},{time.strftime(form)}\n" for u, i, time in rows)
    path = write(tmp_path / "x.csv", "user,item,date\n" + text)
    sets, _ = prepared(tmp_path, "--input", path, "--end=2014-07-01")
    assert everything(sets) == {(u, i) for u, i, time in rows if time < datetime(2014, 7, 1, tzinfo=UTC)}


@pytest.mark.parametrize("kind", ["datetime64[ns]", "datetime64[ms]", "date", "int"])
def test_times_of_parquet(tmp_path, kind):
    frame = pd.DataFrame(LOG, columns=["user", "item", "rating", "time"])
    times = pd.to_datetime(frame["time"], unit="s")
    frame["time"] = {"date": times.dt.date, "int": frame["time"]}.get(
        kind, times.astype(kind if "64" in kind else times.dtype)
    )
    frame.to_parquet(tmp_path / "x.parquet")
    sets, _ = prepared(tmp_path, "--input", tmp_path / "x.parquet", "--start=2014-06-01")
    assert everything(sets) == {(u, i) for u, i, _, t in LOG if t >= datetime(2014, 6, 1, tzinfo=UTC).timestamp()}


def test_times_that_are_refused(tmp_path, capsys):
    path = table(tmp_path)
    assert "--start 'soon' is neither a number nor a date" in refused(tmp_path, capsys, "--input", path, "--start=soon")
    days = write(tmp_path / "days.csv", "user,item,date\n" + "".join(f"{u},{i},2014{r:02}13\n" for u, i, r, _ in LOG))
    line = refused(tmp_path, capsys, "--input", days, "--end=2014-03-01")
    assert "does not count seconds since 1970, so that a date for --start or --end means nothing" in line
    sets, _ = prepared(tmp_path, "--input", days, "--end=20140301")
    assert everything(sets) == {(u, i) for u, i, r, _ in LOG if r < 3}
    mixed = write(tmp_path / "mixed.csv", "user,item,date\na,b,2014-03-01\na,c,next day\n")
    assert "line 3: the timestamp 'next day' is not a date" in refused(tmp_path, capsys, "--input", mixed, "--start=1")


def test_the_last_of_each_user(tmp_path):
    sets, manifest = prepared(tmp_path, "--input", table(tmp_path), "--last=4")
    expected = set()
    for user in {u for u, *_ in LOG}:
        own = sorted((t, i) for u, i, _, t in LOG if u == user)
        expected |= {(user, i) for _, i in own[-4:]}
    assert everything(sets) == expected
    assert manifest["removed"]["all but the last 4"] == 300 - len(expected)


@pytest.mark.parametrize(("of_user", "of_item"), [(16, 0), (0, 9), (11, 5), (None, 7)])
def test_least_numbers_of_users_and_items(tmp_path, of_user, of_item):
    words = [] if of_user is None else [f"--min_user={of_user}"]
    sets, _ = prepared(tmp_path, "--input", table(tmp_path), f"--min_item={of_item}", *words)
    left = set(PAIRS)
    while True:
        users, items = Counter(u for u, _ in left), Counter(i for _, i in left)
        fewer = {(u, i) for u, i in left if users[u] >= (of_user or 0) and items[i] >= of_item}
        if fewer == left:
            break
        left = fewer
    assert 0 < len(left) < 300
    assert everything(sets) == left


def test_dropped_users_and_items(tmp_path, capsys):
    users = write(tmp_path / "users", "\ufeffü3\nü17 \r\n\nnobody\n")
    items = write(tmp_path / "items", "i0\ni39")
    path = table(tmp_path)
    sets, manifest = prepared(tmp_path, "--input", path, "--drop_users", users, "--drop-items", items)
    expected = {(u, i) for u, i in PAIRS if u not in ("ü3", "ü17") and i not in ("i0", "i39")}
    assert everything(sets) == expected
    assert manifest["removed"]["dropped users"] + manifest["removed"]["dropped items"] == 300 - len(expected)
    assert manifest["options"]["filters"]["drop_users"] == ["nobody", "ü17", "ü3"]
    for content, message in ((b"\n", "holds no id"), (b"\xff", "cannot read")):
        line = refused(tmp_path, capsys, "--input", path, "--drop_users", write(tmp_path / "users", content))
        assert message in line
    assert "cannot read" in refused(tmp_path, capsys, "--input", path, "--drop_users", tmp_path / "none")


def test_least_label(tmp_path, capsys):
    rows = [(u, i, (0, 0.5, 1, 2)[r % 4]) for u, i, r, _ in LOG]
    path = write(tmp_path / "x.csv", "user,item,is_click\n" + "".join(f"{u},{i},{label}\n" for u, i, label in rows))
    for least in (0, 0.5, 1, 2):
        sets, _ = prepared(tmp_path, "--input", path, f"--min_label={least}")
        assert everything(sets) == {(u, i) for u, i, label in rows if label >= least}
    capsys.readouterr()
    assert "the label is 0" in refused(tmp_path, capsys, "--input", path)
    no_label = table(tmp_path)
    assert "no column 'label'" in refused(tmp_path, capsys, "--input", no_label, "--min_label=1")


def test_what_would_have_no_effect(tmp_path, capsys):
    path = table(tmp_path)
    for option, by in (("rating", "--min_rating"), ("timestamp", "--start, --end, --last or --split temporal"),
                       ("label", "--min_label")):  # fmt: skip
        line = refused(tmp_path, capsys, "--input", path, f"--{option}_column=x")
        assert f"--{option}_column has no effect without {by}, which alone reads {option}s" in line
    assert f"--input names {path.resolve()} 2 times" in refused(tmp_path, capsys, "--input", path, path)
    header = path.read_text().split("\n")[0].split(",")
    line = refused(tmp_path, capsys, "--input", path, f"--user_column={header[1]}")
    assert f"'{header[1]}' cannot be the column of both users and items; name the other" in line


def test_dropped_ids_are_those_of_the_data(tmp_path):
    """In an atomic file blanks and such signs as U+2028 are part of an id."""
    users = ["a", " e", "b\u2028c", "d"]
    rows = "".join(f"{user}\ti{item}\n" for user in users for item in range(4))
    path = write(tmp_path / "x.inter", "user_id:token\titem_id:token\n" + rows)
    drop = write(tmp_path / "drop.txt", " e\nb\u2028c\n d \n")
    sets, _ = prepared(tmp_path, "--input", path, "--k_core=0", "--drop_users", drop)
    assert {user for user, _ in everything(sets)} == {"a"}


def test_a_preview_writes_nothing(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = write(tmp_path / "u.data", "".join(f"{n % 9}\t{n}\t{n % 5 + 1}\t{1_400_000_000 + n}\n" for n in range(100)))
    words = [f"--input={path}", "--name=x", "--preview", "--k_core=0", "--min_rating=2"]
    assert main(words) == 0
    assert list(tmp_path.iterdir()) == [path]
    shown = capsys.readouterr()
    assert "u.data: recognised as table, 4 columns between tabs, no header: user item rating timestamp" in shown.err
    assert "first: user 0, item 0" in shown.err
    assert "removed by rating: 20" in shown.out
    sizes = [int(line.split(": ")[1].split()[0]) for line in shown.out.splitlines() if line.endswith(" interactions")]
    assert sizes == [48, 8, 12, 12]
    assert main([*words[:-1], "--min_rating=9"]) == 2
    assert list(tmp_path.iterdir()) == [path]


def test_the_manifest_tells_what_was_done(tmp_path):
    sets, manifest = prepared(tmp_path, "--input", table(tmp_path), "--min_rating=2", "--start=2014-06-01", "--last=5")
    assert [*manifest["removed"]] == ["rating", "time window", "duplicates", "all but the last 5"]
    assert 300 - sum(manifest["removed"].values()) == len(everything(sets))
    assert manifest["options"]["filters"]["start"] == datetime(2014, 6, 1, tzinfo=UTC).timestamp()
    assert manifest["format"] == "csv"
    sets, manifest = prepared(tmp_path, "--input", table(tmp_path))
    assert manifest["removed"] == {"duplicates": 0}
