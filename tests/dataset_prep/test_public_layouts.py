"""The layouts of public data sets: each row of the table in docs/datasets.md, on a small file of that layout."""

from __future__ import annotations

import gzip
import json
import random
import re
import shlex
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from dataset_prep.__main__ import main
from dataset_prep.prepare import Recipe, preview
from recbole_popdcl.errors import PopDCLError
from tests.dataset_prep.raw_files import write

GUIDE = (Path(__file__).parents[2] / "docs" / "datasets.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| [^|]+ \| `(--input [^`]+)` \|$", GUIDE.split("## Public data sets")[1], re.MULTILINE)
DRAW = random.Random(5)
PAIRS = DRAW.sample([(user, item) for user in range(1, 31) for item in range(501, 541)], 400)
LOG = [(user, item, DRAW.randint(1, 5), 1_400_000_000 + 3600 * n) for n, (user, item) in enumerate(PAIRS)]


def lines(form: Callable[..., str], header: str = "") -> str:
    """A line of each interaction, from user, item, rating and time."""
    return header + "".join(form(*row) + "\n" for row in LOG)


def objects(**names: Callable) -> str:
    """A JSON object of each interaction."""
    return lines(lambda *row: json.dumps({name: value(*row) for name, value in names.items()}))


def date(time: int, form: str = "%Y-%m-%d %H:%M:%S") -> str:
    return datetime.fromtimestamp(time, UTC).strftime(form)


def lists(rows: list[tuple]) -> dict[int, list[int]]:
    return {user: [item for other, item, *_ in rows if other == user] for user in sorted({user for user, *_ in rows})}


def matrix(rows: list[tuple]) -> str:
    ratings = {(user, item): rating for user, item, rating, _ in rows}
    return "".join(" ".join(str(ratings.get((u, i), 0)) for i in range(501, 541)) + "\n" for u in range(1, 31))


def user_of(user, *_):
    return user


def item_of(_, item, *__):
    return item


def amazon_user(user: int) -> str:
    return f"A{user:04d}QZJX7K3MT"


def amazon_item(item: int) -> str:
    return f"B00{item:07d}"


def same(user, item):
    return str(user), str(item)


def amazon(user, item):
    return amazon_user(user), amazon_item(item)


DAY = "%a %b %d %H:%M:%S +0000 %Y"
# {file of the table: (its text, ids of a pair, which interactions are taken)}
FILES: dict[str, tuple] = {
    "u.data": (lines(lambda u, i, r, t: f"{u}\t{i}\t{r}\t{t}"), same),
    "ratings.dat": (lines(lambda u, i, r, t: f"{u}::{i}::{r}::{t}"), same),
    "ratings.csv": (
        lines(lambda u, i, r, t: f"{u},{i},{r}.0,{t}", "userId,movieId,rating,timestamp\n"),
        same,
        lambda r, t: r >= 4,
    ),
    "user_ratedmovies-timestamps.dat": (
        lines(lambda u, i, r, t: f"{u}\t{i}\t{r}.5\t{t}000", "userID\tmovieID\trating\ttimestamp\n"),
        same,
    ),
    "ratings_Books.csv": (lines(lambda u, i, r, t: f"{amazon_user(u)},{amazon_item(i)},{r}.0,{t}"), amazon),
    "Books.csv": (lines(lambda u, i, r, t: f"{amazon_item(i)},{amazon_user(u)},{r}.0,{t}"), amazon),
    "reviews_Books_5.json.gz": (
        objects(
            reviewerID=lambda u, *_: amazon_user(u),
            asin=lambda _, i, *__: amazon_item(i),
            helpful=lambda *_: [0, 1],
            overall=lambda _, __, r, ___: float(r),
            unixReviewTime=lambda *row: row[3],
        ),
        amazon,
    ),
    "Books.csv.gz": (
        lines(lambda u, i, r, t: f"AE{u},B{i},{r}.0,{t}000", "user_id,parent_asin,rating,timestamp\n"),
        lambda u, i: (f"AE{u}", f"B{i}"),
    ),
    "Books.jsonl.gz": (
        objects(
            rating=lambda _, __, r, ___: float(r),
            title=lambda *_: "a",
            asin=lambda u, i, *_: f"B{i}V{u % 3}",
            parent_asin=lambda _, i, *__: f"B{i}",
            user_id=lambda u, *_: f"AE{u}",
            timestamp=lambda *row: row[3] * 1000,
        ),
        lambda u, i: (f"AE{u}", f"B{i}"),
    ),
    "yelp_academic_dataset_review.json": (
        objects(
            review_id=lambda *_: "x",
            user_id=lambda u, *_: f"u{u}",
            business_id=lambda _, i, *__: f"b{i}",
            stars=lambda _, __, r, ___: float(r),
            text=lambda *_: "a\nb",
            date=lambda *row: date(row[3]),
        ),
        lambda u, i: (f"u{u}", f"b{i}"),
        lambda r, t: r >= 4 and t >= datetime(2014, 5, 15, tzinfo=UTC).timestamp(),
    ),
    "review-Vermont.json.gz": (
        objects(
            user_id=lambda u, *_: f"10{u}",
            name=lambda *_: "n",
            time=lambda *row: row[3] * 1000,
            rating=lambda _, __, r, ___: r,
            gmap_id=lambda _, i, *__: f"0x{i}:0x1",
        ),
        lambda u, i: (f"10{u}", f"0x{i}:0x1"),
    ),
    "goodreads_reviews_dedup.json.gz": (
        objects(
            user_id=lambda u, *_: f"{u:032x}",
            book_id=lambda _, i, *__: str(i),
            rating=lambda _, __, r, ___: r,
            date_added=lambda *row: date(row[3], "%a %b %d %H:%M:%S -0800 %Y"),
        ),
        lambda u, i: (f"{u:032x}", str(i)),
    ),
    "goodreads_interactions.csv": (
        lines(lambda u, i, r, t: f"{u},{i},{int(r > 1)},{r},0", "user_id,book_id,is_read,rating,is_reviewed\n"),
        same,
        lambda r, t: r > 1,
    ),
    "BX-Book-Ratings.csv": (
        lines(lambda u, i, r, t: f'"{u}";"0{i}\xe9";"{r}"', '"User-ID";"ISBN";"Book-Rating"\n').encode("latin-1"),
        lambda u, i: (str(u), f"0{i}\xe9"),
    ),
    "rating.csv": (
        lines(lambda u, i, r, t: f"{u},{i},{-1 if r == 1 else r}", "user_id,anime_id,rating\n"),
        same,
        lambda r, t: r > 1,
    ),
    "beer_reviews.csv": (
        lines(
            lambda u, i, r, t: f'7,"B, ""x""",{t},{r},name {u},Ale,{i}',
            "brewery_id,brewery_name,review_time,review_overall,review_profilename,beer_style,beer_beerid\n",
        ),
        lambda u, i: (f"name {u}", str(i)),
    ),
    "ratings_data.txt": (lines(lambda u, i, r, t: f"{u} {i} {r}"), same),
    "rating_with_timestamp.txt": (lines(lambda u, i, r, t: f"   {u}  {i}  {r + 6}  {r}  3  {t}"), same),
    "douban_movie.tsv": (
        lines(lambda u, i, r, t: f"{u}\t{i}\t{r}\t{t}.0", "UserId\tItemId\tRating\tTimestamp\n"),
        same,
    ),
    "libimseti.dat": (lines(lambda u, i, r, t: f"{u},{i},{r * 2}"), same),
    "jester_ratings.dat": (lines(lambda u, i, r, t: f"{u}\t\t{i}\t\t{r - 2.5}"), same, lambda r, t: r - 2.5 >= 0),
    "ydata-ymusic-rating-study-v1_0-train.txt": (lines(lambda u, i, r, t: f"{u}\t{i}\t{r}"), same, lambda r, t: r >= 4),
    "train.ascii": (matrix(LOG), lambda u, i: (str(u), str(i - 500)), lambda r, t: r >= 4),
    "users.dat": ("".join(f"{len(own)} {' '.join(map(str, own))}\n" for own in lists(LOG).values()), same),
    "user_taggedbookmarks-timestamps.dat": (
        lines(lambda u, i, r, t: f"{u}\t{i}\t{r}\t{t}000", "userID\tbookmarkID\ttagID\ttimestamp\n"),
        same,
    ),
    "pinterest-20.train.rating": (lines(lambda u, i, r, t: f"{u}\t{i}\t1\t{t}"), same),
    "user_artists.dat": (lines(lambda u, i, r, t: f"{u}\t{i}\t{r * 123}", "userID\tartistID\tweight\n"), same),
    "usersha1-artmbid-artname-plays.tsv": (
        lines(lambda u, i, r, t: f'{u:040x}\t{"" if i % 7 == 0 else f"{i:08x}-{i}"}\t"The {i}" band\t{r * 37}'),
        lambda u, i: (f"{u:040x}", f'"The {i}" band'),
    ),
    "LFM-1b_LEs.txt": (lines(lambda u, i, r, t: f"{u}\t{i}\t{i * 3}\t{i * 7}\t{t}"), same),
    "train_triplets.txt": (
        lines(lambda u, i, r, t: f"{u:040x}\tSO{i}A\t{r * u}"),
        lambda u, i: (f"{u:040x}", f"SO{i}A"),
    ),
    "loc-gowalla_totalCheckins.txt": (
        lines(lambda u, i, r, t: f"{u}\t{date(t, '%Y-%m-%dT%H:%M:%SZ')}\t{30 + u / 7:.9f}\t-97.{u}\t{i}"),
        same,
    ),
    "train.txt": ("".join(f"{user} {' '.join(map(str, own))}\n" for user, own in lists(LOG[:300]).items()), same),
    "dataset_TSMC2014_NYC.txt": (
        lines(lambda u, i, r, t: f"{u}\t4bf{i}\t4b1\tCaf\xe9\t40.7\t-74.0\t-240\t{date(t, DAY)}").encode("latin-1"),
        lambda u, i: (str(u), f"4bf{i}"),
    ),
    "dataset_TIST2015_Checkins.txt": (
        lines(lambda u, i, r, t: f"{u}\t4bf{i}\t{date(t, DAY)}\t540"),
        lambda u, i: (str(u), f"4bf{i}"),
    ),
    "big_matrix.csv": (
        lines(
            lambda u, i, r, t: f"{u},{i},138,108,{date(t)}.222,{date(t, '%Y%m%d')},{t}.222,{r / 2}",
            "user_id,video_id,play_duration,video_duration,time,date,timestamp,watch_ratio\n",
        ),
        same,
        lambda r, t: r >= 4,
    ),
    "log_standard_4_08_to_4_21_pure.csv": (
        lines(
            lambda u, i, r, t: f"{u},{i},{date(t, '%Y%m%d')},1200,{t}000,{int(r > 3)},0",
            "user_id,video_id,date,hourmin,time_ms,is_click,is_like\n",
        ),
        same,
        lambda r, t: r > 3,
    ),
    "events.csv": (
        lines(
            lambda u, i, r, t: f"{t}000,{u},{'transaction' if r > 3 else 'view'},{i},",
            "timestamp,visitorid,event,itemid,transactionid\n",
        ),
        same,
        lambda r, t: r > 3,
    ),
    "UserBehavior.csv": (
        lines(lambda u, i, r, t: f"{u},{i},{i % 9},{'buy' if r > 3 else 'pv'},{t}"),
        same,
        lambda r, t: r > 3,
    ),
    "user_log_format1.csv": (
        lines(
            lambda u, i, r, t: f"{u},{i},1,2,3,0829,{r % 4}",
            "user_id,item_id,cat_id,seller_id,brand_id,time_stamp,action_type\n",
        ),
        same,
        lambda r, t: r % 4 == 2,
    ),
    "yoochoose-buys.dat": (
        lines(lambda u, i, r, t: f"{u},{date(t, '%Y-%m-%dT%H:%M:%S')}.277Z,{214_536_000 + i},1046,{r}"),
        lambda u, i: (str(u), str(214_536_000 + i)),
    ),
    "transactions_train.csv": (
        lines(
            lambda u, i, r, t: f"{date(t, '%Y-%m-%d')},{u:064x},0{i},0.05,2",
            "t_dat,customer_id,article_id,price,sales_channel_id\n",
        ),
        lambda u, i: (f"{u:064x}", f"0{i}"),
    ),
    "ta_feng_all_months_merged.csv": (
        lines(
            lambda u, i, r, t: f'"11/1/2000","{u}  ","45-49","115",{i},"{i}",2',
            '"TRANSACTION_DT","CUSTOMER_ID","AGE_GROUP","PIN_CODE","PRODUCT_SUBCLASS","PRODUCT_ID","AMOUNT"\n',
        ),
        same,
    ),
    "steam-200k.csv": (
        lines(lambda u, i, r, t: f'{u},"Game, {i}",{"play" if r > 3 else "purchase"},1.5,0'),
        lambda u, i: (str(u), f"Game, {i}"),
        lambda r, t: r > 3,
    ),
    "user_data.txt": (lines(lambda u, i, r, t: f"{u:x},{i};{i + 1},o{i}"), lambda u, i: (f"{u:x}", f"o{i}")),
    "dataset.inter": (lines(lambda u, i, r, t: f"{u}\t{i}\t{r}", "user_id:token\titem_id:token\trating:float\n"), same),
}
BESIDE = {
    "ydata-ymusic-rating-study-v1_0-test.txt": "30\t501\t5\n29\t502\t2\n99\t502\t5\n",
    "test.ascii": matrix([(30, 501, 5, 0), (29, 502, 2, 0)]),
    "small_matrix.csv": "user_id,video_id,play_duration,watch_ratio\n30,501,9,2.5\n29,502,9,1.0\n30,999,1,5\n",
    "log_random_4_22_to_5_08_pure.csv": "user_id,video_id,time_ms,is_click,is_like\n30,501,9,1,0\n29,502,9,0,0\n",
    "test.txt": "".join(f"{user} {' '.join(map(str, own))}\n" for user, own in lists(LOG[300:]).items()),
}


def written(folder: Path) -> set[tuple[str, ...]]:
    """The pairs of all sets but a balanced test and one of what was shown at random."""
    files = [
        file for file in folder.glob("*.inter") if file.name.split(".")[1] not in ("test_balanced", "test_unbiased")
    ]
    return {tuple(line.split("\t")[:2]) for file in files for line in file.read_text(encoding="utf-8").splitlines()[1:]}


def balanced(folder: Path) -> set[tuple[str, ...]]:
    text = (folder / "x.test_balanced.inter").read_text(encoding="utf-8")
    return {tuple(line.split("\t")[:2]) for line in text.splitlines()[1:]}


def test_every_row_has_a_file():
    assert [shlex.split(row)[1] for row in ROWS] == [*FILES]


@pytest.mark.parametrize("row", ROWS)
def test_a_row_of_the_table(tmp_path, monkeypatch, row):
    monkeypatch.chdir(tmp_path)
    for name, text in BESIDE.items():
        write(tmp_path / name, text)
    words = shlex.split(row)
    text, ids, *taken = FILES[words[1]]
    content = text if isinstance(text, bytes) else text.encode()
    write(tmp_path / words[1], gzip.compress(content) if words[1].endswith(".gz") else content)
    assert main([*words, "--name=x", "--output=out", "--k_core=0"]) == 0
    expected = {ids(u, i) for u, i, r, t in LOG if not taken or taken[0](r, t)}
    if "--test_balanced" in words:
        users, items = ({ids[place] for ids in expected} for place in (0, 1))
        test = {ids(30, 501), ids(29, 502)} if "test.txt" in words[-1] else {ids(30, 501)}
        assert balanced(tmp_path / "out") == {(u, i) for u, i in test - expected if u in users and i in items}
        assert written(tmp_path / "out") == expected
    elif "--test_unbiased" in words:
        lines_of = (tmp_path / "out" / "x.test_unbiased.inter").read_text().splitlines()
        assert sorted(lines_of[1:]) == ["\t".join((*ids(29, 502), "0")), "\t".join((*ids(30, 501), "1"))]
        assert written(tmp_path / "out") | balanced(tmp_path / "out") == expected
    else:
        assert written(tmp_path / "out") | balanced(tmp_path / "out") == expected


REFUSED = {
    "Netflix Prize": ("".join(f"{i}:\n{u},{r},2005-09-0{r}\n" for u, i, r, _ in LOG), "no known format|names? them"),
    "Netflix without items": (
        lines(lambda u, i, r, t: f"{u},{r},{date(t, '%Y-%m-%d')}"),
        "a rating seems to stand where",
    ),
    "KDD Cup": ("".join(f"{u}|1\n{i}\t90\t3811\t13:24:00\n" for u, i, *_ in LOG), "no known format|name them"),
    "Jester's matrix": (
        "".join(f"{u},99,-5.17,{i},1.5,{r}\n" for u, i, r, _ in LOG),
        "6 columns between commas, no header",
    ),
    "Python dictionaries": (lines(lambda u, i, *_: f"{{u'user_id': u'{u}', 'item_id': '{i}'}}"), "not a JSON object"),
    "JSON array": (
        json.dumps([{"user": u, "item": i} for u, i, *_ in LOG]),
        "a JSON array, not an object in each line",
    ),
    "JSON object of lists": (json.dumps(lists(LOG)), "no column 'user' among 1, 2"),
    "blocks of fields": (
        lines(lambda u, i, r, t: f"beer/beerId: {i}\nreview/overall: {r}\n"),
        "no column 'user'|no known",
    ),
    "check-ins": (
        lines(lambda u, i, r, t: f"{u}\t{date(t)}\t{i / 7}\t-97.1\t{i}"),
        "--columns user,timestamp,_,_,item",
    ),
    "baskets": (
        "".join(f"{u} {' '.join(map(str, own))}\n" * 2 for u, own in lists(LOG).items()),
        "fits no known format",
    ),
    "number of rows first": ("400\n" + lines(lambda u, i, *_: f"{u} {i}"), "line 1: 1 values, not 2: '400'"),
    "cut short": (lines(lambda u, i, r, t: f"{u}\t{i}\t{r}") + "7\t", "line 401: 2 values, not 3"),
    "labels": (lines(lambda u, i, r, t: f"{u}\t{i}\t{r % 2}"), "may be a rating or a label"),
    "signs": (lines(lambda u, i, r, t: f"{u} {i} {1 if r > 3 else -1}"), "may be a rating or a label"),
    "time first": (lines(lambda u, i, r, t: f"{t},{u},{r}"), "a time stands where a user or an item is expected"),
    "time second": (lines(lambda u, i, r, t: f"{u},{date(t)},{i % 15}"), "a time stands where"),
    "numbered rows": (
        "".join(f"{n},{u},{i % 15}\n" for n, (u, i) in enumerate(PAIRS)),
        "the first seems to number the rows",
    ),
    "lists between commas": (
        "".join(f"{u}\t{','.join(map(str, o))}\n" for u, o in lists(LOG).items()),
        "look like lists",
    ),
    "two separators": (lines(lambda u, i, r, t: f"{u}\t{i} {r}"), "the ids look like lists"),
    "lists under a header": (
        "user,item\n" + "".join(f'{u},"{o}"\n' for u, o in lists(LOG).items()),
        "seems to hold lists",
    ),
    "LibSVM": ("".join(f"{u} {' '.join(f'{i}:1' for i in o)}\n" for u, o in lists(LOG).items()), "no known format"),
    "LibFM": (lines(lambda u, i, r, t: f"{r} {u}:1 {i}:1"), "what they hold cannot be told"),
    "Matrix Market": (
        "%%MatrixMarket matrix coordinate\n31 541 400\n" + lines(lambda u, i, r, _: f"{u} {i} {r}"),
        "line 1",
    ),
    "comments": ("# user item rating\n" + lines(lambda u, i, r, _: f"{u} {i} {r}"), "line 2: 3 values, not 4"),
    "two headers": ("user,item\n1,2\nuser,item\n3,4\n", "line 3: the header stands here again"),
    "pointer of Git LFS": (
        "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12\n",
        "pointer of Git LFS",
    ),
    "page": ("<!DOCTYPE html>\n<html><body>404, not found</body></html>\n", "fits no known format"),
    "users' table": (lines(lambda u, i, r, t: f"{u}::F::{r}::10::48067"), "5 columns between double colons, no header"),
    "titles": ("movieId,title,genres\n" + lines(lambda u, i, r, t: f'{i},"A, b",Comedy'), "no column 'user'"),
    "sessions": ("session_id,item_id\n" + lines(lambda u, i, *_: f"{u},{i}"), "no column 'user'"),
    "words": ("alice,tea\nbob,milk\ncarol,rum\n", "may be names or a row"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(tmp_path, case):
    text, message = REFUSED[case]
    with pytest.raises(PopDCLError, match=message) as raised:
        preview([write(tmp_path / "x.txt", text)], Recipe())
    assert "\n" not in str(raised.value)
