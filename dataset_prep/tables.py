"""How delimited text is laid out, judged by many lines: separator, header, and the role of each column.

A column is told by what it holds: times are large whole numbers or dates, ratings are few small numbers, ids are all
else. Users come before items unless the ids themselves say otherwise (Amazon's begin with A and with B0).
"""

from __future__ import annotations

import csv
import itertools
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from dataset_prep.columns import SKIPPED
from dataset_prep.evidence import Evidence, Sample
from recbole_popdcl.data.labels import LABELS, plain
from recbole_popdcl.errors import PopDCLError

# In the order in which they are tried; the first with which all lines have equally many fields is taken.
SEPARATORS = {"::": "double colons", "\t": "tabs", ";": "semicolons", ",": "commas", "|": "bars", " ": "blanks"}
QUOTED = (",", ";", "|", "\t")  # separators of one character, beside which values may stand in double quotes
# Where the user names no column, these are tried in this order, in any letter case and without signs between letters.
USUAL_NAMES = {
    "user": ("user", "userid", "uid", "reviewerid", "visitorid", "userkey", "username", "customerid", "memberid",
             "playerid", "accountid", "profileid", "profilename", "reviewprofilename"),
    "item": ("item", "itemid", "iid", "parentasin", "asin", "movieid", "businessid", "bookid", "videoid", "gmapid",
             "artistid", "productid", "isbn", "trackid", "songid", "appid", "gameid", "newsid", "recipeid", "beerid",
             "beerbeerid", "animeid", "venueid", "poiid", "placeid", "adid", "courseid", "storyid", "articleid",
             "bookmarkid", "jokeid"),
    "rating": ("rating", "ratings", "score", "stars", "overall", "bookrating", "reviewoverall", "weight"),
    "timestamp": ("timestamp", "time", "unixreviewtime", "unixtime", "timems", "date", "datetime", "createdat",
                  "reviewtime", "eventtime", "timestamps"),
    "label": LABELS,
    "rank": ("rank", "ranking", "position", "place"),
    "score": ("score", "scores", "prediction", "predictedscore", "predictedrating", "similarity", "relevance", "weight",
              "rating"),
}  # fmt: skip
LEAST_TIME, LATEST_TIME = 3e8, 1e19  # seconds of 1979; nanoseconds of 2286
MOST_RATINGS, HIGHEST_RATING = 21, 100  # different values; 0 to 10 in halves are 21
DIGIT = re.compile(r"\d")
DATE = re.compile(r"\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d+)?)?)?(Z|[+-]\d{2}:?\d{2})?")
AMAZON_USER, AMAZON_ITEM = re.compile(r"A[A-Z0-9]{9,}"), re.compile(r"B[A-Z0-9]{9}|\d{9}[\dX]")
USER_ID = re.compile(r"(u|uid|user|customer|reviewer|visitor)[\W_]*\d+", re.IGNORECASE)
ENOUGH = 0.9  # of the values of a column, or of the lines, to say what they hold
MANY_LINES, FEW_VALUES = 50, 11  # a column of ids has more values in so many lines


@dataclass(frozen=True, kw_only=True)
class Table:
    """How a file of delimited text is laid out.

    Attributes:
        separator: text between columns; a blank stands for any run of blanks and tabs.
        names: of the columns, from the header, or in its place their roles.
        has_header: whether the first line that is not blank holds the names.
        lines_before: lines before the first row, blank ones among them.
    """

    separator: str
    names: tuple[str, ...]
    has_header: bool
    lines_before: int

    def __str__(self) -> str:
        between = f"{len(self.names)} columns between {SEPARATORS.get(self.separator, repr(self.separator))}"
        what = f"header: {', '.join(self.names)}" if self.has_header else f"no header: {' '.join(self.names)}"
        return f"{between}, {what}"


def role_of(name: str) -> str | None:
    """Return the role that a column of this name usually has, None for other names."""
    return next((role for role, usual in USUAL_NAMES.items() if plain(name) in usual), None)


def fields(line: str, separator: str) -> list[str]:
    """Return the fields of a line, without blanks around them."""
    if separator == " ":
        return line.split()
    if separator in QUOTED and '"' in line:
        try:
            return [field.strip() for field in next(csv.reader([line], delimiter=separator, skipinitialspace=True))]
        except (csv.Error, StopIteration):
            pass
    return [field.strip() for field in line.split(separator)]


def table_of(sample: Sample) -> Table | None:
    """Return how the sample is laid out, None if it is not a table of two columns or more.

    Raises:
        PopDCLError: ``--columns`` and the lines do not fit, or the roles of the columns cannot be told.
    """
    separator = separator_of(sample) if sample.lines else None
    if separator is None:
        return None
    first = fields(sample.first_line, separator)
    has_header = _is_header(sample, first, [fields(line, separator) for line in sample.lines[1:]])
    order = sample.columns.order
    if order is None:
        names = tuple(first) if has_header else _roles(sample, separator)
        if has_header:
            _check_lists(sample, separator, names)
    else:
        names = _given(sample, order, first, has_header)
        has_header = False
    return Table(
        separator=separator, names=names, has_header=has_header, lines_before=sample.blank_before + int(has_header)
    )


def separator_of(sample: Sample) -> str | None:
    """Return what stands between the columns: as the user says, as a header of usual names says, or what cuts the lines
    into equally many fields, all of them or nearly all; None if nothing does."""
    given = sample.columns.separator
    if given is not None:
        return given if given and len(equal_rows(sample, given)[0]) > 1 else None
    for separator in SEPARATORS:
        names = [role_of(name) for name in fields(sample.first_line, separator)]
        if len(names) > 1 and ("user" in names or "item" in names):
            return separator
    for enough in (1.0, ENOUGH):
        for separator in SEPARATORS:
            if len(equal_rows(sample, separator)[0]) > 1 and is_even(sample, separator, enough=enough):
                return separator
    return None


def equal_rows(sample: Sample, separator: str) -> list[list[str]]:
    """Return the fields of the lines that have as many as most lines have."""
    rows = [fields(line, separator) for line in sample.lines]
    usual = Counter(map(len, rows)).most_common(1)[0][0]
    return [row for row in rows if len(row) == usual]


def is_even(sample: Sample, separator: str, *, enough: float = 1.0) -> bool:
    """Whether this share of the lines has the same number of fields."""
    return len(equal_rows(sample, separator)) >= enough * len(sample.lines)


def has_quotes(sample: Sample, separator: str) -> bool:
    """Whether values stand in double quotes: always where commas or semicolons separate them; elsewhere if the sample
    has quotes, and all of them are around whole values."""
    if separator not in QUOTED or separator in ",;":
        return separator in QUOTED
    try:
        for _ in csv.reader((f"{line}\n" for line in sample.lines), delimiter=separator, strict=True):
            pass
    except csv.Error:  # a sign of inches, or of a title
        return False
    return any('"' in line for line in sample.lines)


def header_evidence(sample: Sample, *, tabs: bool) -> Evidence:
    """Return the evidence of a table with a header, between tabs or between other separators."""
    columns = sample.columns
    try:
        table = table_of(sample)
    except PopDCLError:
        return Evidence.NONE
    if table is None:  # rows of different lengths, which the reader names
        return Evidence.POSSIBLE if not tabs and "," in sample.first_line else Evidence.NONE
    if not table.has_header or (table.separator == "\t") != tabs:
        return Evidence.NONE
    usual = {role_of(name) for name in table.names} & {"user", "item"}
    return Evidence.COLUMN_NAMES if usual or (columns.user and columns.item) else Evidence.POSSIBLE


def _is_header(sample: Sample, first: Sequence[str], rows: Sequence[Sequence[str]]) -> bool:
    """Whether the first line names columns: by a usual name or one that the user gives, or as words above numbers.

    Raises:
        PopDCLError: the first line can as well be a row.
    """
    given = {sample.columns.user, sample.columns.item} & set(first)
    if given or {role_of(name) for name in first} & {"user", "item"}:
        return True
    if sample.columns.order is not None or any(_is_number(name) or not name for name in first):
        return False
    columns = list(zip(*(row for row in rows if len(row) == len(first))))
    if any(_share(values, _is_number) >= ENOUGH for values in columns):
        return True
    if any(name in values for name, values in zip(first, columns)):
        return False  # what stands there again is an id
    with_digits = [(bool(DIGIT.search(name)), _share(values, DIGIT.search)) for name, values in zip(first, columns)]
    if any(not in_name and share >= ENOUGH for in_name, share in with_digits):
        return True
    if any(in_name and share >= ENOUGH for in_name, share in with_digits):
        return False
    raise PopDCLError(
        f"{sample.paths[0]}, line {sample.blank_before + 1}: {sample.first_line[:80]!r} may be names or a row; "
        "name the columns of a file without a header with --columns, those of a header with --user_column and "
        "--item_column"
    )


def _given(sample: Sample, order: Sequence[str], first: Sequence[str], has_header: bool) -> tuple[str, ...]:
    if has_header:
        raise PopDCLError(
            f"{sample.paths[0]}: --columns is for files without a header, but the first line reads "
            f"{sample.first_line[:80]!r}; name its columns by --user_column and --item_column"
        )
    if len(order) != len(first):
        raise PopDCLError(
            f"{sample.paths[0]}, line {sample.blank_before + 1}: {len(first)} columns, but --columns names "
            f"{len(order)}: {sample.first_line[:80]!r}"
        )
    return tuple(order)


def _roles(sample: Sample, separator: str) -> tuple[str, ...]:
    """Roles of the columns of a file without a header.

    Raises:
        PopDCLError: they cannot be told.
    """
    columns = list(zip(*equal_rows(sample, separator)))
    users = ("item", "user") if _items_come_first(columns) else ("user", "item")
    roles = [_role(values) for values in columns[2:]]
    problem = _doubt(columns, roles)
    if problem:
        between = SEPARATORS.get(separator, repr(separator))
        raise PopDCLError(
            f"{sample.paths[0]}: {len(columns)} columns between {between}, no header; {problem} "
            f"({sample.first_line[:80]!r}); name them, such as --columns {','.join(_example(columns, users))}"
        )
    return (*users, *(role for role in roles if role))


def _doubt(columns: Sequence[Sequence[str]], roles: Sequence[str | None]) -> str | None:
    """Why the roles cannot be relied on; None if they can."""
    if len(columns) > 4 or None in roles or len(set(roles)) < len(roles):
        return "what they hold cannot be told"
    if "timestamp" not in roles and any(_role(values) == "timestamp" for values in columns[:2]):
        return "a time stands where a user or an item is expected"
    if any(_share(values, _is_list) >= 0.5 for values in columns[:2]):
        return "the ids look like lists"
    if len(columns) > 2 and "rating" not in roles and any(_alternate(values) for values in columns[:2]):
        return "a rating seems to stand where a user or an item is expected"
    if any({*map(_number, values)} in ({0, 1}, {-1, 1}) for values in columns[2:]):
        return "the last may be a rating or a label, of which 0 or -1 would be no interaction"
    if len(columns) > 2 and "timestamp" not in roles and _counts_up(columns[0]):
        return "the first seems to number the rows"
    return None


def _example(columns: Sequence[Sequence[str]], users: tuple[str, str]) -> list[str]:
    """Roles of columns as far as they can be guessed."""
    dated = _role(columns[1]) == "timestamp"
    names = [users[0], "timestamp", *[SKIPPED] * (len(columns) - 3), "item"][: len(columns)] if dated else [*users]
    for values in columns[len(names) :]:
        role = _role(values) or SKIPPED
        names.append(SKIPPED if role in names else role)
    return names


def _items_come_first(columns: Sequence[Sequence[str]]) -> bool:
    first, second = columns[:2]
    if _share(second, USER_ID.fullmatch) >= ENOUGH:
        return not _share(first, USER_ID.fullmatch) and not _share(first, _is_number)
    of_amazon = _share(first, AMAZON_ITEM.fullmatch) >= ENOUGH and _share(second, AMAZON_USER.fullmatch) >= ENOUGH
    return of_amazon and _share(first, AMAZON_USER.fullmatch) < ENOUGH


def _alternate(values: Sequence[str]) -> bool:
    """Whether few small numbers take turns in many lines, as ratings do and ids do not."""
    n_values, n_changes = len(set(values)), sum(one != other for one, other in itertools.pairwise(values))
    many = len(values) >= MANY_LINES and n_changes > 3 * n_values
    return many and n_values <= FEW_VALUES and _role(values) == "rating"


def _counts_up(values: Sequence[str]) -> bool:
    numbers = [int(value) for value in values if value.isdecimal()]
    return len(numbers) == len(values) >= 10 and numbers == [*range(numbers[0], numbers[0] + len(numbers))]


def _check_lists(sample: Sample, separator: str, names: Sequence[str]) -> None:
    """Refuse lists in the columns of users and items, unless the user has named these columns."""
    columns = dict(zip(names, zip(*equal_rows(sample, separator))))
    for role in ("user", "item"):
        given = getattr(sample.columns, role)
        name = next((name for name in names if role_of(name) == role), None)
        if given is None and name in columns and _share(columns[name][1:], _is_list) >= 0.5:
            raise PopDCLError(
                f"{sample.paths[0]}: the column '{name}' seems to hold lists of ids ({columns[name][1]!r}), not one in "
                f"each row; if each is one id, name the column with --{role}_column"
            )


def _role(values: Sequence[str]) -> str | None:
    """What a column after user and item holds: rating or timestamp, None if neither."""
    if all(DATE.fullmatch(value) for value in values):
        return "timestamp"
    numbers = [number for number in map(_number, values) if number is not None]
    if len(numbers) < len(values):
        return None
    if all(LEAST_TIME <= number <= LATEST_TIME for number in numbers):
        return "timestamp"
    few = len(set(numbers)) <= min(MOST_RATINGS, max(len(numbers), 2))
    return "rating" if few and all(-HIGHEST_RATING <= number <= HIGHEST_RATING for number in numbers) else None


def _share(values: Sequence[str], holds: object) -> float:
    return sum(bool(holds(value)) for value in values) / max(len(values), 1)  # type: ignore[operator]


def _is_list(text: str) -> bool:
    """Whether a text is several ids or numbers, such as ``[1, 2]`` or ``i1|i2``."""
    parts = re.split(r"[,;|\s]+", text.strip("[]"))
    return len(parts) > 1 and all(map(DIGIT.search, parts))


def _is_number(text: str) -> bool:
    return _number(text) is not None


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if abs(number) < float("inf") else None
