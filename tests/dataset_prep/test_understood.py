"""Raw files are understood, or refused: against Python's csv, json and split."""

from __future__ import annotations

import csv
import io
import json
import random
import tarfile
import zipfile
from datetime import UTC, datetime

import pytest

from dataset_prep.__main__ import main
from dataset_prep.columns import Columns
from dataset_prep.recognise import recognise_format
from recbole_popdcl.errors import PopDCLError
from tests.dataset_prep.raw_files import pairs, read, write

ALL = Columns(needs_rating=True, needs_timestamp=True)
DRAW = random.Random(11)
LOG = [
    (user, item, DRAW.randint(1, 5), 1_300_000_000 + 977 * n)
    for n, (user, item) in enumerate(DRAW.sample([(u, i) for u in range(1, 26) for i in range(200, 240)], 300))
]


def prepared(tmp_path, *words, status=0):
    """Run prepare without a k-core; return {set: pairs} and the manifest."""
    folder = tmp_path / "out"
    assert main(["--name=x", f"--output={folder}", "--k_core=0", "--overwrite", *map(str, words)]) == status
    if status:
        return {}, {}
    sets = {
        file.name.split(".")[1]: file.read_text(encoding="utf-8").splitlines()[1:] for file in folder.glob("*.inter")
    }
    split = {name: [tuple(line.split("\t")) for line in rows] for name, rows in sets.items()}
    return split, json.loads((folder / "manifest.json").read_text())


def everything(sets):
    return {pair for part in sets.values() for pair in part}


@pytest.mark.parametrize("separator", ["\t", " ", "::", ";", ",", "|", "  "])
@pytest.mark.parametrize("n", [2, 3, 4])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_tables_without_a_header(tmp_path, separator, n, end):
    path = write(tmp_path / "x.txt", "".join(separator.join(map(str, row[:n])) + end for row in LOG))
    assert recognise_format([path]) == "table"
    log = read("table", path, Columns(needs_rating=n > 2, needs_timestamp=n > 3))
    rows = [
        line.split() if separator.isspace() else line.split(separator) for line in path.read_text().split("\n") if line
    ]
    assert pairs(log) == [(row[0], row[1]) for row in rows]
    assert n < 3 or log.rating.tolist() == [float(row[2]) for row in rows]
    assert n < 4 or log.timestamp.tolist() == [float(row[3]) for row in rows]


@pytest.mark.parametrize("form", ["A{:04d}QZJX7K3M B00{:07d}", "u{} i{}", "user_{} movie{}"])
@pytest.mark.parametrize("items_first", [False, True])
def test_users_are_told_by_their_ids(tmp_path, form, items_first):
    user_form, item_form = form.split()
    ids = [(user_form.format(user), item_form.format(item)) for user, item, *_ in LOG]
    rows = [(*(pair[::-1] if items_first else pair), f"{row[2]}.0", row[3]) for pair, row in zip(ids, LOG)]
    path = write(tmp_path / "x.csv", "".join(",".join(map(str, row)) + "\n" for row in rows))
    assert pairs(read("table", path)) == ids


def test_a_matrix(tmp_path):
    ratings = {(user, item): rating for user, item, rating, _ in LOG}
    cells = [[ratings.get((user, item), 0) for item in range(200, 240)] for user in range(1, 26)]
    path = write(tmp_path / "train.ascii", "".join(" ".join(map(str, row)) + "\n" for row in cells))
    assert recognise_format([path]) == "matrix"
    log = read("matrix", path)
    assert pairs(log) == [(str(u), str(i)) for u, row in enumerate(cells, 1) for i, cell in enumerate(row, 1) if cell]
    assert log.rating.tolist() == [cell for row in cells for cell in row if cell]
    with pytest.raises(PopDCLError, match="line 26: 2 values, not 40 as before"):
        read("matrix", write(tmp_path / "train.ascii", path.read_text() + "1 0\n"))


def test_counted_lists(tmp_path):
    own = [[item for user, item, *_ in LOG if user == number] for number in range(1, 26)]
    path = write(tmp_path / "users.dat", "".join(f"{len(items)} {' '.join(map(str, items))}\n" for items in own))
    assert recognise_format([path]) == "counted"
    assert pairs(read("counted", path)) == [(str(u), str(item)) for u, items in enumerate(own, 1) for item in items]
    with pytest.raises(PopDCLError, match="line 26: 2 items, but the line says '3'"):
        read("counted", write(tmp_path / "users.dat", path.read_text() + "3 1 2\n"))


@pytest.mark.parametrize("name", ["x.txt", "x"])
def test_a_header_whatever_the_name(tmp_path, name):
    path = write(tmp_path / name, "user_id,item_id,timestamp\n" + "".join(f"{u},{i},{t}\n" for u, i, _, t in LOG))
    assert recognise_format([path]) == "csv"
    assert pairs(read("csv", path)) == [(str(u), str(i)) for u, i, *_ in LOG]


@pytest.mark.parametrize("before", ["\n", "\n \r\n\n", "\ufeff\n"])
def test_blank_lines_before_the_header(tmp_path, before):
    path = write(tmp_path / "x.csv", before + "user,item\n1,2\n\n3,\n")
    with pytest.raises(PopDCLError, match=f"line {before.count(chr(10)) + 4}: the item id '' is empty"):
        read("csv", path)
    assert pairs(read("csv", write(tmp_path / "x.csv", before + "user,item\n1,2\n3,4\n"))) == [("1", "2"), ("3", "4")]


def test_blanks_around_values(tmp_path):
    rows = [f"{u} , {i},\t{r} , {t}" for u, i, r, t in LOG]
    path = write(tmp_path / "x.csv", "user, item , rating, timestamp\n" + "\n".join(rows))
    log = read("csv", path, ALL)
    assert pairs(log) == [(str(u), str(i)) for u, i, *_ in LOG]
    assert log.rating.tolist() == [r for *_, r, _ in LOG]
    path = write(tmp_path / "x.inter", "user_id:token\titem_id:token\n 1\t2 \n")
    assert pairs(read("inter", path)) == [(" 1", "2 ")]  # as written


def test_the_rows_of_many_blocks_agree_on_ids_with_blanks(tmp_path, monkeypatch):
    monkeypatch.setattr("dataset_prep.delimited.BLOCK_BYTES", 64)
    path = write(
        tmp_path / "x.csv", "user,item\n" + "".join(f"{'u1 ' if n % 40 == 7 else 'u1'},i{n}\n" for n in range(200))
    )
    assert read("csv", path).user_ids.to_pylist() == ["u1"]


def test_quoted_line_ends_in_more_than_a_block(tmp_path):
    """18 MB of reviews, of which one in three has several lines."""
    text = 'it was, "so" to say,\nfine;\r\nor not ' * 40
    path = tmp_path / "x.csv"
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["review", "user", "item"])
        writer.writerows([text if n % 3 else "short", f"u{n % 89}", f"i{n}"] for n in range(18_000))
    assert path.stat().st_size > 1 << 24
    with open(path, newline="", encoding="utf-8") as file:
        expected = [(row["user"], row["item"]) for row in csv.DictReader(file)]
    assert pairs(read("csv", path)) == expected


@pytest.mark.parametrize(
    ("last", "message"),
    [
        ('"d\nd",7\n', "1 values|2 values"),
        ('"d\nd",,x\n', "line 7: the user id '' is empty"),
        ("4,5\n", "line 7: 2 values, not 3"),
    ],
)
def test_the_line_of_a_fault_below_quoted_line_ends(tmp_path, last, message):
    path = write(tmp_path / "x.csv", 'text,user,item\n"a\nb\n",1,2\n"c",3,4\n\n' + last)
    with pytest.raises(PopDCLError, match=message):
        read("csv", path)


def test_quotes_that_are_no_quotes(tmp_path):
    """Between tabs a sign of inches is itself, and swallows no lines."""
    rows = [("1", '"Weird Al" Yankovic'), ("2", '12" mix'), ("3", '"Heroes'), ("4", 'x"'), ("5", "y")] * 3
    path = write(tmp_path / "x.tsv", "user\titem\n" + "".join(f"{u}\t{i}\n" for u, i in rows))
    assert pairs(read("tsv", path)) == rows
    path = write(tmp_path / "x.tsv", 'user\titem\n1\t"a ""b"" c"\n"2"\td\n')
    with open(path, newline="") as file:
        assert pairs(read("tsv", path)) == [tuple(row) for row in csv.reader(file, delimiter="\t")][1:]


KINDS = {
    "numbers": {
        "user_id": lambda u, *_: u,
        "item_id": lambda _, i, *__: i,
        "stars": lambda *row: row[2],
        "time": lambda *row: row[3],
    },
    "texts": {
        "user_id": lambda u, *_: str(u),
        "business_id": lambda _, i, *__: str(i),
        "stars": lambda *row: str(row[2]),
        "timestamp": lambda *row: str(row[3]),
    },
    "fractions and dates": {
        "user": lambda u, *_: u,
        "item": lambda _, i, *__: str(i),
        "rating": lambda *row: float(row[2]) if row[0] % 2 else row[2],
        "date": lambda *row: datetime.fromtimestamp(row[3], UTC).strftime("%Y-%m-%d %H:%M:%S"),
    },
    "dates with zone": {
        "user": lambda u, *_: str(u),
        "item": lambda _, i, *__: i,
        "rating": lambda *row: row[2],
        "time": lambda *row: datetime.fromtimestamp(row[3], UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    },
}


@pytest.mark.parametrize("kind", KINDS)
def test_json_lines(tmp_path, kind):
    records = [{"more": [1, {"x": 2}], **{name: of(*row) for name, of in KINDS[kind].items()}} for row in LOG]
    path = write(tmp_path / "x.json", "".join(json.dumps(record) + "\n" for record in records))
    assert recognise_format([path]) == "json"
    log = read("json", path, ALL)
    user, item, _, _ = KINDS[kind]
    assert pairs(log) == [
        (str(record[user]), str(record[item])) for record in map(json.loads, path.read_text().splitlines())
    ]
    assert log.rating.tolist() == [r for *_, r, _ in LOG]
    assert log.timestamp.tolist() == [t for *_, t in LOG]


def test_the_product_and_not_its_variant(tmp_path):
    records = [
        {"rating": 5.0, "asin": f"B{i}V{u % 3}", "parent_asin": f"B{i}", "user_id": f"U{u}", "timestamp": t}
        for u, i, _, t in LOG
    ]
    path = write(tmp_path / "x.jsonl", "".join(json.dumps(record) + "\n" for record in records))
    assert pairs(read("json", path)) == [(record["user_id"], record["parent_asin"]) for record in records]
    assert pairs(read("json", path, Columns(item="asin"))) == [
        (record["user_id"], record["asin"]) for record in records
    ]


@pytest.mark.parametrize("file_format", ["inter", "csv", "parquet"])
def test_labels_of_0_are_no_interactions(tmp_path, capsys, file_format):
    import pandas as pd

    rows = [(f"u{u}", f"i{i}", int(r >= 4)) for u, i, r, _ in LOG]
    header = "user_id:token\titem_id:token\tlabel:float" if file_format == "inter" else "user,item,label"
    between = "\t" if file_format == "inter" else ","
    path = write(
        tmp_path / f"x.{file_format}", header + "\n" + "".join(between.join(map(str, row)) + "\n" for row in rows)
    )
    if file_format == "parquet":
        pd.DataFrame(rows, columns=["user", "item", "label"]).to_parquet(path)
    prepared(tmp_path, "--input", path, status=2)
    assert "the label is 0, which says that this is no interaction; --min_label 1" in capsys.readouterr().err
    sets, manifest = prepared(tmp_path, "--input", path, "--min_label", 1)
    assert everything(sets) == {(u, i) for u, i, label in rows if label}
    assert manifest["removed"]["label"] == sum(not label for *_, label in rows)
    assert everything(prepared(tmp_path, "--input", path, "--min_label=0")[0]) == {(u, i) for u, i, _ in rows}


def test_the_earliest_of_repeated_pairs(tmp_path):
    """A pair that comes again in the test period belongs to the past."""
    rows = [(u, i, t) for u, i, _, t in LOG]
    again = [(u, i, 2_000_000_000 + n) for n, (u, i, _) in enumerate(rows[:60])]
    mixed = [*again, *rows]
    path = write(tmp_path / "x.csv", "user,item,timestamp\n" + "".join(f"{u},{i},{t}\n" for u, i, t in mixed))
    sets, _ = prepared(tmp_path, "--input", path, "--split=temporal", "--ratio", 0.6, 0.1, 0.15, 0.15)
    earliest = {}
    for u, i, t in mixed:
        earliest[str(u), str(i)] = min(t, earliest.get((str(u), str(i)), t))
    times = {name: [earliest[pair] for pair in part] for name, part in sets.items()}
    assert max(times["train"]) <= min(times["valid"])
    assert max(times["valid"]) <= min(times["test_imbalanced"] + times["test_balanced"])
    assert {(str(u), str(i)) for u, i, _ in rows[:60]} <= set(sets["train"])


def test_an_external_test_is_filtered_as_the_log(tmp_path, capsys):
    log, outside = LOG[:220], LOG[220:]
    for name, rows in (("log.csv", log), ("outside.csv", outside)):
        write(tmp_path / name, "user,item,rating,time\n" + "".join(f"{u},{i},{r},{t}\n" for u, i, r, t in rows))
    drop = write(tmp_path / "drop.txt", "7\n")
    end = outside[50][3]
    sets, manifest = prepared(
        tmp_path,
        "--input",
        tmp_path / "log.csv",
        "--test_balanced",
        tmp_path / "outside.csv",
        "--min_rating",
        3,
        "--end",
        end,
        "--drop_users",
        drop,
    )
    kept = {(str(u), str(i)) for u, i, r, t in log if r >= 3 and t < end and u != 7}
    users, items = ({pair[place] for pair in kept} for place in (0, 1))
    passing = {(str(u), str(i)) for u, i, r, t in outside if r >= 3 and t < end and u != 7}
    assert set(sets["test_balanced"]) == {(u, i) for u, i in passing if u in users and i in items}
    assert everything({name: part for name, part in sets.items() if name != "test_balanced"}) == kept
    assert manifest["removed"]["rating, of the balanced test"] == sum(r < 3 for *_, r, _ in outside)
    assert "rating: " in capsys.readouterr().err


@pytest.fixture
def split(tmp_path):
    """The files of a finished split with ratings."""
    parts = {"train": LOG[:200], "valid": LOG[200:230], "test": LOG[230:260], "test_balanced": LOG[260:]}
    for name, rows in parts.items():
        write(
            tmp_path / f"{name}.csv", "user,item,rating,time\n" + "".join(f"{u},{i},{r},{t}\n" for u, i, r, t in rows)
        )
    return parts, [tmp_path / f"{name}.csv" for name in parts]


def test_a_finished_split_is_filtered_by_rows(tmp_path, split):
    parts, files = split
    sets, manifest = prepared_split(tmp_path, files, "--min_rating=3", f"--start={LOG[10][3]}")
    taken = {
        name: [(str(u), str(i)) for u, i, r, t in rows if r >= 3 and t >= LOG[10][3]] for name, rows in parts.items()
    }
    assert sets == {
        **{name: taken[name] for name in ("train", "valid", "test_balanced")},
        "test_imbalanced": taken["test"],
    }
    assert manifest["removed"] == {
        "rating": sum(r < 3 for *_, r, _ in LOG),
        "time window": sum(r >= 3 for *_, r, _ in LOG[:10]),
    }
    assert manifest["options"]["filters"]["min_rating"] == 3
    assert not {"k_core", "ratio", "seed"} & {*manifest["options"], *manifest["options"]["filters"]}


def prepared_split(tmp_path, files, *words):
    folder = tmp_path / "out"
    assert main(["--name=x", f"--output={folder}", "--keep_splits", "--input", *map(str, files), *words]) == 0
    sets = {file.name.split(".")[1]: file.read_text().splitlines()[1:] for file in folder.glob("*.inter")}
    manifest = json.loads((folder / "manifest.json").read_text())
    return {name: [tuple(line.split("\t")) for line in rows] for name, rows in sets.items()}, manifest


@pytest.mark.parametrize(
    "words",
    [
        ["--k_core=5"],
        ["--seed=3"],
        ["--ratio", "1", "0", "0", "0"],
        ["--last=3"],
        ["--min_user=2"],
        ["--min_item=2"],
        ["--sample_users=4"],
        ["--whole"],
        ["--split=temporal"],
        ["--test_balanced=test.csv"],
    ],
)
def test_a_finished_split_refuses_filters_of_a_log(tmp_path, capsys, split, words):
    assert (
        main(["--name=x", f"--output={tmp_path / 'out'}", "--keep_splits", "--input", *map(str, split[1]), *words]) == 2
    )
    option = words[0].split("=")[0]
    assert f"{option} cannot be applied to the sets of a finished split" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_released_lists_have_no_ratings(tmp_path, capsys):
    for name in ("train", "valid", "test_id", "test_ood"):
        write(tmp_path / f"{name}.txt", "0 1 2\n1 2\n")
    assert main(["--name=x", f"--output={tmp_path / 'out'}", f"--input={tmp_path}", "--min_rating=3"]) == 2
    assert (
        "files in the format released have no ratings, which a filter or the split asks for" in capsys.readouterr().err
    )


def test_sets_that_are_joined_or_share_pairs_are_told(tmp_path, capsys, split):
    _, files = split
    prepared(tmp_path, "--input", *files)
    assert "are named as sets; they are joined into one log and split anew (--keep_splits" in capsys.readouterr().err
    with open(tmp_path / "valid.csv", "a") as file:
        file.write("".join(f"{u},{i},{r},{t}\n" for u, i, r, t in LOG[:7]))
    prepared_split(tmp_path, files, "--overwrite")
    assert "7 pairs of valid are in train too" in capsys.readouterr().err


def test_the_filter_that_took_the_last_is_named(tmp_path, capsys):
    rows = LOG[:40] * 4
    path = write(tmp_path / "x.csv", "user,item\n" + "".join(f"{u},{i}\n" for u, i, *_ in rows))
    assert main(["--name=x", f"--output={tmp_path / 'out'}", f"--input={path}", "--k_core=9"]) == 2
    message = "nothing is left of the 160 interactions: 9-core removed the last 40, after duplicates 120"
    assert message in capsys.readouterr().err


def packed(name, members):
    file = io.BytesIO()
    if name.endswith(".zip"):
        with zipfile.ZipFile(file, "w") as archive:
            for member, text in members.items():
                archive.writestr(member, text)
    else:
        with tarfile.open(fileobj=file, mode="w:gz" if name.endswith("gz") else "w:") as archive:
            for member, text in members.items():
                info = tarfile.TarInfo(member)
                info.size = len(text)
                archive.addfile(info, io.BytesIO(text.encode()))
    return file.getvalue()


@pytest.mark.parametrize("name", ["x.tar", "x.tar.gz", "x.tgz", "x.zip"])
def test_archives(tmp_path, name):
    text = "".join(f"{u}\t{i}\t{r}\t{t}\n" for u, i, r, t in LOG)
    beside = {"__MACOSX/data/._u.data": "\0\5\7", "data/README.txt": "of the data", "data/.DS_Store": "\0"}
    path = write(tmp_path / name, packed(name, {**beside, "data/u.data": text}))
    assert recognise_format([path]) == "table"
    assert pairs(read("table", path)) == [(str(u), str(i)) for u, i, *_ in LOG]
    write(path, packed(name, {"u1.base": text, "u1.test": text}))
    with pytest.raises(PopDCLError, match=r"the archive holds 2 files \(u1.base, u1.test\), not one; unpack it first"):
        read("table", path)
    write(path, packed(name, {"README": text}))
    with pytest.raises(PopDCLError, match="the archive holds 0 files, not one"):
        read("table", path)


def test_a_folder_with_more_than_data(tmp_path, capsys):
    (tmp_path / "raw").mkdir()
    for n in range(2):
        rows = LOG[n::2]
        write(tmp_path / "raw" / f"part-{n}.csv", "user,item\n" + "".join(f"{u},{i}\n" for u, i, *_ in rows))
    for name in ("_SUCCESS", "README.md", ".part-0.csv.crc", "LICENSE"):
        write(tmp_path / "raw" / name, "what,ever\n")
    sets, manifest = prepared(tmp_path, "--input", tmp_path / "raw")
    assert everything(sets) == {(str(u), str(i)) for u, i, *_ in LOG}
    assert [source["file"] for source in manifest["sources"]] == ["part-0.csv", "part-1.csv"]
    assert "left aside: LICENSE, README.md, _SUCCESS" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("names", "expected"), [(("User", "thing"), None), (("uzer", "item"), None), (("useless", "itme"), None)]
)
def test_no_suggestion_is_what_was_typed(tmp_path, names, expected):
    path = write(tmp_path / "x.csv", ",".join(names) + "\n1,2\n")
    for role in ("user", "item"):
        columns = Columns(**{role: names[0] + "s"})
        with pytest.raises(PopDCLError) as raised:
            read("csv", path, columns)
        typed = str(raised.value).split("no column '")[1].split("'")[0]
        assert f"did you mean '{typed}'" not in str(raised.value)


def test_missing_values_of_other_programs_are_told(tmp_path, capsys):
    rows = [(u if r > 1 else "nan", i) for u, i, r, _ in LOG]
    path = write(tmp_path / "x.csv", "user,item\n" + "".join(f"{u},{i}\n" for u, i in rows))
    prepared(tmp_path, "--input", path)
    n = sum(u == "nan" for u, _ in rows)
    assert f"{n} interactions of the user 'nan': if that stands for a missing value" in capsys.readouterr().err
    sets, _ = prepared(tmp_path, "--input", path, "--drop_users", write(tmp_path / "drop", "nan\n"))
    assert everything(sets) == {(str(u), str(i)) for u, i in rows if u != "nan"}
    assert "missing value" not in capsys.readouterr().err
